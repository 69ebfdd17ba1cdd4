"""Write a changed picture in the format of the file that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, JpegImagePlugin, PngImagePlugin
from PIL import Image as PillowImage

from sfumato.errors import ImageError
from sfumato.images import Pixels, open_upright, reading, to_rgb

_CHROMA = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
WEBP_QUALITY = 90


@dataclass(frozen=True)
class Source:
    """A decoded picture and what is needed to write one like it.

    Attributes:
        rgb: upright pixels, (height, width, 3) uint8.
        alpha: transparency of the same height and width, or None.
        grey: whether the file holds grey levels only.
        format: Pillow's word for the file format, by its content.
        options: encoder settings taken from the file.
        note: what cannot be kept, in words; empty where nothing is lost.
        orientation: EXIF orientation of the stored pixels, 1 to 8.
    """

    rgb: Pixels
    alpha: Pixels | None
    grey: bool
    format: str
    options: dict[str, Any]
    note: str
    orientation: int


def read_source(path: Path) -> Source:
    """Read a picture with what is needed to write it again in its own format.

    Raises:
        ImageError: as `sfumato.images.open_upright`, or a format that Pillow cannot write.
    """
    # The turned copy that `open_upright` returns has lost the file's format and tables: look at the file too.
    with reading(path), PillowImage.open(path) as plain:
        file_format = "JPEG" if plain.format == "MPO" else str(plain.format)
        options = _options(plain, file_format, path)
        note = _note(plain)
        turn = plain.getexif().get(ExifTags.Base.Orientation, 1)
    PillowImage.init()
    if file_format not in PillowImage.SAVE:
        raise ImageError(
            f"{path}: {file_format} pictures can be read but not written; convert it to PNG or JPEG"
        )
    upright = open_upright(path)
    alpha = np.asarray(upright.convert("RGBA"))[..., 3] if upright.has_transparency_data else None
    return Source(
        to_rgb(upright),
        alpha,
        upright.mode in {"L", "LA", "1"},
        file_format,
        options,
        note,
        turn if turn in range(1, 9) else 1,
    )


def encode(source: Source, rgb: Pixels) -> bytes:
    """The picture's bytes with other pixels of the same shape; EXIF, comments and previews are left behind.

    The colour profile and the resolution are kept; a JPEG keeps its own quantisation tables and chroma
    sampling, so that what is not hidden changes as little as decoding and encoding can make it.

    Raises:
        ImageError: the encoder refuses.
    """
    grey = source.grey and bool((rgb[..., :1] == rgb).all())
    image = PillowImage.fromarray(rgb).convert("L") if grey else PillowImage.fromarray(rgb)
    options = dict(source.options)
    if source.format == "JPEG" and not grey and source.grey:
        options.pop("qtables", None)  # one table of a grey file does not serve three components
        options["quality"] = 95
    if source.alpha is not None and source.format != "JPEG":
        image = image.convert("RGBA")
        image.putalpha(PillowImage.fromarray(source.alpha))
    sink = BytesIO()
    try:
        image.save(sink, format=source.format, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be written as {source.format} ({error})") from error
    return sink.getvalue()


def _options(image: PillowImage.Image, file_format: str, path: Path) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if image.mode not in {"CMYK", "YCCK"} and image.info.get("icc_profile"):
        options["icc_profile"] = image.info["icc_profile"]
    if file_format == "JPEG":
        options |= _jpeg_options(image)
    elif file_format == "WEBP":
        lossless = is_lossless_webp(path.read_bytes())
        options |= {"lossless": True} if lossless else {"quality": WEBP_QUALITY}
    elif file_format == "TIFF":
        options["compression"] = "tiff_lzw"
    if file_format in {"JPEG", "PNG", "TIFF", "BMP"} and _plain_number_pair(image.info.get("dpi")):
        options["dpi"] = tuple(float(value) for value in image.info["dpi"])
    return options


def _jpeg_options(image: PillowImage.Image) -> dict[str, Any]:
    if image.mode == "CMYK" or not isinstance(image, JpegImagePlugin.JpegImageFile):
        return {"quality": 95, "subsampling": "4:4:4"}
    chroma = _CHROMA.get(JpegImagePlugin.get_sampling(image))
    progressive = {"progressive": True} if image.info.get("progressive") else {}
    return {
        "qtables": image.quantization,
        **({"subsampling": chroma} if chroma and image.mode != "L" else {}),
        **progressive,
    }


def with_metadata(source: Source, path: Path) -> Source:
    """The source with settings that carry over EXIF (but for the orientation), XMP and PNG texts too.

    Previews and names in there stay as they are: only for whoever asks for all metadata.
    """
    options = dict(source.options)
    with reading(path), PillowImage.open(path) as image:
        image.load()  # PNG has texts behind its pixels
        exif = image.getexif()
        # The picture is written upright; said here, an orientation in the XMP does not count.
        exif[ExifTags.Base.Orientation] = 1
        if source.format in {"JPEG", "PNG", "WEBP", "AVIF"}:
            options["exif"] = exif.tobytes()
        if image.info.get("xmp") and source.format in {"JPEG", "WEBP", "AVIF"}:
            options["xmp"] = image.info["xmp"]
        if source.format == "PNG":
            options["pnginfo"] = _texts(image.info)
    return replace(source, options=options)


def without_metadata(source: Source) -> Source:
    """The source with settings that write nothing but the picture."""
    kept = {key: value for key, value in source.options.items() if key not in {"icc_profile", "dpi"}}
    return replace(source, options=kept)


def _texts(info: dict[str | tuple[int, int], Any]) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    for key, value in info.items():
        if isinstance(key, str) and isinstance(value, str):
            texts.add_itxt(key, value)
    return texts


def is_lossless_webp(data: bytes) -> bool:
    """Whether the first picture chunk of a RIFF container is a lossless one ("VP8L")."""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        if name == b"ANMF":  # an animation: its frames hold the pictures, after a header of 16 bytes
            return data[at + 24 : at + 28] == b"VP8L"
        at += 8 + size + size % 2
    return False


def _note(image: PillowImage.Image) -> str:
    lost = []
    if getattr(image, "n_frames", 1) > 1:
        lost.append(f"first of {getattr(image, 'n_frames', 1)} frames kept")
    if image.mode.startswith("I") or image.mode == "F":
        lost.append(f"{image.mode} levels written with 8 bits")
    if image.mode == "CMYK":
        lost.append("CMYK written as RGB")
    return "; ".join(lost)


def _plain_number_pair(value: Any) -> bool:
    try:
        return len(value) == 2 and all(0 < float(item) < 65535 for item in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return False
