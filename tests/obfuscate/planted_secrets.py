"""What is planted in picture files: a secret, a thumbnail, and EXIF and XMP that carry them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

from tests.conftest import drawn

SECRET = b"Sfumato plants this secret here!!"  # 33 bytes: whole pixels of three, an odd length for padding
XMP = b"http://ns.adobe.com/xap/1.0/\0"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(file_format: str, picture: Any = None, **options: Any) -> bytes:
    """A picture as Pillow writes it."""
    sink = BytesIO()
    image = picture if picture is not None else Image.fromarray(drawn(41, 55))
    image.save(sink, file_format, **options)
    return sink.getvalue()


def frames() -> dict[str, Any]:
    """Options for a second and third frame."""
    more = [Image.fromarray(drawn(41, 55, seed=seed)) for seed in (1, 2)]
    return {"save_all": True, "append_images": more}


THUMBNAIL = saved("JPEG", Image.fromarray(drawn(12, 16, seed=9)), comment=SECRET)


@dataclass(frozen=True)
class Planted:
    """A file with something in it that must go.

    Attributes:
        data: the file.
        word: what `clean` must say about it.
        secrets: bytes that must not be in the file afterwards.
    """

    data: bytes
    word: str
    secrets: tuple[bytes, ...] = (SECRET,)


# --- EXIF and TIFF -----------------------------------------------------------------------------------------

Tag = tuple[int, int, int, bytes]
"""Number, type, count, value."""


def directory(order: str, start: int, tags: Sequence[Tag], following: int = 0) -> bytes:
    """A directory that starts at a place, its long values after it."""
    values = start + 2 + 12 * len(tags) + 4
    out, long = struct.pack(f"{order}H", len(tags)), b""
    for tag, kind, count, value in sorted(tags):
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(f"{order}I", values + len(long))
        long += value + bytes(len(value) % 2) if len(value) > 4 else b""
        out += struct.pack(f"{order}HHI", tag, kind, count) + field
    return out + struct.pack(f"{order}I", following) + long


def exif_block(order: str = "<", orientation: int = 6) -> bytes:
    """EXIF as a camera writes it: description, resolution, maker notes, GPS, thumbnail; a secret in each."""

    def pack(letters: str, *numbers: int) -> bytes:
        return struct.pack(order + letters, *numbers)

    def first(sub: int, gps: int, following: int) -> bytes:
        tags = [
            (270, 2, len(SECRET), SECRET),
            (274, 3, 1, pack("H", orientation)),
            (282, 5, 1, pack("II", 300, 1)),
            (283, 5, 1, pack("II", 300, 1)),
            (296, 3, 1, pack("H", 2)),
            (0x8769, 4, 1, pack("I", sub)),
            (0x8825, 4, 1, pack("I", gps)),
        ]
        return directory(order, 8, tags, following)

    sub_at = 8 + len(first(0, 0, 0))
    sub = directory(order, sub_at, [(0x927C, 7, len(SECRET), SECRET), (0x9286, 7, len(SECRET), SECRET)])
    gps_at = sub_at + len(sub)
    gps = directory(order, gps_at, [(0x1C, 7, len(SECRET), SECRET)])
    second_at = gps_at + len(gps)

    def second(place: int) -> bytes:
        return directory(
            order, second_at, [(513, 4, 1, pack("I", place)), (514, 4, 1, pack("I", len(THUMBNAIL)))]
        )

    second_size = len(second(0))
    head = (b"II*\0" if order == "<" else b"MM\0*") + pack("I", 8)
    return b"".join(
        [head, first(sub_at, gps_at, second_at), sub, gps, second(second_at + second_size), THUMBNAIL]
    )


def small_exif(orientation: int) -> Any:
    """EXIF with an orientation and a description."""
    exif = Image.Exif()
    exif[274], exif[270] = orientation, SECRET.decode()
    return exif


def xmp(orientation: int = 0) -> bytes:
    """An XMP packet with the secret, and an orientation where one is asked for."""
    turn = f' tiff:Orientation="{orientation}"' if orientation else ""
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a{turn}>{SECRET.decode()}</a></x:xmpmeta>'.encode()
