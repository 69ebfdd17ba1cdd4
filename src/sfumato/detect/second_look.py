"""Detectors that look twice: once over the whole image, then again at each candidate.

Look-alikes (dogs, hands, knots of wood) score well in one picture of one size and lose when they are
enlarged, reduced or mirrored; faces do not. So each candidate of the first look is cut out and shown to
networks again, at sizes for which they are good, and one calibrated score is made of all answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area, clip, iou, longer_side
from sfumato.detect.detector import check_min_score
from sfumato.detect.networks import centerface, retinaface
from sfumato.detect.networks.candidates import Candidates, joined
from sfumato.detect.networks.views import MAX_IOU, Network, View, as_faces, cutout, look_at_all, tiles
from sfumato.detect.networks.weights import Weights
from sfumato.faces import Faces
from sfumato.images import Pixels

CENTERFACE = centerface.CenterFaceNetwork(centerface.WEIGHTS)
RETINAFACE = retinaface.RetinaFaceNetwork(retinaface.WEIGHTS)

COARSE_SIDE = 640
"""Pixels of the longer side in the coarsest level of the first look."""

MAX_ENLARGEMENT = 4
"""Small images are enlarged by this at most for the first look: more blurs without telling more."""

LEVEL_STEP = 2.5
"""Each level of the first look is at most about this many times finer than the one before."""

TILE_SIDE, TILE_OVERLAP = 1664, 192
"""Most pixels of a side that a network is shown at once, and how far tiles overlap: at 1/2.5 of the size, a
face too large for the overlap is an easy one for the level before."""

CONTEXT = 3.0
"""Side of the cut-out in longer sides of the candidate."""

_MIN_ANSWER = 0.05


@dataclass(frozen=True)
class Effort:
    """How much is looked at, and how the answers are weighed.

    Attributes:
        first: networks of the first look, with the least score of a candidate of each.
        mirrored_first: the first look is taken at the mirrored image too.
        finest: pixels of the finest level of the first look at most; large images have several levels.
        second: networks of the second look.
        face_sizes: longer sides of a candidate in the second look, in pixels; it is enlarged to the first of
            them only.
        mirrored_second: each cut-out is shown mirrored too.
        calibration: a constant, then weights of the evidence (see `examine`): logistic regression (L2,
            C = 0.3) on 400 photos with known faces, made anew by `benchmarks/detect.py --fit EFFORT`.
    """

    first: tuple[tuple[Network, float], ...]
    mirrored_first: bool
    finest: int
    second: tuple[Network, ...]
    face_sizes: tuple[int, ...]
    mirrored_second: bool
    calibration: tuple[float, ...]


EFFORTS: dict[str, Effort] = {
    "low": Effort(
        first=((RETINAFACE, 0.15),),
        mirrored_first=False,
        finest=1_000_000,
        second=(CENTERFACE,),
        face_sizes=(32,),
        mirrored_second=True,
        calibration=(-0.311, 0.273, 1.618),
    ),
    "medium": Effort(
        first=((CENTERFACE, 0.15),),
        mirrored_first=False,
        finest=2_000_000,
        second=(CENTERFACE, RETINAFACE),
        face_sizes=(32, 64),
        mirrored_second=True,
        calibration=(0.305, 1.862, 0.933, 0.163),
    ),
    "high": Effort(
        first=((CENTERFACE, 0.1), (RETINAFACE, 0.3)),
        mirrored_first=True,
        finest=12_000_000,
        second=(CENTERFACE, RETINAFACE),
        face_sizes=(32, 64),
        mirrored_second=True,
        calibration=(-0.321, 2.173, -0.127, 0.935, 0.076),
    ),
}


@dataclass(frozen=True)
class SecondLook:
    """Finds faces with one or two networks, and asks two again about each.

    For images of any size: small ones are enlarged, large ones are seen at several sizes, in tiles. The score
    is calibrated: of the faces with score p, about a share of p are faces in photos like those of ImageNet.

    Attributes:
        effort: "low", "medium" or "high"; see `EFFORTS`.
        min_score: faces below this are left out, 0..1.
    """

    name: ClassVar[str] = "second_look"
    weights: ClassVar[tuple[Weights, ...]] = (centerface.WEIGHTS, retinaface.WEIGHTS)

    effort: str = "medium"
    min_score: float = 0.2

    def __post_init__(self) -> None:
        check_min_score(self.min_score)
        if self.effort not in EFFORTS:
            raise ValueError(f"effort is one of {', '.join(EFFORTS)}, not {self.effort!r}")

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the fields."""
        # With another calibration the same spec finds other faces: finished work must not pass for new.
        return {"calibration": str(EFFORTS[self.effort].calibration)}

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image, best first; see `sfumato.detect.Detector`."""
        effort = EFFORTS[self.effort]
        return [
            self._decide(image, candidates, calibrated(evidence, effort.calibration))
            for image, (candidates, evidence) in zip(images, examine(images, effort), strict=True)
        ]

    def _decide(self, image: Pixels, candidates: Candidates, score: NDArray[np.float32]) -> Faces:
        scored = Candidates(candidates.xyxy, score, candidates.points)
        faces = as_faces(scored.distinct(max_iou=MAX_IOU), image, source=self.name)
        return faces.select(min_score=self.min_score)


def calibrated(evidence: NDArray[np.float32], calibration: Sequence[float]) -> NDArray[np.float32]:
    """Scores in 0..1, shape (n,), from evidence as `examine` gives it, shape (n, k), by k + 1 numbers."""
    constant, *slopes = calibration
    return np.asarray(1 / (1 + np.exp(-(constant + evidence @ np.array(slopes)))), dtype=np.float32)


Examined = tuple[Candidates, NDArray[np.float32]]


def examine(images: Sequence[Pixels], effort: Effort) -> list[Examined]:
    """All candidates of each image with their evidence, before any decision.

    Returns:
        For each image its candidates, their boxes the weighted mean of all answers; and the evidence (n, k):
        a column for each network of the first look, the logit of its best score there, then one for each
        network of the second, the mean logit of its answers.
    """
    firsts = _first_look(images, effort)
    views: list[View] = []
    places: list[range] = []
    for image, first in zip(images, firsts, strict=True):
        for box in first.candidates.xyxy:
            cutouts = list(_cutouts(image, box, effort))
            places.append(range(len(views), len(views) + len(cutouts)))
            views += cutouts
    answers = [look_at_all(network, views, min_score=_MIN_ANSWER) for network in effort.second]
    found, start = [], 0
    for first in firsts:
        end = start + len(first.candidates)
        of_each = [[[answer[view] for view in place] for answer in answers] for place in places[start:end]]
        found.append(_weighed(first, of_each, len(effort.second)))
        start = end
    return found


@dataclass(frozen=True, eq=False)
class _FirstLook:
    """Candidates of an image, and the logit of each network's best score for each, (n, networks)."""

    candidates: Candidates
    evidence: NDArray[np.float32]


