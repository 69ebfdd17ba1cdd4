"""The queue: which images first, which are the random sample, and how many people look at each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area
from sfumato.review.columns import Columns
from sfumato.review.model import ReviewSettings

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"near": 0.9, "disagree": 0.8, "face_free": 0.7, "small": 0.5, "category": 0.1}
)
"""How much each reason for doubt adds, in 0..1; see `risk`."""

_PAIRS = 2_000_000
"""Pairs of boxes compared at a time, so that memory is bounded."""

Floats = NDArray[np.float32]


def risk(columns: Columns, settings: ReviewSettings, second: Columns | None = None) -> Floats:
    """How likely each image is to need a person, in 0..1, shape (images,).

    1 - product over reasons r of (1 - WEIGHTS[r] x_r), as if reasons were independent chances of a mistake:
    each face's own reasons, of which the image has those of its worst face, and those of the image.

    - near: 1 for a score at the threshold, falling in a line to 0 at scores 0 and 1.
    - small: 1 for no size, 0 from `settings.small` pixels on.
    - face_free: 1 for a face in a category in which images with faces are rarer than `settings.face_free`.
    - disagree: 1 where one of two detectors has a face that the other has not.
    - category: the share of images with a face in the category, so that among images without any, those
      come first that most likely should have one.

    Args:
        columns: the faces that are reviewed.
        settings: of the review.
        second: faces that another detector found in the same data set.
    """
    doubt = np.ones(len(columns), dtype=np.float32)
    with_faces = columns.counts > 0
    if with_faces.any():
        doubt[with_faces] = np.minimum.reduceat(_of_faces(columns, settings), columns.starts[:-1][with_faces])
    if second is not None:
        doubt *= 1 - WEIGHTS["disagree"] * _disagree(columns, second, settings.match_iou)
    doubt *= 1 - WEIGHTS["category"] * np.nan_to_num(columns.face_share)
    return np.asarray(1 - doubt, dtype=np.float32)


def _of_faces(columns: Columns, settings: ReviewSettings) -> Floats:
    """The product of the reasons of each face, (faces,)."""
    reach = np.where(columns.score < settings.threshold, settings.threshold, 1 - settings.threshold)
    distance = np.abs(columns.score - settings.threshold) / np.maximum(reach, 1e-6)
    near = np.clip(1 - distance, 0, 1)
    small = np.clip(1 - columns.side / max(settings.small, 1e-6), 0, 1)
    rare = columns.face_share[columns.owner] < settings.face_free
    product = (
        (1 - WEIGHTS["near"] * near) * (1 - WEIGHTS["small"] * small) * (1 - WEIGHTS["face_free"] * rare)
    )
    return np.asarray(product, dtype=np.float32)


def _disagree(first: Columns, second: Columns, min_iou: float) -> NDArray[np.bool_]:
    """(images,) whether one side has a face that overlaps none of the other's enough."""
    alone = np.zeros(len(first), dtype=bool)
    for one, other in ((first, second), (second, first)):
        alone[one.owner[~_has_partner(one, other, min_iou)]] = True
    return alone & first.ok & second.ok


def _has_partner(one: Columns, other: Columns, min_iou: float) -> NDArray[np.bool_]:
    """(faces of one,) whether a face of the other, in the same image, overlaps at least `min_iou`."""
    found = np.zeros(len(one.xyxy), dtype=bool)
    pairs = other.counts[one.owner].astype(np.int64)
    ends = np.cumsum(pairs)
    start = 0
    while start < len(pairs):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, side="right")))
        rows = np.arange(start, stop)
        left = np.repeat(rows, pairs[rows])
        within = np.arange(len(left)) - np.repeat(ends[rows] - pairs[rows] - before, pairs[rows])
        right = np.repeat(other.starts[one.owner[rows]], pairs[rows]) + within
        good = _pair_iou(one.xyxy[left], other.xyxy[right]) >= min_iou
        found[left[good]] = True
        start = stop
    return found


def _pair_iou(first: Floats, second: Floats) -> Floats:
    """Overlap of boxes one by one, (n,)."""
    size = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = np.prod(np.clip(size, 0, None), axis=1)
    union = area(first) + area(second) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def queue_order(risks: Floats, candidates: NDArray[np.bool_], seed: int) -> NDArray[np.int32]:
    """Numbers of the candidates, riskiest first; equal risks in an order drawn from the seed."""
    rows = np.flatnonzero(candidates)
    shuffled = np.random.default_rng([seed, 1]).permutation(rows)
    return np.asarray(shuffled[np.argsort(-risks[shuffled], kind="stable")], dtype=np.int32)


def audit_order(ok: NDArray[np.bool_], candidates: NDArray[np.bool_], seed: int) -> NDArray[np.int32]:
    """Numbers of the candidates in an order drawn from the seed.

    The first n of it are a simple random sample of n images, whatever n turns out to be. It is drawn over all
    images that are ok, so that a sample that was begun stays one when answers become known for more images.
    """
    drawn = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(ok)).astype(np.int32)
    return drawn[candidates[drawn]]


def people_needed(ok: NDArray[np.bool_], settings: ReviewSettings) -> NDArray[np.uint8]:
    """(images,) how many people look at each image that is ok: `overlap` or 1, drawn from the seed."""
    chosen = np.zeros(len(ok), dtype=bool)
    drawn = np.random.default_rng([settings.seed, 3]).random(int(np.count_nonzero(ok)))
    chosen[ok] = drawn < settings.overlap_share
    return np.where(chosen, min(settings.overlap, 255), 1).astype(np.uint8)
