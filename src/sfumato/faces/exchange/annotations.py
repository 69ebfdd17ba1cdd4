"""Annotations: what a file of any format says about images, as columns, not a million small objects."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import TableError

DECIMALS = 4
"""Digits after the point of a pixel in a written file: a tenth of what may be lost."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """Images that somebody examined, and the boxes in them; there may be none in an image.

    Attributes:
        origin: name of the file or folder, which becomes the source of each box.
        names: of the images as the file has them, each once.
        owner: (n,) int64, index into `names` of the image of each box, never falling.
        xyxy: (n, 4) float64: half-open boxes in pixels, or in fractions of width and height.
        score: (n,) float64 in 0..1.
        kind: n words.
        relative: boxes are fractions.
        by_stem: names lack the ending of the image file.
        sizes: (width, height) in pixels by index into `names`, where the file has them.
        extra: JSON object of the fields that only this format knows, by index of the box.
        image_extra: the same, by index into `names`.
        file_extra: the same, of the whole file.
    """

    origin: str
    names: Sequence[str]
    owner: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    kind: Sequence[str]
    relative: bool = False
    by_stem: bool = False
    sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    extra: Mapping[int, str] = field(default_factory=dict)
    image_extra: Mapping[int, str] = field(default_factory=dict)
    file_extra: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Hash of everything in here, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for array_ in (self.owner, self.xyxy, self.score):
            digest.update(array_.tobytes())
        words = [self.origin, self.relative, self.by_stem, self.file_extra]
        words += [sorted(part.items()) for part in (self.sizes, self.extra, self.image_extra)]
        digest.update(json.dumps(words, sort_keys=True).encode())
        for texts in (self.names, self.kind):
            digest.update(b"\0\0" + "\0".join(texts).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def boxes_of(self) -> Iterator[tuple[int, range]]:
        """Each image's index with the range of its boxes, in order."""
        ends = np.searchsorted(self.owner, np.arange(len(self.names)), side="right").tolist()
        start = 0
        for row, end in enumerate(ends):
            yield row, range(start, end)
            start = end

    def fractions(self) -> NDArray[np.float64]:
        """Boxes as fractions of width and height, (n, 4), whichever they are in here.

        Raises:
            TableError: the size of an image is not known.
        """
        if self.relative or not len(self.xyxy):
            return self.xyxy
        sizes = np.array([self.size_of(row) for row in self.owner.tolist()], dtype=np.float64)
        return np.asarray(np.round(self.xyxy / np.hstack([sizes, sizes]), 9))

    def size_of(self, row: int) -> tuple[int, int]:
        """Width and height in pixels of an image.

        Raises:
            TableError: they are not known.
        """
        if row not in self.sizes:
            raise TableError(
                f"{self.origin}: the size of {self.names[row]} is not known, and this format needs it; "
                "give the data set that the faces belong to"
            )
        return self.sizes[row]


class Collector:
    """Gathers annotations while a file is read: first an image, then its boxes."""

    def __init__(self, path: Path, *, relative: bool = False, by_stem: bool = False) -> None:
        self._path = path
        self._flags = {"relative": relative, "by_stem": by_stem}
        self._names: list[str] = []
        self._owner, self._xyxy, self._score = array("q"), array("d"), array("d")
        self._kind: list[str] = []
        self._sizes: dict[int, tuple[int, int]] = {}
        self._extra: dict[int, str] = {}
        self._image_extra: dict[int, str] = {}

    def image(self, name: Any, size: tuple[Any, Any] | None = None, extra: Any = None) -> None:
        """Begin an image; raises TypeError or ValueError for what is no name or size."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"the image's name is {name!r}")
        if size is not None and not (int(size[0]) > 0 and int(size[1]) > 0):
            raise ValueError(f"the image's size is {size[0]} x {size[1]}")
        if size is not None:
            self._sizes[len(self._names)] = int(size[0]), int(size[1])
        if extra:
            self._image_extra[len(self._names)] = json.dumps(extra, ensure_ascii=False, default=str)
        self._names.append(name)

    def box(self, xyxy: Sequence[float], score: float = 1.0, kind: str = "face", extra: Any = None) -> None:
        """Add a box to the image begun last; raises TypeError or ValueError for what is no number."""
        if len(xyxy) != 4:
            raise ValueError(f"a box has four numbers, not {len(xyxy)}")
        if not isinstance(kind, str) or not kind:
            raise TypeError(f"the kind of a box is {kind!r}")
        self._xyxy.extend(xyxy)
        self._score.append(score)
        if extra:
            self._extra[len(self._owner)] = json.dumps(extra, ensure_ascii=False, default=str)
        self._owner.append(len(self._names) - 1)
        self._kind.append(kind)

    def done(self, file_extra: Mapping[str, Any] | None = None) -> Annotations:
        """What was gathered.

        Raises:
            TableError: a box that is none, a score outside 0..1, or an image with two records.
        """
        xyxy = np.frombuffer(self._xyxy, dtype=np.float64).reshape(-1, 4)
        score = np.frombuffer(self._score, dtype=np.float64)
        owner = np.frombuffer(self._owner, dtype=np.int64)
        with np.errstate(invalid="ignore"):
            self._refuse(
                owner, ~np.isfinite(xyxy).all(axis=1), "a box holds a value that is no finite number"
            )
            ends_before = (xyxy[:, 2:] < xyxy[:, :2]).any(axis=1)
            self._refuse(owner, ends_before, "a box ends before it starts (x1 < x0 or y1 < y0)")
            self._refuse(owner, ~((score >= 0) & (score <= 1)), "a score is not between 0 and 1")
        self._refuse_twice()
        return Annotations(
            self._path.name,
            self._names,
            owner,
            xyxy,
            score,
            self._kind,
            **self._flags,
            sizes=self._sizes,
            extra=self._extra,
            image_extra=self._image_extra,
            file_extra=file_extra or {},
        )

    def _refuse(self, owner: NDArray[np.int64], wrong: Any, reason: str) -> None:
        if wrong.any():
            row = int(owner[wrong.argmax()])
            raise TableError(f"{self._path}: record {row} ({self._names[row]}): {reason}")

    def _refuse_twice(self) -> None:
        if len(set(self._names)) == len(self._names):
            return
        seen: set[str] = set()
        for row, name in enumerate(self._names):
            if name in seen:
                raise TableError(f"{self._path}: record {row}: {name} has a record already; leave one")
            seen.add(name)


def without(record: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields of a record besides the known ones."""
    return {key: value for key, value in record.items() if key not in known}


def decoded(extra: Mapping[int, str], row: int) -> dict[str, Any]:
    """The unknown fields that were kept for a row; none gives {}."""
    value = json.loads(extra.get(row) or "{}")
    return value if isinstance(value, dict) else {}


def rounded(values: NDArray[np.float64], decimals: int = DECIMALS) -> list[Any]:
    """Numbers for a text file, nested as the array: rounded, whole ones as int."""
    return [_plain(value) for value in np.round(values, decimals).tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if value == int(value) else value
