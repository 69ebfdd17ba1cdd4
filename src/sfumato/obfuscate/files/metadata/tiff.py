"""TIFF (revision 6.0): pages, each a directory of tags, some of which point to strips or tiles of pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import exif, icc
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes a value, by type: byte, text, short, long, rational; signed and floating kinds of them."""
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_SUBFILE, _COMPRESSION, _ORIENTATION, _XMP, _PROFILE = 254, 259, 274, 700, 34675
_STRIPS, _TILES = (273, 279), (324, 325)
_WIDTH, _HEIGHT, _DEPTHS, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = (
    *(256, 257, 258, 277, 278, 284),
    *(322, 323),
)
_OLD_JPEG, _JPEG, _JPEG_TABLES = 6, 7, 347
_RESOLUTION = frozenset({282, 283, 296})
_LIMITS = {
    **dict.fromkeys((254, 255, 256, 257, 259, 262, 266, 274, 277, 278, 284, 292, 293), 1),
    **dict.fromkeys((282, 283, 296, 317, 322, 323, 332, 531), 1),
    **dict.fromkeys((258, 338, 339), 16),
    **dict.fromkeys((318, 530), 2),
    **dict.fromkeys((319, 532), 6),
    529: 3,
    320: 3 << 16,
}
"""Tags that tell how to show a page, and how many values each may have at most: size, depth, compression,
colours, layout of strips and tiles, orientation, resolution."""
_WORDS = {
    270: "description",
    315: "artist",
    305: "software",
    306: "time of the last change",
    330: "sub-images",
    _XMP: "XMP",
    33723: "IPTC",
    34377: "Photoshop previews",
    34665: "EXIF",
    34853: "GPS",
    37500: "maker notes",
    _PROFILE: "colour profile",
    _JPEG_TABLES: "JPEG tables",
}
_READ = frozenset({*_LIMITS, *_STRIPS, *_TILES, _PROFILE, _XMP})
_MAX_PAGES = 10_000
_MAX_GROWTH = 4
"""Times the size of the source that the pages may fill: a colour profile may serve several, pixels do not."""


@dataclass(frozen=True)
class _Entry:
    """One tag: type and number of its values, and their bytes in the file's byte order."""

    kind: int
    count: int
    value: bytes


@dataclass(frozen=True)
class _File:
    """A file, its byte order, and the pieces of it that were read, as pairs of start and end."""

    data: bytes
    order: str
    seen: set[tuple[int, int]] = field(default_factory=set)

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        """Numbers at a place.

        Raises:
            ImageError: it lies outside the file.
        """
        layout = self.order + layout
        return struct.unpack(layout, self.slice(at, struct.calcsize(layout)))

    def slice(self, at: int, size: int) -> bytes:
        """Bytes at a place.

        Raises:
            ImageError: they reach beyond the file.
        """
        if at + size > len(self.data):
            raise ImageError("a TIFF file that points outside itself")
        self.seen.add((at, at + size))
        return self.data[at : at + size]

    def unseen(self) -> bool:
        """Whether bytes that nothing pointed to are anything but padding."""
        end = 4
        for start, stop in sorted(self.seen):
            if any(self.data[end:start]):
                return True
            end = max(end, stop)
        return any(self.data[end:])

    def numbers(self, entry: _Entry) -> tuple[int, ...]:
        """The values of a tag of whole numbers.

        Raises:
            ImageError: it is of another type, or empty.
        """
        letter = {1: "B", _SHORT: "H", _LONG: "I"}.get(entry.kind)
        if letter is None or not entry.count:
            raise ImageError("a TIFF file with a tag of a wrong type")
        return struct.unpack(f"{self.order}{entry.count}{letter}", entry.value)


_Page = tuple[dict[int, _Entry], list[bytes]]
"""The tags that are kept, and the strips or tiles."""


