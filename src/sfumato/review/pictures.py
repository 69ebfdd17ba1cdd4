"""Pictures as the page shows them: upright, so that boxes in pixels of the upright image fit."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags
from PIL import Image as PillowImage

from sfumato.errors import ImageError
from sfumato.images import Pixels, read_image, reading

_AS_THEY_ARE = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png"}
"""Formats, by Pillow's words, that every browser shows as we decode them."""
_QUALITY = 92


@dataclass(frozen=True)
class Picture:
    """Bytes that a browser shows.

    Attributes:
        data: the encoded picture, upright.
        media_type: "image/jpeg" or "image/png".
    """

    data: bytes
    media_type: str


def upright_picture(path: Path) -> Picture:
    """A picture for the browser: the file's own bytes where they are upright, else encoded anew as JPEG.

    Raises:
        ImageError: the file cannot be read.
    """
    media_type = _as_it_is(path)
    if media_type is None:
        return encoded(read_image(path))
    try:
        return Picture(path.read_bytes(), media_type)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error


def encoded(pixels: Pixels, *, quality: int = _QUALITY) -> Picture:
    """Pixels, (height, width, 3) uint8 RGB, as a JPEG without any metadata."""
    sink = io.BytesIO()
    PillowImage.fromarray(pixels).save(sink, "JPEG", quality=quality, subsampling=0)
    return Picture(sink.getvalue(), "image/jpeg")


def entity_tag(path: Path, *what: object) -> str:
    """Name of what is shown of a file, for If-None-Match; changes with the file.

    Args:
        path: of the image.
        what: part and size that is shown.

    Raises:
        ImageError: no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise ImageError(f"{path}: {os.strerror(error.errno or 0)}") from error
    text = repr((str(path), state.st_mtime_ns, state.st_size, what))
    return f'"{hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]}"'


def _as_it_is(path: Path) -> str | None:
    """Media type of a file that a browser shows upright and still; None for others."""
    with reading(path), PillowImage.open(path) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        moving = image.format == "PNG" and getattr(image, "n_frames", 1) > 1
        return None if turned or moving else _AS_THEY_ARE.get(image.format or "")
