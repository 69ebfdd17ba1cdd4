"""Whether a written picture shows what its original with hidden faces must show, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from sfumato.faces import Faces
from sfumato.images import Pixels, frame_count, open_frames, read_frame, reading, to_rgb, to_stored, turned
from sfumato.obfuscate.files.deep import factor
from sfumato.obfuscate.files.encode import is_lossless_webp
from sfumato.obfuscate.method import marked
from sfumato.obfuscate.proof.jpeg_agreement import (
    BLOCK,
    Coefficients,
    Flags,
    changed_units,
    in_units,
    moved_blocks,
    read_coefficients,
    strange_blocks,
)

Hide = Callable[[Pixels], Pixels]
"""From a picture (height, width, 3) uint8 RGB to the same with its faces hidden."""

Finding = tuple[str, str]
"""Name of the check that failed, and what is wrong in words."""

FACES, OUTSIDE = "faces", "outside"
"""Checks: faces are hidden as the method hides them; everything else is as it was."""

LOSSLESS = {"PNG", "BMP", "TIFF"}
PALETTE = 256
NEAR = 17
"""Side in pixels of the square around a hidden pixel in which what is wrong counts to the face."""
TILES = ((4, 8.0), (16, 12.0))
"""Side in pixels of tiles, and by how many levels the mean grey of one may differ, in pictures of lossy
encoders that do not tell their tables (WebP, AVIF)."""


@dataclass(frozen=True)
class Pair:
    """An image and what a variant has in its place.

    Attributes:
        original, written: the files.
        hide: what was done to the pixels.
        way: how it was written: "cleaned", "edited" or "encoded".
        faces: that were hidden.
    """

    original: Path
    written: Path
    hide: Hide
    way: str
    faces: Faces = field(default_factory=Faces.of)


def disagreements(pair: Pair) -> list[Finding]:
    """What differs between a written picture and what it must show; nothing where all is well.

    Raises:
        ImageError: one of the two files cannot be decoded.
    """
    formats = _format(pair.original), _format(pair.written)
    if formats[0] != formats[1]:
        return [(OUTSIDE, f"the original is a {formats[0]} picture, this one {formats[1]}")]
    count, written = frame_count(pair.original), frame_count(pair.written)
    if written not in (1, count):
        return [(OUTSIDE, f"it has {written} frames, the original {count}")]
    if formats[0] == "JPEG":
        return _jpeg(pair)
    found: list[Finding] = []
    for number, frames in enumerate(zip(open_frames(pair.original), open_frames(pair.written), strict=False)):
        where = f"frame {number}: " if written > 1 else ""
        found += [(check, where + detail) for check, detail in _frame(pair, formats[0], *frames)]
    return found


def _format(path: Path) -> str:
    with reading(path), PillowImage.open(path) as image:
        return "JPEG" if image.format == "MPO" else str(image.format)


def _first(path: Path) -> Pixels:
    return to_rgb(next(open_frames(path)))


# --- JPEG: coefficients ------------------------------------------------------------------------------------


def _jpeg(pair: Pair) -> list[Finding]:
    before = _first(pair.original)
    expected = pair.hide(before)
    file = read_coefficients(pair.written)
    orientation = read_frame(pair.written).orientation
    size = expected.shape[:2] if orientation < 5 else expected.shape[1::-1]
    if (file.height, file.width) != size:
        return [
            (OUTSIDE, f"it stores {file.width} x {file.height} pixels, the original {size[1]} x {size[0]}")
        ]
    before = marked(before, expected, pair.faces)
    before, expected = to_stored(before, orientation), to_stored(expected, orientation)
    units = changed_units(file, before, expected)
    if pair.way == "encoded":
        return list(_encoded(file, expected, units))
    return list(_edited(file, read_coefficients(pair.original), expected, units))


def _encoded(file: Coefficients, expected: Pixels, units: Flags) -> Iterator[Finding]:
    if not file.comparable:
        yield FACES, f"{file.space} with this sampling cannot be compared with the expected picture"
        return
    for component, strange in enumerate(strange_blocks(file, expected)):
        touched = in_units(file, units, component)
        yield from _said(FACES, strange & touched, component, "not what the method leads to")
        yield from _said(OUTSIDE, strange & ~touched, component, "not what the original leads to")


def _edited(file: Coefficients, original: Coefficients, expected: Pixels, units: Flags) -> Iterator[Finding]:
    if not file.same_layout(original):
        yield OUTSIDE, "its tables, sampling, colours or mode are not those of the original"
        return
    for component, moved in enumerate(moved_blocks(file, original)):
        outside = moved & ~in_units(file, units, component)
        yield from _said(OUTSIDE, outside, component, "not those of the original")
    if units.any() and not file.comparable:
        yield FACES, f"{file.space} with this sampling cannot be compared with the expected picture"
        return
    for component, strange in enumerate(strange_blocks(file, expected) if units.any() else ()):
        hidden = strange & in_units(file, units, component)
        yield from _said(FACES, hidden, component, "not what the method leads to")


def _said(check: str, blocks: Flags, component: int, what: str) -> Iterator[Finding]:
    if blocks.any():
        row, column = np.argwhere(blocks)[0].tolist()
        place = f"the first at x {BLOCK * column}, y {BLOCK * row} of the stored component {component}"
        yield check, f"{int(blocks.sum())} of {blocks.size} blocks are {what}, {place}"


# --- other formats: pixels ---------------------------------------------------------------------------------


def _frame(
    pair: Pair, file_format: str, original: PillowImage.Image, written: PillowImage.Image
) -> list[Finding]:
    before, got = to_rgb(original), to_rgb(written)
    expected = pair.hide(before)
    if got.shape != expected.shape:
        return [(OUTSIDE, f"it has {_size(got)} pixels, the original {_size(expected)}")]
    alpha = _alpha(original)
    if not np.array_equal(alpha, _alpha(written)):
        return [(OUTSIDE, "its transparency is not that of the original")]
    hidden = (marked(before, expected, pair.faces) != expected).any(axis=2)
    wrong = _wrong_levels(pair, file_format, expected, hidden)
    if wrong is None:  # not 16 bit
        wrong = (got != expected).any(axis=2)
        if wrong.any() and file_format == "GIF":
            wrong = _unlike_palette(before, expected, got, alpha > 0)
        elif wrong.any() and not _is_lossless(pair, file_format):
            wrong = _unlike(expected, got)
    if file_format not in LOSSLESS:
        wrong &= alpha > 0  # encoders may change what nobody sees; in other formats it is in the file
    return list(_places(wrong, _near(hidden)))


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _alpha(image: PillowImage.Image) -> NDArray[np.uint8]:
    if not image.has_transparency_data:
        return np.full((image.height, image.width), 255, dtype=np.uint8)
    return np.asarray(image.convert("RGBA"))[..., 3]


def _is_lossless(pair: Pair, file_format: str) -> bool:
    if pair.way == "cleaned" or file_format in LOSSLESS:
        return True
    return file_format == "WEBP" and is_lossless_webp(pair.written.read_bytes())


def _near(hidden: Flags) -> Flags:
    """Hidden pixels and those around: between them some happen to stay as they were."""
    return np.asarray(cv2.dilate(hidden.astype(np.uint8), np.ones((NEAR, NEAR), dtype=np.uint8)) > 0)


def _places(wrong: Flags, near: Flags) -> Iterator[Finding]:
    for check, mask in ((FACES, wrong & near), (OUTSIDE, wrong & ~near)):
        if mask.any():
            y, x = np.argwhere(mask)[0].tolist()
            what = "not as the method hides them" if check == FACES else "not those of the original"
            yield check, f"{int(mask.sum())} pixels are {what}, the first at x {x}, y {y}"


def _unlike_palette(before: Pixels, expected: Pixels, got: Pixels, seen: Flags) -> Flags:
    """Where a picture of few colours has not the nearest of its colours to the expected one.

    Where the original shows more colours than a palette holds, all were reduced: then as `_unlike`.
    """
    if len(np.unique(_packed(before[seen]))) > PALETTE - (not seen.all()):
        return _unlike(expected, got)
    wrong = (got != expected).any(axis=2) & seen
    wanted, back = np.unique(_packed(expected[wrong]), return_inverse=True)
    away = _squared(got[wrong], expected[wrong])
    wrong[wrong] = away > _to_nearest(_unpacked(wanted), _unpacked(np.unique(_packed(got[seen]))))[back]
    return np.asarray(wrong)


def _to_nearest(wanted: Pixels, colours: Pixels) -> NDArray[np.int64]:
    """Squared distance of each colour (n, 3) to the nearest of others (m, 3), in parts."""
    parts = [wanted[at : at + 4096, None] for at in range(0, len(wanted), 4096)]
    return np.concatenate([_squared(part, colours[None]).min(axis=1) for part in parts])


def _squared(first: Pixels, second: Pixels) -> NDArray[np.int64]:
    return np.asarray(((first.astype(np.int64) - second) ** 2).sum(axis=-1))


def _packed(pixels: Pixels) -> NDArray[np.int64]:
    """Colours as numbers, for sorting: (..., 3) to one axis less."""
    return np.asarray(pixels.astype(np.int64) @ [65536, 256, 1])


def _unpacked(numbers: NDArray[np.int64]) -> Pixels:
    return np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=-1).astype(np.uint8)


def _unlike(expected: Pixels, got: Pixels) -> Flags:
    """Where the means of tiles differ by more than `TILES` allows."""
    wrong = np.zeros(expected.shape[:2], dtype=np.bool_)
    gap = (got.astype(np.float32) - expected).mean(axis=2)
    for side, limit in TILES:
        height, width = gap.shape
        padded = np.pad(gap, ((0, -height % side), (0, -width % side)))
        tiles = padded.reshape(padded.shape[0] // side, side, -1, side).mean(axis=(1, 3))
        far = np.repeat(np.repeat(np.abs(tiles) > limit, side, axis=0), side, axis=1)
        wrong |= far[:height, :width]
    return wrong


def _wrong_levels(pair: Pair, file_format: str, expected: Pixels, hidden: Flags) -> Flags | None:
    """Which pixels of a 16-bit picture are wrong in any bit: the lower eight alone could hold a face.

    None where it is not one, or was written with 8 bits, as the table says.
    """
    if file_format not in {"PNG", "TIFF"}:
        return None
    before, got = (_levels(path, hidden) for path in (pair.original, pair.written))
    if before is None or got is None or before.shape != got.shape:
        return None
    kept, made = _same(got, before), _same(got, _widened(expected, before))
    # Between hidden pixels one may be hidden too, though its upper eight bits happen to stay.
    return np.where(hidden, ~made, ~kept & ~(_near(hidden) & made))


def _same(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> Flags:
    return np.asarray((first == second).reshape(*first.shape[:2], -1).all(axis=2))


def _widened(expected: Pixels, before: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The expected picture in 16 bits, in channels as those of the original (blue first)."""
    wide = expected.astype(np.uint16) * factor(before)
    if before.ndim == 2:
        return np.asarray(np.rint(wide.mean(axis=2)).astype(np.uint16))
    return np.dstack([wide[..., ::-1], before[..., 3:]])


def _levels(path: Path, hidden: Flags) -> NDArray[np.uint16] | None:
    """Upright 16-bit levels of the same height and width as the mask, (height, width) or with channels."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    levels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16:
        return None
    if levels.shape[:2] != hidden.shape or path.suffix.lower() == ".png":
        levels = turned(levels, read_frame(path).orientation)
    return levels if levels.shape[:2] == hidden.shape else None
