"""Parts: the same table whatever the workers and interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

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
