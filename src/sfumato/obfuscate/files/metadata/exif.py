"""EXIF: what of it is kept, read from any writer's block and written as the smallest one.

The block is a small TIFF file: header, one directory of 12-byte entries, values (EXIF 2.32, section 4.6).
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import Image as PillowImage

from sfumato.obfuscate.files.metadata.policy import Policy

_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_EXIF_IFD, _GPS_IFD, _MAKER_NOTE = 0x8769, 0x8825, 0x927C
_SHORT, _RATIONAL = 3, 5
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(="|>)([0-9])')
_READ_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, KeyError, TypeError, IndexError),
    *(AttributeError, ArithmeticError),
)
"""What Pillow raises on damaged EXIF: a text where a number should be, a ratio over zero."""

Ratio = tuple[int, int]
"""Numerator and denominator, each below 2**32."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of an EXIF block may stay.

    Attributes:
        orientation: 1 to 8; 1 is upright.
        resolution: across, down, and the unit (1 none, 2 inch, 3 centimetre); None where it is not told.
    """

    orientation: int = 1
    resolution: tuple[Ratio, Ratio, int] | None = None

    def under(self, policy: Policy) -> Kept:
        """What of it the policy keeps."""
        return self if policy is Policy.SAFE else Kept(self.orientation)


def read(exif: bytes, xmp: bytes = b"") -> Kept:
    """Orientation and resolution, as Pillow understands them.

    Where EXIF tells no orientation Pillow believes the XMP, and faces were found in pictures turned so. A
    block that cannot be read tells nothing.

    Args:
        exif: the TIFF stream, with or without "Exif\\0\\0" before it; may be empty.
        xmp: the XMP packet; may be empty.
    """
    tags = _load(exif)
    orientation = tags.get(_ORIENTATION)
    if _ORIENTATION not in tags and (match := _XMP_ORIENTATION.search(xmp)):
        orientation = int(match[2])
    known = (turn for turn in range(2, 9) if turn == orientation)  # whatever type the tag has
    return Kept(next(known, 1), _resolution(tags))


def build(kept: Kept) -> bytes:
    """The smallest TIFF stream that tells this; empty where there is nothing to tell."""
    entries: list[tuple[int, int, bytes]] = []
    if kept.orientation != 1:
        entries.append((_ORIENTATION, _SHORT, struct.pack(">HH", kept.orientation, 0)))
    if kept.resolution is not None:
        across, down, unit = kept.resolution
        entries.append((_X_RESOLUTION, _RATIONAL, struct.pack(">II", *across)))
        entries.append((_Y_RESOLUTION, _RATIONAL, struct.pack(">II", *down)))
        entries.append((_UNIT, _SHORT, struct.pack(">HH", unit, 0)))
    return _directory(entries) if entries else b""


def words(exif: bytes, built: bytes) -> set[str]:
    """What a block held that the one built from it does not, in short words."""
    stream = exif.removeprefix(b"Exif\0\0")
    if stream == built:
        return set()
    found = {"EXIF"}
    if _has_second_directory(stream):
        found.add("EXIF thumbnail")
    tags = _load(exif)
    if _GPS_IFD in tags:
        found.add("GPS")
    if _MAKER_NOTE in _load(exif, _EXIF_IFD):
        found.add("maker notes")
    return found


def _directory(entries: list[tuple[int, int, bytes]]) -> bytes:
    values = b""
    start = 8 + 2 + 12 * len(entries) + 4
    out = b"MM\0*" + struct.pack(">IH", 8, len(entries))
    for tag, kind, value in entries:
        field = value
        if len(value) > 4:
            field = struct.pack(">I", start + len(values))
            values += value
        out += struct.pack(">HHI", tag, kind, 1) + field
    return out + struct.pack(">I", 0) + values


def _load(exif: bytes, directory: int = 0) -> dict[int, Any]:
    """The tags of the first directory, or of one that it points to; none where they cannot be read."""
    tags = PillowImage.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage in what is dropped is nobody's concern
            if exif:
                tags.load(exif)
            return dict(tags.get_ifd(directory) if directory else tags)
    except _READ_ERRORS:
        return {}


def _has_second_directory(stream: bytes) -> bool:
    order = ">" if stream[:2] == b"MM" else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", stream, 4)
        (count,) = struct.unpack_from(f"{order}H", stream, start)
        return bool(struct.unpack_from(f"{order}I", stream, start + 2 + 12 * count)[0])
    except struct.error:
        return False


def _resolution(tags: dict[int, Any]) -> tuple[Ratio, Ratio, int] | None:
    across, down = _ratio(tags.get(_X_RESOLUTION)), _ratio(tags.get(_Y_RESOLUTION))
    unit = tags.get(_UNIT, 2)
    return (across, down, unit) if across and down and unit in (1, 2, 3) else None


def _ratio(value: Any) -> Ratio | None:
    top, bottom = getattr(value, "numerator", None), getattr(value, "denominator", None)
    if not isinstance(top, int) or not isinstance(bottom, int):
        return None
    return (top, bottom) if 0 < top < 2**32 and 0 < bottom < 2**32 else None
