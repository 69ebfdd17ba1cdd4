"""AVIF and HEIF (ISO/IEC 14496-12, 23008-12): boxes in boxes, with pixels found through tables of offsets.

These files are looked through, never rewritten: what is not known to belong to the picture is told.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_Box = tuple[bytes, int, int]
"""Name, start and end of the content, in bytes."""
_TOP = frozenset({b"ftyp", b"meta", b"mdat", b"moov"})
_CONTAINERS = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl", b"iprp", b"ipco"})
_META = frozenset({b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"grpl"})
_KNOWN = frozenset(
    {
        b"ipma",
        b"ispe",
        b"pixi",
        b"av1C",
        b"hvcC",
        b"avcC",
        b"colr",
        b"auxC",
        b"irot",
        b"imir",
        b"clap",
        b"pasp",
    }
    | {b"a1op", b"a1lx", b"lsel", b"clli", b"mdcv", b"cclv", b"amve"}
    | {b"mvhd", b"tkhd", b"mdhd", b"hdlr", b"vmhd", b"nmhd", b"elst", b"dref", b"tref"}
    | {b"stsd", b"stts", b"stsc", b"stsz", b"stz2", b"stco", b"co64", b"stss", b"ctts", b"sbgp", b"sgpd"}
)
_MAX_DEPTH = 8
_PICTURE_ITEMS = frozenset({b"av01", b"hvc1", b"avc1", b"grid", b"iovl", b"iden"})
_ALPHA = {b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"}
_ITEM_NAMES = frozenset({b"", b"Color", b"Alpha"})
_WORDS = {b"Exif": "EXIF", b"mime": "XMP", b"uuid": "data of one maker", b"udta": "user data"}


def clean(data: bytes, policy: Policy) -> Cleaned:
    """The file itself where it holds nothing to remove; see `sfumato.obfuscate.files.metadata.clean`.

    Raises:
        ImageError: it holds anything else, or the policy is not "safe".
    """
    found = left_over(data)
    if found or policy is not Policy.SAFE:
        raise ImageError(
            f"an AVIF or HEIF file, whose contents cannot be removed one by one "
            f"({', '.join(found) or 'colour profile, resolution'}); encode the picture anew"
        )
    return Cleaned(data, ())


def left_over(data: bytes) -> tuple[str, ...]:
    """What a file holds besides its picture, in short words.

    Raises:
        ImageError: boxes that do not fit into one another.
    """
    found: set[str] = set()
    boxes = list(_boxes(data, 0, len(data)))
    for name, start, end in boxes:
        if name not in _TOP:
            found.add(_WORDS.get(name, "other boxes"))
        elif name == b"meta":
            found |= _meta(data, start + 4, end)
        elif name == b"moov":
            found |= _inside(data, start, end)
    names = [name for name, _, _ in boxes]
    if names.count(b"meta") != 1:
        raise ImageError("an AVIF or HEIF file without a picture")
    if b"moov" not in names and _unclaimed(data, boxes):
        found.add("bytes that belong to no item")
    return Cleaned.of(b"", found).removed


def _unclaimed(data: bytes, boxes: list[_Box]) -> bool:
    """Whether the room for pixels ("mdat") holds more bytes than the items of the file ask for."""
    (meta,) = ((start, end) for name, start, end in boxes if name == b"meta")
    tables = [data[at:stop] for name, at, stop in _boxes(data, meta[0] + 4, meta[1]) if name == b"iloc"]
    if len(tables) != 1 or len(tables[0]) < 6:
        raise ImageError("an AVIF or HEIF file without one table of places")
    room = sum(end - start for name, start, end in boxes if name == b"mdat")
    return sum(length for _, length in _claimed(tables[0])) < room


def _boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    while at < end:
        if at + 8 > end:
            raise ImageError("an AVIF or HEIF file with a damaged box")
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        size = size or end - at  # 0: to the end
        if size < head or at + size > end:
            raise ImageError("an AVIF or HEIF file with a damaged box")
        yield name, at + head, at + size
        at += size


def _inside(data: bytes, at: int, end: int, depth: int = 0) -> set[str]:
    """Words for boxes that are not known to serve the picture, at any depth.

    Raises:
        ImageError: boxes deeper in one another than any picture needs.
    """
    if depth > _MAX_DEPTH:
        raise ImageError("an AVIF or HEIF file with boxes too deep in one another")
    found: set[str] = set()
    for name, start, stop in _boxes(data, at, end):
        if name in _CONTAINERS:
            found |= _inside(data, start, stop, depth + 1)
        elif name not in _KNOWN:
            found.add(_WORDS.get(name, "other boxes"))
    return found


def _meta(data: bytes, at: int, end: int) -> set[str]:
    """Words for what the table of contents lists besides the one picture and its transparency."""
    found: set[str] = set()
    bodies: dict[bytes, bytes] = {}
    for name, start, stop in _boxes(data, at, end):
        bodies[name] = data[start:stop]
        if name == b"iprp":
            found |= _inside(data, start, stop) | _auxiliaries(data, start, stop)
        elif name not in _META:
            found.add(_WORDS.get(name, "other boxes"))
    kinds = _items(bodies.get(b"iinf", b""), found)
    pictures = {item for item, kind in kinds.items() if kind in _PICTURE_ITEMS}
    if pictures - _shown(bodies.get(b"pitm", b""), bodies.get(b"iref", b"")):
        found.add("further images")
    return found


def _auxiliaries(data: bytes, start: int, end: int) -> set[str]:
    """A word where the properties tell of an auxiliary picture that is not the transparency."""
    kinds = set()
    for name, at, stop in _boxes(data, start, end):
        if name == b"ipco":
            kinds |= {
                data[a + 4 : b].partition(b"\0")[0] for n, a, b in _boxes(data, at, stop) if n == b"auxC"
            }
    return {"auxiliary pictures"} if kinds - _ALPHA else set()


def _items(box: bytes, found: set[str]) -> dict[int, bytes]:
    """Kind of each item by its number; what is no picture, or has a name, adds a word to `found`."""
    kinds: dict[int, bytes] = {}
    wide = box[:1] > b"\0"
    for name, at, stop in _boxes(box, 8 if wide else 6, len(box)):
        entry = box[at:stop]
        width = {2: 2, 3: 4}.get(entry[0] if entry else 0, 0)
        kind = entry[6 + width : 10 + width]
        if name != b"infe" or not width:
            found.add("other boxes")
        elif kind not in _PICTURE_ITEMS:
            found.add(_WORDS.get(kind, "other items"))
        elif entry[10 + width :].strip(b"\0") not in _ITEM_NAMES:
            found.add("names of items")
        kinds[int.from_bytes(entry[4 : 4 + width], "big")] = kind
    return kinds


def _shown(primary: bytes, references: bytes) -> set[int]:
    """Numbers of the items that are the picture: the primary one, its parts, and their transparency."""
    shown = {int.from_bytes(primary[4:], "big")}
    size = 4 if references[:1] == b"\1" else 2
    links = []
    for name, at, stop in _boxes(references, 4, len(references)):
        reader = _Reader(references[at:stop], 0)
        source = reader.number(size)
        links += [(name, source, reader.number(size)) for _ in range(reader.number(2))]
    for _ in range(3):  # a grid of parts, each with transparency, is two steps deep
        shown |= {target for name, source, target in links if name == b"dimg" and source in shown}
        shown |= {source for name, source, target in links if name == b"auxl" and target in shown}
    return shown


def _claimed(box: bytes) -> set[tuple[int, int]]:
    """Start and length of every piece of the file that an item location box ("iloc") gives to an item.

    Raises:
        ImageError: pieces that lie elsewhere than in the file itself, or a damaged box.
    """
    version, sizes = box[0], box[4:6]
    offset_size, length_size, base_size = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4
    index_size = sizes[1] & 15 if version else 0
    reader = _Reader(box, 6)
    pieces = set()
    for _ in range(reader.number(4 if version == 2 else 2)):
        reader.number(4 if version == 2 else 2)
        if version and reader.number(2):
            raise ImageError("an AVIF or HEIF file with items in an unknown place")
        reader.number(2)
        base = reader.number(base_size)
        for _ in range(reader.number(2)):
            reader.number(index_size)
            pieces.add((base + reader.number(offset_size), reader.number(length_size)))
    return pieces


class _Reader:
    """Whole numbers, one after the other, out of some bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def number(self, size: int) -> int:
        """The next number, of so many bytes.

        Raises:
            ImageError: the bytes are at their end.
        """
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise ImageError("an AVIF or HEIF file with a damaged box")
        self._at += size
        return int.from_bytes(found, "big")
