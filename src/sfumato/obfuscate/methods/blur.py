"""Blur with a strength of its own for each face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

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

    Three box passes across, three down (the central limit theorem makes a Gaussian of them): the cost is the
    same for every sigma. Borders are repeated outwards. Levels are rounded after each pass; one-dimensional
    sums over an odd number of pixels are never half-way between two levels, so that every processor rounds
    them alike.
    """
    widths = box_widths(sigma)
    reach = sum(width // 2 for width in widths)
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    soft = image[top : rows.stop + reach, left : columns.stop + reach]
    for width in widths:
        soft = _box(soft, (width, 1))
    soft = soft[:, columns.start - left : columns.stop - left]
    for width in widths:
        soft = _box(soft, (1, width))
    return soft[rows.start - top : rows.stop - top]


def _box(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(cv2.blur(pixels, size, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def box_widths(sigma: float) -> tuple[int, int, int]:
    """Odd widths in pixels of three boxes; their variances, (width^2 - 1) / 12, sum up to sigma^2 or more.

    Of neighbouring odd widths as many are the wider one as it takes: never a weaker blur, and at most 0.34 px
    of sigma more (Kovesi 2010, "Fast almost-Gaussian filtering", which rounds to the nearest instead).
    """
    wanted = 12 * sigma**2 + 3  # the sum of the squares of the widths
    narrow = int(math.sqrt(wanted / 3))
    narrow -= 1 - narrow % 2
    lacking, step = wanted - 3 * narrow**2, (narrow + 2) ** 2 - narrow**2
    n_wide = min(3, math.ceil(max(0.0, lacking - 1e-6) / step))
    first, second, third = (narrow + 2 * (number < n_wide) for number in range(3))
    return first, second, third
