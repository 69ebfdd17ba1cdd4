"""Gold images: is an answer the known one, and what wrong boxes is the question asked with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sfumato.boxes import Boxes, area, clip, match, union_area
from sfumato.faces import Faces
from sfumato.faces.gold import IGNORE
from sfumato.review.model import START, GoldResult


@dataclass(frozen=True)
class GoldRule:
    """When an answer to a gold image is right.

    With no face in the truth, no box may be left. Areas of kind "ignore" count neither way.

    Attributes:
        min_iou: least intersection over union; the study's is 0.72.
        rule: "union": of the area under all boxes of the answer with the area under all boxes of the truth,
            as on the study's page (which counts whole pixels of a canvas; here areas are exact). "boxes":
            each box must have a partner with this overlap, and no box of the truth may lack one.
    """

    min_iou: float = 0.72
    rule: Literal["union", "boxes"] = "union"

    def check(self, answer: Boxes, truth: Faces) -> tuple[float, bool]:
        """Compare an answer, (n, 4), with the truth: union-mask IoU in 0..1, and whether it is right."""
        known, ignored = answer_of(truth).xyxy, truth.xyxy[_is(truth, IGNORE)]
        value = union_iou(answer, known, ignored)
        if not len(known):
            # Boxes wholly inside what is to be ignored cover nothing that counts.
            return value, union_area(answer) == 0 if not len(ignored) else value == 1
        if self.rule == "union":
            return value, value >= self.min_iou
        partner = match(answer[np.argsort(-area(answer), kind="stable")], known, min_iou=self.min_iou)
        return value, len(answer) == len(known) and bool((partner >= 0).all())

    def result(self, answer: Faces, truth: Faces, lives: int, *, last: bool) -> GoldResult:
        """What an answer means for a person with so many lives, whose `last` ones these may be."""
        iou, passed = self.check(answer.xyxy, truth)
        left = lives if passed else lives - 1
        return GoldResult(round(iou, 6), passed, left, left == 0 and last)


def union_iou(first: Boxes, second: Boxes, ignored: Boxes | None = None) -> float:
    """Intersection over union of the areas under two sets of boxes, (n, 4) and (m, 4), without a third.

    Areas are exact, in square pixels; two empty areas agree: 1.
    """
    without = np.zeros((0, 4), dtype=np.float32) if ignored is None else ignored
    union = union_area(np.vstack([first, second, without])) - union_area(without)
    if union <= 0:
        return 1.0
    both = sum(union_area(np.vstack([boxes, without])) - union_area(without) for boxes in (first, second))
    return max(0.0, (both - union) / union)


def answer_of(truth: Faces) -> Faces:
    """The faces of the truth that an answer must have."""
    return truth[~_is(truth, START) & ~_is(truth, IGNORE)]


def _is(faces: Faces, kind: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([word == kind for word in faces.kind], dtype=bool)


def starting_boxes(truth: Faces) -> Faces | None:
    """What the truth says that the question is asked with, or None where it says nothing.

    These are its boxes of kind "start", as faces; an empty one (no width or height) is left out, so that a
    truth can ask for no box at all.
    """
    marked = _is(truth, START)
    if not marked.any():
        return None
    shown = truth[marked & (area(truth.xyxy) > 0)]
    return Faces.of(shown.xyxy, shown.score, source=shown.source)


def wrong_boxes(truth: Faces, size: tuple[int, int], seed: str) -> Faces:
    """The answer with one mistake: a box left out, moved by most of its size, or one too many.

    The same seed gives the same mistake. Only a box too many is possible where the answer has none.

    Args:
        truth: the known answer.
        size: width and height of the image in pixels.
        seed: any text.
    """
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(seed.encode()).digest(), dtype=np.uint32))
    right = answer_of(truth)
    mistake = rng.integers(3) if len(right) else 2
    boxes = right.xyxy.copy()
    if mistake == 2:
        return Faces.of(np.vstack([boxes, _somewhere(size, rng)]), source="start")
    chosen = int(area(boxes).argmax())  # the largest, so that the mistake is one that counts
    if mistake == 1:
        # Towards the side where there is more room.
        towards = 1 if boxes[chosen, 0] < size[0] - boxes[chosen, 2] else -1
        step = np.float32(0.8 * towards) * (boxes[chosen, 2] - boxes[chosen, 0])
        moved = clip(boxes[chosen : chosen + 1] + np.array([step, 0, step, 0], dtype=np.float32), *size)
        boxes[chosen] = moved[0]
        return Faces.of(boxes[area(boxes) > 0], source="start")
    return Faces.of(np.delete(boxes, chosen, axis=0), source="start")


def disguised(boxes: Faces, source: str, seed: str) -> Faces:
    """Boxes that look as if a detector had found them, with its name and scores drawn from the seed."""
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(seed.encode()).digest(), dtype=np.uint32))
    return Faces.of(boxes.xyxy, rng.uniform(0.5, 0.99, len(boxes)), kind=boxes.kind, source=source)


def _somewhere(size: tuple[int, int], rng: np.random.Generator) -> Boxes:
    width, height = size
    side = 0.25 * min(width, height)
    x0, y0 = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return np.array([[x0, y0, x0 + side, y0 + side]], dtype=np.float32)
