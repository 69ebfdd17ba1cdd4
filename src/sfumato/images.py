"""Read any picture upright as RGB: the one place where EXIF orientation is applied."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL import Image as PillowImage

from sfumato.errors import ImageError

Pixels = NDArray[np.uint8]
"""A picture: (height, width, 3) uint8, RGB, upright."""

Level = TypeVar("Level", bound=np.generic)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".avif", ".heic", ".heif", ".jp2", ".jxl"}
)
"""Endings, in lower case, by which a file counts as a picture; the content decides how it is read. The second
line's formats are read where Pillow can; where it cannot, the file is a row that says so, never a gap."""

_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RuntimeError,
)
"""What Pillow raises on damaged files; its plug-ins do not agree on one class."""


ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
"""Pillow's words for formats whose further frames are an animation on one canvas. Further pages of a TIFF and
the previews of a phone's JPEG are other pictures: they are never examined, nor carried over."""


def is_image(path: Path) -> bool:
    """Whether a file counts as a picture by its name; hidden files do not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def open_upright(path: Path, *, at_least: int | None = None) -> PillowImage.Image:
    """Decode the first frame of a picture, turned as its EXIF orientation says, in its own mode.

    Args:
        path: file to read.
        at_least: a JPEG may be decoded at a reduced scale whose shorter side is still this many pixels.

    Raises:
        ImageError: the file is missing, truncated, no picture, or larger than Pillow's limit.
    """
    with reading(path), PillowImage.open(path) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # else it copies, whatever the orientation
        return image


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what Pillow raises into an ImageError that names the file."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd but readable files; what it cannot read it raises.
            warnings.simplefilter("ignore")
            yield
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not a picture that can be read (damaged, or another format)") from error
    except PillowImage.DecompressionBombError as error:
        raise ImageError(f"{path}: too large to be decoded safely ({error})") from error
    except _READ_ERRORS as error:
        raise ImageError(f"{path}: cannot be decoded ({error or type(error).__name__})") from error


def frame_count(path: Path) -> int:
    """Number of frames of an animation; 1 for any other picture.

    Raises:
        ImageError: the file cannot be opened.
    """
    with reading(path), PillowImage.open(path) as image:
        return int(getattr(image, "n_frames", 1)) if image.format in ANIMATED else 1


def picture_count(path: Path, data: bytes) -> int:
    """Number of pictures in a file: frames of an animation, pages of a TIFF, previews of a phone's JPEG.

    Args:
        path: of the file.
        data: its bytes.

    Raises:
        ImageError: the file cannot be opened.
    """
    if data.startswith(b"\xff\xd8") and b"MPF\0" not in _head_of_jpeg(data):
        return 1  # the usual case, told without opening the file again
    with reading(path), PillowImage.open(path) as image:
        return int(getattr(image, "n_frames", 1))


def _head_of_jpeg(data: bytes) -> bytes:
    """What stands before the first scan; everything where that cannot be told."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] if data[at : at + 2] == b"\xff\xda" else data


def open_frames(path: Path) -> Iterator[PillowImage.Image]:
    """Every frame of an animation as it is seen, upright, one after the other; of other pictures the first.

    Raises:
        ImageError: a frame cannot be decoded.
    """
    with reading(path), PillowImage.open(path) as image:
        for number in range(int(getattr(image, "n_frames", 1)) if image.format in ANIMATED else 1):
            image.seek(number)
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.info = dict(image.info)
            yield upright


def turned(pixels: NDArray[Level], orientation: int) -> NDArray[Level]:
    """Stored pixels, (height, width) or with channels, as an EXIF orientation of 1 to 8 shows them."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    # After the transposition of 5 to 8: which of the axes run backwards.
    rows, columns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(
        orientation, (1, 1)
    )
    return pixels[::rows, ::columns]


def to_stored(upright: NDArray[Level], orientation: int) -> NDArray[Level]:
    """The inverse of `turned`: upright pixels as a file stores them; a view."""
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    return upright.swapaxes(0, 1) if orientation >= 5 else upright


def to_rgb(image: PillowImage.Image) -> Pixels:
    """Pixels of a decoded picture as (height, width, 3) uint8 RGB; 16-bit grey is scaled to 8 bit."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) / (257 if np.asarray(image).max(initial=0) > 255 else 1)
        image = PillowImage.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    elif image.mode in {"P", "PA"}:
        image = image.convert("RGBA")  # straight to RGB would warn about transparency kept as bytes
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_image(path: Path, *, at_least: int | None = None) -> Pixels:
    """Read a picture upright as (height, width, 3) uint8 RGB.

    JPEG, PNG, WebP, BMP, TIFF, and the first frame of a GIF; what the ending says does not matter.
    Transparency is dropped: the colours below it are what a model and a detector see.

    Args:
        path: file to read.
        at_least: see `open_upright`.

    Raises:
        ImageError: as `open_upright`.
    """
    image = open_upright(path, at_least=at_least)
    try:
        return to_rgb(image)
    except _READ_ERRORS as error:
        raise ImageError(f"{path}: cannot be decoded ({error or type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class Frame:
    """What a picture's header says, without its pixels.

    Attributes:
        width, height: of the upright picture, in pixels.
        orientation: EXIF orientation of the stored pixels, 1 to 8; 1 where there is none.
    """

    width: int
    height: int
    orientation: int


def read_frame(path: Path) -> Frame:
    """Size and orientation of a picture from its header; damage further on is not seen.

    Raises:
        ImageError: the file is missing, or has no header of a picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PillowImage.open(path) as image:
                turn = image.getexif().get(ExifTags.Base.Orientation, 1)
                orientation = turn if turn in range(1, 9) else 1
                width, height = image.size
                if isinstance(image, TiffImagePlugin.TiffImageFile):  # for which `size` is the upright one
                    width, height = image.tag_v2[256], image.tag_v2[257]
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (*_READ_ERRORS, PillowImage.DecompressionBombError) as error:
        raise ImageError(f"{path}: not a picture that can be read ({type(error).__name__})") from error
    return Frame(width, height, orientation) if orientation < 5 else Frame(height, width, orientation)
