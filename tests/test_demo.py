"""The self-check: known truth against what the tool finds, and that it can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from sfumato.compare import Tables
from sfumato.compare.tables import BY_CATEGORY_SCHEMA, SCHEMAS
from sfumato.data import read_dataset
from sfumato.data.planted import PlantedTruth, write_planted
from sfumato.demo import MIN_FACE, self_check
from sfumato.detect import DETECTORS, detect, score
from sfumato.engines import Work
from sfumato.faces import Faces, FaceTable
from sfumato.records import Manifest, write_manifest
from sfumato.study import read_checks, write_checks

ARM = "blur(strength=0.2, grow=0.1, shape='feathered')"


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PlantedTruth:
    return write_planted(tmp_path_factory.mktemp("planted") / "photos", n_train=8, n_val=4)


@pytest.fixture(scope="module")
def known(truth: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> FaceTable:
    oracle = DETECTORS.build(f"oracle(path='{truth.folder}/faces.json')")
    return detect(
        read_dataset(truth.folder), oracle, tmp_path_factory.mktemp("faces") / "known", work=Work(1)
    )


def as_faces(truth: PlantedTruth) -> dict[str, Faces]:
    return {image_id: Faces.of(boxes) for image_id, boxes in truth.faces.items()}


def test_the_oracle_has_recall_and_precision_one(truth: PlantedTruth, known: FaceTable) -> None:
    scored = score({image_id: known.of(image_id) for image_id in truth.faces}, as_faces(truth), min_iou=0.99)
    assert (scored.recall, scored.precision, scored.image_accuracy) == (1, 1, 1)
    assert scored.n_truth == sum(len(boxes) for boxes in truth.faces.values()) > 40


def test_the_default_detector_finds_95_percent(truth: PlantedTruth, tmp_path: Path) -> None:
    found = detect(read_dataset(truth.folder), DETECTORS.build("default"), tmp_path / "f", work=Work(1))
    faces = {image_id: found.of(image_id) for image_id in truth.faces}
    scored = score(faces, as_faces(truth), min_size=MIN_FACE)
    assert scored.recall >= 0.95
    assert scored.false_positive_images == 0


def tables(lost: dict[str, float]) -> Tables:
    """Tables in which each category has lost this much top-1 accuracy against the control arm."""
    rows = [
        dict.fromkeys(BY_CATEGORY_SCHEMA.names)
        | {"model": "m", "arm": arm, "category": category, "top1_difference_to_none": -share}
        for arm in ("none", ARM)
        for category, share in lost.items()
    ]
    made = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    return Tables(**(made | {"by_category": pa.Table.from_pylist(rows, schema=BY_CATEGORY_SCHEMA)}))


def losses(truth: PlantedTruth, *, pair: tuple[float, float], other: float = 0.0) -> dict[str, float]:
    lost = {category.name: 0.0 for category in truth.categories} | {"coffee": other}
    return lost | dict(zip(truth.pair, pair, strict=True))


@pytest.mark.parametrize(
    ("pair", "other", "passed"),
    [
        ((0.9, 0.05), 0.0, True),  # both called by one name: the mean counts
        ((0.45, 0.5), 0.1, True),
        ((0.2, 0.2), 0.0, False),
        ((0.5, 0.5), 0.3, False),
        ((0.4, 0.3), 0.9, False),
        ((0.0, 0.0), 0.0, False),
    ],
)
def test_the_pair_must_be_what_suffers(
    truth: PlantedTruth, known: FaceTable, pair: tuple[float, float], other: float, passed: bool
) -> None:
    checks = self_check(truth, known, tables(losses(truth, pair=pair, other=other)))
    assert [check.passed for check in checks] == [True, True, passed]
    assert all(name in checks[2].detail for name in truth.pair)


def test_a_blind_detector_and_a_jumpy_one_fail(truth: PlantedTruth, known: FaceTable) -> None:
    table = tables(losses(truth, pair=(0.5, 0.5)))
    blind = replace(known, faces=known.faces.slice(0, 20))
    assert [check.passed for check in self_check(truth, blind, table)][:2] == [False, True]
    free = [image_id for image_id, boxes in truth.faces.items() if not len(boxes)]
    box = known.faces.slice(0, 1)
    alarms = [box.set_column(0, "image_id", pa.array([image_id])) for image_id in free]
    jumpy = replace(known, faces=pa.concat_tables([known.faces, *alarms]))
    assert [check.passed for check in self_check(truth, jumpy, table)][:2] == [True, False]


def test_checks_stay_with_the_study(truth: PlantedTruth, known: FaceTable, tmp_path: Path) -> None:
    assert read_checks(tmp_path) is None
    checks = self_check(truth, known, tables(losses(truth, pair=(0.5, 0.5))))
    write_manifest(tmp_path / "tables", Manifest("tables", "first", {}, {}))
    write_checks(tmp_path, checks)
    assert read_checks(tmp_path) == checks
    write_manifest(tmp_path / "tables", Manifest("tables", "other", {}, {}))
    assert read_checks(tmp_path) is None  # they were of other tables
