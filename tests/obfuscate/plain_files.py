"""Picture files of every kind without metadata, and what a viewer shows of a file."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from tests.conftest import drawn
from tests.obfuscate.planted_secrets import frames, saved


def shown(data: bytes) -> list[Any]:
    """What a viewer shows: each frame as it is stored and as it is turned, with its time."""
    out: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data)) as image:
            for frame in ImageSequence.Iterator(image):
                frame.load()
                out.append((frame.mode, frame.size, frame.tobytes(), _time(frame), _upright(frame)))
                if image.format == "MPO":  # the further images go
                    break
    return out


def _time(frame: Image.Image) -> Any:
    return frame.info.get("duration"), frame.info.get("loop"), frame.info.get("transparency")


def _upright(frame: Image.Image) -> Any:
    upright = ImageOps.exif_transpose(frame)
    return upright.size, upright.tobytes()


def outcome(data: bytes) -> Any:
    """The picture, or that Sfumato could not read it."""
    try:
        return shown(data)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
        struct.error,
        AttributeError,
        Image.DecompressionBombError,
    ):
        return "unreadable"


def plain_files() -> Iterator[tuple[str, bytes]]:
    """Pictures of every kind that the formats have, without metadata."""
    colour, grey = Image.fromarray(drawn(41, 55)), Image.fromarray(drawn(41, 55)).convert("L")
    alpha = colour.convert("RGBA")
    alpha.putalpha(grey)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    palette = colour.quantize(40)
    for chroma in ("4:4:4", "4:2:2", "4:2:0"):
        yield f"jpeg-{chroma}", saved("JPEG", colour, subsampling=chroma)
    yield "jpeg-progressive", saved("JPEG", colour, progressive=True)
    yield "jpeg-restarts", saved("JPEG", colour, restart_marker_blocks=2)
    yield "jpeg-grey", saved("JPEG", grey)
    yield "jpeg-cmyk", saved("JPEG", colour.convert("CMYK"))
    for mode, image in {
        "rgb": colour,
        "grey": grey,
        "alpha": alpha,
        "deep": deep,
        "palette": palette,
    }.items():
        yield f"png-{mode}", saved("PNG", image, **({"transparency": 3} if mode == "palette" else {}))
    yield "png-animation", saved("PNG", colour, **frames(), duration=70, loop=2)
    yield "webp", saved("WEBP", colour)
    yield "webp-alpha", saved("WEBP", alpha)
    yield "webp-lossless", saved("WEBP", alpha, lossless=True)
    yield "webp-animation", saved("WEBP", colour, **frames(), duration=70, loop=2)
    yield "gif", saved("GIF", palette, transparency=3)
    yield "gif-animation", saved("GIF", colour, **frames(), duration=70, loop=2, disposal=2)
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"tiff-{packing}", saved("TIFF", colour, compression=packing)
    yield "tiff-fax", saved("TIFF", grey.convert("1"), compression="group4")
    for mode, image in {
        "alpha": alpha,
        "deep": deep,
        "cmyk": colour.convert("CMYK"),
        "palette": palette,
    }.items():
        yield f"tiff-{mode}", saved("TIFF", image, compression="tiff_lzw")
    yield "tiff-pages", saved("TIFF", colour, **frames())
    for mode, image in {"rgb": colour, "alpha": alpha, "palette": palette, "bit": grey.convert("1")}.items():
        yield f"bmp-{mode}", saved("BMP", image)


PLAIN = dict(plain_files())
