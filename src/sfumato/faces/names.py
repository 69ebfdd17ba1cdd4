"""Which image a foreign name means: the same id, or one that ends alike, cut at slashes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from sfumato.images import SUFFIXES


class NameIndex:
    """Names to be looked up by their ends: "n01/a.jpg" and "train/n01/a.jpg" may mean the same image."""

    def __init__(self, names: Iterable[str], *, stems: bool = False) -> None:
        """Index names.

        Args:
            names: paths or URLs with forward slashes.
            stems: compare without the ending of an image file, for formats whose names have none.
        """
        self._stems = stems
        self._by_last: dict[str, list[str]] = {}
        for name in names:
            self._by_last.setdefault(self._last(name), []).append(name)

    def alike(self, name: str) -> list[str]:
        """Names that end with this one, or that it ends with, sorted; only those that share most with it."""
        parts = self._parts(name)
        found: dict[str, int] = {}
        for other in self._by_last.get(self._last(name), ()):
            theirs = self._parts(other)
            shared = min(len(parts), len(theirs))
            if parts[-shared:] == theirs[-shared:]:
                found[other] = shared
        longest = max(found.values(), default=0)
        return sorted(other for other, shared in found.items() if shared == longest)

    def _last(self, name: str) -> str:
        last = name.rpartition("/")[2]
        return without_suffix(last) if self._stems else last

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        return [*parts[:-1], self._last(name)]


def without_suffix(name: str) -> str:
    """A name without the ending of an image file, if it has one: "n01/a.JPEG" gives "n01/a"."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
