"""Formats that are tables: CSV with a row a face, and img2dataset's with a row an image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded, without
from sfumato.records import write_atomic, write_table
from sfumato.text_files import in_record, iterate_objects, read_text, write_json_text

_ENDS = ("x0", "y0", "x1", "y1")
_COLUMNS = ("image_id", *_ENDS, "score", "kind")


@dataclass(frozen=True)
class Csv:
    """A row a face, pixels: image_id, x0, y0, x1, y1, score, kind.

    An image without faces is a row with nothing but its id. The columns score and kind may be missing;
    further columns are kept.
    """

    name: ClassVar[str] = "csv"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read the file.

        Raises:
            TableError: a column is missing, or a row holds no box; the message names the line.
        """
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        by_image: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        try:
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                faces = by_image.setdefault(row["image_id"], [])
                if any(row[end] for end in _ENDS):
                    faces.append((reader.line_num, row))
        except csv.Error as error:
            raise TableError(f"{path}: no CSV after line {reader.line_num} ({error})") from error
        collector = Collector(path)
        for image_id, faces in by_image.items():
            with in_record(path, f"of '{image_id}'"):
                collector.image(image_id)
            for line, row in faces:
                with in_record(path, f"in line {line}"):
                    _read_row(collector, row)
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file."""
        extras = [decoded(annotations.extra, at) for at in range(len(annotations.xyxy))]
        further = list(dict.fromkeys(key for extra in extras for key in extra))
        xyxy, target = rounded(annotations.xyxy), io.StringIO(newline="")
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow([*_COLUMNS, *further])
        for row, boxes in annotations.boxes_of():
            name = annotations.names[row]
            for at in boxes:
                score = rounded(annotations.score[at : at + 1], 9)[0]
                kept = [extras[at].get(key, "") for key in further]
                writer.writerow([name, *xyxy[at], score, annotations.kind[at], *kept])
            if not len(boxes):
                writer.writerow([name, *[""] * (len(_COLUMNS) - 1 + len(further))])
        write_atomic(path, target.getvalue().encode())


def _check_columns(path: Path, found: Sequence[str]) -> None:
    for column in _COLUMNS[:5]:
        if column not in found:
            raise TableError(f"{path}: column '{column}' is missing; expected {', '.join(_COLUMNS)}")


def _read_row(collector: Collector, row: Mapping[Any, Any]) -> None:
    if None in row or None in row.values():
        raise ValueError("it has more or fewer fields than the first line")
    score = float(row["score"]) if row.get("score") else 1.0
    collector.box(
        [float(row[end]) for end in _ENDS], score, row.get("kind") or "face", without(row, *_COLUMNS)
    )


@dataclass(frozen=True)
class Img2dataset:
    """A row an image, in parquet or a JSON list: a key, and a list of [x0, y0, x1, y1] in 0..1.

    This is the column that img2dataset blurs by. It has boxes alone: neither score nor kind.

    Attributes:
        key: column of the image's key, path or URL.
        boxes: column of the boxes; null means that the image was not examined.
    """

    name: ClassVar[str] = "img2dataset"
    keeps: ClassVar[frozenset[str]] = frozenset({"extra"})

    key: str = "key"
    boxes: str = "face_bboxes"

    def read(self, path: Path) -> Annotations:
        """Read the file, as parquet where its name ends so, else as JSON.

        Raises:
            TableError: not this format; the message names the record.
        """
        collector = Collector(path, relative=True, by_stem=True)
        for number, record in enumerate(self._rows(path)):
            with in_record(path, number):
                if record[self.boxes] is None:
                    continue
                key = record[self.key]
                collector.image(
                    str(key) if isinstance(key, int) else key, None, without(record, self.key, self.boxes)
                )
                for box in record[self.boxes]:
                    collector.box([float(value) for value in box])
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file; the image id is the key.

        Raises:
            TableError: the size of an image is not known.
        """
        xyxy = annotations.fractions().tolist()
        rows: list[dict[str, Any]] = [
            decoded(annotations.image_extra, row)
            | {self.key: annotations.names[row], self.boxes: [xyxy[at] for at in boxes]}
            for row, boxes in annotations.boxes_of()
        ]
        if path.suffix.lower() != ".parquet":
            write_json_text(path, rows)
            return
        further = sorted({key for row in rows for key in row} - {self.key, self.boxes})
        types = {self.key: pa.string(), self.boxes: pa.list_(pa.list_(pa.float64()))}
        columns = {
            name: pa.array([row.get(name) for row in rows], types.get(name)) for name in (*types, *further)
        }
        write_table(path, pa.table(columns))

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        if path.suffix.lower() != ".parquet":
            yield from iterate_objects(path, f"a list of records with {self.key} and {self.boxes}")
            return
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise TableError(f"{path}: cannot be read (no such file)") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{path}: not a readable parquet table ({error})") from error
        for column in (self.key, self.boxes):
            if column not in table.column_names:
                found = ", ".join(table.column_names)
                raise TableError(
                    f"{path}: column '{column}' is missing, found {found}; name it in the format"
                )
        for batch in table.to_batches(max_chunksize=10_000):
            yield from batch.to_pylist()
