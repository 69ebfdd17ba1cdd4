"""Views: an image enlarged, reduced or cut for a network, and candidates brought back to its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area, clip
from sfumato.detect.networks.candidates import Candidates
from sfumato.faces import Faces
from sfumato.images import Pixels

Batch = NDArray[np.uint8]
"""Pictures of one size, (n, h, w, 3) uint8 RGB."""

MULTIPLE = 32
"""The networks need sides that are multiples of this."""

MAX_IOU = 0.4
"""Boxes that one network finds in one image and that overlap more are the same face."""


EDGE = 2
"""A candidate within this many pixels of a side that cuts through the image may be part of a face."""


class Network(Protocol):
    """A face detection network: pixels in, candidates in the same pixels out."""

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of its pictures where they are fixed; None: any multiples of 32."""

    @property
    def most(self) -> int:
        """Number of pictures of one size that are best given at once."""

    def __call__(self, batch: Batch, *, min_score: float) -> list[Candidates]:
        """Candidates of each picture of (n, h, w, 3) uint8 RGB, sides multiples of 32."""


@dataclass(frozen=True, eq=False)
class View:
    """A picture for a network: an image, or a part of it, scaled and framed.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, sides multiples of 32.
        scale: pixels of the view for one of the image.
        x, y: where the view's corner lies in the image, in its pixels; it may lie outside.
        is_mirrored: turned left to right, about the middle of the view.
        cut: whether the left, upper, right and lower side of what is shown cuts through the image.
        shown: height and width of what is shown of the image, in pixels of the view; None for all of it.
    """

    pixels: Pixels
    scale: float
    x: float = 0.0
    y: float = 0.0
    is_mirrored: bool = False
    cut: tuple[bool, bool, bool, bool] = (False, False, False, False)
    shown: tuple[int, int] | None = None

    def mirrored(self) -> View:
        """The same view turned left to right."""
        return replace(self, pixels=self.pixels[:, ::-1], is_mirrored=not self.is_mirrored)

    def whole(self, candidates: Candidates) -> Candidates:
        """Candidates, in pixels of this view as it was before mirroring, that no side of it cuts in two.

        Another tile shows those whole.
        """
        if not any(self.cut):
            return candidates
        height, width = self.shown or self.pixels.shape[:2]
        box = candidates.xyxy
        beyond = np.stack(
            [box[:, 0] < EDGE, box[:, 1] < EDGE, box[:, 2] > width - EDGE, box[:, 3] > height - EDGE]
        )
        return candidates[~(beyond & np.array(self.cut)[:, None]).any(axis=0)]


def scaled(image: Pixels, long_side: int, sides: tuple[int, int] | None = None) -> View:
    """The whole image with its longer side scaled to `long_side` pixels: padded, never distorted.

    Args:
        image: pixels.
        long_side: of the scaled image; not heeded where `sides` is given.
        sides: height and width of the view; the image is made as large as fits. None: just large enough.
    """
    height, width = image.shape[:2]
    if sides is None:
        scale = long_side / max(height, width)
        sides = _up(max(1, round(height * scale))), _up(max(1, round(width * scale)))
    else:
        scale = min(sides[0] / height, sides[1] / width)
    picture = _resized(image, scale)[: sides[0], : sides[1]]
    ground = _ground(*sides)
    ground[: picture.shape[0], : picture.shape[1]] = picture
    return View(ground, scale)


def tiles(image: Pixels, scale: float, *, side: int, overlap: int) -> Iterator[View]:
    """The image, scaled, as views of at most `side` pixels that overlap; one view where it is small enough.

    Every square of `overlap` pixels lies whole in one of them.
    """
    picture = _resized(image, scale)
    height, width = picture.shape[:2]
    for top, bottom in _cuts(height, side, overlap):
        for left, right in _cuts(width, side, overlap):
            part = picture[top:bottom, left:right]
            ground = _ground(_up(part.shape[0]), _up(part.shape[1]))
            ground[: part.shape[0], : part.shape[1]] = part
            inner = (left > 0, top > 0, right < width, bottom < height)
            yield View(ground, scale, left / scale, top / scale, cut=inner, shown=part.shape[:2])


