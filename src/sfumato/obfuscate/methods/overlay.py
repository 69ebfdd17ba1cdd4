"""Overlay: a flat colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import RECTANGLE, Region, check_outline, paint, regions

MEAN = "mean"


@dataclass(frozen=True)
class Overlay:
    """Cover each face with one colour.

    Attributes:
        color: a grey level, three levels (red, green, blue) in 0..255, or "mean" for the mean colour of what
            is covered. The default is the flat grey of the published study.
        grow: the region is widened on each side by this fraction of the longer side.
        shape: "rectangle", "ellipse", or "feathered" for an edge that melts into the picture.
    """

    name: ClassVar[str] = "overlay"
    invertible: ClassVar[str] = "no"

    color: int | tuple[int, int, int] | str = 127
    grow: float = 0.1
    shape: str = RECTANGLE

    def __post_init__(self) -> None:
        if isinstance(self.color, str):
            if self.color != MEAN:
                raise ValueError(f"color must be a level, three levels or 'mean', not '{self.color}'")
        elif np.size(self.color) not in (1, 3) or not all(
            0 <= level <= 255 for level in np.ravel(self.color)
        ):
            raise ValueError(f"color must be one or three levels in 0..255, not {self.color}")
        check_outline(self.grow, self.shape)

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with every face covered."""
        places = regions(image, faces, margin=lambda size: self.grow * size, shape=self.shape)
        return paint(image, places, self._patch)

    def _patch(self, image: Pixels, place: Region) -> Pixels:
        covered = image[place.rows, place.columns]
        color = np.rint(covered.mean(axis=(0, 1))) if self.color == MEAN else np.asarray(self.color)
        return np.broadcast_to(color.astype(np.uint8), covered.shape)
