"""JPEG (ITU-T T.81, annex B): segments, each a marker and a length, and coded data between them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import exif, icc
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_EOI, _SOS, _DQT, _DHT, _DRI, _COM, _TEM = 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE, 0x01
_APP0, _APP1, _APP2, _APP13, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}
_NEEDED = _FRAMES | {_SOS, _DQT, _DHT, _DRI, 0xCC, 0xDC}
"""Markers of segments that a decoder needs: frames, scans, tables, restart interval, arithmetic conditioning,
number of lines. Copied byte for byte."""
_BARE = frozenset(range(0xD0, 0xD8)) | {_TEM}
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_JFIF, _EXIF, _ICC, _ADOBE = b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe"
_XMP, _XMP_MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ICC_ROOM = 0xFFFF - 2 - len(_ICC) - 2
_WORDS = (
    (_APP0, b"JFXX\0", "JFXX thumbnail"),
    (_APP1, _XMP, "XMP"),
    (_APP1, _XMP_MORE, "extended XMP"),
    (_APP2, b"MPF\0", "further images (MPF)"),
    (_APP2, b"", "other APP2 data"),
    (0xEB, b"", "provenance (JUMBF)"),
    (_APP13, b"Photoshop", "Photoshop previews"),
    (_COM, b"", "comment"),
)


@dataclass
class _Parts:
    """A file taken apart: what tells how to show the picture, the coded picture, and words for the rest."""

    jfif: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    adobe: bytes = b""
    icc: list[bytes] = field(default_factory=list)
    picture: list[bytes] = field(default_factory=list)
    coded: bool = False
    framed: bool = False
    removed: set[str] = field(default_factory=set)


def clean(data: bytes, policy: Policy) -> Cleaned:
    """A JPEG file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    Raises:
        ImageError: no end-of-image marker, no scan, or segments of impossible lengths.
    """
    parts = _take_apart(data)
    if not parts.coded:
        raise ImageError("a JPEG file without a picture")
    out = [b"\xff\xd8", _jfif(parts, policy), _exif(parts, policy), *_icc(parts, policy), _adobe(parts)]
    return Cleaned.of(b"".join([*out, *parts.picture, b"\xff\xd9"]), parts.removed)


def _take_apart(data: bytes) -> _Parts:
    parts = _Parts()
    at = 2
    while True:
        match = _NEXT_MARKER.search(data, at)
        if match is None:
            raise ImageError("a JPEG file that ends before its end-of-image marker")
        if data[at : match.start()].strip(b"\xff"):
            parts.removed.add("bytes between segments")
        marker, at = match[0][1], match.end()
        if marker == _EOI:
            break
        at = _segment(data, at, marker, parts)
    if at < len(data):
        parts.removed.add("trailer after the end of the image")
    return parts


def _segment(data: bytes, at: int, marker: int, parts: _Parts) -> int:
    """Sort one segment in; returns where the next search starts."""
    if marker in _BARE:
        return at
    if marker not in _NEEDED and not _APP0 <= marker <= _APP15 and marker != _COM:
        raise ImageError(f"a JPEG file with the unexpected marker FF{marker:02X}")
    size = int.from_bytes(data[at : at + 2], "big")
    if size < 2 or at + size > len(data):
        raise ImageError("a JPEG file with a segment that reaches beyond its end")
    body = data[at + 2 : at + size]
    at += size
    if marker not in _NEEDED:
        _sort_in(marker, body, parts)
        return at
    _check(marker, body, parts)
    parts.picture.append(_write(marker, body))
    if marker == _SOS:
        end = _END_OF_SCAN.search(data, at)
        if end is None:
            raise ImageError("a JPEG file that ends inside a scan")
        parts.picture.append(data[at : end.start()].rstrip(b"\xff"))
        parts.coded = True
        at = end.start()
    return at


def _check(marker: int, body: bytes, parts: _Parts) -> None:
    """Needed segments have the length that their content asks for: none carries more than it says.

    Raises:
        ImageError: one does not.
    """
    if marker in _FRAMES:
        right = len(body) >= 6 and len(body) == 6 + 3 * body[5] and not parts.framed
        parts.framed = True
    elif marker == _SOS:
        right = len(body) >= 1 and len(body) == 4 + 2 * body[0] and parts.framed
    elif marker == _DQT:
        right = _spans(body, lambda rest: 1 + (128 if rest[0] >> 4 else 64))
    elif marker == _DHT:
        right = _spans(body, lambda rest: 17 + sum(rest[1:17]))
    else:
        right = len(body) % 2 == 0 if marker == 0xCC else len(body) == 2
    if not right:
        raise ImageError(f"a JPEG file with a damaged segment FF{marker:02X}")


def _spans(body: bytes, size: Callable[[bytes], int]) -> bool:
    """Whether tables of these sizes, one after the other, fill a segment exactly."""
    at = 0
    while at < len(body):
        at += size(body[at:])
    return at == len(body)


def _sort_in(marker: int, body: bytes, parts: _Parts) -> None:
    """Put a segment that decoders can do without where it belongs: kept aside, or named as removed."""
    if parts.coded:  # readers look for what is kept before the first scan only
        parts.removed.add(_word(marker, body))
    elif marker == _APP0 and body.startswith(_JFIF) and len(body) >= 14:
        parts.jfif = body
        parts.removed |= {"JFIF thumbnail"} if len(body) > 14 else set()
    elif marker == _APP1 and body.startswith(_EXIF):
        parts.exif += body[len(_EXIF) :]
    elif marker == _APP2 and body.startswith(_ICC):
        parts.icc.append(body[len(_ICC) :])
    elif marker == _APP14 and body.startswith(_ADOBE) and len(body) >= 12:
        parts.adobe = body
    else:
        parts.removed.add(_word(marker, body))
        if marker == _APP1 and body.startswith(_XMP):
            parts.xmp = body[len(_XMP) :]


def _word(marker: int, body: bytes) -> str:
    for wanted, start, word in _WORDS:
        if marker == wanted and body.startswith(start):
            return word
    return f"APP{marker - _APP0} data"


def _jfif(parts: _Parts, policy: Policy) -> bytes:
    """Version and density without a thumbnail; its mere presence tells decoders which colours are meant."""
    if not parts.jfif:
        return b""
    facts = parts.jfif[5:12] if policy is Policy.SAFE else parts.jfif[5:7] + b"\0\0\1\0\1"
    parts.removed |= {"resolution"} if facts != parts.jfif[5:12] else set()
    return _write(_APP0, _JFIF + facts + b"\0\0")


def _exif(parts: _Parts, policy: Policy) -> bytes:
    built = exif.build(exif.read(parts.exif, parts.xmp).under(policy))
    parts.removed |= exif.words(parts.exif, built) if parts.exif else set()
    return _write(_APP1, _EXIF + built) if built else b""


def _icc(parts: _Parts, policy: Policy) -> list[bytes]:
    """The chunks of the profile in order, of one set: 1 to n, each once."""
    chunks = sorted(parts.icc)
    whole = all(tuple(chunk[:2]) == (place, len(chunks)) for place, chunk in enumerate(chunks, 1))
    joined = b"".join(chunk[2:] for chunk in chunks)
    kept = icc.profile(joined) if whole and policy is Policy.SAFE else b""
    if kept != joined or (chunks and not joined):
        parts.removed.add("colour profile" if not kept else "bytes after the colour profile")
    pieces = [kept[at : at + _ICC_ROOM] for at in range(0, len(kept), _ICC_ROOM)]
    return [
        _write(_APP2, _ICC + bytes([place, len(pieces)]) + piece) for place, piece in enumerate(pieces, 1)
    ]


def _adobe(parts: _Parts) -> bytes:
    """Adobe's segment with the one byte that matters, the colour transform."""
    if not parts.adobe:
        return b""
    parts.removed |= {"bytes in Adobe's segment"} if len(parts.adobe) > 12 else set()
    return _write(_APP14, _ADOBE + struct.pack(">HHHB", 100, 0, 0, parts.adobe[11]))


def _write(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
