"""Pictures with 16 bits a channel: what is not hidden keeps every bit."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from sfumato.images import Pixels, turned

_PHOTOMETRIC = 262
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ABOUT_COLOUR = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs")
"""Chunks without which the same levels would look different, or be printed in another size."""


def has_16_bits(data: bytes, file_format: str) -> bool:
    """Whether a PNG or TIFF holds 16-bit levels, whole numbers without a sign."""
    if file_format == "PNG":
        return data[24:25] == b"\x10"
    if file_format != "TIFF":
        return False
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return levels is not None and levels.dtype == np.uint16


@dataclass(frozen=True)
class Deep:
    """A written picture.

    Attributes:
        data: its bytes.
        channels: 1, 3, or 4; the fourth is written as it was, so it must be transparency and nothing else.
    """

    data: bytes
    channels: int


def factor(levels: NDArray[np.uint16]) -> int:
    """How many 16-bit levels one of 8 bits stands for, as `sfumato.images.to_rgb` reads them.

    Grey levels of up to 255 are 8-bit data in a wide container.
    """
    return 1 if levels.ndim == 2 and levels.max(initial=0) <= 255 else 257


def rewrite_deep(
    data: bytes, file_format: str, before: Pixels, after: Pixels, *, orientation: int
) -> Deep | None:
    """The picture with other pixels where `after` differs from `before`; None if that is not possible.

    Where a picture holds only levels of 8 bits, what hides a face has such levels too.

    Args:
        data: PNG or TIFF.
        file_format: "PNG" or "TIFF".
        before, after: (height, width, 3) uint8, upright.
        orientation: EXIF orientation of the stored pixels; the new file is stored upright.
    """
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or _is_negative(data, file_format):
        return None
    # TIFF is turned by the decoder itself in some versions: the size says which.
    if levels.shape[:2] != before.shape[:2] or file_format == "PNG":
        levels = turned(levels, orientation)
    if levels.shape[:2] != before.shape[:2]:
        return None
    levels = np.ascontiguousarray(levels)
    changed = _without_holes((before != after).any(axis=2))
    wide = after[changed].astype(np.uint16) * factor(levels)
    if levels.ndim == 2:
        levels[changed] = np.rint(wide.mean(axis=1)).astype(np.uint16)
    else:
        levels[changed, :3] = wide[:, ::-1]
    done, encoded = cv2.imencode("." + file_format.lower(), levels)
    if not done:
        return None
    made = _with_chunks(encoded.tobytes(), data) if file_format == "PNG" else encoded.tobytes()
    return Deep(made, 1 if levels.ndim == 2 else levels.shape[2])


def _is_negative(data: bytes, file_format: str) -> bool:
    """Whether a TIFF's lowest level is white, which the encoder cannot say."""
    if file_format != "TIFF":
        return False
    with PillowImage.open(BytesIO(data)) as image:
        return bool(getattr(image, "tag_v2", {}).get(_PHOTOMETRIC, 1) == 0)


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its small holes filled: a pixel of a face whose 8 bits happen to stay has 8 more."""
    kernel = np.ones((9, 9), dtype=np.uint8)
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)) > 0


def _with_chunks(new: bytes, old: bytes) -> bytes:
    """A PNG with the chunks of another one that are about colour and size, behind its header."""
    kept = b"".join(chunk for name, chunk in _chunks(old) if name in _ABOUT_COLOUR)
    header, *rest = _chunks(new)
    others = b"".join(chunk for name, chunk in rest if name not in _ABOUT_COLOUR)
    return _SIGNATURE + header[1] + kept + others


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Names and bytes of a PNG's chunks up to its end; those with a wrong checksum are left out."""
    found, at = [], len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, end = data[at + 4 : at + 8], at + 12 + length
        if zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big"):
            found.append((name, data[at:end]))
        at = end
    return found
