"""GIF (CompuServe, 89a): a screen, then blocks, each a kind and a chain of sub-blocks."""

from __future__ import annotations

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import exif
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_WORDS = {0xFE: "comment", 0x01: "plain text"}
_BROKEN = "a GIF file that ends inside a block"


def clean(data: bytes, _policy: Policy) -> Cleaned:
    """A GIF file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    The format has neither orientation nor resolution, so the policies "safe" and "none" are one.

    Raises:
        ImageError: a block of an unknown kind or without an end, no picture, or a picture that XMP turns.
    """
    removed: set[str] = set()
    at = _after_screen(data)
    out, pictures = [data[:at]], 0
    while at < len(data) and data[at] != _TRAILER:
        kind = data[at]
        if kind == _IMAGE:
            end = _after_image(data, at)
            out.append(data[at:end])
            pictures += 1
        elif kind == _EXTENSION:
            end, kept = _extension(data, at, removed)
            out.append(kept)
        else:
            raise ImageError("a GIF file with a block of an unknown kind")
        at = end
    if not pictures:
        raise ImageError("a GIF file without a picture")
    if at + 1 < len(data):
        removed.add("trailer after the end of the image")
    return Cleaned.of(b"".join(out) + bytes([_TRAILER]), removed)


def _after_screen(data: bytes) -> int:
    if len(data) < 13:
        raise ImageError(_BROKEN)
    return 13 + _palette(data[10])


def _palette(flags: int) -> int:
    """Bytes of the palette that these flags announce: three for each of 2 to 256 colours."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_image(data: bytes, at: int) -> int:
    if at + 10 > len(data):
        raise ImageError(_BROKEN)
    return _sub_blocks(data, at + 10 + _palette(data[at + 9]) + 1)[0]


def _sub_blocks(data: bytes, at: int) -> tuple[int, list[bytes]]:
    """Where a chain of sub-blocks ends, and what they hold."""
    found: list[bytes] = []
    while at < len(data) and data[at]:
        found.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    if at >= len(data):
        raise ImageError(_BROKEN)
    return at + 1, found


def _extension(data: bytes, at: int, removed: set[str]) -> tuple[int, bytes]:
    """Where an extension ends, and what of it is kept: how a frame is shown, how often an animation."""
    if at + 2 >= len(data):
        raise ImageError(_BROKEN)
    label = data[at + 1]
    end, parts = _sub_blocks(data, at + 2)
    if label == _CONTROL:
        if [len(part) for part in parts] != [4]:
            raise ImageError("a GIF file with a damaged frame control")
        return end, data[at:end]
    if label == _APPLICATION and parts[:1] and parts[0] in _LOOPS:
        loop = [part for part in parts[1:] if len(part) == 3 and part[0] & 7 == 1][:1]
        kept = b"".join(bytes([len(part)]) + part for part in [parts[0], *loop]) + b"\0"
        removed |= {"application data"} if parts != [parts[0], *loop] else set()
        return end, data[at : at + 2] + kept
    removed.add(
        _application(data[at:end], parts) if label == _APPLICATION else _WORDS.get(label, "extension")
    )
    return end, b""


def _application(block: bytes, parts: list[bytes]) -> str:
    """The word for an application's data.

    Raises:
        ImageError: XMP that turns the picture, which nothing else in a GIF can.
    """
    if not parts or not parts[0].startswith(b"XMP Data"):
        return "application data"
    if exif.read(b"", block).orientation != 1:
        raise ImageError("a GIF file whose XMP turns it; encode the picture anew")
    return "XMP"
