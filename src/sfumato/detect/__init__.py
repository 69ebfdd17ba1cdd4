"""Find faces: the detector protocol, built-in detectors, the stage, and scoring against known boxes."""

from sfumato.detect.catalogue import DETECTORS
from sfumato.detect.detector import Detector, DetectorById
from sfumato.detect.score import Score, score
from sfumato.detect.stage import detect

__all__ = ["DETECTORS", "Detector", "DetectorById", "Score", "detect", "score"]
