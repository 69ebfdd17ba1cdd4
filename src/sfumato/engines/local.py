"""Worker processes that leave a file for each finished part, so that a killed stage resumes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sfumato.errors import SfumatoError
from sfumato.progress import Progress, silent
from sfumato.records import write_table

Item = TypeVar("Item")
Results = Iterator[tuple[int, pa.Table]]
"""Tables with the numbers of their parts, as they are finished."""

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
            Each worker gets it once, so it may hold what all parts need.
        items: what to do, in a stable order; sliced when a part begins, so they may be made then.
        folder: the artefact; its key must depend on everything that the parts depend on.
        stage: name for progress, which is reported after each part.
        work: one worker works in this process.

    Raises:
        Whatever the task raises: a task turns what is wrong with one item into a row.
    """
    count = -(-len(items) // PART_SIZE)
    paths = [folder / PARTS / f"{number:06d}.parquet" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    sizes = {number: min(PART_SIZE, len(items) - number * PART_SIZE) for number in missing}
    done = len(items) - sum(sizes.values())
    work.progress(stage, done, len(items))
    parts = ((number, items[number * PART_SIZE : (number + 1) * PART_SIZE]) for number in missing)
    for number, table in _results(task, parts, min(work.workers or default_workers(), max(1, len(missing)))):
        write_table(paths[number], table)
        done += sizes[number]
        work.progress(stage, done, len(items))
    return pa.concat_tables([pq.read_table(path) for path in paths])


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished artefact."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def _results(task: Callable[[Any], pa.Table], parts: Iterable[tuple[int, Any]], workers: int) -> Results:
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


def _pooled(task: Callable[[Any], pa.Table], parts: Iterable[tuple[int, Any]], workers: int) -> Results:
    # "spawn": a forked child of a process with threads (onnxruntime, Arrow, torch) may dead-lock.
    context = multiprocessing.get_context("spawn")
    with (
        _written_down(task) as path,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(path,)) as pool,
    ):
        waiting: dict[Future[pa.Table], int] = {}
        try:
            for number, part in parts:
                waiting[pool.submit(_run, part)] = number
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


@contextmanager
def _written_down(task: Callable[[Any], pa.Table]) -> Iterator[Path]:
    """A file from which each worker reads the task once.

    Sent with every part, a task that holds much would cost more than the work; sent as a worker is started,
    it would block for ever where the worker dies before it has read it all.
    """
    with TemporaryDirectory(prefix="sfumato-") as folder:
        path = Path(folder) / "task.pickle"
        path.write_bytes(pickle.dumps(task))
        yield path


_path_of_task: list[Path] = []
"""In a worker."""


def _begin(path: Path) -> None:
    _end_with_parent()
    _path_of_task.append(path)


@cache
def _task() -> Callable[[Any], pa.Table]:
    # Not in `_begin`: what an initializer raises is lost, and the pool said to be broken.
    task: Callable[[Any], pa.Table] = pickle.loads(_path_of_task[0].read_bytes())
    return task


def _run(part: Any) -> pa.Table:
    return _task()(part)


def _end_with_parent() -> None:
    """End this worker when its parent ends, also by SIGKILL; left alone, it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _finished(waiting: dict[Future[pa.Table], int]) -> Results:
    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in finished:
        yield waiting.pop(future), future.result()
