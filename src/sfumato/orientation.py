"""Boxes on pixels as stored in a file, and on the upright picture that its EXIF orientation asks for."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UsageError

Numbers = NDArray[np.float64]
Orientation = Literal["upright", "stored"]
"""What boxes are drawn on: the picture as it is shown, or the pixels as they lie in the file."""

# An upright picture is the stored one, mirrored at its diagonal where the orientation is 5 to 8, then
# mirrored along x and y as here (EXIF 2.3, tag 274).
_SWAPPED = (5, 6, 7, 8)
_MIRRORED_X = (2, 3, 6, 7)
_MIRRORED_Y = (3, 4, 7, 8)


def check_orientation(word: str) -> None:
    """Check a word that somebody typed.

    Raises:
        UsageError: it is not one of `Orientation`.
    """
    if word not in get_args(Orientation):
        raise UsageError(f"orientation is one of {', '.join(get_args(Orientation))}, not '{word}'")


def stored_size(size: NDArray[np.int64], orientation: NDArray[np.int64]) -> NDArray[np.int64]:
    """Width and height of the stored pixels, (n, 2), of pictures of these upright sizes, (n, 2)."""
    return np.where(np.isin(orientation, _SWAPPED)[:, None], size[:, ::-1], size)


def to_upright(xyxy: Numbers, orientation: NDArray[np.int64], size: NDArray[np.int64]) -> Numbers:
    """Boxes on the upright picture from boxes on stored pixels.

    Args:
        xyxy: (n, 4), pixels as stored.
        orientation: (n,) EXIF orientation of each box's picture, 1 to 8.
        size: (n, 2) width and height of the upright picture.
    """
    return _mirrored(_swapped(xyxy, orientation), orientation, size)


def to_stored(xyxy: Numbers, orientation: NDArray[np.int64], size: NDArray[np.int64]) -> Numbers:
    """Boxes on stored pixels from boxes on the upright picture; arguments as `to_upright`."""
    return _swapped(_mirrored(xyxy, orientation, size), orientation)


def _swapped(xyxy: Numbers, orientation: NDArray[np.int64]) -> Numbers:
    return np.where(np.isin(orientation, _SWAPPED)[:, None], xyxy[:, [1, 0, 3, 2]], xyxy)


def _mirrored(xyxy: Numbers, orientation: NDArray[np.int64], size: NDArray[np.int64]) -> Numbers:
    out = xyxy.copy()
    for axis, mirrored in ((0, _MIRRORED_X), (1, _MIRRORED_Y)):
        rows = np.isin(orientation, mirrored)
        out[rows, axis] = size[rows, axis] - xyxy[rows, axis + 2]
        out[rows, axis + 2] = size[rows, axis] - xyxy[rows, axis]
    return out
