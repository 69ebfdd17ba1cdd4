"""What a method is, and how methods that treat one face at a time paint over a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sfumato import boxes as geometry
from sfumato.faces import Faces
from sfumato.images import Pixels

RECTANGLE, ELLIPSE, FEATHERED = SHAPES = ("rectangle", "ellipse", "feathered")
"""Outlines of what is painted over a face; each covers the whole annotated box, see `weight`."""


CONTROL = "none"
"""Name of the method that hides nothing on purpose."""


class Obfuscator(Protocol):
    """Hides faces in one picture: a pure, deterministic function of picture, faces and its own fields.

    An obfuscator that the stage can use is a picklable frozen dataclass with literal fields, so that
    `sfumato.specs.to_spec` writes it.
    """

    @property
    def name(self) -> str:
        """The word in spec strings; usually a class attribute."""

    @property
    def invertible(self) -> str:
        """What an attacker could undo in principle, in one phrase; usually a class attribute.

        It starts with "no" (alone, or before a comma or colon) where nothing can be undone, and with "yes"
        where so much can that pictures must not be shown.
        """

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """A new picture of the same shape, (height, width, 3) uint8 RGB, with the faces hidden."""


@runtime_checkable
class ObfuscatorById(Protocol):
    """An obfuscator whose result depends on the image's id too: whatever draws noise.

    Noise drawn from (seed, image id) is the same in any order and with any number of workers. Where an
    obfuscator has this method, `apply` and the stage call it; `__call__` does the same for the id "".
    """

    def of_image(self, image_id: str, image: Pixels, faces: Faces) -> Pixels:
        """As `Obfuscator.__call__`, for the image with this id."""


def apply(method: Obfuscator, image_id: str, image: Pixels, faces: Faces) -> Pixels:
    """The picture with its faces hidden, by a method that may or may not want to know the image's id."""
    if isinstance(method, ObfuscatorById):
        return method.of_image(image_id, image, faces)
    return method(image, faces)


def marked(before: Pixels, after: Pixels, faces: Faces) -> Pixels:
    """The picture before hiding with every pixel under a box made to differ from the picture after it.

    Files hold more than the 8-bit colours that methods see (16-bit levels, black ink, coefficients): what
    looks the same before and after may still be the face.
    """
    if not len(faces):
        return before
    out = before.copy()
    height, width = before.shape[:2]
    for x0, y0, x1, y1 in geometry.round_out(geometry.clip(faces.xyxy, width, height)).tolist():
        out[y0:y1, x0:x1] = 255 - after[y0:y1, x0:x1]  # no whole level is its own opposite
    return out


def to_be_hidden(method: Obfuscator, faces: Faces) -> Faces:
    """The faces that a method hides: all, or none by the control arm."""
    return Faces.of() if method.name == CONTROL else faces


@dataclass(frozen=True)
class Region:
    """The part of a picture that one face concerns.

    Attributes:
        box: whole pixels x0, y0, x1, y1 that the face's box touches; may reach beyond the picture.
        size: longer side of the annotated box, in pixels.
        margin: pixels by which the region is widened on each side; the feather lies in there.
        shape: one of `SHAPES`.
        rows, columns: the smallest rectangle around the widened region, cut to the picture.
    """

    box: NDArray[np.int64]
    size: float
    margin: float
    shape: str
    rows: slice
    columns: slice


Patch = Callable[[Pixels, Region], Pixels]
"""From the original picture and a region: what replaces rows x columns, where the region's weight is 1."""


def check_outline(grow: float, shape: str) -> None:
    """Check the two options that most methods have.

    Raises:
        ValueError: `grow` is no number in 0..1, or there is no such shape.
    """
    if not isinstance(grow, int | float) or not 0 <= grow <= 1:
        raise ValueError(f"grow must be in 0..1, not {grow!r}")
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}")


