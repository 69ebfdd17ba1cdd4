"""Artefacts: whole or not there, resumed or refused, never mixed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from sfumato import records
from sfumato.errors import BusyError, ManifestError, OutputExists, TableError

SCHEMA = pa.schema([("image_id", pa.string()), ("n", pa.int32())])


def finished(folder: Path, key: str = "k") -> None:
    assert not records.prepare_output(folder, "faces", key)
    records.finish(folder, records.Manifest("faces", key, {}, {}))


def test_a_finished_artefact_is_recognised_by_its_key(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    assert records.prepare_output(tmp_path / "a", "faces", "k")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["manifest.json"]
    with pytest.raises(OutputExists, match="--overwrite"):
        records.prepare_output(tmp_path / "a", "faces", "other")
    assert not records.prepare_output(tmp_path / "a", "faces", "other", overwrite=True)
    assert not (tmp_path / "a/manifest.json").exists()


@pytest.mark.parametrize("unfinished", [False, True])
def test_an_artefact_of_another_kind_is_never_replaced(tmp_path: Path, unfinished: bool) -> None:
    if unfinished:
        records.prepare_output(tmp_path / "a", "faces", "k")
    else:
        finished(tmp_path / "a")
    (tmp_path / "a/faces.parquet").write_text("days of work")
    with pytest.raises(OutputExists, match="holds no variant made by Sfumato"):
        records.prepare_output(tmp_path / "a", "variant", "other", overwrite=True)
    assert (tmp_path / "a/faces.parquet").read_text() == "days of work"


def test_unfinished_work_is_resumed_only_with_its_own_key(tmp_path: Path) -> None:
    records.prepare_output(tmp_path / "a", "faces", "k")
    (tmp_path / "a/part").write_text("half")
    assert not records.prepare_output(tmp_path / "a", "faces", "k")
    assert (tmp_path / "a/part").exists()
    with pytest.raises(OutputExists):
        records.prepare_output(tmp_path / "a", "faces", "other")
    assert not records.prepare_output(tmp_path / "a", "faces", "other", overwrite=True)
    assert not (tmp_path / "a/part").exists()


def test_keys_depend_on_inputs_and_settings_only() -> None:
    key = records.make_key("faces", {"a": "1", "b": "2"}, {"x": 1})
    assert key == records.make_key("faces", {"b": "2", "a": "1"}, {"x": 1})
    assert key != records.make_key("faces", {"a": "1", "b": "2"}, {"x": 2})
    assert key != records.make_key("faces", {"a": "1", "b": "3"}, {"x": 1})
    assert key != records.make_key("variant", {"a": "1", "b": "2"}, {"x": 1})


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sfumato.records import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="another process"), records.locked(tmp_path / "a"):
        pass
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_wait_for, tmp_path / "a")
        time.sleep(0.1)
        assert not waiting.done()
        other.communicate()
        assert waiting.result() == "held"
    with records.locked(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def _wait_for(folder: Path) -> str:
    with records.waiting_lock(folder), pytest.raises(BusyError), records.locked(folder):
        pass
    return "held"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write_atomic(tmp_path / "a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        records.write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_tables_are_checked_when_read(tmp_path: Path) -> None:
    table = pa.table({"image_id": ["a"], "n": pa.array([1], pa.int32()), "more": [2.0]})
    records.write_table(tmp_path / "t.parquet", table)
    assert records.read_table(tmp_path / "t.parquet", SCHEMA).equals(table)
    records.write_table(tmp_path / "t.parquet", table.drop_columns(["n"]))
    with pytest.raises(TableError, match=r"t\.parquet: column 'n' is missing"):
        records.read_table(tmp_path / "t.parquet", SCHEMA)
    records.write_table(tmp_path / "t.parquet", pa.table({"image_id": ["a"], "n": ["one"]}))
    with pytest.raises(TableError, match="column 'n' is string, not int32"):
        records.read_table(tmp_path / "t.parquet", SCHEMA)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(TableError, match="not a readable parquet table"):
        records.read_table(tmp_path / "t.parquet", SCHEMA)
    with pytest.raises(TableError, match="no such table"):
        records.read_table(tmp_path / "none.parquet", SCHEMA)


def test_manifests_are_checked_when_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest\.json"):
        records.read_manifest(tmp_path)
    finished(tmp_path / "a")
    with pytest.raises(ManifestError, match="holds faces, but variant is needed"):
        records.read_manifest(tmp_path / "a", kind="variant")
    (tmp_path / "a/manifest.json").write_text('{"kind": "faces"')
    with pytest.raises(ManifestError, match="damaged"):
        records.read_manifest(tmp_path / "a")
    (tmp_path / "a/manifest.json").write_text('{"kind": "faces"}')
    with pytest.raises(ManifestError, match="damaged"):
        records.read_manifest(tmp_path / "a")


def test_a_folder_whose_mark_was_being_written_in_a_kill_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(descriptor: int) -> None:
        raise SystemExit

    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # a kill cleans nothing up
        with pytest.raises(SystemExit):
            records.prepare_output(folder, "faces", "k")
    assert [path.suffix for path in folder.iterdir()] == [".tmp"]
    assert not records.prepare_output(folder, "faces", "k")
    assert [path.name for path in folder.iterdir()] == [records.STARTED]


def test_hidden_files_of_others_are_not_swept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".notes.tmp").write_text("mine")
    with pytest.raises(OutputExists, match="made from something else"):
        records.prepare_output(tmp_path / "a", "faces", "k")
    assert (tmp_path / "a" / ".notes.tmp").read_text() == "mine"
