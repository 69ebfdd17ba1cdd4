"""Boxes that somebody else knows: the study's annotation JSON, or a face table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sfumato.faces.exchange.annotations import Annotations
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
    return _Known(StudyJson().read(path))


_NONE = Faces.of()


class _Known(Mapping[str, Faces]):
    """Faces by name, made when asked for: a million records take columns, not a million objects."""

    def __init__(self, annotations: Annotations) -> None:
        self._annotations = annotations
        self._row = {name: row for row, name in enumerate(annotations.names)}
        self._starts = np.searchsorted(annotations.owner, np.arange(len(annotations) + 1))

    def __getitem__(self, name: str) -> Faces:
        whole, row = self._annotations, self._row[name]
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        if start == end:
            return _NONE
        return Faces.of(
            whole.xyxy[start:end],
            whole.score[start:end],
            kind=whole.kind[start:end],
            source=whole.origin,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
