"""Memory: whether it ran out, and that what is freed in one step serves the next."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import TrainingError

Made = TypeVar("Made")

_MEMORY_WORDS = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # torch's allocator on the CPU
    "could not create a primitive",  # oneDNN
    "could not create a memory object",
    "alloc_failed",  # cuBLAS, cuDNN
    "unable to find an engine to execute",  # cuDNN, with too little room for any of its ways
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU."""
    # The class is the same as torch.OutOfMemoryError of newer versions.
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


@contextmanager
def enough_memory(n_images: int) -> Iterator[None]:
    """The context in which pictures are read and put together.

    Raises:
        TrainingError: memory runs out.
    """
    try:
        yield
    except MemoryError as error:
        raise TrainingError(
            f"out of memory while reading {n_images} images for one batch; choose smaller images, smaller "
            "batches or fewer workers"
        ) from error


def in_parts(
    make: Callable[[NDArray[np.int64]], Made], n: int, *, name: str, image_size: int, device: str
) -> list[Made]:
    """What is made of n images at once, or of their halves and so on where memory does not suffice for all.

    Args:
        make: called with the numbers of some of the images, 0 to n - 1.
        n: number of images.
        name, image_size, device: whose images of which size are too large for what, where one is too many.

    Returns:
        What was made of one part after the other.

    Raises:
        TrainingError: one image does not fit into memory.
    """
    too_large = (
        f"{name}: one image of {image_size} px does not fit into the memory of {device}; use --device cpu"
    )
    return _in_parts(make, np.arange(n), too_large)


def _in_parts(
    make: Callable[[NDArray[np.int64]], Made], rows: NDArray[np.int64], too_large: str
) -> list[Made]:
    try:
        return [make(rows)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise TrainingError(too_large) from error
    # Outside the handler, which would hold on to what the failed attempt has taken.
    return [made for half in np.array_split(rows, 2) for made in _in_parts(make, half, too_large)]


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's `mallopt`, from its malloc.h."""
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65536}
_KEEP = {_TRIM_THRESHOLD: -1, _MMAP_MAX: 0}


@contextmanager
def kept_memory() -> Iterator[None]:
    """The context in which the process keeps what it frees, so that the next step finds it there.

    glibc hands large blocks back to the system as soon as they are freed. Each step of a training on the CPU
    then gets a gigabyte of pages anew, which the system fills with zeros one by one: an eighth of the time.
    The setting belongs to the whole process; afterwards it has glibc's defaults, and what was kept is handed
    back. Without glibc nothing happens.
    """
    malloc = _glibc()
    if malloc is None:
        yield
        return
    for name, value in _KEEP.items():
        malloc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _DEFAULTS.items():
            malloc.mallopt(name, value)
        malloc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
