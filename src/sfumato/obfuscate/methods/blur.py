"""Blur with a strength of its own for each face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFilter

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import FEATHERED, Region, check_outline, paint, regions

SIGMA_FLOOR = 3.5
"""Smallest standard deviation in pixels: a fraction of a small face alone would leave it recognisable.

A Gaussian gives each pixel 1 / (2 pi sigma^2) of itself, and more at the border of the picture, where the
border is repeated outwards. With 3.5 a face of 8 px in a corner of the picture keeps less than 3 % of its own
pixels; with 2 it would keep 6 %.
"""


@dataclass(frozen=True)
class Blur:
    """Gaussian blur, set per face: a small face beside a large one is hidden as well as if it were alone.

    Inside the box there is nothing but blur; the feather lies in the margin around it.

    Attributes:
        strength: standard deviation as a fraction of the longer side of the face; at least 3.5 pixels.
        grow: width of the margin as a fraction of the longer side; at least 1 pixel.
        shape: "feathered" melts into the picture over the margin; "rectangle" and "ellipse" end sharply.
    """

    name: ClassVar[str] = "blur"
    invertible: ClassVar[str] = (
        "partly: deconvolution can recover coarse shading, and a trained matcher may profit"
    )

    strength: float = 0.2
    grow: float = 0.1
    shape: str = FEATHERED

    def __post_init__(self) -> None:
        if not 0.02 <= self.strength <= 2:
            raise ValueError(f"strength must be in 0.02..2, not {self.strength}")
        check_outline(self.grow, self.shape)

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with every face blurred."""
        places = regions(image, faces, margin=lambda size: max(self.grow * size, 1.0), shape=self.shape)
        return paint(image, places, self._patch)

    def _patch(self, image: Pixels, place: Region) -> Pixels:
        sigma = max(self.strength * place.size, SIGMA_FLOOR)
        return blurred(image, place.rows, place.columns, sigma=sigma)


def blurred(image: Pixels, rows: slice, columns: slice, *, sigma: float) -> Pixels:
    """The part rows x columns of the picture as the blur of the whole picture would show it.

    Pillow's filter is three extended box passes (Gwosdek et al. 2011), whose reach is three radii of about
    sigma; more of the picture than that cannot matter. It costs the same for every sigma.
    """
    reach = int(np.ceil(3 * sigma)) + 6
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    crop = PillowImage.fromarray(image[top : rows.stop + reach, left : columns.stop + reach])
    soft = np.asarray(crop.filter(ImageFilter.GaussianBlur(sigma)))
    return soft[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
