"""Views: an image enlarged, reduced or cut for a network, and candidates brought back to its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import area, clip
from sfumato.detect.candidates import Candidates
from sfumato.faces import Faces
from sfumato.images import Pixels

Batch = NDArray[np.uint8]
"""Pictures of one size, (n, h, w, 3) uint8 RGB."""

MULTIPLE = 32
"""Both networks need sides that are multiples of this."""

MAX_IOU = 0.4
"""Boxes that one network finds in one image and that overlap more are the same face."""


class Network(Protocol):
    """A face detection network: pixels in, candidates in the same pixels out."""

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
    """

    pixels: Pixels
    scale: float
    x: float = 0.0
    y: float = 0.0
    is_mirrored: bool = False

    def mirrored(self) -> View:
        """The same view turned left to right."""
        return replace(self, pixels=self.pixels[:, ::-1], is_mirrored=not self.is_mirrored)


def scaled(image: Pixels, long_side: int) -> View:
    """The whole image with its longer side scaled to `long_side` pixels: padded, never distorted."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    picture = _resized(image, scale)
    ground = _ground(_up(picture.shape[0]), _up(picture.shape[1]))
    ground[: picture.shape[0], : picture.shape[1]] = picture
    return View(ground, scale)


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
    """What the network proposes in a view, in pixels of the view's image.

    One view at a time: on a processor, batches are no faster (measured for sides of 96 to 384 pixels).
    """
    (found,) = network(view.pixels[None], min_score=min_score)
    if view.is_mirrored:
        found = found.mirrored(view.pixels.shape[1])
    return found.moved(view.scale, view.x, view.y)


def as_faces(candidates: Candidates, image: Pixels, *, source: str) -> Faces:
    """Candidates as faces, cut to the image; what lies outside it is left out."""
    boxes = clip(candidates.xyxy, image.shape[1], image.shape[0])
    inside = area(boxes) > 0
    return Faces.of(boxes[inside], np.clip(candidates.score[inside], 0, 1), source=source)


def single_pass(network: Network, image: Pixels, long_side: int, *, min_score: float, source: str) -> Faces:
    """Faces that a network finds in one look at the whole image, best first."""
    candidates = look(network, scaled(image, long_side), min_score=min_score)
    return as_faces(candidates.distinct(max_iou=MAX_IOU), image, source=source)
