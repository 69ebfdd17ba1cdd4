"""Detectors that look once: one network, the whole image, one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from sfumato.detect.detector import check_long_side, check_min_score
from sfumato.detect.networks.runtime import OnnxNetwork
from sfumato.detect.networks.views import MAX_IOU, as_faces, look_at_all, scaled
from sfumato.detect.networks.weights import Weights
from sfumato.faces import Faces
from sfumato.images import Pixels


@dataclass(frozen=True)
class SinglePass:
    """What the detectors of the network families have in common.

    A subclass gives `name` and `family`, the class of its network, and says whether there are `packaged`
    weights.

    Attributes:
        min_score: faces below this are left out, 0..1.
        long_side: the image's longer side is scaled to this many pixels for the pass; a file whose input has
            a fixed size is shown the image as large as fits in it.
        path: ONNX file of this family; empty for the weights that come with Sfumato.
    """

    name: ClassVar[str]
    family: ClassVar[type[OnnxNetwork]]
    packaged: ClassVar[Weights | None] = None

    min_score: float = 0.5
    long_side: int = 640
    path: str = ""

    def __post_init__(self) -> None:
        check_min_score(self.min_score)
        check_long_side(self.long_side)
        if not isinstance(self.path, str):
            raise ValueError(f"path must be the name of a file in quotes, not {self.path!r}")
        if not self.path and self.packaged is None:
            raise ValueError(f"no weights of {self.name} come with Sfumato; give path='file.onnx'")

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The weights that it uses.

        Raises:
            SfumatoError: the file cannot be read.
        """
        return (Weights.of_file(self.path, self.name) if self.path else self._packaged(),)

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the fields: the hash of a file of the user's.

        Raises:
            SfumatoError: the file cannot be read.
        """
        return {"weights": self.weights[0].sha256} if self.path else {}

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image, best first; see `sfumato.detect.Detector`."""
        network = self.family(self.weights[0])
        views = [scaled(image, self.long_side, network.sides) for image in images]
        found = look_at_all(network, views, min_score=self.min_score)
        return [
            as_faces(candidates.distinct(max_iou=MAX_IOU), image, source=self.name)
            for candidates, image in zip(found, images, strict=True)
        ]

    def _packaged(self) -> Weights:
        assert self.packaged is not None
        return self.packaged
