from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from sfumato.boxes import iou
from sfumato.detect import DETECTORS, score
from sfumato.errors import SpecError, UnknownName
from sfumato.faces import Faces
from sfumato.images import read_image
from sfumato.specs import to_spec
from tests.detect.pictures import crowd_view, full_frame, portrait

BUILT_IN = ["fast", "balanced", "high-recall", "centerface", "retinaface"]


def only_face(name: str, picture: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of the one face found with the true box."""
    (found,) = DETECTORS.build(name)([picture])
    assert len(found) == 1, found
    return float(iou(found.xyxy, truth.astype(np.float32))[0, 0])


@pytest.mark.parametrize("long_side", [64, 96, 160, 333, 512, 1000, 2400])
def test_the_default_finds_a_face_in_pictures_of_all_sizes(long_side: int) -> None:
    assert only_face("default", *portrait(long_side)) > 0.6


@pytest.mark.parametrize(("height", "width", "photo"), [(1500, 2000, 160), (480, 640, 70), (3000, 900, 300)])
def test_the_default_finds_a_small_face_in_a_large_picture(height: int, width: int, photo: int) -> None:
    assert only_face("default", *crowd_view(height, width, photo=photo)) > 0.6


@pytest.mark.parametrize("size", [64, 200, 900])
def test_the_default_finds_a_face_that_fills_the_picture(size: int) -> None:
    assert only_face("default", *full_frame(size)) > 0.6


@pytest.mark.parametrize("name", ["centerface", "retinaface"])
def test_a_single_pass_finds_a_face(name: str) -> None:
    assert only_face(name, *portrait(512)) > 0.6


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_detector_is_written_as_a_spec_and_pickled(name: str) -> None:
    detector = DETECTORS.build(f"{name}(min_score=0.77)")
    assert detector.min_score == 0.77
    assert f"min_score={DETECTORS.build(name).min_score}" in to_spec(DETECTORS.build(name))
    assert DETECTORS.build(to_spec(detector)) == detector
    assert pickle.loads(pickle.dumps(detector)) == detector
    assert {weights.licence for weights in detector.weights} == {"MIT"}


def test_a_higher_threshold_keeps_the_best_faces_only() -> None:
    picture = portrait(256)[0]
    (few,) = DETECTORS.build("default(min_score=0.5)")([picture])
    (many,) = DETECTORS.build("balanced(min_score=0.0)")([picture])
    assert len(many) >= len(few) == 1
    assert many.select(min_score=0.5).xyxy.tolist() == few.xyxy.tolist()
    assert (np.diff(many.score) <= 0).all()


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(
        UnknownName,
        match="balanced, centerface, default, fast, high-recall, oracle, rekognition, retinaface, scrfd",
    ):
        DETECTORS.build("facenet")
    with pytest.raises(SpecError, match="min_scor"):
        DETECTORS.build("default(min_scor=1)")


@pytest.mark.shared
@pytest.mark.slow
def test_quality_on_photos_with_known_faces() -> None:
    folder = Path(__file__).parents[3] / "shared/data/imagenet-samples"
    if not folder.is_dir():
        pytest.skip("the development images are not beside the checkout")
    gold = json.loads((folder / "faces.json").read_text())["images"]
    truth = {
        name: Faces.of(
            [[face[end] for end in ("x0", "y0", "x1", "y1")] for face in record["faces"]],
            kind=["ignore" if face["ignore"] else "face" for face in record["faces"]],
        )
        for name, record in gold.items()
        if record["faces"]
    }
    detector = DETECTORS.build("default")
    found = {name: detector([read_image(folder / "images" / name)])[0] for name in truth}
    figures = score(found, truth)
    assert figures.recall >= 0.93
    assert figures.precision >= 0.9  # over images with faces: false alarms elsewhere are not in this number
