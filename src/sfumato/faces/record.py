"""Faces: the faces of one image as parallel arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.boxes import Boxes, as_boxes
from sfumato.errors import BoxError


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one image; there may be none.

    Attributes:
        xyxy: (n, 4) float32, pixels of the upright image, half open.
        score: (n,) float32 in 0..1; 1 for boxes that a person drew.
        kind: n words: "face", and what a policy adds ("photo", "depicted", "sensitive").
        source: n words: the detector, person or file that each box comes from.
    """

    xyxy: Boxes
    score: NDArray[np.float32]
    kind: tuple[str, ...]
    source: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.xyxy)
        if not (
            self.xyxy.shape == (n, 4) and self.score.shape == (n,) and len(self.kind) == len(self.source) == n
        ):
            raise BoxError(
                f"faces need parallel arrays: {self.xyxy.shape} boxes, {self.score.shape} scores, "
                f"{len(self.kind)} kinds, {len(self.source)} sources"
            )

    @classmethod
    def of(
        cls,
        xyxy: ArrayLike = (),
        score: ArrayLike | None = None,
        *,
        kind: str | Sequence[str] = "face",
        source: str | Sequence[str] = "",
    ) -> Faces:
        """Faces from anything like boxes; one kind or source serves all, scores default to 1.

        Raises:
            BoxError: no boxes (see `sfumato.boxes.as_boxes`), or lengths that differ.
        """
        boxes = as_boxes(xyxy)
        n = len(boxes)
        scores = (
            np.ones(n, dtype=np.float32) if score is None else np.asarray(score, dtype=np.float32).reshape(-1)
        )
        kinds = (kind,) * n if isinstance(kind, str) else tuple(kind)
        sources = (source,) * n if isinstance(source, str) else tuple(source)
        return cls(boxes, scores, kinds, sources)

    @classmethod
    def joined(cls, parts: Sequence[Faces]) -> Faces:
        """Faces of several records, one after the other."""
        return cls.of(
            [box for part in parts for box in part.xyxy],
            [score for part in parts for score in part.score],
            kind=[kind for part in parts for kind in part.kind],
            source=[source for part in parts for source in part.source],
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Faces:
        """The faces that a mask or an index array selects, in that order."""
        rows = np.arange(len(self))[index]
        return Faces(
            self.xyxy[rows],
            self.score[rows],
            tuple(self.kind[row] for row in rows),
            tuple(self.source[row] for row in rows),
        )

    def select(self, *, min_score: float = 0.0) -> Faces:
        """Faces with at least this score."""
        return self[self.score >= np.float32(min_score)]
