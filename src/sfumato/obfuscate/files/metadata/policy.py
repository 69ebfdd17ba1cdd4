"""What of a file besides its picture may stay, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What of a file besides its picture may stay.

    Attributes:
        SAFE: colour profile, orientation, resolution; nothing else, known or unknown.
        ALL: everything, as it is.
        NONE: orientation only, without which the picture would be shown turned.
    """

    SAFE = "safe"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A file after cleaning.

    Attributes:
        data: the file's bytes; its pixels are those of the source, bit for bit.
        removed: what is gone, in short words, each once, in alphabetical order.
    """

    data: bytes
    removed: tuple[str, ...]

    @classmethod
    def of(cls, data: bytes, removed: set[str]) -> Cleaned:
        """From words in any order."""
        return cls(data, tuple(sorted(removed, key=str.lower)))
