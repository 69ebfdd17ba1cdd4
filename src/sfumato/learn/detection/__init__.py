"""Faster R-CNN with a feature pyramid on any classifier; importing this loads torch."""

from sfumato.learn.detection.network import Detector, build_detector

__all__ = ["Detector", "build_detector"]
