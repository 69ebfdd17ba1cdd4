"""Memory that is freed serves again."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from sfumato.learn.memory import kept_memory

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="asks glibc, which is on Linux only"
)

SIZE = 256 << 20
PAGES = SIZE // resource.getpagesize()
FEW = PAGES / 1000
"""numpy asks for huge pages, which count once each, so that this is far above what others need."""


def new_pages() -> int:
    """Pages that the system must hand out for one large array that is written to."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(SIZE, dtype=np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def before_within_and_after() -> tuple[int, int, list[int]]:
    before = new_pages()
    with kept_memory():
        new_pages()
        within = new_pages()
    return before, within, [new_pages(), new_pages()]


def after_an_error() -> list[int]:
    with pytest.raises(ValueError, match="mine"), kept_memory():
        raise ValueError("mine")
    return [new_pages(), new_pages()]


@pytest.fixture
def fresh() -> ProcessPoolExecutor:
    """A process of its own: what other tests have left in this one's memory serves large arrays too."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def test_freed_memory_is_kept_within_and_handed_back_after(fresh: ProcessPoolExecutor) -> None:
    with fresh:
        before, within, after = fresh.submit(before_within_and_after).result()
    assert before > FEW
    assert within < FEW
    assert min(after) > FEW


def test_memory_is_handed_back_after_an_error(fresh: ProcessPoolExecutor) -> None:
    with fresh:
        assert min(fresh.submit(after_an_error).result()) > FEW
