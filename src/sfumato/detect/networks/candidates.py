"""Candidates: what one network proposes in one image, before anything is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import Boxes, nms

_SWAPPED_EYES_AND_CORNERS = [1, 0, 2, 4, 3]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Boxes with landmarks that a network proposes.

    Attributes:
        xyxy: (n, 4) float32, pixels.
        score: (n,) float32, the network's own, not comparable between networks.
        points: (n, 5, 2) float32 x, y in pixels: left eye, right eye, nose, left and right corner of the
            mouth, left as the viewer sees it; not numbers where the network gives none.
    """

    xyxy: Boxes
    score: NDArray[np.float32]
    points: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Candidates:
        """The candidates that a mask or an index array selects, in that order."""
        return Candidates(self.xyxy[rows], self.score[rows], self.points[rows])

    def moved(self, scale: float, x: float = 0.0, y: float = 0.0) -> Candidates:
        """Candidates of a view in pixels of its image: divided by the scale, then shifted by x and y."""
        shift = np.array([x, y], dtype=np.float32)
        factor = np.float32(1 / scale)
        return Candidates(self.xyxy * factor + np.tile(shift, 2), self.score, self.points * factor + shift)

    def mirrored(self, width: int) -> Candidates:
        """Candidates as they lie in the picture of this width turned left to right."""
        boxes, points = self.xyxy.copy(), self.points[:, _SWAPPED_EYES_AND_CORNERS]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        points[:, :, 0] = width - points[:, :, 0]
        return Candidates(boxes, self.score, points)

    def distinct(self, *, max_iou: float) -> Candidates:
        """What is left when, of boxes that overlap more than this, only the best is kept; best first."""
        return self[nms(self.xyxy, self.score, max_iou=max_iou)]


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Candidates of several views, one after the other."""
    if not parts:
        zero = np.zeros(0, dtype=np.float32)
        return Candidates(zero.reshape(0, 4), zero, zero.reshape(0, 5, 2))
    return Candidates(
        np.concatenate([part.xyxy for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.points for part in parts]),
    )
