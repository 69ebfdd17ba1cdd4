"""Files that are passed on as they are: cloned, linked or copied."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal, get_args

from sfumato.errors import UsageError
from sfumato.records import beside, write_atomic

Link = Literal["auto", "copy", "hard"]
"""How a file without faces gets into a variant.

"auto" shares its blocks where the file system can (a reflink: two files that may be changed apart), else
copies; "copy" copies; "hard" makes a second name of one file, so that whoever changes one changes both.
"""

_FICLONE = 0x40049409
"""Linux's request for a reflink (ioctl_ficlone(2))."""


def as_link(word: str) -> Link:
    """The way that a word names.

    Raises:
        UsageError: there is no such way.
    """
    ways: tuple[Link, ...] = get_args(Link)
    for way in ways:
        if way == word:
            return way
    raise UsageError(f"unknown way '{word}' to pass on a file; known: {', '.join(ways)}")


def place(source: Path, data: bytes, target: Path, link: Link) -> str:
    """Put a file, whose bytes were read already, at another place; gives "copied" or "linked".

    Raises:
        OSError: it cannot be written.
    """
    if link == "hard" and not source.is_symlink() and _linked(source, target):
        return "linked"
    if link == "auto" and _cloned(source, target):
        return "copied"
    write_atomic(target, data, durable=False)
    return "copied"


def _linked(source: Path, target: Path) -> bool:
    scratch = beside(target)
    _device(target.parent)
    try:
        os.link(source, scratch)
        scratch.replace(target)
    except OSError:  # another file system, or one without links
        scratch.unlink(missing_ok=True)
        return False
    if os.lstat(target).st_nlink > 2:  # renaming one name of a file onto another leaves both
        scratch.unlink(missing_ok=True)
    return True


def _device(folder: Path) -> int:
    """The device of a folder, which is made where it is missing."""
    try:
        return folder.stat().st_dev
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return folder.stat().st_dev


_without_clones: set[int] = set()
"""File systems, by device, that turned a reflink down: they are not asked again for each file."""


def _cloned(source: Path, target: Path) -> bool:
    device = _device(target.parent)
    if not sys.platform.startswith("linux") or device in _without_clones:
        return False
    import fcntl

    scratch = beside(target)
    try:
        with source.open("rb") as old, scratch.open("wb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        scratch.replace(target)
    except OSError:  # a file system without reflinks, or another one than the source's
        _without_clones.add(device)
        scratch.unlink(missing_ok=True)
        return False
    return True
