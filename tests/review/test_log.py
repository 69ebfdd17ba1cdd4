"""The log: nothing that was confirmed is lost, nothing that was cut short is taken for a record."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SfumatoError, TableError
from sfumato.review.log import Log, line_of, parsed, read_records
from sfumato.review.model import GoldResult, Record

NUMBER = st.floats(-1e6, 1e6, allow_nan=False)
WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RECORD = st.builds(
    Record,
    n=st.integers(1, 10**9),
    time=WORD,
    reviewer=WORD,
    image_id=WORD,
    task=st.sampled_from(["queue", "gold", "audit", "grid"]),
    base=WORD,
    parent=st.integers(0, 10**9),
    faces=st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, WORD, WORD), max_size=3).map(tuple),
    state=st.sampled_from(["done", "skipped", "flagged"]),
    comment=WORD,
    seconds=st.floats(0, 1e6),
    gold=st.none() | st.builds(GoldResult, st.floats(0, 1), st.booleans(), st.integers(0, 3), st.booleans()),
    session=WORD,
    extra=st.fixed_dictionaries({}, optional={"change": st.booleans()}),
)


def record(n: int) -> Record:
    return Record(n, "", "Ann", f"{n}.jpg", "queue", "", 0, ((1.0, 2.0, 3.0, 4.0, "face", "net"),))


def filled(path: Path, n: int) -> None:
    log = Log(path)
    log.append([record(number) for number in range(1, n + 1)])
    log.close()


@given(RECORD)
def test_a_record_is_a_line_and_back(value: Record) -> None:
    line = line_of(value)
    assert line.count(b"\n") == 1
    assert parsed(line, "here") == value


def test_records_are_read_back_by_number(tmp_path: Path) -> None:
    filled(tmp_path / "log", 3)
    log = Log(tmp_path / "log")
    log.append([record(4)])
    assert [log[n] for n in (4, 1)] == [record(4), record(1)]
    assert list(log) == list(read_records(tmp_path / "log")) == [record(n) for n in range(1, 5)]
    log.close()


@pytest.mark.parametrize("cut", [1, 2, 40, 10_000])
def test_a_line_cut_short_is_left_out_told_of_and_written_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    filled(path, 2)
    whole = path.read_bytes()
    torn = line_of(record(3))[:-1][:cut]
    path.write_bytes(whole + torn)
    assert list(read_records(path)) == [record(1), record(2)]
    assert path.read_bytes() == whole + torn  # reading changes nothing
    log = Log(path)
    assert log.torn is not None
    assert "cut short" in log.torn
    log.append([record(3)])
    log.close()
    assert path.read_bytes() == whole + line_of(record(3))


def test_a_damaged_line_in_between_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    filled(path, 3)
    path.write_bytes(path.read_bytes().replace(b'"2.jpg"', b"2.jpg", 1))
    with pytest.raises(TableError, match=r"line 2 is damaged"):
        list(read_records(path))
    filled(tmp_path / "short", 3)
    lines = (tmp_path / "short").read_bytes().splitlines(keepends=True)
    (tmp_path / "short").write_bytes(lines[0] + lines[2])
    with pytest.raises(TableError, match="line 2 has the number 3"):
        list(read_records(tmp_path / "short"))


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    filled(path, 2)
    before = path.read_bytes()
    log = Log(path)
    write = os.write

    def some(descriptor: int, data: Any) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:50])

    monkeypatch.setattr(os, "write", some)
    with pytest.raises(SfumatoError, match="No space left"):
        log.append([record(3), record(4)])
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert len(log) == 2
    log.append([record(3)])
    assert log[3] == record(3)
    log.close()


def test_a_killed_process_loses_nothing_that_it_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.review.test_log import Log, record\n"
        "log = Log(Path(sys.argv[1])); n = 0\n"
        "while True:\n    n += 1; log.append([record(n)]); print(n, flush=True)\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", code, str(path), root], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        confirmed = [int(child.stdout.readline()) for _ in range(40)]
        child.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in child.stdout.read().split(b"\n") if line.strip()]
    found = list(read_records(path))
    assert len(found) >= confirmed[-1] == len(confirmed)
    assert found == [record(n) for n in range(1, len(found) + 1)]
