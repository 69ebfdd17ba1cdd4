"""Versions: which faces somebody was shown, as a short text, and faces to and from rows of the log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sfumato.faces import Faces
from sfumato.review.model import BoxRow, Record


def version(parent: int, faces: Faces) -> str:
    """Name of what a person is shown: the record that it comes from (0 for the face table) and its faces."""
    digest = hashlib.sha256(b"%d\0" % parent)
    digest.update(faces.xyxy.tobytes())
    digest.update("\0".join((*faces.kind, *faces.source)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def rows_of(faces: Faces) -> tuple[BoxRow, ...]:
    """Faces as rows of the log."""
    rows = zip(faces.xyxy.tolist(), faces.kind, faces.source, strict=True)
    return tuple((x0, y0, x1, y1, kind, source) for (x0, y0, x1, y1), kind, source in rows)


def faces_of(rows: Iterable[BoxRow]) -> Faces:
    """Rows of the log as faces, with score 1: a person said so."""
    rows = tuple(rows)
    return Faces.of([row[:4] for row in rows], kind=[row[4] for row in rows], source=[row[5] for row in rows])


def faces_in(record: Record) -> Faces:
    """The faces of a record."""
    return faces_of(record.faces)
