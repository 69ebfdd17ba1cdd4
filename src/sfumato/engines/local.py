"""Worker processes that leave a file for each finished part, so that a killed stage resumes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sfumato.errors import SfumatoError
from sfumato.progress import Progress, silent
from sfumato.records import write_table

Item = TypeVar("Item")

PARTS = ".parts"
PART_SIZE = 32
"""Items in a part: what is done again at most, per worker, after a kill."""


@dataclass(frozen=True)
class Work:
    """How a stage does its work; none of it changes a result.

    Attributes:
        workers: number of processes; default one for each core.
        progress: called as the stage goes on.
        overwrite: replace an output that was made from something else.
    """

    workers: int | None = None
    progress: Progress = silent
    overwrite: bool = False


def default_workers() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_parts(
    task: Callable[[Sequence[Item]], pa.Table],
    items: Sequence[Item],
    folder: Path,
    *,
    stage: str,
    work: Work = Work(),
) -> pa.Table:
    """Apply a task to items in parts, in worker processes; finished parts are read back, not made again.

    Parts lie in `folder/.parts`, numbered in the order of items, so the result does not depend on the number
    of workers or on interruptions. The caller removes them with `clear_parts` once its artefact is whole.

    Args:
        task: takes the items of one part, returns one table, always of the same schema; must be picklable.
        items: what to do, in a stable order.
        folder: the artefact; its key must depend on everything that the parts depend on.
        stage: name for progress, which is reported after each part.
        work: one worker works in this process.

    Raises:
        Whatever the task raises: a task turns what is wrong with one item into a row.
    """
    parts = [items[start : start + PART_SIZE] for start in range(0, len(items), PART_SIZE)]
    paths = [folder / PARTS / f"{number:06d}.parquet" for number in range(len(parts))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    done = len(items) - sum(len(parts[number]) for number in missing)
    work.progress(stage, done, len(items))
    workers = min(work.workers or default_workers(), max(1, len(missing)))
    for number, table in _results(task, [(number, parts[number]) for number in missing], workers):
        write_table(paths[number], table)
        done += len(parts[number])
        work.progress(stage, done, len(items))
    return pa.concat_tables([pq.read_table(path) for path in paths])


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished artefact."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _results(task: Callable[[Any], pa.Table], parts: list[tuple[int, Any]], workers: int) -> Any:
    if workers == 1:
        for number, part in parts:
            yield number, task(part)
        return
    with _one_thread_each():
        yield from _pooled(task, parts, workers)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let NumPy's linear algebra take one thread in processes that are started meanwhile.

    One process a core is all the machine has; threads beside them wait for one another in a busy loop.
    """
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


def _pooled(task: Callable[[Any], pa.Table], parts: list[tuple[int, Any]], workers: int) -> Any:
    # "spawn": a forked child of a process with threads (onnxruntime, Arrow, torch) may dead-lock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: dict[Future[pa.Table], int] = {}
        queue = iter(parts)
        try:
            for number, part in queue:
                waiting[pool.submit(task, part)] = number
                if len(waiting) >= 2 * workers:  # bounded, so memory does not grow with the number of images
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)
        except BrokenProcessPool as error:
            raise SfumatoError(
                "a worker process was ended from outside, as happens when memory runs out; what is "
                "finished is kept: give the command again, with fewer --workers"
            ) from error
        finally:
            for future in waiting:
                future.cancel()


def _end_with_parent() -> None:
    """End this worker when its parent ends, also by SIGKILL; left alone, it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _finished(waiting: dict[Future[pa.Table], int]) -> Any:
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in finished:
        yield waiting.pop(future), future.result()