def clean(data: bytes, policy: Policy) -> Cleaned:
    """A TIFF file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    Pages that are smaller versions of others are dropped. Strips and tiles are copied as they are.

    Raises:
        ImageError: old-style or new-style JPEG inside, a first page that is a preview, or damage.
    """
    file = _File(data, ">" if data[:2] == b"MM" else "<")
    removed: set[str] = set()
    pages, size = [], 0
    for tags in _directories(file):
        if page := _page(file, tags, policy, removed):
            pages.append(page)
            size += sum(len(entry.value) for entry in page[0].values()) + sum(map(len, page[1]))
        if size > _MAX_GROWTH * len(data):
            raise ImageError("a TIFF file whose pages share their bytes again and again")
    if not pages or _is_preview(file, next(_directories(file))):
        raise ImageError("a TIFF file without a page, or with a preview for its first one")
    out = _write(file, pages)
    if not removed and file.unseen():
        removed.add("bytes that no tag points to")
    return Cleaned.of(out, removed)


def _directories(file: _File) -> Iterator[dict[int, _Entry]]:
    (at,) = file.unpack("I", 4)
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= _MAX_PAGES:
            raise ImageError("a TIFF file whose pages go in a circle")
        seen.add(at)
        (count,) = file.unpack("H", at)
        tags = dict(_entry(file, at + 2 + 12 * index) for index in range(count))
        if len(tags) < count:
            raise ImageError("a TIFF file with the same tag twice")
        yield tags
        (at,) = file.unpack("I", at + 2 + 12 * count)


def _entry(file: _File, at: int) -> tuple[int, _Entry]:
    tag, kind, count = file.unpack("HHI", at)
    size = _SIZES.get(kind, 0) * count
    if size == 0 or tag not in _READ:
        return tag, _Entry(kind, 0, b"")
    start = at + 8 if size <= 4 else file.unpack("I", at + 8)[0]
    return tag, _Entry(kind, count, file.slice(start, size))


def _is_preview(file: _File, tags: dict[int, _Entry]) -> bool:
    """Whether a page says that it is another one in a smaller size."""
    subfile = tags.get(_SUBFILE)
    return subfile is not None and any(number & 1 for number in file.numbers(subfile))


def _page(file: _File, tags: dict[int, _Entry], policy: Policy, removed: set[str]) -> _Page | None:
    if _is_preview(file, tags):
        removed.add("smaller versions")
        return None
    compression = file.numbers(tags[_COMPRESSION]) if _COMPRESSION in tags else (1,)
    if set(compression) & {_OLD_JPEG, _JPEG}:
        raise ImageError("a TIFF file with JPEG inside, which may hold metadata of its own")
    places, sizes = next((pair for pair in (_TILES, _STRIPS) if pair[0] in tags), (0, 0))
    if not places or sizes not in tags:
        raise ImageError("a TIFF file that does not tell where its pixels are")
    kept = _kept(file, tags, policy, removed)
    kept[sizes] = tags[sizes]
    starts, lengths = file.numbers(tags[places]), file.numbers(tags[sizes])
    if len(starts) != len(lengths) or sum(lengths) > len(file.data):
        raise ImageError("a TIFF file that does not tell where its pixels are")
    kept[places] = _Entry(_LONG, len(starts), bytes(4 * len(starts)))  # set when the file is written
    pixels = [file.slice(start, length) for start, length in zip(starts, lengths, strict=True)]
    if compression == (1,):
        _check_sizes(file, tags, lengths)
    return kept, pixels