def _cuts(length: int, side: int, overlap: int) -> list[tuple[int, int]]:
    """Starts and ends of stretches of equal length, at most `side`, that cover `length` and overlap."""
    count = max(1, -(-(length - overlap) // (side - overlap)))
    size = min(length, -(-(length + (count - 1) * overlap) // count))
    return [
        (start, start + size)
        for start in (round(k * (length - size) / max(1, count - 1)) for k in range(count))
    ]


def cutout(image: Pixels, box: NDArray[np.float32], *, size: int, context: float) -> View:
    """A square around a box, scaled so that the box's longer side has `size` pixels.

    Args:
        image: pixels.
        box: x0, y0, x1, y1 within the image, in its pixels, not empty.
        size: longer side of the box in the view, in pixels.
        context: side of the square, in longer sides of the box.
    """
    side = _up(round(size * context))
    scale = size / float(max(box[2] - box[0], box[3] - box[1]))
    corner = (box[:2] + box[2:]) / 2 - side / scale / 2
    # Whole pixels of the image are cut; what lies beyond it stays black.
    x0, y0 = np.maximum(np.floor(corner), 0).astype(int)
    x1, y1 = np.ceil(corner + side / scale).astype(int)
    part = _resized(image[y0:y1, x0:x1], scale)
    left, top = (max(0, round(float(gap))) for gap in (np.array([x0, y0]) - corner) * scale)
    part = part[: side - top, : side - left]
    ground = _ground(side, side)
    ground[top : top + part.shape[0], left : left + part.shape[1]] = part
    return View(ground, scale, float(x0 - left / scale), float(y0 - top / scale))


def _resized(image: Pixels, scale: float) -> Pixels:
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return image
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)


def _ground(height: int, width: int) -> Pixels:
    return np.zeros((height, width, 3), dtype=np.uint8)


def _up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


def look(network: Network, view: View, *, min_score: float) -> Candidates:
    """What the network proposes in a view, in pixels of the view's image."""
    return look_at_all(network, [view], min_score=min_score)[0]


def look_at_all(network: Network, views: Sequence[View], *, min_score: float) -> list[Candidates]:
    """What the network proposes in each view, in pixels of the view's image.

    Views of one size go through the network together, as many as it likes at once: on a processor one, where
    batches are no faster (measured for sides of 96 to 384 pixels) and may change the last bit of a score.
    """
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, view in enumerate(views):
        by_size.setdefault(view.pixels.shape, []).append(number)
    found: dict[int, Candidates] = {}
    for numbers in by_size.values():
        for start in range(0, len(numbers), network.most):
            part = numbers[start : start + network.most]
            answers = network(np.stack([views[number].pixels for number in part]), min_score=min_score)
            found |= {
                number: _brought_back(views[number], answer)
                for number, answer in zip(part, answers, strict=True)
            }
    return [found[number] for number in range(len(views))]


def _brought_back(view: View, found: Candidates) -> Candidates:
    if view.is_mirrored:
        found = found.mirrored(view.pixels.shape[1])
    return view.whole(found).moved(view.scale, view.x, view.y)


def as_faces(candidates: Candidates, image: Pixels, *, source: str) -> Faces:
    """Candidates as faces, cut to the image, best first; what lies outside it is left out."""
    candidates = candidates[np.flatnonzero(np.isfinite(candidates.xyxy).all(axis=1))]
    return within(Faces.of(candidates.xyxy, candidates.score, source=source), image)


def within(faces: Faces, image: Pixels) -> Faces:
    """Faces with boxes cut to the image and scores to 0..1, best first; what lies outside is left out."""
    boxes = clip(faces.xyxy, image.shape[1], image.shape[0])
    score = np.clip(faces.score, 0, 1)
    rows = np.flatnonzero(area(boxes) > 0)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return replace(faces, xyxy=boxes, score=score)[rows]
