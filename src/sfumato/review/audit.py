"""The audit: what the annotation of a sampled image was before and after the review, beside what is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.boxes import iou
from sfumato.detect.score import counting, matched_truth
from sfumato.faces import Faces
from sfumato.review.agreement import n_matched
from sfumato.review.consensus import consensus, heads
from sfumato.review.estimates import Counts, Share, precision, recall
from sfumato.review.model import Record
from sfumato.review.versions import faces_in

ESTIMATES_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("stage", pa.string()),
        ("n_images", pa.int64()),
        ("n_faces", pa.int64()),
        ("n_found", pa.int64()),
        ("false_positives", pa.int64()),
        ("false_negatives", pa.int64()),
        ("precision", pa.float64()),
        ("precision_ci_low", pa.float64()),
        ("precision_ci_high", pa.float64()),
        ("recall", pa.float64()),
        ("recall_ci_low", pa.float64()),
        ("recall_ci_high", pa.float64()),
    ]
)
"""The study's table: by group of categories and stage ("before" or "after" the review), sampled images, faces
in them, faces of the annotation, its mistakes, and shares in 0..1 with their intervals; null where a share is
of nothing."""

Triple = tuple[int, int, int]
"""Faces that there are, faces found, and pairs of both."""


@dataclass(frozen=True)
class Audited:
    """One sampled image.

    Attributes:
        before: the face table against the truth.
        after: what the review made of it, the audit itself left out, against the truth.
        same_eyes: nobody but those who had reviewed the image looked a second time.
    """

    before: Triple
    after: Triple
    same_eyes: bool = False


def audited(
    shown: Faces, valid: Sequence[Record], others: Sequence[Record], min_iou: float
) -> Audited | None:
    """Compare one image with what its auditor said, or the arbiter, who has the last word.

    The audit's own corrections do not count into "after": the sample stands for the images that nobody
    audited, so it must be judged as these are.

    Args:
        shown: faces of the face table.
        valid, others: records of the image that count, and that do not.
        min_iou: least overlap of boxes that are one face.

    Returns:
        None where nobody audited the image.
    """
    lane = [r for r in valid if r.task == "audit" and r.state != "skipped"]
    if not lane:
        return None
    usual = [record for record in valid if record.task not in ("audit", "arbiter")]
    after = consensus(shown, usual, others, min_iou=min_iou).faces
    decided = [record for record in valid if record.task == "arbiter"]
    truth = consensus(shown, decided or lane, others, min_iou=min_iou).faces
    reviewed = {record.reviewer for record in usual if record.task != "grid"}
    same = not decided and {record.reviewer for record in lane} <= reviewed
    return Audited(_compare(shown, truth, min_iou), _compare(after, truth, min_iou), same)


def _compare(found: Faces, truth: Faces, min_iou: float) -> Triple:
    if not len(found) and not len(truth):
        return 0, 0, 0  # most images, so that a status of thousands does not take seconds
    partner, counted = matched_truth(found, truth, min_iou=min_iou)
    return int(counting(truth, 0.0).sum()), int(counted.sum()), int((partner >= 0).sum())


def two_passes(
    shown: Faces, valid: Sequence[Record], others: Sequence[Record], min_iou: float
) -> Triple | None:
    """Faces that the table lacks: how many the first of two people found, the second, and both.

    Only these say something of what both missed: boxes that were shown to both were not found independently.

    Returns:
        None where not two people looked at the image independently.
    """
    passes = [r for r in heads(valid, others) if r.task in ("queue", "second", "crowd")]
    first = passes[0] if passes else None
    second = next((r for r in passes if first is not None and r.reviewer != first.reviewer), None)
    if first is None or second is None:
        return None
    new = []
    for record in (first, second):
        boxes = faces_in(record).xyxy
        new.append(boxes[iou(boxes, shown.xyxy).max(axis=1, initial=0) < min_iou])
    return len(new[0]), len(new[1]), n_matched(new[0], new[1], min_iou)


def counts_of(rows: Sequence[Triple]) -> Counts:
    """Counts by image as columns."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Counts(table[:, 0], table[:, 1], table[:, 2])


def estimate_rows(
    before: Counts, after: Counts, groups: Mapping[str, NDArray[np.bool_]], confidence: float
) -> list[dict[str, Any]]:
    """Rows of `ESTIMATES_SCHEMA`: two for each group.

    Args:
        before, after: counts of the sampled images, in one order.
        groups: which of them belong to a group, by its name.
        confidence: of the intervals.
    """
    return [
        _row(name, stage, counts[members], confidence)
        for name, members in groups.items()
        for stage, counts in (("before", before), ("after", after))
    ]


def _row(group: str, stage: str, counts: Counts, confidence: float) -> dict[str, Any]:
    shares = {"precision": precision(counts, confidence), "recall": recall(counts, confidence)}
    return {
        "group": group,
        "stage": stage,
        "n_images": len(counts),
        "n_faces": int(counts.truth.sum()),
        "n_found": int(counts.found.sum()),
        "false_positives": counts.false,
        "false_negatives": counts.missed,
        **{key: value for name, share in shares.items() for key, value in _columns(name, share).items()},
    }


def _columns(name: str, share: Share) -> dict[str, float | None]:
    known = share.n > 0
    return {
        name: share.value if known else None,
        f"{name}_ci_low": share.low if known else None,
        f"{name}_ci_high": share.high if known else None,
    }
