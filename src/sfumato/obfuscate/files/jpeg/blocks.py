"""Which MCUs a change touches, and the coefficients that these get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.images import Pixels, to_stored
from sfumato.obfuscate.files.jpeg.header import Component, Header

Mask = NDArray[np.bool_]
Coefficients = NDArray[np.int16]

_AT_ONCE = 1024
"""MCUs computed in one go: bounds the memory, and keeps the numbers in the cache."""

_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]],
    dtype=np.float32,
)
"""From R, G, B to Y, Cb - 128, Cr - 128 (JFIF 1.02, page 3)."""


def _transform() -> NDArray[np.float32]:
    """The two-dimensional DCT-II of T.81, A.3.3, as a (64, 64) matrix on blocks laid out in a row."""
    k = np.arange(8)
    one = 0.5 * np.cos((2 * k[None, :] + 1) * k[:, None] * np.pi / 16)
    one[0] /= np.sqrt(2)
    return np.kron(one, one).astype(np.float32)


_DCT = _transform()


@dataclass(frozen=True)
class Patches:
    """New coefficients of the touched MCUs, in the order of the file.

    Attributes:
        row, column: (n,) place of each touched MCU, row by row.
        planes: for each component (n, down, across, 64) int16: its blocks in each MCU, quantised.
    """

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    planes: tuple[Coefficients, ...]


def changed_mcus(before: Pixels, after: Pixels, orientation: int, header: Header) -> Mask:
    """Whether each MCU of the stored picture holds a pixel that differs: (rows, columns) of MCUs."""
    mcu_height, mcu_width = (8 * size for size in header.mcu)
    rows, columns = -(-header.height // mcu_height), -(-header.width // mcu_width)
    padded = np.zeros((rows * mcu_height, columns * mcu_width), dtype=np.bool_)
    stored = to_stored(_changed(before, after), orientation)
    padded[: header.height, : header.width] = stored
    down = padded.reshape(rows, mcu_height, -1).any(axis=1)
    return np.asarray(down.reshape(rows, columns, mcu_width).any(axis=2))


def _changed(before: Pixels, after: Pixels) -> Mask:
    """Whether each pixel differs, looking closely only where a row and a column may."""
    mask = np.zeros(before.shape[:2], dtype=np.bool_)
    differs = before != after
    rows = _span(differs.reshape(len(before), -1).any(axis=1))
    columns = _span(differs[rows].any(axis=0).any(axis=1))
    red, green, blue = np.moveaxis(differs[rows, columns], 2, 0)
    mask[rows, columns] = red | green | blue
    return mask


def _span(flags: Mask) -> slice:
    """From the first to the last true value; nothing where there is none."""
    at = np.flatnonzero(flags)
    return slice(at[0], at[-1] + 1) if len(at) else slice(0, 0)


def make_patches(after: Pixels, orientation: int, header: Header, touched: Mask) -> Patches:
    """The coefficients that an encoder with the file's own tables gives the touched MCUs of a picture.

    Beyond the picture's edges its last row and column go on, so that nothing of the original is left there.
    """
    stored = to_stored(after, orientation)
    row, column = np.nonzero(touched)
    planes = [np.empty((len(row), c.down, c.across, 64), dtype=np.int16) for c in header.components]
    for start in range(0, len(row), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        samples = _samples(_tiles(stored, header, row[part], column[part]), header.colour)
        for plane, of_plane, component in zip(planes, samples, header.components, strict=True):
            plane[part] = _quantised(of_plane, component, header.mcu)
    return Patches(row, column, tuple(planes))


def _tiles(
    stored: NDArray[np.generic], header: Header, row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.generic]:
    """Pixels of MCUs, (n, MCU height, MCU width, 3)."""
    (tall, wide), (top, left) = (8 * np.array(header.mcu)).tolist(), (row.min(), column.min())
    rows, columns = row.max() + 1 - top, column.max() + 1 - left
    part = stored[top * tall :, left * wide :][: rows * tall, : columns * wide]
    height, width = part.shape[:2]
    padded = np.empty((rows * tall, columns * wide, 3), dtype=part.dtype)
    padded[:height, :width] = part
    padded[:height, width:] = part[:, -1:]
    padded[height:] = padded[height - 1]
    return np.asarray(padded.reshape(rows, tall, columns, wide, 3)[row - top, :, column - left])


def _samples(rgb: NDArray[np.generic], colour: str) -> NDArray[np.float32]:
    """Samples less 128 of each component of the file, (components, n, height, width), from (n, ..., 3) RGB.

    Files of four components store inks inverted, as Adobe does and every reader expects: without black ink,
    what they store as C, M, Y is R, G, B, and YCCK is the YCC of what is left to white.
    """
    if colour == "ycck":
        return _with_black(_samples(255 - rgb, "ycc"))
    values = rgb.reshape(-1, 3).astype(np.float32).T
    if colour == "cmyk":
        return _with_black((values - np.float32(128)).reshape(3, *rgb.shape[:-1]))
    planes = values - np.float32(128) if colour == "rgb" else _YCC[: 1 if colour == "grey" else 3] @ values
    if colour != "rgb":
        planes[0] -= 128
    return np.asarray(planes.reshape(-1, *rgb.shape[:-1]))


def _with_black(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """A fourth plane: no black ink, stored as 255."""
    return np.concatenate([planes, np.full((1, *planes.shape[1:]), 127, dtype=np.float32)])


def _quantised(plane: NDArray[np.float32], component: Component, mcu: tuple[int, int]) -> Coefficients:
    """(n, down, across, 64) quantised coefficients of one component from its samples at luma resolution."""
    n, (down, across) = len(plane), (component.down, component.across)
    tall, wide = mcu[0] // down, mcu[1] // across
    if tall * wide > 1:  # the mean over what shares a sample
        parts = [plane[:, i::tall, j::wide] for i in range(tall) for j in range(wide)]
        plane = sum(parts[1:], start=parts[0]) / np.float32(tall * wide)
    blocks = plane.reshape(n, down, 8, across, 8).swapaxes(2, 3).reshape(-1, 64)
    levels = np.rint(blocks @ (_DCT.T / component.table.astype(np.float32)))
    # Eight-bit Huffman coding has no word beyond these (T.81, table F.2).
    return np.clip(levels, -1023, 1023).astype(np.int16).reshape(n, down, across, 64)
