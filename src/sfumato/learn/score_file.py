"""All scores of a model, as a file beside its predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class ScoreFile:
    """A float16 array on disk that appears under its name when it is whole; rows not put are NaN."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.temporary = path, path.with_suffix(".tmp.npy")
        self.scores = np.lib.format.open_memmap(self.temporary, mode="w+", dtype=np.float16, shape=shape)
        self.scores[:] = np.nan

    def put(self, rows: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Write some rows, (n, columns); what float16 cannot hold becomes its largest number."""
        limit = float(np.finfo(np.float16).max)
        self.scores[rows] = np.clip(scores, -limit, limit).astype(np.float16)

    def close(self) -> None:
        """Give the file its name."""
        self.scores.flush()
        self.temporary.replace(self.path)
