"""SCRFD: InsightFace's face detectors. Their weights are the user's to bring; the published ones are for
non-commercial research only.

Guo, Deng, Lattas, Zafeiriou: Sample and Computation Redistribution for Efficient Face Detection, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfumato.detect.networks.candidates import Candidates, joined
from sfumato.detect.networks.runtime import OnnxNetwork, Tensor
from sfumato.detect.networks.single_pass import SinglePass
from sfumato.detect.networks.views import Batch

_STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class ScrfdNetwork(OnnxNetwork):
    """SCRFD with or without landmarks, with three or five strides, on pictures (n, h, w, 3) uint8 RGB."""

    def __call__(self, batch: Batch, *, min_score: float) -> list[Candidates]:
        """Candidates of each picture; see `sfumato.detect.networks.views.Network`.

        Raises:
            SfumatoError: the file's outputs are not SCRFD's.
        """
        pixels = ((batch.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2)
        # The published files join pictures and anchors in one axis, so each picture goes alone.
        return [self._one(picture[None], min_score) for picture in pixels]

    def _one(self, picture: Tensor, min_score: float) -> Candidates:
        outputs = self.graph.run(picture)
        levels = _levels(outputs, *picture.shape[2:])
        if not levels:
            raise self.refused(
                "expected for 3 or 5 strides 1 score, 4 distances and perhaps 10 values of landmarks an "
                "anchor",
                outputs,
            )
        return joined([decode(level, min_score=min_score) for level in levels])


@dataclass(frozen=True)
class Scrfd(SinglePass):
    """One pass of SCRFD over the whole image; attributes as `SinglePass` has them."""

    name: ClassVar[str] = "scrfd"
    family: ClassVar[type[OnnxNetwork]] = ScrfdNetwork

    min_score: float = 0.5


@dataclass(frozen=True, eq=False)
class Level:
    """The outputs of one stride.

    Attributes:
        stride: pixels of the input for one cell.
        columns: cells in a row.
        score: (anchors,); anchors by row, then column, then number in the cell.
        distance: (anchors, 4) from the cell's corner to the left, upper, right and lower side, in strides.
        landmark: (anchors, 10) x, y from the cell's corner, in strides; not numbers where there are none.
        per_cell: anchors of one cell.
    """

    stride: int
    columns: int
    score: Tensor
    distance: Tensor
    landmark: Tensor
    per_cell: int


def decode(level: Level, *, min_score: float) -> Candidates:
    """Candidates of one stride, in pixels of the network's input, not yet suppressed.

    Args:
        level: outputs.
        min_score: anchors below this are no candidates.
    """
    rows = np.flatnonzero(level.score >= min_score)
    cells = rows // level.per_cell
    corner = np.stack([cells % level.columns, cells // level.columns], axis=1) * np.float32(level.stride)
    distance = level.distance[rows] * level.stride
    boxes = np.hstack([corner - distance[:, :2], corner + distance[:, 2:]])
    points = corner[:, None] + level.landmark[rows].reshape(-1, 5, 2) * level.stride
    return Candidates(boxes.astype(np.float32), level.score[rows], points.astype(np.float32))


def _levels(outputs: Sequence[Tensor], height: int, width: int) -> list[Level]:
    """The outputs of one picture by stride, whatever their order and names; empty where they do not fit."""
    parts: dict[int, list[Tensor]] = {1: [], 4: [], 10: []}
    for output in outputs:
        parts.get(output.shape[-1], []).append(output.reshape(-1, output.shape[-1]))
    scores, distances, landmarks = (sorted(part, key=len, reverse=True) for part in parts.values())
    if len(scores) not in (3, 5) or len(distances) != len(scores) or len(landmarks) not in (0, len(scores)):
        return []
    landmarks = landmarks or [np.full((len(score), 10), np.nan, dtype=np.float32) for score in scores]
    levels = []
    for stride, score, distance, landmark in zip(_STRIDES, scores, distances, landmarks, strict=False):
        columns = -(-width // stride)
        cells = columns * -(-height // stride)
        if len(score) % cells or not len(score) == len(distance) == len(landmark):
            return []
        levels.append(Level(stride, columns, score[:, 0], distance, landmark, len(score) // cells))
    return levels
