"""Parts: the same table whatever the workers and interruptions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sfumato.engines import Work, clear_parts, map_parts

ITEMS = list(range(100))


def square(log: Path, items: Sequence[int]) -> pa.Table:
    with log.open("a") as file:
        file.write("".join(f"{item}\n" for item in items))
    return pa.table({"square": pa.array([item**2 for item in items], pa.int64())})


def explode(items: Sequence[int]) -> pa.Table:
    raise RuntimeError(f"at {items[0]}")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(tmp_path: Path, workers: int) -> None:
    seen: list[tuple[str, int, int]] = []
    work = Work(workers, lambda *state: seen.append(state))
    table = map_parts(partial(square, tmp_path / "log"), ITEMS, tmp_path / "a", stage="s", work=work)
    assert table["square"].to_pylist() == [item**2 for item in ITEMS]
    assert seen[0] == ("s", 0, 100)
    assert seen[-1] == ("s", 100, 100)
    clear_parts(tmp_path / "a")
    assert list((tmp_path / "a").iterdir()) == []


def test_finished_parts_are_not_made_again(tmp_path: Path) -> None:
    task = partial(square, tmp_path / "log")
    map_parts(task, ITEMS, tmp_path / "a", stage="s", work=Work(1))
    (tmp_path / "log").unlink()
    (tmp_path / "a/.parts/000001.parquet").unlink()
    table = map_parts(task, ITEMS, tmp_path / "a", stage="s", work=Work(1))
    assert table["square"].to_pylist() == [item**2 for item in ITEMS]
    assert [int(line) for line in (tmp_path / "log").read_text().split()] == ITEMS[32:64]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_comes_through(tmp_path: Path, workers: int) -> None:
    with pytest.raises(RuntimeError, match="at "):
        map_parts(explode, ITEMS, tmp_path / "a", stage="s", work=Work(workers))


@dataclass(frozen=True)
class Packed:
    """A task that writes down each time that it is packed up to be sent."""

    log: Path

    def __call__(self, items: Sequence[int]) -> pa.Table:
        return pa.table({"item": pa.array(items, pa.int64())})

    def __reduce__(self) -> tuple[type[Packed], tuple[Path]]:
        with self.log.open("a") as file:
            file.write("packed\n")
        return Packed, (self.log,)


def test_a_task_is_packed_once_however_many_parts_there_are(tmp_path: Path) -> None:
    task = Packed(tmp_path / "log")
    table = map_parts(task, list(range(1000)), tmp_path / "a", stage="s", work=Work(2))
    assert table["item"].to_pylist() == list(range(1000))
    assert (tmp_path / "log").read_text() == "packed\n"


class Unpacked:
    """A task that a worker cannot unpack, as of a plug-in that is not installed there."""

    def __call__(self, items: Sequence[int]) -> pa.Table:
        raise AssertionError

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return fail, ("not installed there",)


def fail(reason: str) -> None:
    raise ModuleNotFoundError(reason)


def test_a_task_that_cannot_be_unpacked_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="not installed there"):
        map_parts(Unpacked(), ITEMS, tmp_path / "a", stage="s", work=Work(2))


class Made(Sequence[int]):
    """Items that are made when they are asked for; knows how many were."""

    def __init__(self) -> None:
        self.n_made = 0

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: Any) -> Any:
        found = range(len(self))[index]
        self.n_made += len(found)
        return list(found)


def test_items_are_made_as_their_part_begins(tmp_path: Path) -> None:
    items = Made()
    ahead = []

    def progress(stage: str, done: int, total: int) -> None:
        ahead.append(items.n_made - done)

    table = map_parts(
        partial(square, tmp_path / "log"), items, tmp_path / "a", stage="s", work=Work(2, progress)
    )
    assert len(table) == items.n_made == 10_000
    assert max(ahead) <= 5 * 32


WITHOUT_GUARD = """
import sys
from functools import partial
from pathlib import Path
import pyarrow as pa
from sfumato.engines import Work, map_parts
from sfumato.errors import SfumatoError

def task(held, items):
    return pa.table({"item": items})

# Workers import this script, which has no guard, and end as they start.
try:
    map_parts(partial(task, bytes(5_000_000)), list(range(100)), Path(sys.argv[1]), stage="s", work=Work(2))
except SfumatoError as error:
    print(error)
"""


def test_workers_that_die_at_once_are_said_however_large_the_task(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_GUARD)
    command = [sys.executable, str(script), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "a worker process was ended from outside" in done.stdout
