"""Named operating points of the detector, with what was measured for each."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import UnknownName


@dataclass(frozen=True)
class Preset:
    """A detector's spec with its figures on 400 photos of ImageNet with a hand-checked gold standard.

    Attributes:
        spec: what the name is short for.
        purpose: when to take it.
        recall, precision: of faces, 0..1.
        image_recall, image_accuracy: of "has a face or not", 0..1.
        images_per_second: on two processor cores, photos of 500 x 375, decoding included.
    """

    spec: str
    purpose: str
    recall: float
    precision: float
    image_recall: float
    image_accuracy: float
    images_per_second: float

    def figures(self) -> str:
        """The figures in one line."""
        return (
            f"face recall {self.recall:.3f} at precision {self.precision:.3f}, "
            f"image recall {self.image_recall:.3f}, about {self.images_per_second:.0f} images/s on 2 cores"
        )


PRESETS: dict[str, Preset] = {
    "fast": Preset(
        "second_look(effort='low', min_score=0.2)", "a first impression", 0.860, 0.814, 0.953, 0.948, 37
    ),
    "balanced": Preset(
        "second_look(effort='medium', min_score=0.2)", "the default", 0.935, 0.917, 1.0, 0.983, 12
    ),
    "high_recall": Preset(
        "second_look(effort='high', min_score=0.015)",
        "boxes for people to review",
        0.972,
        0.553,
        1.0,
        0.868,
        5,
    ),
}
"""Measured by `benchmarks/detect.py`; the figures stand in docs/benchmarks.md."""


def check_preset(word: str) -> str:
    """The name of a preset, hyphens or underscores.

    Raises:
        UnknownName: there is no such preset.
    """
    name = word.replace("-", "_")
    if name not in PRESETS:
        raise UnknownName("preset", word, {preset.replace("_", "-") for preset in PRESETS})
    return name
