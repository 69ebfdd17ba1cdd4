"""Crops of faces, and their order by likeness: what looks alike is thrown out together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from sfumato.boxes import Boxes
from sfumato.images import Pixels, open_upright, read_frame, to_rgb

SIDE = 112
"""Pixels of a crop's side; a multiple of 16, as `descriptor` needs it."""

_CONTEXT = 0.25  # of the box's longer side, shown on each side of it
_COARSE, _BINS, _CELLS = 4, 8, 4


def crop(path: Path, box: Boxes, *, side: int = SIDE) -> Pixels:
    """A face with some surroundings, (side, side, 3) uint8; grey beyond the image's edge.

    Args:
        path: of the image.
        box: (4,) in pixels of the upright image.
        side: of the crop, in pixels.

    Raises:
        ImageError: the image cannot be read.
    """
    frame = read_frame(path)
    half = max(float(box[2] - box[0]), float(box[3] - box[1]), 2.0) * (0.5 + _CONTEXT)
    # A JPEG is decoded no larger than the crop needs, which is several times faster.
    needed = min(frame.width, frame.height) * side / (2 * half)
    image = open_upright(path, at_least=max(1, int(needed)))
    scale = image.width / frame.width
    window = _window(box, half, scale)
    cut = image.convert("RGB") if image.mode in {"L", "RGB"} else PillowImage.fromarray(to_rgb(image))
    return np.asarray(_padded(cut, window).resize((side, side), PillowImage.Resampling.BILINEAR))


def thumbnail(path: Path, *, side: int) -> Pixels:
    """A whole image, (height, width, 3) uint8, its longer side at most `side` pixels.

    Raises:
        ImageError: the image cannot be read.
    """
    image = PillowImage.fromarray(to_rgb(open_upright(path, at_least=side)))
    image.thumbnail((side, side))
    return np.asarray(image)


def _window(box: Boxes, half: float, scale: float) -> tuple[int, int, int, int]:
    x, y = float(box[0] + box[2]) / 2 * scale, float(box[1] + box[3]) / 2 * scale
    half = max(half * scale, 1.0)
    return round(x - half), round(y - half), round(x + half), round(y + half)


def _padded(image: PillowImage.Image, window: tuple[int, int, int, int]) -> PillowImage.Image:
    """The window of an image; what lies outside is grey, not black, which would look like a feature."""
    left, top, right, bottom = window
    page = PillowImage.new("RGB", (right - left, bottom - top), (127, 127, 127))
    inside = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        page.paste(image.crop(inside), (inside[0] - left, inside[1] - top))
    return page


def descriptor(pixels: Pixels) -> NDArray[np.float32]:
    """What a crop looks like, as a vector of length 1: coarse colours, and gradients by direction.

    The gradients are a histogram of 8 directions in each of 4 x 4 cells, as in HOG (Dalal and Triggs 2005),
    the colours the mean of each cell. A crude likeness, but one that needs no network and no download.

    Args:
        pixels: (side, side, 3) uint8, side a multiple of 4.
    """
    colours = cv2.resize(pixels, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strength, angle = cv2.cartToPolar(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    bins = (angle * (_BINS / (2 * np.pi))).astype(np.int64) % _BINS
    size = len(pixels) // _CELLS
    cell = np.arange(len(pixels)) // size
    place = (cell[:, None] * _CELLS + cell[None, :]) * _BINS + bins
    gradients = np.bincount(place.ravel(), strength.ravel(), _CELLS * _CELLS * _BINS)
    parts = [_unit(colours.ravel() - colours.mean()), _unit(gradients.astype(np.float32))]
    return np.asarray(_unit(np.concatenate(parts)), dtype=np.float32)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector


def likeness_order(descriptors: Sequence[NDArray[np.float32]]) -> list[int]:
    """An order in which neighbours look alike: a greedy chain from the first to the nearest not yet taken.

    Args:
        descriptors: vectors of one length.

    Returns:
        Every index once. Ties go to the lower index, so the order is the same each time.
    """
    if not len(descriptors):
        return []
    vectors = np.stack(descriptors)
    free = np.ones(len(vectors), dtype=bool)
    chain = [0]
    free[0] = False
    while free.any():
        likeness = np.where(free, vectors @ vectors[chain[-1]], -np.inf)
        chain.append(int(likeness.argmax()))
        free[chain[-1]] = False
    return chain
