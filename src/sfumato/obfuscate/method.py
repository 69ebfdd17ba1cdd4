"""What a method is, and how methods that treat one face at a time paint over a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato import boxes as geometry
from sfumato.faces import Faces
from sfumato.images import Pixels


class Obfuscator(Protocol):
    """Hides faces in one picture: a pure, deterministic function of picture, faces and its own fields.

    Attributes:
        name: the word in spec strings.
        invertible: "no", or in one phrase what an attacker could undo in principle.
    """

    name: ClassVar[str]
    invertible: ClassVar[str]

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """A new picture of the same shape, (height, width, 3) uint8 RGB, with the faces hidden."""


@dataclass(frozen=True)
class Region:
    """The part of a picture that one face concerns.

    Attributes:
        box: whole pixels x0, y0, x1, y1 that the face's box touches; may reach beyond the picture.
        size: longer side of the annotated box, in pixels.
        margin: pixels by which the region is widened on each side; the feather lies in there.
        rows, columns: the widened region, cut to the picture.
    """

    box: NDArray[np.int64]
    size: float
    margin: float
    rows: slice
    columns: slice


Patch = Callable[[Pixels, Region], tuple[Pixels, NDArray[np.float32]]]
"""From the original picture and a region: what replaces rows x columns, and its weight there, 0 to 1."""


def regions(image: Pixels, faces: Faces, *, margin: Callable[[float], float]) -> Iterator[Region]:
    """Regions of the faces that touch the picture, smallest first.

    The order depends on the boxes alone: where regions overlap the larger face is painted last, and with the
    stronger effect, whatever order the faces came in. Boxes without area or outside the picture have none.

    Args:
        image: the picture.
        faces: its faces.
        margin: from the longer side of a face in pixels to the width of its margin in pixels.
    """
    height, width = image.shape[:2]
    xyxy = faces.xyxy[(geometry.area(faces.xyxy) > 0)]
    sizes = geometry.longer_side(xyxy)
    outer = geometry.round_out(xyxy)
    for row in np.lexsort((*xyxy.T, sizes)):
        wide = margin(float(sizes[row]))
        reach = int(np.ceil(wide))
        x0, y0 = np.maximum(outer[row, :2] - reach, 0).tolist()
        x1, y1 = np.minimum(outer[row, 2:] + reach, [width, height]).tolist()
        if x0 < x1 and y0 < y1:
            yield Region(outer[row], float(sizes[row]), wide, slice(y0, y1), slice(x0, x1))


def paint(image: Pixels, places: Iterator[Region], patch: Patch) -> Pixels:
    """A copy of the picture with every region replaced, one over the other.

    Each patch is made from the original picture, so that no face is hidden less because of another.
    """
    out = image.copy()
    for place in places:
        pixels, weight = patch(image, place)
        below = out[place.rows, place.columns].astype(np.float32)
        mixed = below + weight[..., None] * (pixels.astype(np.float32) - below)
        out[place.rows, place.columns] = np.rint(mixed).astype(np.uint8)
    return out


def solid_weight(place: Region) -> NDArray[np.float32]:
    """Weight 1 everywhere in a region: a hard edge."""
    shape = (place.rows.stop - place.rows.start, place.columns.stop - place.columns.start)
    return np.ones(shape, dtype=np.float32)


def feathered_weight(place: Region) -> NDArray[np.float32]:
    """Weight 1 on every pixel that the box touches, falling to 0 over the margin as half a cosine.

    The feather lies wholly outside the box, so no original pixel of a face shines through it.
    """
    across = _distance(place.columns, int(place.box[0]), int(place.box[2]))
    down = _distance(place.rows, int(place.box[1]), int(place.box[3]))
    distance = np.hypot(down[:, None], across[None, :])
    fall = 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / (place.margin + 1), 1))
    return np.asarray(fall, dtype=np.float32)


def _distance(pixels: slice, start: int, end: int) -> NDArray[np.float64]:
    at = np.arange(pixels.start, pixels.stop, dtype=np.float64)
    return np.asarray(np.maximum(np.maximum(start - at, at - (end - 1)), 0))
