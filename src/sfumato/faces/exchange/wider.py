"""WIDER FACE text: a line with the image, one with the number of faces, one for each face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded
from sfumato.records import write_atomic
from sfumato.text_files import in_record, read_text

_INVALID = 3
"""Place among the six attributes of a face (blur, expression, illumination, invalid, occlusion, pose)."""


@dataclass(frozen=True)
class Wider:
    """Pixels: `x y width height`, then nothing, a score (results), or six attributes (annotations).

    A face whose attribute "invalid" is 1 has the kind "ignore"; the attributes are kept. An image without
    faces has the count 0 and one line of zeros, which may be missing when read.
    """

    name: ClassVar[str] = "wider"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read the file.

        Raises:
            TableError: not this format; the message names the image or line.
        """
        collector = Collector(path)
        lines = [line.strip() for line in read_text(path).splitlines()]
        at = 0
        while at < len(lines):
            if lines[at]:
                at = _read_image(collector, path, lines, at)
            else:
                at += 1
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file; a score stands after a face that has one and no attributes."""
        write_atomic(path, "".join(f"{line}\n" for line in _lines(annotations)).encode())


def _read_image(collector: Collector, path: Path, lines: list[str], at: int) -> int:
    """Read the image whose name is on this line; returns the line after its last face."""
    name = lines[at]
    with in_record(path, f"in line {at + 1} ({name})"):
        collector.image(name)
        if at + 1 == len(lines):
            raise ValueError("the number of faces is missing")
        count = int(lines[at + 1])
        faces = lines[at + 2 : at + 2 + count]
        if count < 0 or len(faces) < count:
            raise ValueError(f"{count} faces are announced, {len(faces)} lines follow")
        for face in faces:
            _read_face(collector, face.split())
    after = at + 2 + count
    if count == 0 and after < len(lines) and lines[after] and not set(lines[after]) - set("0 "):
        after += 1
    return after


def _read_face(collector: Collector, words: list[str]) -> None:
    if len(words) not in (4, 5, 10):
        raise ValueError(f"a face has 4, 5 or 10 numbers, not {len(words)}: {' '.join(words)}")
    x, y, width, height = map(float, words[:4])
    score = float(words[4]) if len(words) == 5 else 1.0
    attributes = [int(word) for word in words[4:]] if len(words) == 10 else []
    kind = "ignore" if attributes and attributes[_INVALID] == 1 else "face"
    collector.box(
        (x, y, x + width, y + height), score, kind, {"attributes": attributes} if attributes else None
    )


def _lines(annotations: Annotations) -> Iterator[str]:
    xyxy = annotations.xyxy
    xywh = rounded(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))
    for row, boxes in annotations.boxes_of():
        if "\n" in annotations.names[row]:
            raise TableError(
                f"{annotations.names[row]!r}: a name with a line break has no place in this format"
            )
        yield annotations.names[row]
        yield str(len(boxes))
        for at in boxes:
            words = [*xywh[at], *decoded(annotations.extra, at).get("attributes", [])]
            if len(words) == 4 and annotations.score[at] != 1:
                words.append(float(annotations.score[at]))
            yield " ".join(map(str, words))
        if not len(boxes):
            yield " ".join(["0"] * 10)
