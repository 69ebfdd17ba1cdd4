"""Kinds of values that the fields of a recipe have, by the annotation of the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What the value of a field may be.

    Attributes:
        fits: whether a value is of this kind.
        words: what to call it in a message.
        convert: to the type of the field: a whole number to a fraction, a list to a pair.
    """

    fits: Callable[[Any], bool]
    words: str
    convert: Callable[[Any], Any]


def as_kind(value: Any, kind: Kind) -> Any:
    """A fitting value in the type of its field, so that equal settings are equal bytes; None stays."""
    return None if value is None else kind.convert(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(item) for item in value)


def _pair(value: Any) -> tuple[float, float]:
    return float(value[0]), float(value[1])


_TEXT = Kind(lambda value: isinstance(value, str), "a text", str)

KINDS: Mapping[str, Kind] = {
    "str": _TEXT,
    "Optimizer": _TEXT,
    "Schedule": _TEXT,
    "Crop": _TEXT,
    "bool": Kind(lambda value: isinstance(value, bool), "true or false", bool),
    "int": Kind(_is_whole, "a whole number", int),
    "int | None": Kind(lambda value: value is None or _is_whole(value), "a whole number", int),
    "float": Kind(_is_number, "a number", float),
    "float | None": Kind(lambda value: value is None or _is_number(value), "a number", float),
    "tuple[float, float]": Kind(_is_pair, "two numbers", _pair),
}
"""Annotation to kind."""
