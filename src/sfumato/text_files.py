"""Read text, JSON and XML files of any size; what is wrong is one TableError that names the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

from sfumato.errors import TableError
from sfumato.records import write_atomic

CHUNK = 4_000_000
"""Characters of a JSON list that are read at a time."""

_OPEN = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_EMPTY = re.compile(r"[ \t\n\r]*\[[ \t\n\r]*\][ \t\n\r]*")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        TableError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a text file in UTF-8 ({error})") from error


def read_json(path: Path, *, change: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value in a JSON file.

    Args:
        path: file to read.
        change: what to make of each object in it, as soon as it is read.

    Raises:
        TableError: it cannot be read, or is no JSON.
    """
    return _parse(path, read_text(path), change=change)


def write_json_text(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write a value as JSON without spaces to spare, atomically (`durable` as `write_atomic`)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    write_atomic(path, f"{text}\n".encode(), durable=durable)


class _NoDoctype(ElementTree.TreeBuilder):
    """Stops at a document type: entities can make a small file endless, or name files of this machine."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:  # noqa: ARG002
        raise ValueError("a document type with entities has no place in it")


def read_xml(path: Path) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
        TableError: it cannot be read, is no XML, or has a document type.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        return ElementTree.parse(path, parser).getroot()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise TableError(f"{path}: not valid XML of this format ({error})") from error


@contextmanager
def in_record(path: Path, where: object) -> Iterator[None]:
    """Turn what reading one record raises into a TableError that names file and record."""
    try:
        yield
    except KeyError as error:
        raise TableError(f"{path}: record {where} has no {error}") from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise TableError(f"{path}: record {where} is not of this format ({error})") from error


def iterate_objects(path: Path, expected: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list one by one; the list is never whole in memory.

    Args:
        path: file to read.
        expected: what the list should be, for the message ("a list of records with url and bboxes").

    Raises:
        TableError: it cannot be read, is no JSON, or is no list of objects; the message has the record.
    """
    for number, record in enumerate(_iterate(path, expected)):
        if not isinstance(record, dict):
            raise TableError(f"{path}: record {number} is {type(record).__name__}, expected {expected}")
        yield record


def _iterate(path: Path, expected: str) -> Iterator[Any]:
    scan = json.JSONDecoder().raw_decode
    lead, position, number = _OPEN, 0, 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(CHUNK)
            while True:
                found = lead.match(text, position)
                if found is not None:
                    try:
                        record, position = scan(text, found.end())
                    except (ValueError, RecursionError):
                        pass  # cut by the end of this chunk, or broken: what follows tells
                    else:
                        yield record
                        lead, number = _NEXT, number + 1
                        continue
                # A longer piece each time, so that one long record is not parsed again and again.
                more = file.read(max(CHUNK, len(text) - position))
                text, position = text[position:] + more, 0
                if not more:
                    break
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a text file in UTF-8 ({error})") from error
    _check_end(path, text, number=number, expected=expected)


def _check_end(path: Path, text: str, *, number: int, expected: str) -> None:
    if text.strip() == "]" if number else _EMPTY.fullmatch(text):
        return
    if number:
        # Made a list again, the rest gives the parser's own reason.
        rest = text.strip()
        _parse(path, "[" + rest.removeprefix(","), after=f" in record {number}")
        raise TableError(f"{path}: not valid JSON after record {number - 1}")
    _parse(path, text, after=" in record 0" if text.lstrip().startswith("[") else "")
    raise TableError(f"{path}: expected {expected}")


def _parse(
    path: Path, text: str, after: str = "", change: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    try:
        return json.loads(text, object_hook=change)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path}: not valid JSON{after} ({error})") from error