def levels(height: int, width: int, finest: int) -> list[float]:
    """Scales at which an image is seen in the first look, coarsest first.

    Args:
        height, width: of the image, in pixels.
        finest: most pixels of the finest level; it is never finer than the image, unless that is small.
    """
    coarse = min(COARSE_SIDE / max(height, width), MAX_ENLARGEMENT)
    fine = min(1.0, (finest / (height * width)) ** 0.5)
    # A level that would be hardly finer than the one before tells nothing new.
    steps = int(np.ceil(np.log(fine / coarse) / np.log(LEVEL_STEP) - 0.05)) if fine / coarse > 1.25 else 0
    return [float(scale) for scale in np.geomspace(coarse, fine, steps + 1)] if steps else [coarse]


def _first_look(images: Sequence[Pixels], effort: Effort) -> list[_FirstLook]:
    views: list[View] = []
    places = []
    for image in images:
        start = len(views)
        for scale in levels(image.shape[0], image.shape[1], effort.finest):
            views += tiles(image, scale, side=TILE_SIDE, overlap=TILE_OVERLAP)
        if effort.mirrored_first:
            views += [view.mirrored() for view in views[start:]]
        places.append(range(start, len(views)))
    answers = [look_at_all(network, views, min_score=min_score) for network, min_score in effort.first]
    return [
        _proposals(image, [joined([answer[view] for view in place]) for answer in answers])
        for image, place in zip(images, places, strict=True)
    ]


