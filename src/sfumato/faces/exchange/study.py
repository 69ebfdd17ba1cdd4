"""The study's JSON: a list of `{"url": "train/n01/a.JPEG", "bboxes": [{"x0", "y0", "x1", "y1"}]}`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded, without
from sfumato.records import write_atomic
from sfumato.text_files import in_record, iterate_objects

_ENDS = ("x0", "y0", "x1", "y1")
_BOX = (*_ENDS, "score", "kind")


@dataclass(frozen=True)
class StudyJson:
    """Pixels; an image without faces has an empty list.

    The study worked on pixels as stored, whatever the EXIF orientation. `score` and `kind` are written where
    they differ from 1 and "face"; other fields of a record or box are kept.
    """

    name: ClassVar[str] = "study"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read the file, a piece at a time.

        Raises:
            TableError: not this format; the message names the record.
        """
        collector = Collector(path)
        for number, record in enumerate(iterate_objects(path, "a list of records with url and bboxes")):
            try:  # not `in_record`, which costs a second for a million records
                _read_record(collector, record)
            except (KeyError, TypeError, ValueError) as error:
                with in_record(path, f"{number} (of url, bboxes)"):
                    raise error
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file."""
        write_atomic(path, "".join(_lines(annotations, rounded(annotations.xyxy))).encode())


def write_exact(annotations: Annotations, path: Path) -> None:
    """Write the study's JSON with every digit of the boxes, where others write rounded pixels.

    Read back as float32 they are the same boxes, so that what was hidden can be hidden again and compared.
    """
    write_atomic(path, "".join(_lines(annotations, annotations.xyxy.tolist())).encode())


def _read_record(collector: Collector, record: Mapping[str, Any]) -> None:
    boxes = record["bboxes"]
    if not isinstance(boxes, list):
        raise TypeError(f"bboxes is {type(boxes).__name__}")
    collector.image(record["url"], None, without(record, "url", "bboxes") if len(record) > 2 else None)
    for box in boxes:
        ends = (box["x0"], box["y0"], box["x1"], box["y1"])
        if len(box) == 4:
            collector.box(ends)
        else:
            collector.box(ends, box.get("score", 1.0), box.get("kind", "face"), without(box, *_BOX))


def _lines(annotations: Annotations, xyxy: Sequence[Sequence[float]]) -> Iterator[str]:
    mark = "[\n"
    for row, boxes in annotations.boxes_of():
        record = {"url": annotations.names[row], "bboxes": [_box(annotations, at, xyxy) for at in boxes]}
        record |= decoded(annotations.image_extra, row)
        yield mark + json.dumps(record, ensure_ascii=False)
        mark = ",\n"
    yield "\n]\n" if len(annotations) else "[]\n"


def _box(annotations: Annotations, at: int, xyxy: Sequence[Sequence[float]]) -> dict[str, Any]:
    box: dict[str, Any] = dict(zip(_ENDS, xyxy[at], strict=True))
    if annotations.score[at] != 1:
        box["score"] = float(annotations.score[at])
    if annotations.kind[at] != "face":
        box["kind"] = annotations.kind[at]
    return box | decoded(annotations.extra, at)
