"""`reviews.jsonl`: every save is a line, added at the end and on the disk before anybody is told."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from sfumato.errors import SfumatoError, TableError
from sfumato.review.model import GoldResult, Record

_FIELDS = tuple(name for name in Record.__dataclass_fields__ if name not in ("faces", "gold", "extra"))
_known = itemgetter(*_FIELDS)


class Log:
    """The records of a review, of which only the places in the file are kept in memory.

    A line that a kill cut short was never confirmed to anybody: it is left out, `torn` tells of it, and the
    next line takes its place.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Find the lines of a file; no file is an empty log.

        Raises:
            SfumatoError: the file cannot be read or opened for writing.
        """
        self._path = path
        self.torn: str | None = None
        self._starts = array("q", [0])
        try:
            if not read_only:
                path.touch()
            self._reader = path.open("rb") if path.exists() else None
            self._scan()
            self._writer = None if read_only else path.open("r+b", buffering=0)
        except OSError as error:
            raise SfumatoError(f"{path}: cannot be opened ({error.strerror})") from error

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Record]:
        """All records, read in one go: several times faster than one by one."""
        if self._reader is not None:
            self._reader.seek(0)
            for n, line in enumerate(islice(self._reader, len(self)), start=1):
                yield parsed(line, f"{self._path}: line {n}")

    def __getitem__(self, n: int) -> Record:
        """Record number `n`, from 1.

        Raises:
            TableError: the line is damaged.
        """
        assert self._reader is not None
        start, end = self._starts[n - 1], self._starts[n]
        return parsed(os.pread(self._reader.fileno(), end - start, start), f"{self._path}: line {n}")

    def append(self, records: Sequence[Record]) -> None:
        """Add records, all or none, and wait until the disk has them.

        Raises:
            SfumatoError: the disk is full, or the file cannot be written; the log is as before.
        """
        if self._writer is None:
            raise SfumatoError(f"{self._path}: this review is open for reading only")
        lines = [line_of(record) for record in records]
        start = self._starts[-1]
        try:
            self._writer.seek(start)
            self._writer.truncate(start)  # what a kill left of a line
            _write_all(self._writer.fileno(), b"".join(lines))
            os.fsync(self._writer.fileno())
        except OSError as error:
            self._writer.truncate(start)
            raise SfumatoError(
                f"{self._path}: cannot be written ({error.strerror}); nothing is saved"
            ) from error
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))

    def close(self) -> None:
        """Close the file."""
        for file in (self._reader, self._writer):
            if file is not None:
                file.close()

    def _scan(self) -> None:
        if self._reader is None:
            return
        place = 0
        for line in self._reader:
            if not line.endswith(b"\n"):
                shown = line[:60].decode("utf-8", "replace")
                self.torn = f"{self._path}: the last line was cut short and is left out: {shown}…"
                break
            place += len(line)
            self._starts.append(place)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def line_of(record: Record) -> bytes:
    """A record as a line, which ends with a line break."""
    row = {name: getattr(record, name) for name in _FIELDS}
    row |= {"faces": record.faces, "gold": None if record.gold is None else asdict(record.gold)}
    return json.dumps({**row, **record.extra}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def parsed(line: bytes, where: str) -> Record:
    """The record in a line.

    Raises:
        TableError: it is damaged; the message begins with `where`.
    """
    try:
        row: dict[str, Any] = json.loads(line.decode("utf-8"))  # json would first guess the encoding of bytes
        gold = row.pop("gold")
        faces = tuple(_box(box) for box in row.pop("faces"))
        known = _known(row)
        extra = {} if len(row) == len(_FIELDS) else {k: v for k, v in row.items() if k not in _FIELDS}
        gold = gold and GoldResult(**gold)
        # By position, since a long log is parsed at every start: one more field belongs into its place here.
        values: tuple[Any, ...] = (*known[:7], faces, *known[7:10], gold, known[10], extra)
        return Record(*values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TableError(
            f"{where} is damaged ({error!r}); bring the file back from a copy, or take the line out"
        ) from error


def _box(box: Sequence[Any]) -> tuple[float, float, float, float, str, str]:
    x0, y0, x1, y1, kind, source = box
    return float(x0), float(y0), float(x1), float(y1), str(kind), str(source)


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, one after the other; a last line that was cut short is left out.

    Raises:
        TableError: a line is damaged, or out of order.
        SfumatoError: the file cannot be read.
    """
    log = Log(path, read_only=True)
    try:
        for n, record in enumerate(log, start=1):
            if record.n != n:
                raise TableError(f"{path}: line {n} has the number {record.n}; lines are missing or twice")
            yield record
    finally:
        log.close()
