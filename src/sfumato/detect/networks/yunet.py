"""YuNet: OpenCV's small anchor-free face detector. Its weights are the user's to bring.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfumato.detect.networks.candidates import Candidates, joined
from sfumato.detect.networks.runtime import OnnxNetwork, Tensor
from sfumato.detect.networks.single_pass import SinglePass
from sfumato.detect.networks.views import Batch

STRIDES = (8, 16, 32)
_PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


@dataclass(frozen=True)
class YuNetNetwork(OnnxNetwork):
    """YuNet as OpenCV's model zoo has it since 2023, on pictures (n, h, w, 3) uint8 RGB."""

    def __call__(self, batch: Batch, *, min_score: float) -> list[Candidates]:
        """Candidates of each picture; see `sfumato.detect.networks.views.Network`.

        Raises:
            SfumatoError: the file's outputs are not YuNet's.
        """
        graph = self.graph
        outputs = graph.run(batch[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32))
        named = dict(zip(graph.outputs, outputs, strict=True))
        height, width = batch.shape[1:3]
        for stride in STRIDES:
            cells = (len(batch), (height // stride) * (width // stride))
            for part, values in _PARTS.items():
                found = named.get(f"{part}_{stride}")
                if found is None or found.shape != (*cells, values):
                    raise self.refused(
                        f"expected cls_{stride}, obj_{stride}, bbox_{stride} and kps_{stride} with "
                        f"{cells[1]} cells",
                        outputs,
                    )
        return decode(named, width, min_score=min_score)


@dataclass(frozen=True)
class YuNet(SinglePass):
    """One pass of YuNet over the whole image; attributes as `SinglePass` has them.

    Trained for faces of 10 to 300 pixels of its input: with a large face in a large picture use a smaller
    long side.
    """

    name: ClassVar[str] = "yunet"
    family: ClassVar[type[OnnxNetwork]] = YuNetNetwork

    min_score: float = 0.6


def decode(outputs: Mapping[str, Tensor], width: int, *, min_score: float) -> list[Candidates]:
    """Candidates of each image of a batch, in pixels of the network's input, not yet suppressed.

    For the cell in column c and row r of a map with stride t: score sqrt(cls obj); centre
    ((c, r) + offset) t; sides exp(log sides) t; landmarks ((c, r) + offset) t.

    Args:
        outputs: "cls_8" (n, cells, 1), "obj_8" (n, cells, 1), "bbox_8" (n, cells, 4), "kps_8"
            (n, cells, 10), and the same for 16 and 32; cells by row, then by column.
        width: of the input, in pixels.
        min_score: cells below this are no candidates.
    """
    found = []
    for number in range(len(outputs["cls_8"])):
        levels = []
        for stride in STRIDES:
            cls, obj, bbox, kps = (outputs[f"{part}_{stride}"][number] for part in _PARTS)
            score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
            cells = np.flatnonzero(score >= min_score)
            corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
            centre = (corner + bbox[cells, :2]) * stride
            half = np.exp(bbox[cells, 2:]) * stride / 2
            points = (corner[:, None] + kps[cells].reshape(-1, 5, 2)) * stride
            boxes = np.hstack([centre - half, centre + half])
            levels.append(
                Candidates(
                    boxes.astype(np.float32), score[cells].astype(np.float32), points.astype(np.float32)
                )
            )
        found.append(joined(levels))
    return found
