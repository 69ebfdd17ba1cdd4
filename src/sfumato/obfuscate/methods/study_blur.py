"""The blur of the published study, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter

from sfumato import boxes as geometry
from sfumato.faces import Faces
from sfumato.images import Pixels

Exact = NDArray[np.float64]
"""Boxes in the precision of the published script, (n, 4)."""


@dataclass(frozen=True)
class StudyBlur:
    """Blur as in Yang et al., "A Study of Face Obfuscation in ImageNet" (ICML 2022), released script.

    With s_i the longer side of box i and s the largest of them: boxes are widened by 0.1 s_i, image and mask
    are both blurred with sigma = 0.1 s, and the blurred mask mixes original and blurred image. One sigma for
    all faces of an image, so **a small face beside a large one keeps most of its own pixels** (a 20 px face
    beside one of 200 px keeps 81 %). Use it to compare with the study; use `blur` to hide faces.
    """

    name: ClassVar[str] = "study_blur"
    invertible: ClassVar[str] = (
        "yes for small faces beside large ones, which keep their own pixels; else as blur"
    )

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with all faces blurred by the published formula."""
        boxes = faces.xyxy[(faces.xyxy[:, 0] < faces.xyxy[:, 2]) & (faces.xyxy[:, 1] < faces.xyxy[:, 3])]
        # The script computes in Python floats. Boxes are kept as float32: three decimals of them are the
        # numbers that were written down.
        exact = np.round(boxes.astype(np.float64), 3)
        out = image.copy()
        if not len(exact):
            return out
        sides = (exact[:, 2:] - exact[:, :2]).max(axis=1)
        margin = (0.1 * sides)[:, None]
        wide = np.hstack([exact[:, :2] - margin, exact[:, 2:] + margin])
        sigma = 0.1 * float(sides.max())
        for group in _groups(wide, reach=_reach(sigma)):
            _mix(out, image, group, sigma)
        return out


def _reach(sigma: float) -> int:
    """How far Pillow's blur carries a pixel: three box passes of about sigma each, each rounded up."""
    return int(np.ceil(3 * sigma)) + 4


def _groups(wide: Exact, *, reach: int) -> Iterator[Exact]:
    """Boxes in groups: what one group's mask reaches, in a rectangle, no other group's does.

    Rectangles that come near one another are joined until none do: a joined one may reach some more.
    """
    owner, bounds = np.arange(len(wide)), wide
    while True:
        start = np.maximum(bounds[:, None, :2], bounds[None, :, :2])
        end = np.minimum(bounds[:, None, 2:], bounds[None, :, 2:])
        first = (start - end <= 2 * reach + 2).all(axis=2).argmax(axis=1)  # of those near it, or itself
        kept, joined = np.unique(first, return_inverse=True)
        owner = joined[owner]
        parts = [wide[owner == group] for group in range(len(kept))]
        if len(kept) == len(bounds):
            break
        bounds = np.array([[*part[:, :2].min(axis=0), *part[:, 2:].max(axis=0)] for part in parts])
    yield from parts


def _mix(out: Pixels, image: Pixels, wide: Exact, sigma: float) -> None:
    """Composite a group of boxes on the part of the picture that the formula can change.

    The mask of the whole picture is 255 beyond its reach; the blurred image is needed where it is less, and
    depends on pixels one reach further. So these parts give the very pixels that the whole picture would.
    """
    height, width = image.shape[:2]
    reach = _reach(sigma)
    whole = geometry.round_out(wide.astype(np.float32))
    left, top = np.maximum(whole[:, :2].min(axis=0) - reach, 0).tolist()
    right, bottom = np.minimum(whole[:, 2:].max(axis=0) + reach, [width, height]).tolist()
    if left >= right or top >= bottom:
        return
    mask = _blurred_mask(wide - [left, top, left, top], (right - left, bottom - top), sigma)
    rows, columns = _below_255(mask)
    if rows.start == rows.stop:
        return
    weight = PillowImage.fromarray(np.ascontiguousarray(mask[rows, columns]))
    rows, columns = _shifted(rows, top), _shifted(columns, left)
    soft = _blurred(image, rows, columns, sigma)
    original = PillowImage.fromarray(image[rows, columns])
    out[rows, columns] = np.asarray(PillowImage.composite(original, soft, weight))


def _blurred_mask(boxes: Exact, size: tuple[int, int], sigma: float) -> NDArray[np.uint8]:
    """The mask, 0 in the boxes and 255 elsewhere, blurred; (height, width)."""
    mask = PillowImage.new("L", size, 255)
    draw = ImageDraw.Draw(mask)
    for x0, y0, x1, y1 in boxes:
        draw.rectangle((x0, y0, x1, y1), fill=0)
    if len(boxes) > 1:
        return np.asarray(_filtered(mask, (sigma, sigma)))
    # The rows of one box are alike, and so are columns that the blur across made alike: one of each will do.
    drawn = np.asarray(mask)
    inside = np.flatnonzero(drawn.min(axis=1) == 0)
    if not len(inside):
        return drawn
    row = PillowImage.fromarray(np.ascontiguousarray(drawn[inside[:1]]))
    levels, column = np.unique(np.asarray(_filtered(row, (sigma, 0)))[0], return_inverse=True)
    upright = np.full((size[1], len(levels)), 255, dtype=np.uint8)
    upright[inside] = levels
    return np.asarray(_filtered(PillowImage.fromarray(upright), (0, sigma)))[:, column]


def _below_255(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    """The smallest rows and columns that hold all of a mask that is not 255."""
    rows, columns = np.flatnonzero(mask.min(axis=1) < 255), np.flatnonzero(mask.min(axis=0) < 255)
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _blurred(image: Pixels, rows: slice, columns: slice, sigma: float) -> PillowImage.Image:
    """The part rows x columns of the picture as the blur of the whole picture shows it.

    Pillow blurs across, then down. Each channel by itself, and down only what is needed, costs less.
    """
    reach = _reach(sigma)
    top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
    crop = image[top : rows.stop + reach, left : columns.stop + reach]
    box = (columns.start - left, 0, columns.stop - left, crop.shape[0])
    channels = [
        _filtered(PillowImage.fromarray(channel), (sigma, 0)).crop(box) for channel in cv2.split(crop)
    ]
    inner = (0, rows.start - top, box[2] - box[0], rows.stop - top)
    return PillowImage.merge("RGB", [_filtered(part, (0, sigma)).crop(inner) for part in channels])


def _filtered(picture: PillowImage.Image, sigma: tuple[float, float]) -> PillowImage.Image:
    """A picture blurred across and down with these sigmas."""
    return picture.filter(ImageFilter.GaussianBlur(sigma))
