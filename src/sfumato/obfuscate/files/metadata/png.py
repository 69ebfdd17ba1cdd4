"""PNG (W3C, third edition): chunks, each a length, a name, data and a checksum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import exif, icc
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MANY = frozenset({b"IDAT", b"fcTL", b"fdAT"})
"""Chunks that may come more than once: the picture's data, and the frames of an animation."""
_PICTURE: dict[bytes, range] = {
    b"IHDR": range(13, 14),
    b"PLTE": range(3, 769, 3),
    b"tRNS": range(1, 257),
    b"acTL": range(8, 9),
    b"fcTL": range(26, 27),
    b"IEND": range(1),
    b"gAMA": range(4, 5),
    b"cHRM": range(32, 33),
    b"sRGB": range(1, 2),
    b"cICP": range(4, 5),
    b"mDCV": range(24, 25),
    b"cLLI": range(8, 9),
}
"""Chunks without which the picture would look different, and the lengths they may have."""
_SAFE: dict[bytes, range] = {b"pHYs": range(9, 10), b"sBIT": range(1, 5), b"bKGD": range(1, 7)}
_WORDS = {
    b"tEXt": "text",
    b"zTXt": "text",
    b"iTXt": "text",
    b"tIME": "time of the last change",
    b"dSIG": "digital signature",
    b"caBX": "provenance (JUMBF)",
    b"pHYs": "resolution",
}
_XMP_KEYWORD, _EXIF_KEYWORD = b"XML:com.adobe.xmp", b"Raw profile type exif"
_PROFILE_NAME = b"ICC Profile"
_MAX_UNPACKED = 1 << 20
"""Bytes that a compressed text or profile may have; Pillow does not open a file that has more."""


@dataclass
class _Parts:
    kept: list[tuple[bytes, bytes]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    exif: bytes = b""
    texts: dict[bytes, bytes] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


def clean(data: bytes, policy: Policy) -> Cleaned:
    """A PNG file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    Raises:
        ImageError: a chunk with a wrong checksum or length, a needed one twice, or no end.
    """
    parts = _Parts()
    for name, body in _chunks(data, parts):
        if parts.kept or name == b"IHDR":
            _sort_in(name, body, parts, policy)
        else:
            raise ImageError("a PNG file that does not start with its header")
    if b"IDAT" not in parts.seen:
        raise ImageError("a PNG file without a picture")
    told = exif.build(exif.read(parts.exif or _raw_profile(parts.texts), _xmp(parts.texts)).under(policy))
    if parts.exif:
        parts.removed |= exif.words(parts.exif, told)
    head, rest = parts.kept[:1], parts.kept[1:]
    chunks = [*head, *([(b"eXIf", told)] if told else []), *rest]
    return Cleaned.of(_SIGNATURE + b"".join(_write(name, body) for name, body in chunks), parts.removed)


def _chunks(data: bytes, parts: _Parts) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    name = b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise ImageError("a PNG file that ends before its end chunk")
        size, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if data[at + 8 + size : at + 12 + size] != _checksum(name, body):
            raise ImageError("a PNG file with a damaged chunk")
        yield name, body
        at += 12 + size
    if at < len(data):
        parts.removed.add("trailer after the end of the image")


def _sort_in(name: bytes, body: bytes, parts: _Parts, policy: Policy) -> None:
    """Put one chunk where it belongs: kept, kept aside, or named as removed."""
    if name in parts.seen and (name in _PICTURE or name in _SAFE or name == b"iCCP") and name not in _MANY:
        raise ImageError(f"a PNG file with two chunks {name.decode('latin-1')}")
    if name == b"eXIf":
        parts.exif = body
    elif name == b"iCCP" and (kept := _profile(body)) and policy is Policy.SAFE:
        parts.kept.append((name, kept))
        parts.removed |= {"name of the colour profile"} if kept != body else set()
    elif _stays(name, body, policy):
        parts.kept.append((name, body))
    else:
        _drop(name, body, parts)
    parts.seen.add(name)


def _stays(name: bytes, body: bytes, policy: Policy) -> bool:
    """Whether a chunk is copied as it is.

    Raises:
        ImageError: one that the picture needs has an impossible length, or is of an unknown kind.
    """
    if name in _SAFE:
        return policy is Policy.SAFE and len(body) in _SAFE[name]
    if name in _PICTURE and len(body) not in _PICTURE[name]:
        raise ImageError(f"a PNG file with a damaged chunk {name.decode('latin-1')}")
    critical = not name[0] & 0x20  # an upper-case first letter: a decoder must understand it
    if critical and name not in _PICTURE and name != b"IDAT":
        raise ImageError("a PNG file with a needed chunk of an unknown kind")
    return name in _PICTURE or name in _MANY


def _drop(name: bytes, body: bytes, parts: _Parts) -> None:
    if name in (b"tEXt", b"zTXt", b"iTXt"):
        keyword, text = _text(name, body)
        if keyword in (_XMP_KEYWORD, _EXIF_KEYWORD):
            parts.texts[keyword] = text
            parts.removed.add("XMP" if keyword == _XMP_KEYWORD else "EXIF")
            return
    parts.removed.add("colour profile" if name == b"iCCP" else _WORDS.get(name, "other chunks"))


def _text(name: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text of a text chunk; the text only of the two keywords that may tell an orientation."""
    keyword, _, rest = body.partition(b"\0")
    if keyword not in (_XMP_KEYWORD, _EXIF_KEYWORD):
        return keyword, b""
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        rest = rest[1:]
    return keyword, (_unpack(rest) if packed else rest)


def _unpack(packed: bytes) -> bytes:
    """What a zlib stream holds; nothing where it is damaged.

    Raises:
        ImageError: it holds more than 1 MiB.
    """
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, _MAX_UNPACKED)
    except zlib.error:
        return b""
    if stream.unconsumed_tail:
        raise ImageError("a PNG file with a compressed text or profile of more than 1 MiB")
    return text


def _xmp(texts: dict[bytes, bytes]) -> bytes:
    return texts.get(_XMP_KEYWORD, b"")


def _raw_profile(texts: dict[bytes, bytes]) -> bytes:
    """EXIF as ImageMagick wrote it before PNG had a chunk for it: three lines of heading, then hex digits."""
    try:
        return bytes.fromhex("".join(texts.get(_EXIF_KEYWORD, b"").decode("latin-1").split("\n")[3:]))
    except ValueError:
        return b""


def _profile(body: bytes) -> bytes:
    """The chunk of a colour profile: as it is if nothing else is in it, or written anew, or empty."""
    name, _, rest = body.partition(b"\0")
    if rest[:1] != b"\0":
        return b""
    unpacked = _unpack(rest[1:])
    kept = icc.profile(unpacked)
    stream = zlib.decompressobj()
    if kept:
        stream.decompress(rest[1:])
    if kept and kept == unpacked and name == _PROFILE_NAME and stream.eof and not stream.unused_data:
        return body
    return _PROFILE_NAME + b"\0\0" + zlib.compress(kept, 9) if kept else b""


def _checksum(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _write(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + _checksum(name, body)
