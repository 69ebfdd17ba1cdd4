from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from sfumato.compare import CompareSettings, compare, read_tables
from sfumato.compare.tables import SCHEMAS
from sfumato.engines import Work
from sfumato.errors import ManifestError, OutputExists
from sfumato.predictions import find_predictions, read_predictions
from tests.compare.synthetic import BLUR, World, make_faces, make_predictions

FAST = CompareSettings(rounds=100)


def test_a_comparison_is_a_folder_of_tables(tmp_path: Path) -> None:
    world = World()
    predictions = make_predictions(tmp_path / "predictions", world)
    faces = make_faces(world, world.image_ids[:50], failed=world.image_ids[-2:])
    made = compare(predictions, tmp_path / "out", faces=faces, settings=FAST)
    assert made.manifest is not None
    assert made.manifest.counts == {
        "n_images": 120,
        "n_excluded": 0,
        "n_with_faces": 50,
        "n_without_faces": 68,
        "n_faces_unknown": 2,
    }
    read = read_tables(tmp_path / "out")
    assert read.manifest is not None
    assert read.manifest.key == made.manifest.key
    for name, table in made.named().items():
        assert read.named()[name].equals(table)
        text = pyarrow.csv.read_csv(
            tmp_path / "out" / f"{name}.csv",
            convert_options=pyarrow.csv.ConvertOptions(column_types=SCHEMAS[name], strings_can_be_null=True),
        )
        assert text.equals(table.cast(pa.schema(SCHEMAS[name])))
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert [finding["arm"] for finding in verdict["findings"]] == [BLUR]


def test_predictions_are_found_and_compared_from_disk(tmp_path: Path) -> None:
    make_predictions(tmp_path / "runs", World())
    found = [read_predictions(folder) for folder in find_predictions(tmp_path / "runs")]
    assert len(compare(found, tmp_path / "out", settings=FAST).overall) == 6


def test_finished_work_is_read_not_made_again(tmp_path: Path) -> None:
    predictions = make_predictions(tmp_path / "predictions", World())
    compare(predictions, tmp_path / "out", settings=FAST)
    calls: list[int] = []
    work = Work(progress=lambda stage, done, total: calls.append(done))
    again = compare(list(reversed(predictions)), tmp_path / "out", settings=FAST, work=work)
    assert calls == []
    assert again.named().keys() == SCHEMAS.keys()


def test_other_settings_need_another_folder_or_overwrite(tmp_path: Path) -> None:
    predictions = make_predictions(tmp_path / "predictions", World())
    compare(predictions, tmp_path / "out", settings=FAST)
    other = CompareSettings(rounds=150)
    with pytest.raises(OutputExists):
        compare(predictions, tmp_path / "out", settings=other)
    tables = compare(predictions, tmp_path / "out", settings=other, work=Work(overwrite=True))
    assert set(tables.differences["n_rounds"].to_pylist()) == {150}


def test_an_unfinished_comparison_is_made_anew(tmp_path: Path) -> None:
    predictions = make_predictions(tmp_path / "predictions", World())
    whole = compare(predictions, tmp_path / "out", settings=FAST)
    manifest = tmp_path / "out" / "manifest.json"
    assert whole.manifest is not None
    (tmp_path / "out" / ".started").write_text(f"tables {whole.manifest.key}")
    manifest.unlink()
    with pytest.raises(ManifestError):
        read_tables(tmp_path / "out")
    again = compare(predictions, tmp_path / "out", settings=FAST)
    assert all(again.named()[name].equals(table) for name, table in whole.named().items())
    assert manifest.is_file()
