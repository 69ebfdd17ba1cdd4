"""Boxes that somebody else knows: a file of any format that can be imported, or a face table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sfumato.faces.exchange.annotations import Annotations
from sfumato.faces.exchange.catalogue import BoxFormat
from sfumato.faces.exchange.study import StudyJson
from sfumato.faces.record import Faces
from sfumato.faces.table import read_faces


def read_known_boxes(path: Path) -> Mapping[str, Faces]:
    """Read known boxes by image id, from a folder of `sfumato detect` or from the study's JSON.

    The JSON is a list of `{"url": "train/n01/a.jpg", "bboxes": [{"x0", "y0", "x1", "y1"}]}`, pixels of the
    upright image; an image with an empty list is one without faces.

    Raises:
        TableError: no such file, or not that format; the message names the record.
        ManifestError: a folder that is no face table.
    """
    path = Path(path)
    if path.is_dir():
        table = read_faces(path)
        return {image_id: table.of(image_id) for image_id, status in table.status.items() if status == "ok"}
    return _ByName(read_box_file(path, StudyJson()))


def read_box_file(path: Path, box_format: BoxFormat) -> KnownBoxes:
    """Read known boxes from a file, or folder, of any format of `sfumato faces import`.

    Raises:
        TableError: it is not of that format; the message names the record.
    """
    return KnownBoxes(box_format.read(Path(path)))


_NONE = Faces.of()


class KnownBoxes:
    """Faces by the name that a file has for the image; a million records are columns, not objects."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self._row = {name: row for row, name in enumerate(annotations.names)}
        self._starts = np.searchsorted(annotations.owner, np.arange(len(annotations) + 1))

    def __contains__(self, name: str) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def size(self, name: str) -> tuple[int, int] | None:
        """Width and height in pixels that the file states; None where it states none, or has fractions."""
        return None if self.annotations.relative else self.annotations.sizes.get(self._row[name])

    def faces(self, name: str, size: tuple[int, int] = (1, 1)) -> Faces:
        """The faces of an image of (width, height) pixels, to which boxes in fractions are scaled."""
        whole, row = self.annotations, self._row[name]
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        if start == end:
            return _NONE
        boxes = whole.xyxy[start:end]
        return Faces.of(
            boxes * np.array([*size, *size]) if whole.relative else boxes,
            whole.score[start:end],
            kind=whole.kind[start:end],
            source=whole.origin,
        )


class _ByName(Mapping[str, Faces]):
    """Known boxes in pixels as a mapping; faces are made when they are asked for."""

    def __init__(self, known: KnownBoxes) -> None:
        self._known = known

    def __getitem__(self, name: str) -> Faces:
        if name not in self._known:
            raise KeyError(name)
        return self._known.faces(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