def _check_sizes(file: _File, tags: dict[int, _Entry], lengths: tuple[int, ...]) -> None:
    """Unpacked strips and tiles have the size of their pixels: none is short, none carries more.

    Raises:
        ImageError: one does not.
    """

    def number(tag: int, default: int) -> int:
        return file.numbers(tags[tag])[0] if tag in tags else default

    depths = file.numbers(tags[_DEPTHS]) if _DEPTHS in tags else (1,)
    planes = number(_SAMPLES, 1) if number(_PLANAR, 1) == 2 else 1
    bits = depths[0] if planes > 1 else depths[0] * number(_SAMPLES, 1)
    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    if _TILES[0] in tags:
        across, rows = number(_TILE_WIDTH, 1) or 1, number(_TILE_HEIGHT, 1)
        right = [rows * ((across * bits + 7) // 8)] * len(lengths)
    else:
        step = min(number(_ROWS, height), height) or 1
        each = [min(step, height - top) * ((width * bits + 7) // 8) for top in range(0, height, step)]
        right = each * planes
    if len(set(depths)) > 1 or list(lengths) != right:
        raise ImageError("a TIFF file whose strips do not have the size of their pixels")


def _kept(file: _File, tags: dict[int, _Entry], policy: Policy, removed: set[str]) -> dict[int, _Entry]:
    """The tags of a page that stay, but for those that say where the pixels are."""
    kept: dict[int, _Entry] = {}
    for tag, entry in tags.items():
        if tag in (*_STRIPS, *_TILES):
            continue
        if tag in _RESOLUTION and policy is Policy.NONE:
            removed.add("resolution")
        elif tag in _LIMITS and entry.count:
            _check(tag, entry)
            kept[tag] = entry
        elif tag == _PROFILE and policy is Policy.SAFE and (profile := icc.profile(entry.value)):
            kept[tag] = _Entry(_UNDEFINED, len(profile), profile)
            removed |= {"bytes after the colour profile"} if profile != entry.value else set()
        else:
            removed.add(_WORDS.get(tag, "other tags"))
    if _XMP in tags and _ORIENTATION not in tags:
        turned = exif.read(b"", tags[_XMP].value).orientation
        kept |= {_ORIENTATION: _Entry(_SHORT, 1, struct.pack(f"{file.order}H", turned))} if turned > 1 else {}
    return kept


def _check(tag: int, entry: _Entry) -> None:
    if entry.count > _LIMITS[tag] or entry.kind == 2:
        raise ImageError("a TIFF file with a tag of an impossible length")


def _write(file: _File, pages: list[_Page]) -> bytes:
    """A file of these pages in the source's byte order: directory, long values, pixels, page after page."""
    out = bytearray(file.data[:4] + struct.pack(f"{file.order}I", 8))
    for number, (tags, pixels) in enumerate(pages, 1):
        longs = sum(_even(len(entry.value)) for entry in tags.values() if len(entry.value) > 4)
        values = len(out) + 2 + 12 * len(tags) + 4
        offsets = list(accumulate((_even(len(strip)) for strip in pixels), initial=values + longs))
        for tag in {_STRIPS[0], _TILES[0]} & set(tags):
            tags[tag] = _Entry(_LONG, len(pixels), struct.pack(f"{file.order}{len(pixels)}I", *offsets[:-1]))
        following = offsets[-1] if number < len(pages) else 0
        out += _directory(file, tags, values) + struct.pack(f"{file.order}I", following)
        long_values = (tags[tag].value for tag in sorted(tags) if len(tags[tag].value) > 4)
        out += b"".join(part + bytes(len(part) % 2) for part in (*long_values, *pixels))
    return bytes(out)


def _directory(file: _File, tags: dict[int, _Entry], values: int) -> bytes:
    """Number of tags, and for each tag its type, count and value, or the place of the value."""
    out = struct.pack(f"{file.order}H", len(tags))
    for tag, entry in sorted(tags.items(), key=lambda pair: pair[0]):
        field = entry.value.ljust(4, b"\0")
        if len(entry.value) > 4:
            field = struct.pack(f"{file.order}I", values)
            values += _even(len(entry.value))
        out += struct.pack(f"{file.order}HHI", tag, entry.kind, entry.count) + field
    return out


def _even(size: int) -> int:
    return size + size % 2
