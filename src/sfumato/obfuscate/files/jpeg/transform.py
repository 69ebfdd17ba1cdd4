"""The coefficients of a JPEG read, changed and written by libjpeg-turbo, in memory (TurboJPEG API 3)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.obfuscate.files.jpeg.blocks import Coefficients, Patches
from sfumato.obfuscate.files.jpeg.header import CannotEdit, Header
from sfumato.obfuscate.files.jpeg.turbo import opened, turbojpeg

# Names and numbers of turbojpeg.h.
_TJINIT_TRANSFORM = 2
_TJXOPT_PROGRESSIVE, _TJXOPT_COPYNONE = 32, 64


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


_Filter = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
)


class _Transform(ctypes.Structure):
    _fields_ = [
        ("region", _Region),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", _Filter),
    ]


class _Compressor(ctypes.Structure):
    """The public start of libjpeg's jpeg_compress_struct (jpeglib.h, API 6b): a TurboJPEG handle begins so.

    TurboJPEG cannot be asked for a restart interval when it transforms: it is set here, see `_set_restart`.
    """

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("err", "mem", "progress", "client_data")),
        ("is_decompressor", ctypes.c_int),
        ("global_state", ctypes.c_int),
        ("dest", ctypes.c_void_p),
        ("image_width", ctypes.c_uint),
        ("image_height", ctypes.c_uint),
        ("input_components", ctypes.c_int),
        ("in_color_space", ctypes.c_int),
        ("input_gamma", ctypes.c_double),
        ("data_precision", ctypes.c_int),
        ("num_components", ctypes.c_int),
        ("jpeg_color_space", ctypes.c_int),
        ("comp_info", ctypes.c_void_p),
        ("quant_tbl_ptrs", ctypes.c_void_p * 4),
        ("dc_huff_tbl_ptrs", ctypes.c_void_p * 4),
        ("ac_huff_tbl_ptrs", ctypes.c_void_p * 4),
        ("arith_dc_l", ctypes.c_ubyte * 16),
        ("arith_dc_u", ctypes.c_ubyte * 16),
        ("arith_ac_k", ctypes.c_ubyte * 16),
        ("num_scans", ctypes.c_int),
        ("scan_info", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("raw_data_in", "arith_code", "optimize_coding")),
        *((name, ctypes.c_int) for name in ("ccir601_sampling", "smoothing_factor", "dct_method")),
        ("restart_interval", ctypes.c_uint),
        ("restart_in_rows", ctypes.c_int),
    ]


_WRITING_COEFFICIENTS = 103
"""`global_state` after jpeg_write_coefficients (CSTATE_WRCOEFS in jpegint.h)."""


def transcode(data: bytes, header: Header, patches: Patches) -> bytes:
    """The JPEG written again with these blocks; comments and application segments are left out.

    Raises:
        CannotEdit: no library, a damaged stream (libjpeg's warnings count), or blocks without a place.
    """
    with opened(_TJINIT_TRANSFORM) as handle:
        return _run(turbojpeg(), handle, data, _Placement(header, patches, handle))


def _run(turbo: Any, handle: int, data: bytes, placement: _Placement) -> bytes:
    options = _TJXOPT_COPYNONE
    options |= _TJXOPT_PROGRESSIVE if placement.header.progressive else 0
    wish = _Transform(options=options, filter=_Filter(placement))
    out, size = ctypes.c_void_p(), ctypes.c_size_t()
    try:
        status = turbo.tj3Transform(
            handle, data, len(data), 1, ctypes.byref(out), ctypes.byref(size), ctypes.byref(wish)
        )
        if status:
            reason = turbo.tj3GetErrorStr(handle).decode(errors="replace")
            raise CannotEdit(placement.problem or f"damaged picture data ({reason})")
        if not placement.complete or not out.value:
            raise CannotEdit("its blocks are not where its header says")
        return ctypes.string_at(out.value, size.value)
    finally:
        turbo.tj3Free(out)


class _Placement:
    """The filter that libjpeg calls for each row of blocks: puts the new blocks into theirs.

    A filter must not raise: the error would be lost, and the row kept as it was.
    """

    def __init__(self, header: Header, patches: Patches, handle: int) -> None:
        self.header = header
        self.problem = ""
        self._handle = handle
        self._restart = header.restart
        self._planes = patches.planes
        self._columns = [
            patches.column[:, None] * component.across + np.arange(component.across)
            for component in header.components
        ]
        self._runs = _runs(patches.row)
        tall, wide = header.mcu
        self._widths = [_blocks(header.width, c.across, wide) for c in header.components]
        self._heights = [_blocks(header.height, c.down, tall) for c in header.components]
        self._placed: set[tuple[int, int]] = set()

    @property
    def complete(self) -> bool:
        """Whether every row of blocks that lies in the picture and in a touched MCU was placed."""
        wanted = {
            (index, row * component.down + line)
            for index, component in enumerate(self.header.components)
            for row in self._runs
            for line in range(component.down)
            if row * component.down + line < self._heights[index]
        }
        return not self.problem and wanted <= self._placed

    def __call__(
        self, address: int, array: _Region, _plane: _Region, component: int, _transform: int, _wish: int
    ) -> int:
        """Place one row of blocks of one component; -1 stops the writer."""
        if self._restart and not self._set_restart():
            self.problem = "its restart interval cannot be kept"
            return -1
        row, line = divmod(array.y // 8, self.header.components[component].down)
        part = self._runs.get(row)
        if part is None:
            return 0
        if array.h != 8 or array.w != 8 * self._widths[component]:
            self.problem = "its blocks are not where its header says"
            return -1
        blocks = np.frombuffer((ctypes.c_short * (8 * array.w)).from_address(address), dtype=np.int16)
        self._place(blocks.reshape(-1, 64), component, part, line)
        self._placed.add((component, array.y // 8))
        return 0

    def _place(self, blocks: Coefficients, component: int, part: slice, line: int) -> None:
        columns, new = self._columns[component][part], self._planes[component][part, line]
        first, last = int(columns[0, 0]), int(columns[-1, -1])
        if last >= len(blocks):  # blocks of the last MCU that lie outside the picture
            inside = columns < len(blocks)
            blocks[columns[inside]] = new[inside]
        elif last - first + 1 == columns.size:  # MCUs side by side: one piece, faster
            blocks[first : last + 1] = new.reshape(-1, 64)
        else:
            blocks[columns] = new

    def _set_restart(self) -> bool:
        """Ask for the restart interval, once it is certain that this is the writer's state."""
        state = _Compressor.from_address(self._handle)
        expected = {
            "is_decompressor": 0,
            "global_state": _WRITING_COEFFICIENTS,
            "image_width": self.header.width,
            "image_height": self.header.height,
            "data_precision": 8,
            "num_components": len(self.header.components),
            "restart_interval": 0,
            "restart_in_rows": 0,
        }
        if any(getattr(state, name) != value for name, value in expected.items()):
            return False
        state.restart_interval, self._restart = self._restart, 0
        return True


def _blocks(pixels: int, blocks: int, largest: int) -> int:
    """Blocks of a component that hold part of the picture (T.81, A.1.1)."""
    return -(-pixels * blocks // (8 * largest))


def _runs(rows: NDArray[np.intp]) -> dict[int, slice]:
    """The values of a sorted array, with the places where each stands."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    ends = [*starts[1:], len(rows)][: len(starts)]
    return {int(rows[start]): slice(start, end) for start, end in zip(starts, ends, strict=True)}
