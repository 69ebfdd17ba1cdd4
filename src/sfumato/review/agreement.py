"""How well people agree, from the images that several of them looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sfumato.boxes import Boxes, match
from sfumato.review.model import Record
from sfumato.review.versions import faces_in


@dataclass(frozen=True)
class Pair:
    """Two people's boxes in one image.

    Attributes:
        names: theirs, sorted.
        n: number of boxes of each.
        matched: pairs of boxes that are the same face.
    """

    names: tuple[str, str]
    n: tuple[int, int]
    matched: int


def pairs(said: Sequence[Record], min_iou: float) -> list[Pair]:
    """All pairs of people in the records of one image that hold (see `consensus.heads`).

    Nobody is compared with themselves, and who only looked at crops with nobody.
    """
    whole = sorted((r for r in said if r.task not in ("grid", "arbiter", "gold")), key=lambda r: r.reviewer)
    found = []
    for one, other in combinations(whole, 2):
        if one.reviewer != other.reviewer:
            boxes = faces_in(one).xyxy, faces_in(other).xyxy
            hits = n_matched(*boxes, min_iou)
            found.append(Pair((one.reviewer, other.reviewer), (len(boxes[0]), len(boxes[1])), hits))
    return found


def n_matched(first: Boxes, second: Boxes, min_iou: float) -> int:
    """Pairs of boxes that overlap enough, each box in one pair at most; whatever the order of the boxes."""
    first, second = (boxes[np.lexsort(boxes.T[::-1])] for boxes in (first, second))
    return int((match(first, second, min_iou=min_iou) >= 0).sum())


def agreement(found: Iterable[Pair]) -> dict[str, tuple[int, int]]:
    """By name: twice the matched boxes, and all boxes of both, over the pairs that a person is in.

    Their ratio is Dice's coefficient of the person's boxes with everybody else's.
    """
    sums: dict[str, tuple[int, int]] = {}
    for pair in found:
        for name in pair.names:
            hits, whole = sums.get(name, (0, 0))
            sums[name] = hits + 2 * pair.matched, whole + sum(pair.n)
    return sums


def weights(sums: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Weight of each person in fused boxes: their agreement, drawn a little towards 1/2 where it is young."""
    return {name: (hits + 1) / (whole + 2) for name, (hits, whole) in sums.items()}
