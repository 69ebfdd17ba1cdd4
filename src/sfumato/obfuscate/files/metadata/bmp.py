"""BMP: a file header, a header of the bitmap, masks or palette, pixels at a given place."""

from __future__ import annotations

import struct

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

_CORE, _INFO, _WITH_COLOURS = 12, 40, (108, 124)
_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_RESOLUTION = slice(14 + 24, 14 + 32)
_SRGB = b"BGRs"


def clean(data: bytes, policy: Policy) -> Cleaned:
    """A BMP file without what the policy does not keep; see `sfumato.obfuscate.files.metadata.clean`.

    Bytes that belong to nothing are set to 0, so that all else stays where it is; a colour profile, which
    next to no program reads in this format, goes.

    Raises:
        ImageError: a kind of header or compression that is not known, or pixels beyond the file's end.
    """
    if len(data) < 26:
        raise ImageError("a BMP file without a header")
    start, header = struct.unpack_from("<II", data, 10)
    used = 14 + header + _colours(data, header)
    end = start + _pixels(data, header)
    if start < used or end > len(data):
        raise ImageError("a BMP file whose pixels lie outside it")
    out = bytearray(data[:end])
    removed = {"trailer after the end of the image"} if end < len(data) else set()
    struct.pack_into("<IHH", out, 2, end, 0, 0)
    if header == 124:
        removed |= _without_profile(out)
    if used < start:
        removed |= {"bytes before the pixels"} if any(out[used:start]) else set()
        out[used:start] = bytes(start - used)
    if policy is Policy.NONE and header >= _INFO and any(out[_RESOLUTION]):
        out[_RESOLUTION] = bytes(8)
        removed.add("resolution")
    return Cleaned.of(bytes(out), removed)


def _facts(data: bytes, header: int) -> tuple[int, int, int, int]:
    """Width, height (positive), bits a pixel and compression.

    Raises:
        ImageError: a header of an unknown kind.
    """
    if header == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return width, height, bits, _RGB
    if header not in (_INFO, *_WITH_COLOURS) or len(data) < 14 + header:
        raise ImageError("a BMP file with a header of an unknown kind")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    return width, abs(height), bits, compression


def _pixels(data: bytes, header: int) -> int:
    """Bytes of the pixels: rows padded to four bytes, or what the header says where they are packed."""
    width, height, bits, compression = _facts(data, header)
    if width <= 0 or height <= 0 or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise ImageError("a BMP file of an impossible size")
    if compression in (_RLE8, _RLE4):
        size = int.from_bytes(data[34:38], "little")
        if size == 0:
            raise ImageError("a BMP file that does not tell the size of its pixels")
        return size
    if compression not in (_RGB, _BITFIELDS, _ALPHA_BITFIELDS):
        raise ImageError("a BMP file with a compression of an unknown kind")
    return (width * bits + 31) // 32 * 4 * height


def _colours(data: bytes, header: int) -> int:
    """Bytes of masks and palette after the header; a palette of more than 8 bits a pixel is a mere hint."""
    _, _, bits, compression = _facts(data, header)
    masks = {_BITFIELDS: 12, _ALPHA_BITFIELDS: 16}.get(compression, 0) if header == _INFO else 0
    if bits > 8:
        return masks
    used = int.from_bytes(data[46:50], "little") if header != _CORE else 0
    if used > 256:
        raise ImageError("a BMP file with an impossible palette")
    return masks + (used or 2**bits) * (3 if header == _CORE else 4)


def _without_profile(out: bytearray) -> set[str]:
    """Let a version 5 header name sRGB instead of a profile, which may be the path of a file."""
    had = bytes(out[70:74]) in (b"DEBM", b"KNIL") or any(out[126:138])
    if had:
        out[70:74] = _SRGB
        out[126:138] = bytes(12)
    return {"colour profile"} if had else set()
