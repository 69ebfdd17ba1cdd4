"""WebP (RFC 9649): a RIFF file of chunks, each a name, a length and data padded to an even size."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import exif, icc
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_HAS_PROFILE, _HAS_ALPHA, _HAS_EXIF, _HAS_XMP, _ANIMATED = 0x20, 0x10, 0x08, 0x04, 0x02
_FRAME = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_WORDS = {b"EXIF": "EXIF", b"XMP ": "XMP", b"ICCP": "colour profile"}

_Chunk = tuple[bytes, bytes]


def clean(data: bytes, policy: Policy) -> Cleaned:
    """A WebP file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    Raises:
        ImageError: chunks that reach beyond the file, or no picture.
    """
    removed: set[str] = set()
    end = 8 + int.from_bytes(data[4:8], "little")
    if end < len(data):
        removed.add("trailer after the end of the image")
    chunks = list(_chunks(data, 12, end))
    if chunks and chunks[0][0] == b"VP8X":
        out = _extended(chunks, policy, removed)
    elif chunks and chunks[0][0] in (b"VP8 ", b"VP8L"):
        out = chunks[:1]  # a simple file has one chunk; no reader looks at others
        removed |= {_WORDS.get(name, "other chunks") for name, _ in chunks[1:]}
    else:
        raise ImageError("a WebP file without a picture")
    body = b"WEBP" + b"".join(_write(name, content) for name, content in out)
    return Cleaned.of(b"RIFF" + struct.pack("<I", len(body)) + body, removed)


def _chunks(data: bytes, at: int, end: int) -> Iterator[_Chunk]:
    """The chunks between two places.

    Raises:
        ImageError: the last one reaches beyond the end.
    """
    if end > len(data):
        raise ImageError("a WebP file shorter than it says")
    while at < end:
        if at + 8 > end:
            raise ImageError("a WebP file with a damaged chunk")
        name, size = struct.unpack_from("<4sI", data, at)
        if at + 8 + size > end:
            raise ImageError("a WebP file with a chunk that reaches beyond its end")
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _extended(chunks: list[_Chunk], policy: Policy, removed: set[str]) -> list[_Chunk]:
    """The chunks of a file with a VP8X header, the flags in it set to what is left."""
    head = chunks[0][1]
    if len(head) < 10:
        raise ImageError("a WebP file with a damaged header")
    told = exif.build(_kept(chunks, head[0]).under(policy))
    removed |= _exif_words(chunks, told)
    profile = _profile(chunks, head[0], policy, removed)
    picture = _picture(chunks[1:], bool(head[0] & _ANIMATED), removed)
    flags = head[0] & (_HAS_ALPHA | _ANIMATED)
    flags |= (_HAS_PROFILE if profile else 0) | (_HAS_EXIF if told else 0)
    return [
        (b"VP8X", bytes([flags, 0, 0, 0]) + head[4:10]),
        *([(b"ICCP", profile)] if profile else []),
        *picture,
        *([(b"EXIF", told)] if told else []),
    ]


def _first(chunks: list[_Chunk], name: bytes) -> bytes:
    return next((body for found, body in chunks if found == name), b"")


def _kept(chunks: list[_Chunk], flags: int) -> exif.Kept:
    """Orientation and resolution; readers look for EXIF and XMP only where the header announces them."""
    block = _first(chunks, b"EXIF") if flags & _HAS_EXIF else b""
    return exif.read(block, _first(chunks, b"XMP ") if flags & _HAS_XMP else b"")


def _exif_words(chunks: list[_Chunk], told: bytes) -> set[str]:
    blocks = [body for name, body in chunks if name == b"EXIF"]
    found = set().union(*(exif.words(block, told) for block in blocks))
    return found | ({"EXIF"} if len(blocks) > 1 else set())


def _profile(chunks: list[_Chunk], flags: int, policy: Policy, removed: set[str]) -> bytes:
    found = [body for name, body in chunks if name == b"ICCP"]
    kept = icc.profile(found[0]) if found and flags & _HAS_PROFILE and policy is Policy.SAFE else b""
    if found and not kept:
        removed.add("colour profile")
    elif found and found != [kept]:
        removed.add("bytes after the colour profile")
    return kept


def _picture(chunks: list[_Chunk], animated: bool, removed: set[str]) -> list[_Chunk]:
    """The chunks that hold pixels, in their order."""
    wanted = {b"ANIM", b"ANMF"} if animated else _FRAME
    out: list[_Chunk] = []
    for name, body in chunks:
        if name in wanted and (name == b"ANMF" or name not in {found for found, _ in out}):
            out.append((name, _part(name, body, removed)))
        elif name == b"XMP ":
            removed.add("XMP")
        elif name not in (b"EXIF", b"ICCP"):
            removed.add("other chunks")
    if not {name for name, _ in out} & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise ImageError("a WebP file without a picture")
    return out


def _part(name: bytes, body: bytes, removed: set[str]) -> bytes:
    """One chunk of the picture; the frame of an animation holds chunks itself, after a header of 16 bytes."""
    if name == b"ANIM":
        return body[:6]
    if name != b"ANMF":
        return body
    if len(body) < 16:
        raise ImageError("a WebP file with a damaged frame")
    inner = _picture(list(_chunks(body, 16, len(body))), animated=False, removed=removed)
    return body[:16] + b"".join(_write(found, content) for found, content in inner)


def _write(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
