"""Take everything out of a picture file that is not the picture, without touching a pixel.

Files are taken apart by their own rules and put together again from what an allow-list names; what no list
names goes, so that a kind of metadata nobody thought of goes too. Pixels are neither decoded nor encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata.policy import Cleaned, Policy

__all__ = ["Cleaned", "Policy", "clean", "left_over"]

_ISO_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


def clean(data: bytes, policy: Policy = Policy.SAFE) -> Cleaned:
    """A picture file without what the policy does not keep.

    The format is found from the bytes. The result shows the same picture, bit for bit and equally turned.

    Args:
        data: a whole file: JPEG, PNG, WebP, GIF, TIFF, BMP; AVIF and HEIF where nothing is to be removed.
        policy: what to keep; see `docs/formats.md` for the table.

    Raises:
        ImageError: a format that cannot be cleaned, or a container too damaged to be sure of; encode the
            picture anew from its pixels instead.
    """
    if policy is Policy.ALL:
        return Cleaned(data, ())
    cleaner: Callable[[bytes, Policy], Cleaned] = import_module(f"{__name__}.{_container(data)}").clean
    return cleaner(data, policy)


def left_over(data: bytes) -> tuple[str, ...]:
    """What a picture file still holds that the policy "safe" would have dropped, in short words.

    Raises:
        ImageError: as `clean`, but for AVIF and HEIF, whose contents are told without being removed.
    """
    if _container(data) == "isobmff":
        return import_module(f"{__name__}.isobmff").left_over(data)  # type: ignore[no-any-return]
    return clean(data, Policy.SAFE).removed


def _container(data: bytes) -> str:
    """Name of the module that knows a file's format, from its first bytes."""
    starts = {
        b"\xff\xd8\xff": "jpeg",
        b"\x89PNG\r\n\x1a\n": "png",
        b"GIF87a": "gif",
        b"GIF89a": "gif",
        b"II*\0": "tiff",
        b"MM\0*": "tiff",
        b"BM": "bmp",
    }
    for start, name in starts.items():
        if data.startswith(start):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and data[8:12] in _ISO_BRANDS:
        return "isobmff"
    raise ImageError("a file format whose metadata cannot be removed; encode the picture anew")
