"""Geometry on boxes: float arrays of shape (n, 4), columns x0, y0, x1, y1, in pixels.

Boxes are half open: a box covers x0 <= x < x1. Functions are pure and return new arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import BoxError

Boxes = NDArray[np.float32]


def as_boxes(values: ArrayLike) -> Boxes:
    """Values as an (n, 4) float32 array; an empty list gives shape (0, 4).

    Raises:
        BoxError: another shape, a value that is not finite, or a box that ends before it starts.
    """
    boxes = np.asarray(values, dtype=np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"boxes need shape (n, 4), not {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise BoxError("boxes hold a value that is not a finite number")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise BoxError("a box ends before it starts (x1 < x0 or y1 < y0)")
    return boxes


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """Boxes cut to the image 0..width by 0..height; a box outside becomes empty (zero area)."""
    limit = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, 0, limit).astype(np.float32)


def round_out(boxes: Boxes) -> NDArray[np.int64]:
    """The smallest whole-pixel boxes that contain these: floor of the starts, ceil of the ends."""
    return np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]).astype(np.int64)


def grow(boxes: Boxes, fraction: float) -> Boxes:
    """Boxes widened on each side by `fraction` of their longer side."""
    margin = (fraction * longer_side(boxes))[:, None]
    return np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin]).astype(np.float32)


def longer_side(boxes: Boxes) -> NDArray[np.float32]:
    """The longer of width and height of each box, shape (n,)."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0), dtype=np.float32)


def area(boxes: Boxes) -> NDArray[np.float32]:
    """Area of each box in square pixels, shape (n,)."""
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), dtype=np.float32)


def intersection(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Area that each of n boxes shares with each of m, shape (n, m)."""
    start = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.prod(np.clip(end - start, 0, None), axis=2), dtype=np.float32)


def iou(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each of n boxes with each of m, shape (n, m); 0 for empty boxes."""
    shared = intersection(first, second)
    union = area(first)[:, None] + area(second)[None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def union_area(boxes: Boxes) -> float:
    """Area covered by at least one box, in square pixels, counted once where boxes overlap."""
    xs = np.unique(boxes[:, [0, 2]])
    ys = np.unique(boxes[:, [1, 3]])
    if len(xs) < 2 or len(ys) < 2:
        return 0.0
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        rows = slice(*np.searchsorted(ys, [y0, y1]))
        columns = slice(*np.searchsorted(xs, [x0, x1]))
        covered[rows, columns] = True
    return float((np.diff(ys)[:, None] * np.diff(xs)[None, :])[covered].sum())


def match(found: Boxes, truth: Boxes, *, min_iou: float = 0.4) -> NDArray[np.int64]:
    """For each found box, in order, the truth box it is matched with, or -1; shape (n,).

    Greedy, as in WIDER FACE and COCO scoring: give found boxes by falling score. Each truth box is
    matched once, with the best overlap first.
    """
    overlap = iou(found, truth)
    matched = np.full(len(found), -1, dtype=np.int64)
    for row in range(len(found)):
        if overlap.shape[1] == 0:
            break
        best = int(overlap[row].argmax())
        if overlap[row, best] >= min_iou:
            matched[row] = best
            overlap[:, best] = -1
    return matched


def nms(boxes: Boxes, score: NDArray[np.float32], *, max_iou: float) -> NDArray[np.int64]:
    """Indices of the boxes that survive greedy non-maximum suppression, best score first."""
    order = np.argsort(-score, kind="stable")
    keep: list[int] = []
    while len(order):
        best, rest = int(order[0]), order[1:]
        keep.append(best)
        order = rest[iou(boxes[best : best + 1], boxes[rest])[0] <= max_iou]
    return np.asarray(keep, dtype=np.int64)
