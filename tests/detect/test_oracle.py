"""Answers of a service, kept on disk, as a detector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.data import read_folder
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import ImageError, SpecError, TableError
from sfumato.specs import to_spec


def response(*faces: tuple[float, float, float, float, float]) -> dict[str, Any]:
    """What Rekognition's DetectFaces answers: fractions of width and height, confidence in percent."""
    return {
        "FaceDetails": [
            {
                "BoundingBox": {"Left": left, "Top": top, "Width": width, "Height": height},
                "Confidence": confidence,
                "Pose": {"Roll": 1.0},
            }
            for left, top, width, height, confidence in faces
        ],
        "OrientationCorrection": "ROTATE_0",
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, size in (("train/a/1.jpg", (100, 50)), ("train/a/2.jpg", (80, 80)), ("val/a/1.jpg", (60, 90))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 90, 90)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    folder = tmp_path / "responses"
    for name, answer in {
        "train/a/1": response((0.1, 0.2, 0.3, 0.4, 99.5), (0.5, 0.5, 0.1, 0.1, 60.0)),
        "train/a/2.jpg": response(),
        "val/a/1": response((0.5, 0.5, 0.25, 0.25, 90.0)),
    }.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(answer))
    return folder


def test_responses_on_disk_are_a_detector(photos: Path, responses: Path, tmp_path: Path) -> None:
    detector = DETECTORS.build(f"rekognition(path={str(responses)!r}, min_score=0.8)")
    assert to_spec(detector) == f"oracle(path={str(responses)!r}, format='rekognition', min_score=0.8)"
    table = detect(read_folder(photos), detector, tmp_path / "faces", work=Work(2))
    assert dict(table.status) == {"train/a/1.jpg": "ok", "train/a/2.jpg": "ok", "val/a/1.jpg": "ok"}
    np.testing.assert_allclose(table.of("train/a/1.jpg").xyxy, [[10, 10, 40, 30]], atol=1e-4)
    np.testing.assert_allclose(table.of("val/a/1.jpg").xyxy, [[30, 45, 45, 67.5]], atol=1e-4)
    assert table.of("train/a/1.jpg").score[0] == pytest.approx(0.995)
    assert len(table.of("train/a/2.jpg")) == 0


def test_an_image_without_a_response_fails_by_name(photos: Path, responses: Path, tmp_path: Path) -> None:
    (responses / "val/a/1.json").unlink()
    detector = DETECTORS.build(f"rekognition(path={str(responses)!r})")
    # "a/1" is no whole path: it could be the answer for either.
    (responses / "a").mkdir()
    (responses / "train/a/1.json").rename(responses / "a/1.json")
    with pytest.raises(TableError, match="may be of"):
        detect(read_folder(photos), detector, tmp_path / "faces", work=Work(1))
    (responses / "a/1.json").rename(responses / "train/a/1.json")
    again = DETECTORS.build(f"rekognition(path={str(responses)!r}, min_score=0.01)")
    table = detect(read_folder(photos), again, tmp_path / "other", work=Work(1))
    assert "has no record of val/a/1.jpg" in table.errors["val/a/1.jpg"]


def test_changed_responses_are_other_work(photos: Path, responses: Path, tmp_path: Path) -> None:
    detector = DETECTORS.build(f"rekognition(path={str(responses)!r})")
    first = detect(read_folder(photos), detector, tmp_path / "one", work=Work(1)).manifest.key
    (responses / "train/a/2.jpg.json").write_text(json.dumps(response((0, 0, 0.5, 0.5, 99.0))))
    changed = detect(read_folder(photos), detector, tmp_path / "two", work=Work(1))
    assert changed.manifest.key != first
    assert len(changed.of("train/a/2.jpg")) == 1


def test_any_format_of_boxes_serves(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        "image_id,x0,y0,x1,y1,score,kind\ntrain/a/1.jpg,1,2,30,40,0.9,face\ntrain/a/2.jpg,5,5,9,9,0.3,face\n"
    )
    detector = DETECTORS.build(f"oracle(path={str(tmp_path / 'boxes.csv')!r}, format='csv')")
    table = detect(read_folder(photos), detector, tmp_path / "faces", work=Work(1))
    assert table.of("train/a/1.jpg").xyxy.tolist() == [[1, 2, 30, 40]]
    assert "no record" in table.errors["val/a/1.jpg"]


def test_an_unknown_format_is_refused_when_the_detector_is_built() -> None:
    with pytest.raises(SpecError, match="unknown format 'rekognize'"):
        DETECTORS.build("oracle(path='x', format='rekognize')")
    with pytest.raises(SpecError, match=r"give path='boxes\.json'"):
        DETECTORS.build("rekognition")


def test_boxes_of_an_image_of_another_size_are_refused(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "train/a/1.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    detector = DETECTORS.build(f"oracle(path={str(tmp_path / 'coco.json')!r}, format='coco')")
    with pytest.raises(ImageError, match=r"200 x 100 pixels, this one has 100 x 50; .*--orientation stored"):
        detector.of_image("train/a/1.jpg", np.zeros((50, 100, 3), dtype=np.uint8))
    assert len(detector.of_image("train/a/1.jpg", np.zeros((100, 200, 3), dtype=np.uint8))) == 1


def test_a_face_table_as_oracle_knows_how_many_frames_were_examined(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    frames = [Image.new("RGB", (64, 48), (level, 90, 90)) for level in (20, 120, 220)]
    frames[0].save(tmp_path / "photos/a.gif", save_all=True, append_images=frames[1:])
    dataset = read_folder(tmp_path / "photos")
    detect(dataset, DETECTORS.build("retinaface"), tmp_path / "faces", work=Work(1))
    again = DETECTORS.build(f"oracle(path={str(tmp_path / 'faces')!r})")
    assert detect(dataset, again, tmp_path / "again", work=Work(1)).frames["a.gif"] == 3
