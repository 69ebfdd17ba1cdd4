"""Inpainting: the surroundings, continued over the face."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import RECTANGLE, Region, check_outline, paint, regions, weight

GREY = 127
"""What a face becomes where there is nothing around it."""

WORKING_SIDE = 64
"""Longer side in pixels to which larger faces are reduced while they are filled: the result is smooth anyway,
and the time stays that of a small face."""

CONTEXT = 0.25
"""Width of what is looked at around a region, as a fraction of its face's longer side."""

SOFTNESS = 0.2
"""Standard deviation of the blurs before and after filling, as a fraction of the face's longer side."""

FINE = 256
"""Parts of a grey level in which is filled: OpenCV adds half a part with every step inwards."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Inpaint:
    """Continue the surroundings of each face over it; not one pixel of any face is looked at.

    Telea, "An image inpainting technique based on the fast marching method" (2004), as in OpenCV, over all
    faces' regions at once. What is continued is the surroundings softened: else the filling would depend on
    the single pixels at its edge, and stripes that run into a face would run on through it. A face that has
    nothing around it, because it or others fill the picture, becomes grey.

    Attributes:
        radius: how far around a pixel the algorithm looks for its colour, as a fraction of the longer side of
            the face; at least 2 pixels.
        grow: the region is widened on each side by this fraction of the longer side.
        shape: "rectangle", "ellipse", or "feathered" for an edge that melts into the picture.
    """

    name: ClassVar[str] = "inpaint"
    invertible: ClassVar[str] = "no"

    radius: float = 0.05
    grow: float = 0.1
    shape: str = RECTANGLE

    def __post_init__(self) -> None:
        if not isinstance(self.radius, int | float) or not 0 < self.radius <= 0.5:
            raise ValueError(f"radius must be in 0..0.5 and more than 0, not {self.radius!r}")
        check_outline(self.grow, self.shape)

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with every face filled from around it."""
        places = list(regions(image, faces, margin=lambda size: self.grow * size, shape=self.shape))
        hidden = np.zeros(image.shape[:2], dtype=np.bool_)
        for place in places:
            hidden[place.rows, place.columns] |= weight(place) > 0
        return paint(image, iter(places), partial(self._patch, hidden))

    def _patch(self, hidden: Mask, image: Pixels, place: Region) -> Pixels:
        around = int(np.ceil(CONTEXT * place.size)) + 4
        top, left = max(place.rows.start - around, 0), max(place.columns.start - around, 0)
        crop = (slice(top, place.rows.stop + around), slice(left, place.columns.stop + around))
        full = self._filled(image[crop], hidden[crop], place.size)
        inner = (slice(place.rows.start - top, place.rows.stop - top),)
        return full[(*inner, slice(place.columns.start - left, place.columns.stop - left))]

    def _filled(self, pixels: Pixels, hidden: Mask, size: float) -> Pixels:
        bare = np.where(hidden[..., None], np.uint8(GREY), pixels)
        small, mask, factor = _reduced(bare, hidden, size)
        if mask.all():
            return bare
        sigma, radius = SOFTNESS * size / factor, max(self.radius * size / factor, 2.0)
        soft = _softened(small, mask, sigma=sigma)
        holes = mask.astype(np.uint8)
        filled = cv2.merge(
            [cv2.inpaint(levels, holes, radius, cv2.INPAINT_TELEA) for levels in cv2.split(soft)]
        )
        smooth = cv2.GaussianBlur(filled, (0, 0), sigma)  # where the sides meet, Telea leaves an edge
        height, width = hidden.shape
        full = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.rint(full / FINE), dtype=np.uint8)


def _reduced(bare: Pixels, hidden: Mask, size: float) -> tuple[Pixels, Mask, float]:
    """Pixels and mask reduced to the working size, and by which factor.

    A reduced pixel that has any hidden part is hidden.
    """
    factor = max(size / WORKING_SIDE, 1.0)
    if factor == 1.0:
        return np.ascontiguousarray(bare), hidden, factor
    shape = (max(int(bare.shape[1] / factor), 1), max(int(bare.shape[0] / factor), 1))
    small = cv2.resize(bare, shape, interpolation=cv2.INTER_AREA)
    share = cv2.resize(hidden.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    return small, share > 0, factor


def _softened(pixels: Pixels, hidden: Mask, *, sigma: float) -> NDArray[np.uint16]:
    """Pixels blurred, each from those that are not hidden (normalised convolution), in `FINE` levels.

    Hidden ones get the mean of the others: OpenCV's gradients look at them, although they are to be filled.
    """
    known = (~hidden).astype(np.float32)
    share = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
    sums = cv2.GaussianBlur(pixels * known[..., None], (0, 0), sigma)
    means = np.divide(sums, share, out=np.zeros_like(sums), where=~hidden[..., None])
    means[hidden] = means[~hidden].mean(axis=0)
    return np.asarray(np.rint(np.clip(means, 0, 255) * FINE), dtype=np.uint16)
