"""Score found faces against known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area, intersection, iou, longer_side, match
from sfumato.faces import Faces
from sfumato.faces.gold import IGNORE


@dataclass(frozen=True)
class Score:
    """How found faces agree with known ones.

    A ratio of nothing is NaN.

    Attributes:
        n_images: images compared.
        n_images_with_faces: of these, images with a known face that counts.
        n_truth, n_found, n_matched: known faces that count, found ones that count, and pairs of both.
        recall, precision: matched faces over known, and over found.
        image_recall: share of images with a known face in which some face is found.
        image_precision: share of images with a found face that have a known one.
        image_accuracy: share of images for which "has a face" is said rightly.
        false_positive_images: number of images without a known face in which one is found.
    """

    n_images: int
    n_images_with_faces: int
    n_truth: int
    n_found: int
    n_matched: int
    recall: float
    precision: float
    image_recall: float
    image_precision: float
    image_accuracy: float
    false_positive_images: int


def score(
    found: Mapping[str, Faces],
    truth: Mapping[str, Faces],
    *,
    min_iou: float = 0.4,
    min_size: float = 0.0,
) -> Score:
    """Score found faces against known ones, over the images of `truth`; an image not in `found` has none.

    Known boxes whose longer side is below `min_size`, and those of kind "ignore", are neither rewarded nor
    punished: a found box that matches no face that counts, and that overlaps such a box with an IoU of at
    least `min_iou` or lies by half or more inside it, is dropped.

    Args:
        found: faces by image id, from a detector.
        truth: known faces by image id.
        min_iou: least intersection over union of a match.
        min_size: longer side in pixels below which a known face does not count.
    """
    rows = np.array(
        [
            _count(found.get(image_id, Faces.of()), known, min_iou, min_size)
            for image_id, known in truth.items()
        ],
        dtype=np.int64,
    ).reshape(-1, 3)
    n_truth, n_found, n_matched = (int(value) for value in rows.sum(axis=0))
    has, says = rows[:, 0] > 0, rows[:, 1] > 0
    return Score(
        n_images=len(rows),
        n_images_with_faces=int(has.sum()),
        n_truth=n_truth,
        n_found=n_found,
        n_matched=n_matched,
        recall=_share(n_matched, n_truth),
        precision=_share(n_matched, n_found),
        image_recall=_share(int((has & says).sum()), int(has.sum())),
        image_precision=_share(int((has & says).sum()), int(says.sum())),
        image_accuracy=_share(int((has == says).sum()), len(rows)),
        false_positive_images=int((says & ~has).sum()),
    )


def matched_truth(
    found: Faces, truth: Faces, *, min_iou: float = 0.4, min_size: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Match the found faces of one image with its known ones.

    Returns:
        For each found face the row of its known face, or -1; and whether it counts, that is, was not dropped
        because of a box to ignore.
    """
    counts = counting(truth, min_size)
    order = np.argsort(-found.score, kind="stable")
    rows = np.flatnonzero(counts)
    partner = np.full(len(found), -1, dtype=np.int64)
    hits = match(found.xyxy[order], truth.xyxy[rows], min_iou=min_iou)
    partner[order[hits >= 0]] = rows[hits[hits >= 0]]
    ignored = truth.xyxy[~counts]
    near = (iou(found.xyxy, ignored) >= min_iou).any(axis=1)
    inside = (2 * intersection(found.xyxy, ignored) >= area(found.xyxy)[:, None]).any(axis=1)
    return partner, (partner >= 0) | ~(near | inside)


def counting(truth: Faces, min_size: float) -> NDArray[np.bool_]:
    """Which known faces count: not of kind "ignore", and at least `min_size` pixels long; shape (n,)."""
    ignored = np.array([kind == IGNORE for kind in truth.kind], dtype=bool)
    return ~ignored & (longer_side(truth.xyxy) >= min_size)


def _count(found: Faces, truth: Faces, min_iou: float, min_size: float) -> tuple[int, int, int]:
    partner, counted = matched_truth(found, truth, min_iou=min_iou, min_size=min_size)
    return int(counting(truth, min_size).sum()), int(counted.sum()), int((partner >= 0).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
