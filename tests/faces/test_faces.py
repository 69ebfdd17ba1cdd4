"""Faces and their table: parallel arrays, three states of an image, known boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import read_dataset
from sfumato.errors import BoxError, ManifestError, TableError
from sfumato.faces import FACES_SCHEMA, Faces, FaceTable, faces_rows, read_faces, read_known_boxes
from sfumato.faces.table import tables
from sfumato.records import Manifest, finish, write_table
from tests.conftest import face_table

values = st.floats(0, 500, width=32)
boxes = st.lists(st.tuples(values, values, values, values), max_size=5).map(
    lambda rows: [[x, y, x + w, y + h] for x, y, w, h in rows]
)


@given(st.dictionaries(st.text(min_size=1, max_size=6), boxes, max_size=5))
def test_rows_become_faces_again(by_image: dict[str, list[list[float]]]) -> None:
    rows = [
        row for image_id, xyxy in by_image.items() for row in faces_rows(image_id, Faces.of(xyxy, source="x"))
    ]
    images = [{"image_id": image_id, "status": "ok"} for image_id in by_image]
    table = FaceTable(*tables(rows, images), Manifest("faces", "k", {}, {}))
    assert table.faces.schema.equals(FACES_SCHEMA)
    for image_id, xyxy in by_image.items():
        assert np.array_equal(table.of(image_id).xyxy, Faces.of(xyxy).xyxy)
    assert table.image_ids_with_faces() == {image_id for image_id, xyxy in by_image.items() if xyxy}


def test_three_states_of_an_image(photos: Path) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, {"train/apple/0.jpg": [[0, 0, 9, 9]]}, failed={"val/pear/0.jpg": "cut"})
    assert table.status["train/apple/2.jpg"] == "ok"
    assert len(table.of("train/apple/2.jpg")) == 0
    assert table.status["val/pear/0.jpg"] == "failed"
    assert table.errors == {"val/pear/0.jpg": "cut"}
    assert "elsewhere.jpg" not in table.status


def test_selection_keeps_the_arrays_parallel() -> None:
    faces = Faces.of([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0.2, 0.9, 0.5], source=("a", "b", "c"))
    kept = faces.select(min_score=0.5)
    assert kept.source == ("b", "c")
    assert kept.xyxy[:, 2].tolist() == [2, 3]
    assert faces[np.array([2, 0])].source == ("c", "a")
    assert len(faces.select(min_score=2)) == 0


@pytest.mark.parametrize(
    ("xyxy", "score", "source"),
    [([[0, 0, 1, 1]], [0.5, 0.5], ""), ([[0, 0, 1, 1]], None, ("a", "b")), ([[2, 0, 1, 1]], None, "")],
)
def test_what_does_not_fit_together_is_refused(xyxy: object, score: object, source: object) -> None:
    with pytest.raises(BoxError):
        Faces.of(xyxy, score, source=source)  # type: ignore[arg-type]


def test_a_written_table_is_read_back(photos: Path, tmp_path: Path) -> None:
    table = face_table(read_dataset(photos), {"train/apple/0.jpg": [[0, 0, 9, 9]]})
    with pytest.raises(ManifestError):
        read_faces(tmp_path)
    write_table(tmp_path / "f/faces.parquet", table.faces)
    write_table(tmp_path / "f/images.parquet", table.images)
    finish(tmp_path / "f", table.manifest)
    again = read_faces(tmp_path / "f")
    assert again.faces.equals(table.faces)
    assert again.images.equals(table.images)
    known = read_known_boxes(tmp_path / "f")
    assert len(known) == 20
    assert known["train/apple/0.jpg"].xyxy.tolist() == [[0, 0, 9, 9]]


def test_the_study_s_annotations_are_read(tmp_path: Path) -> None:
    records = [
        {"url": "train/n1/a.JPEG", "bboxes": [{"x0": 1.5, "y0": 2, "x1": 30, "y1": 40}]},
        {"url": "val/b.JPEG", "bboxes": []},
    ]
    (tmp_path / "a.json").write_text(json.dumps(records))
    known = read_known_boxes(tmp_path / "a.json")
    assert known["train/n1/a.JPEG"].xyxy.tolist() == [[1.5, 2, 30, 40]]
    assert len(known["val/b.JPEG"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "expected a list"),
        ('[{"url": "a"}]', "record 0"),
        ('[{"url": "a", "bboxes": []}, {"url": "b", "bboxes": [{"x0": 1}]}]', "record 1"),
        (
            '[{"url": "a", "bboxes": [{"x0": 9, "y0": 0, "x1": 1, "y1": 1}]}]',
            "record 0 .*ends before it starts",
        ),
        ('[{"url": "a", "bboxes": [{"x0": "left", "y0": 0, "x1": 1, "y1": 1}]}]', "record 0"),
        ("[3]", "record 0"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(TableError, match=message):
        read_known_boxes(tmp_path / "a.json")
    with pytest.raises(TableError, match="cannot be read"):
        read_known_boxes(tmp_path / "none.json")
