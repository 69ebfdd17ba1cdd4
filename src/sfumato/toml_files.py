"""Plans as TOML files: a few sections of known fields, read with clear refusals and written with comments."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from sfumato.errors import UsageError
from sfumato.records import write_atomic


@dataclass(frozen=True)
class Kind:
    """What the value of a field may be.

    Attributes:
        fits: whether a value is of this kind.
        words: what to call it in a message: "a whole number".
    """

    fits: Callable[[Any], bool]
    words: str


def _list_of(kind: Kind, words: str) -> Kind:
    return Kind(lambda value: isinstance(value, list) and all(kind.fits(item) for item in value), words)


TEXT = Kind(lambda value: isinstance(value, str), "a text")
FLAG = Kind(lambda value: isinstance(value, bool), "true or false")
WHOLE = Kind(lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number")
NUMBER = Kind(lambda value: isinstance(value, (int, float)) and not isinstance(value, bool), "a number")
TABLE = Kind(lambda value: isinstance(value, dict), "a table of fields")
TEXTS = _list_of(TEXT, "a list of texts")
WHOLES = _list_of(WHOLE, "a list of whole numbers")


@dataclass(frozen=True)
class Field:
    """A field of a section.

    Attributes:
        kind: of its value.
        comment: written above it.
    """

    kind: Kind
    comment: str = ""


Layout = Mapping[str, Mapping[str, Field]]
"""Section to its fields by name, in the order in which they are written. No name occurs in two sections."""


def read_sections(path: Path, layout: Layout) -> dict[str, Any]:
    """The fields that a file gives, by name.

    Raises:
        UsageError: no such file, no TOML, an unknown section or field, or a value of another kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from error
    values: dict[str, Any] = {}
    for section, fields in content.items():
        if section not in layout or not isinstance(fields, dict):
            raise UsageError(f"{path}: unknown section '{section}'; known: {', '.join(layout)}")
        for name, value in fields.items():
            if name not in layout[section]:
                known = ", ".join(layout[section])
                raise UsageError(f"{path}: [{section}] has no field '{name}'; known: {known}")
            kind = layout[section][name].kind
            if not kind.fits(value):
                raise UsageError(f"{path}: {name} = {value!r} cannot be; it needs {kind.words}")
            values[name] = value
    return values


def write_sections(path: Path, layout: Layout, values: Mapping[str, Any], *, head: list[str]) -> None:
    """Write fields in their sections, each below its comment; None is left out, a tuple is a list.

    Args:
        path: file to write.
        layout: sections and comments.
        values: of every field, by name.
        head: comment at the top, a line each.
    """
    document = tomlkit.document()
    for line in head:
        document.add(tomlkit.comment(line))
    for section, fields in layout.items():
        table = tomlkit.table()
        for name, field in fields.items():
            if values[name] is None:
                continue
            if field.comment:
                table.add(tomlkit.comment(field.comment))
            table.add(name, _plain(values[name]))
        document.add(section, table)
    write_atomic(path, tomlkit.dumps(document).encode())


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value
