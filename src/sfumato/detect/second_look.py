"""The default detector: a first look over the whole image, a second one at each candidate.

Look-alikes (dogs, hands, knots of wood) score well in one picture of one size and lose when they are
enlarged, reduced or mirrored; faces do not. So each candidate of the first look is cut out and shown to two
networks again, at sizes for which they are good, and one calibrated score is made of all answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area, clip, iou, longer_side
from sfumato.detect import centerface, retinaface
from sfumato.detect.candidates import Candidates, joined
from sfumato.detect.detector import check_min_score
from sfumato.detect.runtime import Weights
from sfumato.detect.views import MAX_IOU, Network, View, as_faces, cutout, look, scaled
from sfumato.faces import Faces
from sfumato.images import Pixels

FIRST_SIDE = 640
"""Pixels of the longer side in the first look."""

MAX_ENLARGEMENT = 4
"""Small images are enlarged by this at most for the first look: more blurs without telling more."""

WIDE_SIDE = 1600
"""Images well above the first look's size are looked at once more with at most this longer side."""

FACE_SIZES = (32, 64)
"""Longer sides of a candidate in the second look, in pixels; it is enlarged to the first of them only."""

CONTEXT = 3.0
"""Side of the cut-out in longer sides of the candidate."""

MIN_PROPOSAL = 0.15
"""Least CenterFace score of a candidate of the first look."""

_MIN_ANSWER = 0.05
_NETWORKS: tuple[Network, ...] = (centerface.propose, retinaface.propose)

CALIBRATION = (0.305, 1.862, 0.933, 0.163)
"""Constant, and weights of the logits: best of the first look, mean of CenterFace's and of RetinaFace's
answers in the second. Logistic regression (L2, C = 0.3) on 400 photos with known faces; made anew by
`benchmarks/detect.py --fit`."""


@dataclass(frozen=True)
class SecondLook:
    """Finds faces with CenterFace, and asks it and RetinaFace again about each one.

    For images from 64 to 4000 pixels: small ones are enlarged, large ones are seen at two sizes. The score is
    calibrated: of the faces with score p, about a share of p are faces in photos like those of ImageNet.

    Attributes:
        min_score: faces below this are left out, 0..1.
    """

    name: ClassVar[str] = "default"
    weights: ClassVar[tuple[Weights, ...]] = (centerface.WEIGHTS, retinaface.WEIGHTS)
    # With another calibration the same spec finds other faces: finished work must not pass for new.
    inputs: ClassVar[dict[str, str]] = {"calibration": str(CALIBRATION)}

    min_score: float = 0.2

    def __post_init__(self) -> None:
        check_min_score(self.min_score)

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image, best first; see `sfumato.detect.Detector`."""
        return [self._faces(image) for image in images]

    def _faces(self, image: Pixels) -> Faces:
        candidates, evidence = examine(image)
        scored = Candidates(candidates.xyxy, calibrated(evidence), candidates.points)
        faces = as_faces(scored.distinct(max_iou=MAX_IOU), image, source=self.name)
        return faces.select(min_score=self.min_score)


def calibrated(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores in 0..1, shape (n,), from evidence as `examine` gives it, shape (n, 3)."""
    constant, *slopes = CALIBRATION
    return np.asarray(1 / (1 + np.exp(-(constant + evidence @ np.array(slopes)))), dtype=np.float32)


def examine(image: Pixels) -> tuple[Candidates, NDArray[np.float32]]:
    """All candidates of an image with their evidence, before any decision.

    Returns:
        Candidates, their boxes the weighted mean of all answers; and the evidence (n, 3): logits of the first
        look's score and of the mean answers of CenterFace and RetinaFace in the second.
    """
    first = _first_look(image)
    boxes = np.zeros_like(first.xyxy)
    evidence = np.zeros((len(first), 3), dtype=np.float32)
    for row in range(len(first)):
        boxes[row], answers = _second_look(image, first.xyxy[row], float(first.score[row]))
        evidence[row] = (_logit(first.score[row]), *answers)
    return Candidates(boxes, first.score, first.points), evidence


def first_sides(long_side: int) -> tuple[int, ...]:
    """Longer sides, in pixels, at which an image with this longer side is seen in the first look."""
    if long_side <= 1.25 * FIRST_SIDE:
        return (min(FIRST_SIDE, MAX_ENLARGEMENT * long_side),)
    return (FIRST_SIDE, min(WIDE_SIDE, long_side))


def _first_look(image: Pixels) -> Candidates:
    height, width = image.shape[:2]
    found = joined(
        [
            look(centerface.propose, scaled(image, side), min_score=MIN_PROPOSAL)
            for side in first_sides(max(height, width))
        ]
    )
    boxes = clip(found.xyxy, width, height)
    found = Candidates(boxes, found.score, found.points)[area(boxes) > 0]
    return found.distinct(max_iou=MAX_IOU)


def _second_look(
    image: Pixels, box: NDArray[np.float32], score: float
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    views = list(_cutouts(image, box))
    total, boxes = score, score * box
    means = []
    for network in _NETWORKS:
        logits = []
        for view in views:
            best, answer = _answer(network, view, box)
            total, boxes = total + best, boxes + best * answer
            logits.append(float(_logit(best)))
        means.append(float(np.mean(logits)))
    return boxes / total, (means[0], means[1])


def _cutouts(image: Pixels, box: NDArray[np.float32]) -> Iterator[View]:
    own = float(longer_side(box[None])[0])
    for size in FACE_SIZES:
        if size == FACE_SIZES[0] or size <= own:
            view = cutout(image, box, size=size, context=CONTEXT)
            yield from (view, view.mirrored())


def _answer(network: Network, view: View, box: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """The best score that the network gives to this box, with its own box; 0 where it sees none there."""
    found = look(network, view, min_score=_MIN_ANSWER)
    found = found[iou(found.xyxy, box[None])[:, 0] >= MAX_IOU]
    if not len(found):
        return 0.0, box
    best = int(found.score.argmax())
    return float(found.score[best]), found.xyxy[best]


def _logit(score: float | np.float32) -> float:
    bounded = min(max(float(score), _MIN_ANSWER), 1 - 1e-3)
    return float(np.log(bounded / (1 - bounded)))
