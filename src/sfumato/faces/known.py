"""Boxes that somebody else knows: the study's annotation JSON, or a face table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfumato.errors import BoxError, TableError
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
    try:
        records = json.loads(path.read_bytes())
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TableError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(records, list):
        raise TableError(f"{path}: expected a list of records with url and bboxes")
    return dict(_record(path, number, record) for number, record in enumerate(records))


def _record(path: Path, number: int, record: Any) -> tuple[str, Faces]:
    try:
        boxes = [[box["x0"], box["y0"], box["x1"], box["y1"]] for box in record["bboxes"]]
        return str(record["url"]), Faces.of(boxes, source=path.name)
    except (KeyError, TypeError, ValueError, BoxError) as error:
        raise TableError(f"{path}: record {number} is not of the form url, bboxes ({error})") from error
