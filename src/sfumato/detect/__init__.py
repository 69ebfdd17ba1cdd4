"""Find faces: the detector protocol, built-in detectors, the stage, and scoring against known boxes."""

from sfumato.detect.catalogue import DETECTORS
from sfumato.detect.detector import Detector, DetectorById
from sfumato.detect.networks.weights import Weights
from sfumato.detect.presets import PRESETS, check_preset
from sfumato.detect.score import Score, score
from sfumato.detect.stage import detect

__all__ = [
    "DETECTORS",
    "PRESETS",
    "Detector",
    "DetectorById",
    "Score",
    "Weights",
    "check_preset",
    "detect",
    "score",
]
