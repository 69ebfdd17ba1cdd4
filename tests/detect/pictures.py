"""A real face in pictures of many sizes: scikit-image's photograph of Eileen Collins."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from skimage.data import astronaut

FACE = np.array([178, 62, 270, 176], dtype=np.float32)
"""Where her face lies in the photograph, x0, y0, x1, y1, drawn by hand."""


@lru_cache(maxsize=1)
def photograph() -> Any:
    """The photograph, (512, 512, 3) uint8 RGB."""
    return astronaut()


def portrait(long_side: int) -> tuple[Any, Any]:
    """The photograph in another size, with the face's box (1, 4)."""
    how = cv2.INTER_AREA if long_side < 512 else cv2.INTER_CUBIC
    picture = cv2.resize(photograph(), (long_side, long_side), interpolation=how)
    return np.asarray(picture, dtype=np.uint8), FACE[None] * np.float32(long_side / 512)


def crowd_view(height: int, width: int, *, photo: int) -> tuple[Any, Any]:
    """The photograph, `photo` pixels wide, away from the middle of a grey picture; with the face's box."""
    picture = np.full((height, width, 3), 120, dtype=np.uint8)
    small, box = portrait(photo)
    top, left = (height - photo) // 3, 2 * (width - photo) // 3
    picture[top : top + photo, left : left + photo] = small
    return picture, box + np.tile(np.array([left, top], dtype=np.float32), 2)


def full_frame(size: int) -> tuple[Any, Any]:
    """The face and little else, with its box."""
    x0, y0, x1, y1 = 160, 40, 290, 200
    scale = size / (y1 - y0)
    cut = cv2.resize(photograph()[y0:y1, x0:x1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return np.asarray(cut, dtype=np.uint8), (FACE - np.array([x0, y0, x0, y0], dtype=np.float32))[
        None
    ] * scale