def _proposals(image: Pixels, found: Sequence[Candidates]) -> _FirstLook:
    """The distinct candidates of all networks, with what each network says of each."""
    of_each = []
    for candidates in found:
        boxes = clip(candidates.xyxy, image.shape[1], image.shape[0])
        inside = Candidates(boxes, candidates.score, candidates.points)[area(boxes) > 0]
        of_each.append(inside.distinct(max_iou=MAX_IOU))
    kept = of_each[0]
    for others in of_each[1:]:
        known = (iou(others.xyxy, kept.xyxy) > MAX_IOU).any(axis=1)
        kept = joined([kept, others[np.flatnonzero(~known)]])
    evidence = [_best_there(candidates, kept) for candidates in of_each]
    return _FirstLook(
        kept, np.stack(evidence, axis=1) if len(kept) else np.zeros((0, len(found)), np.float32)
    )


def _best_there(candidates: Candidates, kept: Candidates) -> NDArray[np.float32]:
    """Logit of the best score of the candidates that lie on each of the kept, shape (n kept,)."""
    best = np.zeros(len(kept), dtype=np.float32)
    if len(candidates):
        there = iou(kept.xyxy, candidates.xyxy) >= MAX_IOU
        best = np.where(there, candidates.score[None], 0).max(axis=1)
    return np.array([_logit(score) for score in best], dtype=np.float32)


def _cutouts(image: Pixels, box: NDArray[np.float32], effort: Effort) -> Iterator[View]:
    own = float(longer_side(box[None])[0])
    for size in effort.face_sizes:
        if size == effort.face_sizes[0] or size <= own:
            view = cutout(image, box, size=size, context=CONTEXT)
            yield view
            if effort.mirrored_second:
                yield view.mirrored()


def _weighed(first: _FirstLook, answers: Sequence[Sequence[Sequence[Candidates]]], n_second: int) -> Examined:
    """Candidates with mean boxes and all evidence; answers by candidate, network and view."""
    candidates = first.candidates
    boxes = np.zeros_like(candidates.xyxy)
    means = np.zeros((len(candidates), n_second), dtype=np.float32)
    for row, of_each in enumerate(answers):
        box, score = candidates.xyxy[row], float(candidates.score[row])
        total, weighted = score, score * box
        for column, of_network in enumerate(of_each):
            logits = []
            for found in of_network:
                best, answer = _answer(found, box)
                total, weighted = total + best, weighted + best * answer
                logits.append(_logit(best))
            means[row, column] = np.mean(logits)
        boxes[row] = weighted / total
    return Candidates(boxes, candidates.score, candidates.points), np.hstack([first.evidence, means])


def _answer(found: Candidates, box: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """The best score that a network gives to this box, with its own box; 0 where it sees none there."""
    found = found[iou(found.xyxy, box[None])[:, 0] >= MAX_IOU]
    if not len(found):
        return 0.0, box
    best = int(found.score.argmax())
    return float(found.score[best]), found.xyxy[best]


def _logit(score: float | np.float32) -> float:
    bounded = min(max(float(score), _MIN_ANSWER), 1 - 1e-3)
    return float(np.log(bounded / (1 - bounded)))
