"""The TurboJPEG 3 library: found, declared, and opened so that damage is an error."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from sfumato.images import Pixels
from sfumato.obfuscate.files.jpeg.header import CannotEdit, Header

# Names and numbers of turbojpeg.h.
_TJINIT_DECOMPRESS = 1
_TJPARAM_STOPONWARNING, _TJPARAM_SCANLIMIT = 0, 13
_TJPF_RGB = 0

_MOST_SCANS = 500
"""A progressive file of more scans is made to take forever; encoders write about ten."""


@contextmanager
def opened(purpose: int) -> Iterator[int]:
    """A handle for one purpose (TJINIT of turbojpeg.h) to which a warning of libjpeg is an error.

    Raises:
        CannotEdit: there is no library, or it cannot start.
    """
    turbo = turbojpeg()
    handle = turbo.tj3Init(purpose)
    if not handle:
        raise CannotEdit("TurboJPEG cannot start")
    try:
        turbo.tj3Set(handle, _TJPARAM_STOPONWARNING, 1)
        turbo.tj3Set(handle, _TJPARAM_SCANLIMIT, _MOST_SCANS)
        yield handle
    finally:
        turbo.tj3Destroy(handle)


def decode(data: bytes, header: Header) -> Pixels:
    """The stored pixels, (height, width, 3) uint8 RGB, not turned: those that Pillow decodes, sooner.

    Raises:
        CannotEdit: no library, a picture with black ink, or damage.
    """
    if len(header.components) == 4:
        raise CannotEdit("TurboJPEG does not turn inks into colours")
    pixels = np.empty((header.height, header.width, 3), dtype=np.uint8)
    turbo = turbojpeg()
    with opened(_TJINIT_DECOMPRESS) as handle:
        failed = turbo.tj3DecompressHeader(handle, data, len(data)) or turbo.tj3Decompress8(
            handle, data, len(data), pixels.ctypes.data, 3 * header.width, _TJPF_RGB
        )
        if failed:
            raise CannotEdit(
                f"damaged picture data ({turbo.tj3GetErrorStr(handle).decode(errors='replace')})"
            )
    return pixels


@cache
def turbojpeg() -> Any:
    """TurboJPEG 3: the one that the `turbojpeg` package brings, else the system's.

    Raises:
        CannotEdit: there is none.
    """
    spec = find_spec("turbojpeg")
    for path in (spec.origin if spec else None, find_library("turbojpeg")):
        # PyTurboJPEG is a module of the same name, but no library.
        if path is not None and not path.endswith(".py"):
            try:
                return _declared(ctypes.CDLL(path))
            except (OSError, AttributeError):  # of another machine, or older than version 3
                continue
    raise CannotEdit("no TurboJPEG 3 library here: pip install turbojpeg, or install libjpeg-turbo 3")


def _declared(library: Any) -> Any:
    """The library with the types of what is called: ctypes would take every handle for a 32-bit number."""
    handle, number, pointer = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER
    library.tj3Init.restype, library.tj3Init.argtypes = handle, [number]
    library.tj3Destroy.restype, library.tj3Destroy.argtypes = None, [handle]
    library.tj3Set.argtypes = [handle, number, number]
    library.tj3GetErrorStr.restype, library.tj3GetErrorStr.argtypes = ctypes.c_char_p, [handle]
    library.tj3Free.restype, library.tj3Free.argtypes = None, [handle]
    library.tj3Transform.argtypes = [
        handle,
        ctypes.c_char_p,
        ctypes.c_size_t,
        number,
        pointer(ctypes.c_void_p),
        pointer(ctypes.c_size_t),
        ctypes.c_void_p,
    ]
    library.tj3DecompressHeader.argtypes = [handle, ctypes.c_char_p, ctypes.c_size_t]
    library.tj3Decompress8.argtypes = [handle, ctypes.c_char_p, ctypes.c_size_t, handle, number, number]
    return library
