"""Where a model's images come from: packed once into a cache that fits a budget, else streamed from files."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sfumato.data import Dataset
from sfumato.engines import Work, default_workers
from sfumato.errors import UsageError
from sfumato.learn.cache import pack, packed_bytes, packed_side
from sfumato.learn.index import Images
from sfumato.learn.stream import stream

Made = TypeVar("Made")

DEFAULT_BUDGET = 16 << 30
"""Bytes that one cache, of one split of one arm, may take. A fixed number, and no share of the disk that
happens to be free, so that all arms of a study go the same way, today and tomorrow."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}


def prepare_images(  # noqa: PLR0913 -- a request: what, in which size, where; the last two have defaults
    dataset: Dataset,
    split: str,
    *,
    image_size: int,
    resize_ratio: float,
    root: Path,
    budget: int = DEFAULT_BUDGET,
    work: Work = Work(),
) -> Images:
    """A split ready for models: packed where its cache takes at most `budget` bytes, else streamed.

    Which of the two depends on the budget and the sizes of the images only. Packed views are cut from
    pictures reduced to a shorter side of `image_size * resize_ratio`, streamed ones from those of full size.

    Args:
        dataset: where images and labels come from.
        split: name of the split.
        image_size: side of the model's input in pixels.
        resize_ratio: see `sfumato.learn.Recipe`.
        root: folder for caches and indices.
        budget: bytes; 0 streams always.
        work: workers and progress.

    Raises:
        TrainingError: a cache within the budget finds no room on the disk.
        OSError: the folder cannot be written.
    """
    side = packed_side(image_size, resize_ratio)
    if packed_bytes(dataset, split, shorter_side=side) <= budget:
        return pack(dataset, split, shorter_side=side, root=root, work=work)
    return stream(dataset, split, root=root, work=work)


def parse_bytes(text: str) -> int:
    """A number of bytes as people write it: "20GiB", "1.5 TB", "500000".

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"'{text}' is no number of bytes; write 20GiB, 500MB, or 0")
    return int(Decimal(match[1]) * _UNITS[(match[2] or "").lower()])


@dataclass(frozen=True)
class Loading:
    """How batches are made beside a model; none of it changes a bit.

    Attributes:
        depth: batches that are finished or being made while the model works on another; 0 makes each when it
            is wanted. Memory holds one more.
        makers: threads that make a batch each, no more than `depth`.
        threads: that share the work on one batch.
    """

    depth: int
    makers: int
    threads: int


def loading_for(device: str) -> Loading:
    """How to make batches for a model on a device.

    On a CPU the model has the cores, and each of its steps ends when its slowest thread does, so that a
    thread beside them costs it more than it takes. There all cores make a batch, then all work on it. For a
    GPU, all cores of this process make batches while it computes.

    Args:
        device: "cpu", or where the cores are free: "cuda", "mps".
    """
    if device == "cpu":
        import torch

        return Loading(0, 1, torch.get_num_threads())
    cores = max(1, default_workers() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    makers = min(2, cores)
    return Loading(makers + 1, makers, max(1, cores // makers))


ONE_AHEAD = Loading(1, 1, 1)
"""One batch is made in one thread while the model works on another."""


def ahead(
    make: Callable[[int], Made], count: int, *, first: int = 0, loading: Loading = ONE_AHEAD
) -> Iterator[tuple[Made, float]]:
    """make(first), make(first + 1), … up to `count`, made as `loading` says.

    Args:
        make: called in other threads, of each number once, begun in order.
        count: end of the numbers.
        first: the first of them.
        loading: how many are made ahead, in how many threads.

    Yields:
        What was made, in order, and the seconds that the caller waited for it.

    Raises:
        Whatever `make` raises, in its turn.
    """
    if loading.depth == 0:
        for number in range(first, count):
            begun = time.perf_counter()
            made = make(number)
            yield made, time.perf_counter() - begun
        return
    with ThreadPoolExecutor(loading.makers, thread_name_prefix="sfumato-batches") as pool:
        numbers = iter(range(first, count))
        coming: deque[Future[Made]] = deque()
        try:
            coming.extend(pool.submit(make, number) for number in islice(numbers, loading.depth))
            while coming:
                begun = time.perf_counter()
                made = coming.popleft().result()
                waited = time.perf_counter() - begun
                coming.extend(pool.submit(make, number) for number in islice(numbers, 1))
                yield made, waited
        finally:
            for future in coming:
                future.cancel()
