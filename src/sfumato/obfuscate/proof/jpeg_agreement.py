"""Whether the coefficients of a JPEG are those that a given picture leads to.

A coefficient c with the step q of its table stands for the amplitude c * q of a cosine in a block of 8 x 8
samples (ITU-T T.81, A.3.3 and A.3.4). An encoder rounds the amplitude d of the picture to the nearest step:
|c * q - d| <= q / 2, whatever the encoder. What remains is the rounding of samples to whole levels: an error
of e levels in every sample moves no amplitude by more than 8 * e, as each cosine has norm 1 over 64 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import ImageError
from sfumato.images import Pixels

Flags = NDArray[np.bool_]
Samples = NDArray[np.float64]

BLOCK = 8
SLACK = (1.0, 1.5, 1.5, 1.5)
"""Levels by which a sample may be off: for whole-number colour conversion in the first component, and for the
averaging of neighbours besides in the others."""

_ANGLES = np.outer(np.arange(BLOCK), 2 * np.arange(BLOCK) + 1) * np.pi / 16
_COSINES = np.cos(_ANGLES) * np.where(np.arange(BLOCK) == 0, np.sqrt(1 / 8), 0.5)[:, None]
"""Row k: the cosine of frequency k over 8 samples, orthonormal."""
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
"""RGB to Y, Cb, Cr (JFIF 1.02, page 3); 128 is added to the latter two."""
_FOUR = {"JCS_CMYK", "JCS_YCCK"}
_KNOWN = {"JCS_YCbCr", "JCS_GRAYSCALE", "JCS_RGB", *_FOUR}


@dataclass(frozen=True, eq=False)
class Coefficients:
    """What a JPEG stores, before any decoding.

    Attributes:
        blocks: of each component (rows, columns, 8, 8) whole numbers, in steps of the table.
        tables: of each component (8, 8) steps.
        sampling: of each component the samples down and across in an MCU.
        space: "JCS_YCbCr", "JCS_GRAYSCALE", "JCS_RGB" or another one of libjpeg's words.
        height, width: of the stored picture in pixels.
        progressive: whether it is stored in passes.
    """

    blocks: tuple[NDArray[np.int64], ...]
    tables: tuple[NDArray[np.int64], ...]
    sampling: tuple[tuple[int, int], ...]
    space: str
    height: int
    width: int
    progressive: bool

    @property
    def comparable(self) -> bool:
        """Whether a picture in RGB says what the coefficients must be: a known colour space and sampling."""
        return self.space in _KNOWN and all(
            _tallest(self) % v == _widest(self) % h == 0 for v, h in self.sampling
        )

    def ratio(self, component: int) -> tuple[int, int]:
        """Pixels down and across for one sample of a component."""
        v, h = self.sampling[component]
        return _tallest(self) // v, _widest(self) // h

    def same_layout(self, other: Coefficients) -> bool:
        """Whether tables, sampling, size, colour space and mode are equal."""
        tables = len(self.tables) == len(other.tables) and all(map(np.array_equal, self.tables, other.tables))
        facts = ("sampling", "space", "height", "width", "progressive")
        return tables and all(getattr(self, name) == getattr(other, name) for name in facts)


def read_coefficients(path: Path) -> Coefficients:
    """Read a JPEG's coefficients.

    Raises:
        ImageError: it is damaged, or of a kind that the library does not read (arithmetic coding).
    """
    import jpeglib

    try:
        file = jpeglib.read_dct(str(path))
        arrays = [item for item in (file.Y, file.Cb, file.Cr, file.K) if item is not None]
        numbers = [int(number) for number in file.quant_tbl_no[: len(arrays)]]
        sampling = tuple((int(v), int(h)) for v, h in file.samp_factor)
        return Coefficients(
            tuple(np.asarray(item, dtype=np.int64) for item in arrays),
            tuple(np.asarray(file.qt[number], dtype=np.int64) for number in numbers),
            sampling if len(arrays) > 1 else ((1, 1),),  # alone, a component has MCUs of one block
            str(file.jpeg_color_space),
            int(file.height),
            int(file.width),
            bool(file.progressive_mode),
        )
    except (OSError, RuntimeError, ValueError, IndexError, KeyError) as error:
        raise ImageError(f"{path}: the coefficients of this JPEG cannot be read ({error})") from error


def _tallest(file: Coefficients) -> int:
    return max(v for v, _ in file.sampling)


def _widest(file: Coefficients) -> int:
    return max(h for _, h in file.sampling)


def changed_units(file: Coefficients, before: Pixels, after: Pixels) -> Flags:
    """Which MCUs hold a pixel that differs, (rows, columns); the pictures are turned as they are stored."""
    tall, wide = BLOCK * _tallest(file), BLOCK * _widest(file)
    return _any_in_cells((before != after).any(axis=2), tall, wide)


def moved_blocks(file: Coefficients, original: Coefficients) -> list[Flags]:
    """Which blocks of each component differ in any coefficient, (rows, columns); layouts must be equal."""
    return [(a != b).any(axis=(2, 3)) for a, b in zip(file.blocks, original.blocks, strict=True)]


def in_units(file: Coefficients, units: Flags, component: int) -> Flags:
    """Which blocks of a component lie in the MCUs that are set, (rows, columns)."""
    v, h = file.sampling[component]
    rows, columns = file.blocks[component].shape[:2]
    return np.repeat(np.repeat(units, v, axis=0), h, axis=1)[:rows, :columns]


def strange_blocks(file: Coefficients, expected: Pixels) -> list[Flags]:
    """Which blocks of each component cannot come from the expected picture, (rows, columns).

    Below the picture its last row may go on before or after neighbours are averaged: encoders differ.

    Args:
        file: must be `comparable`.
        expected: the picture turned as it is stored, (height, width, 3) RGB.
    """
    found = []
    for component, plane in enumerate(_planes(expected, file.space)):
        strange = _too_far(file, _sampled(file, plane, component), component)
        if strange.any():
            below = np.pad(plane, ((0, -len(plane) % (BLOCK * _tallest(file))), (0, 0)), mode="edge")
            strange &= _too_far(file, _sampled(file, below, component), component)
        found.append(strange)
    return found


def _planes(rgb: Pixels, space: str) -> list[Samples]:
    """Samples of each component; four inks are stored inverted, what hides a face has no black."""
    values = rgb.astype(np.float64)
    no_black = [np.full(rgb.shape[:2], 255.0)] if space in _FOUR else []
    if space in {"JCS_RGB", "JCS_CMYK"}:
        return [*np.moveaxis(values, 2, 0), *no_black]
    values = 255 - values if space == "JCS_YCCK" else values
    planes = [values @ row + offset for row, offset in zip(_YCC, (0, 128, 128), strict=True)]
    return planes[:1] if space == "JCS_GRAYSCALE" else [*planes, *no_black]


def _sampled(file: Coefficients, plane: Samples, component: int) -> Samples:
    """A component's samples, in whole blocks: means of pixels, continued beyond the edge as libjpeg does.

    To the right pixels are continued before the mean is taken, downwards samples are after it.
    """
    tall, wide = file.ratio(component)
    rows, columns = (BLOCK * n for n in file.blocks[component].shape[:2])
    down, across = -plane.shape[0] % tall, columns * wide - plane.shape[1]
    full = np.pad(plane, ((0, down), (0, max(0, across))), mode="edge")[:, : columns * wide]
    means = full.reshape(len(full) // tall, tall, columns, wide).mean(axis=(1, 3))[:rows]
    return np.pad(means, ((0, rows - len(means)), (0, 0)), mode="edge")


def _too_far(file: Coefficients, samples: Samples, component: int) -> Flags:
    amplitudes = _COSINES @ (_blocks(samples) - 128) @ _COSINES.T
    steps = file.tables[component]
    distance = np.abs(file.blocks[component] * steps - amplitudes)
    return np.asarray((distance > steps / 2 + BLOCK * SLACK[component]).any(axis=(2, 3)))


def _blocks(samples: Samples) -> Samples:
    rows, columns = samples.shape[0] // BLOCK, samples.shape[1] // BLOCK
    return samples.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)


def _any_in_cells(mask: Flags, tall: int, wide: int) -> Flags:
    """Whether any pixel is set in each cell of `tall` x `wide` pixels."""
    padded = np.pad(mask, ((0, -mask.shape[0] % tall), (0, -mask.shape[1] % wide)))
    rows, columns = padded.shape[0] // tall, padded.shape[1] // wide
    return np.asarray(padded.reshape(rows, tall, columns, wide).any(axis=(1, 3)))