def regions(
    image: Pixels, faces: Faces, *, margin: Callable[[float], float], shape: str = RECTANGLE
) -> Iterator[Region]:
    """Regions of the faces that touch the picture, smallest first.

    The order depends on the boxes alone: where regions overlap the larger face is painted last, and with the
    stronger effect, whatever order the faces came in. Boxes without area or outside the picture have none.

    Args:
        image: the picture.
        faces: its faces.
        margin: from the longer side of a face in pixels to the width of its margin in pixels.
        shape: one of `SHAPES`.
    """
    height, width = image.shape[:2]
    xyxy = faces.xyxy[(geometry.area(faces.xyxy) > 0)]
    sizes = geometry.longer_side(xyxy)
    outer = geometry.round_out(xyxy)
    for row in np.lexsort((*xyxy.T, sizes)):
        wide = margin(float(sizes[row]))
        reach = _reach(outer[row], wide, shape)
        x0, y0 = np.maximum(outer[row, :2] - reach, 0).tolist()
        x1, y1 = np.minimum(outer[row, 2:] + reach, [width, height]).tolist()
        if x0 < x1 and y0 < y1:
            yield Region(outer[row], float(sizes[row]), wide, shape, slice(y0, y1), slice(x0, x1))


def paint(image: Pixels, places: Iterator[Region], patch: Patch) -> Pixels:
    """A copy of the picture with every region replaced, one over the other.

    Each patch is made from the original picture, so that no face is hidden less because of another.
    """
    out = image.copy()
    for place in places:
        pixels = patch(image, place)
        if place.shape == RECTANGLE:  # nothing to mix
            out[place.rows, place.columns] = pixels
            continue
        below = out[place.rows, place.columns].astype(np.float32)
        mixed = below + weight(place)[..., None] * (pixels.astype(np.float32) - below)
        out[place.rows, place.columns] = np.rint(mixed).astype(np.uint8)
    return out


def weight(place: Region) -> NDArray[np.float32]:
    """Weight of what is painted over rows x columns of a region: 1 on every pixel that the box touches.

    A rectangle is 1 in the margin too. An ellipse is 1 up to its edge, 0 beyond; it is drawn around the box,
    not into it, so that it leaves no corner of the box bare. A feather falls to 0 over the margin as half a
    cosine, wholly outside the box, so that no original pixel of a face shines through it.
    """
    if place.shape == RECTANGLE:
        shape = (place.rows.stop - place.rows.start, place.columns.stop - place.columns.start)
        return np.ones(shape, dtype=np.float32)
    return _in_ellipse(place) if place.shape == ELLIPSE else _feather(place)


def _feather(place: Region) -> NDArray[np.float32]:
    across = _distance(place.columns, int(place.box[0]), int(place.box[2]))
    down = _distance(place.rows, int(place.box[1]), int(place.box[3]))
    distance = np.hypot(down[:, None], across[None, :])
    fall = 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / (place.margin + 1), 1))
    return np.asarray(fall, dtype=np.float32)


def _distance(pixels: slice, start: int, end: int) -> NDArray[np.float64]:
    at = np.arange(pixels.start, pixels.stop, dtype=np.float64)
    return np.asarray(np.maximum(np.maximum(start - at, at - (end - 1)), 0))


def _in_ellipse(place: Region) -> NDArray[np.float32]:
    middle = (place.box[:2] + place.box[2:]) / 2
    axes = _semi_axes(place.box, place.margin)
    across = (np.arange(place.columns.start, place.columns.stop) + 0.5 - middle[0]) / axes[0]
    down = (np.arange(place.rows.start, place.rows.stop) + 0.5 - middle[1]) / axes[1]
    return np.asarray(down[:, None] ** 2 + across[None, :] ** 2 <= 1, dtype=np.float32)


def _semi_axes(box: NDArray[np.int64], margin: float) -> NDArray[np.float64]:
    """Of the smallest ellipse through the corners of the box, or of a wider one that reaches the margin.

    An ellipse with semi-axes of at least sqrt(2) times half the sides holds the corners: 1/2 + 1/2 <= 1.
    """
    half = (box[2:] - box[:2]) / 2
    return np.asarray(np.maximum(np.sqrt(2) * half, half + margin))


def _reach(box: NDArray[np.int64], margin: float, shape: str) -> NDArray[np.int64]:
    """Whole pixels by which a region is wider than its box, on each side: across, down."""
    if shape != ELLIPSE:
        return np.full(2, int(np.ceil(margin)))
    return np.ceil(_semi_axes(box, margin) - (box[2:] - box[:2]) / 2).astype(np.int64)
