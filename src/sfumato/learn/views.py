"""From a picture in the cache to the square that a model sees: which part of it, then crop and resize."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from sfumato.images import Pixels
from sfumato.learn.chance import Keys, uniforms
from sfumato.learn.recipes import Recipe

ATTEMPTS = 10
"""Draws of area and aspect before the whole picture is taken, as in torchvision's RandomResizedCrop."""
ASPECTS = (3 / 4, 4 / 3)
"""Narrowest and widest random crop, width / height."""
PADDING = 1 / 8
"""How far "padded" crops move, as a share of the side; 4 px at 32 px, as is usual for CIFAR."""

Windows = NDArray[np.int64]
"""Parts of pictures, shape (n, 4): x0, y0, x1, y1 in pixels, half open; may reach over the borders."""


def centre_windows(shapes: NDArray[np.int64], resize_ratio: float) -> Windows:
    """The centred square that remains of each picture after a resize and a centre crop.

    Args:
        shapes: height and width of each picture, (n, 2).
        resize_ratio: shorter side after resizing divided by the crop's side (256 / 224 in the study).
    """
    side = np.maximum(1, np.round(shapes.min(axis=1) / resize_ratio)).astype(np.int64)
    start = (shapes[:, ::-1] - side[:, None]) // 2
    return np.hstack([start, start + side[:, None]])


def whole_windows(shapes: NDArray[np.int64], mirrored: NDArray[np.bool_] | None = None) -> Windows:
    """The smallest square that holds each whole picture, which lies in its upper left corner, (n, 4).

    A mirrored one lies in the upper right, so that it is in the left corner when the square is mirrored.
    """
    side = shapes.max(axis=1)
    left = np.zeros_like(side) if mirrored is None else np.where(mirrored, shapes[:, 1] - side, 0)
    return np.stack([left, np.zeros_like(side), left + side, side], axis=1)


def training_windows(
    shapes: NDArray[np.int64], recipe: Recipe, keys: Keys, *, seed: int, epoch: int
) -> tuple[Windows, NDArray[np.bool_]]:
    """The part of each picture that is seen in one epoch, and whether it is mirrored, shape (n,)."""
    draws = uniforms(keys, seed, epoch, count=1 + 4 * ATTEMPTS)
    mirrored = (draws[:, 0] < 0.5) & recipe.flip
    if recipe.crop == "random_resized":
        return _random_resized(shapes, recipe.crop_scale, draws[:, 1:].reshape(-1, ATTEMPTS, 4)), mirrored
    windows = centre_windows(shapes, recipe.resize_ratio)
    if recipe.crop == "padded":
        reach = np.round(PADDING * (windows[:, 2] - windows[:, 0]))[:, None]
        shift = np.floor(draws[:, 1:3] * (2 * reach + 1)) - reach
        windows = windows + np.tile(shift, 2).astype(np.int64)
    return windows, mirrored


def _random_resized(
    shapes: NDArray[np.int64], scale: tuple[float, float], draws: NDArray[np.float64]
) -> Windows:
    height, width = shapes[:, 0], shapes[:, 1]
    crop = _fallback(shapes)
    open_rows = np.ones(len(shapes), dtype=bool)
    low, high = np.log(ASPECTS)
    for attempt in range(ATTEMPTS):
        area = (scale[0] + draws[:, attempt, 0] * (scale[1] - scale[0])) * height * width
        aspect = np.exp(low + draws[:, attempt, 1] * (high - low))
        wide, high_ = np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))
        fits = open_rows & (wide >= 1) & (wide <= width) & (high_ >= 1) & (high_ <= height)
        x0 = np.floor(draws[:, attempt, 2] * (width - wide + 1))
        y0 = np.floor(draws[:, attempt, 3] * (height - high_ + 1))
        drawn = np.stack([x0, y0, x0 + wide, y0 + high_], axis=1)
        crop[fits] = drawn[fits].astype(np.int64)
        open_rows &= ~fits
    return crop


def _fallback(shapes: NDArray[np.int64]) -> Windows:
    """The centre, as much of it as the limits of the aspect allow."""
    height, width = shapes[:, 0], shapes[:, 1]
    wide = np.minimum(width, np.maximum(1, np.round(height * ASPECTS[1]))).astype(np.int64)
    high = np.minimum(height, np.maximum(1, np.round(width / ASPECTS[0]))).astype(np.int64)
    x0, y0 = (width - wide) // 2, (height - high) // 2
    return np.stack([x0, y0, x0 + wide, y0 + high], axis=1)


def cut(image: Pixels, window: Sequence[int] | NDArray[np.int64], size: int) -> Pixels:
    """A part of a picture as (size, size, 3); beyond the borders the picture is reflected.

    Shrinking averages areas, so nothing is aliased; growing is bilinear.
    """
    part = _part(image, *(int(value) for value in window))
    if part.shape[:2] == (size, size):
        return part
    shrinks = part.shape[0] >= size and part.shape[1] >= size
    resized = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _part(image: Pixels, x0: int, y0: int, x1: int, y1: int) -> Pixels:
    height, width = image.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return image[y0:y1, x0:x1]
    rows, columns = _reflected(y0, y1, height), _reflected(x0, x1, width)
    return image[rows[:, None], columns[None, :]]


def _reflected(start: int, end: int, length: int) -> NDArray[np.int64]:
    """Indices start..end folded back into 0..length, the border pixel not repeated."""
    if length == 1:
        return np.zeros(end - start, dtype=np.int64)
    period = 2 * (length - 1)
    folded = np.abs(np.arange(start, end)) % period
    return np.asarray(np.minimum(folded, period - folded), dtype=np.int64)


def shrunk_size(height: int, width: int, shorter_side: int) -> tuple[int, int]:
    """Height and width that `shrink` gives a picture of this size, in pixels."""
    ratio = shorter_side / min(height, width)
    if ratio >= 1:
        return height, width
    return max(shorter_side, round(height * ratio)), max(shorter_side, round(width * ratio))


def shrink(image: Pixels, shorter_side: int) -> Pixels:
    """The picture with its shorter side reduced to this many pixels; a smaller one stays as it is."""
    height, width = shrunk_size(image.shape[0], image.shape[1], shorter_side)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV works in the calling thread: its own threads would take the cores from the model."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
