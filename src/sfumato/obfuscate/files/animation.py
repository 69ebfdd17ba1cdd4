"""Animations, and GIFs of one frame: every frame hidden, colours outside the faces as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from sfumato.errors import ImageError
from sfumato.images import Pixels, open_frames, reading
from sfumato.obfuscate.files.encode import WEBP_QUALITY, is_lossless_webp

Hide = Callable[[Pixels], Pixels]
"""From a picture (height, width, 3) uint8 RGB to the same with its faces hidden."""

PALETTE = 256
_AT_ONCE = 4096
"""Colours that are compared with a palette at a time, so that memory is bounded."""
_CLEAR = 0
"""Index of the transparent colour in a palette that has one."""


MOST_PIXELS = 400_000_000
"""Pixels of all frames together that are held at once (1.6 GB); larger animations are refused."""


def rewrite_frames(path: Path, hide: Hide, *, first_only: bool = False) -> tuple[bytes, str]:
    """The bytes of an animation with the faces hidden in every frame, and what could not be kept, in words.

    Args:
        path: the file.
        hide: from a picture to the same with its faces hidden.
        first_only: leave out all frames but the first.

    Raises:
        ImageError: a frame cannot be decoded, or the encoder refuses.
    """
    with reading(path), PillowImage.open(path) as plain:
        file_format = str(plain.format)
        n_pixels = plain.width * plain.height * getattr(plain, "n_frames", 1)
    if n_pixels > MOST_PIXELS and not first_only:
        raise ImageError(
            f"{path}: {n_pixels:,} pixels in all frames are too many to be held; cut it into parts"
        )
    notes: dict[str, None] = {}
    images, durations, loop = [], [], None
    for frame in islice(open_frames(path), 1 if first_only else None):
        before = np.asarray(frame.convert("RGBA"))
        after = np.dstack([hide(np.ascontiguousarray(before[..., :3])), before[..., 3]])
        if file_format == "GIF":
            image, note = indexed(before, after)
            notes |= {note: None} if note else {}
        else:
            image = PillowImage.fromarray(after)
        images.append(image)
        durations.append(frame.info.get("duration", 0))
        loop = frame.info.get("loop", loop)
    options = _options(path, file_format, len(images))
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
        options |= {} if loop is None else {"loop": loop}
    return _saved(images[0], file_format, options), "; ".join(notes)


def _options(path: Path, file_format: str, n_frames: int) -> dict[str, Any]:
    """Settings with which each frame replaces the one before, whatever is transparent in it."""
    if file_format == "GIF":
        return {"disposal": 2, "optimize": False}
    if file_format == "PNG":
        return {"disposal": 0, "blend": 0} if n_frames > 1 else {}
    if file_format == "WEBP" and is_lossless_webp(path.read_bytes()):
        return {"lossless": True, "exact": True}
    return {"quality": WEBP_QUALITY}


def _saved(first: PillowImage.Image, file_format: str, options: dict[str, Any]) -> bytes:
    sink = BytesIO()
    try:
        first.save(sink, format=file_format, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be written as {file_format} ({error})") from error
    return sink.getvalue()


def indexed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[PillowImage.Image, str]:
    """A frame (height, width, 4) as a picture with a palette, and a note where colours had to be given up.

    The colours that the frame has stay as they are; what hides a face gets those that are still free, or the
    nearest there are.
    """
    seen = before[..., 3] > 0
    kept = seen & (before == after).all(axis=2)
    own = _unpacked(np.unique(_packed(before[kept])))
    first = 1 if not seen.all() else 0
    if len(own) + first > PALETTE:
        flat = PillowImage.fromarray(np.ascontiguousarray(after[..., :3])).quantize(PALETTE - first)
        return _with_clear(np.asarray(flat), _palette(flat), seen, first), "colours reduced to 256"
    changed = seen & ~kept
    free = PALETTE - first - len(own)
    colours = np.concatenate([own, _few(after[changed][:, :3], free)]) if changed.any() else own
    codes = np.zeros(seen.shape, dtype=np.uint8)
    for mask in (kept, changed):
        if mask.any():
            codes[mask] = _nearest(after[mask][:, :3], colours)
    return _with_clear(codes, colours, seen, first), ""


def _few(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """At most `count` colours that stand for all of these pixels, shape (n, 3)."""
    if not count:
        return pixels[:0]
    strip = PillowImage.fromarray(np.ascontiguousarray(pixels[None])).quantize(count)
    return _palette(strip)[: int(np.asarray(strip).max()) + 1]


def _palette(image: PillowImage.Image) -> NDArray[np.uint8]:
    return np.array(image.getpalette(), dtype=np.uint8).reshape(-1, 3)


def _nearest(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index of the nearest colour to each pixel; exact where it is one of them."""
    codes, back = np.unique(_packed(pixels), return_inverse=True)
    unique = _unpacked(codes).astype(np.int32)
    if not len(colours):
        colours = unique[:1].astype(np.uint8)
    nearest = np.zeros(len(unique), dtype=np.uint8)
    for start in range(0, len(unique), _AT_ONCE):
        part = unique[start : start + _AT_ONCE, None]
        nearest[start : start + _AT_ONCE] = (
            ((part - colours.astype(np.int32)) ** 2).sum(axis=2).argmin(axis=1)
        )
    return np.asarray(nearest[back.reshape(-1)])


def _packed(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Each pixel's red, green and blue as one number: rows of three are slow to sort."""
    red, green, blue = (pixels[:, channel].astype(np.int32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue)


def _unpacked(codes: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)


def _with_clear(
    codes: NDArray[np.uint8], colours: NDArray[np.uint8], seen: NDArray[np.bool_], first: int
) -> PillowImage.Image:
    """The picture of these codes; where a pixel is not seen, with a transparent colour before the others."""
    values = np.where(seen, codes + np.uint8(first), np.uint8(_CLEAR))
    image = PillowImage.fromarray(values.astype(np.uint8), mode="P")
    black: Sequence[int] = [0, 0, 0] * first
    image.putpalette([*black, *colours.ravel().tolist()])
    if first:
        image.info["transparency"] = _CLEAR
    return image
