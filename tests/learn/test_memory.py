"""Memory that is freed serves again."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest

from sfumato.learn.memory import kept_memory

SIZE = 256 << 20
PAGES = SIZE // resource.getpagesize()


def new_pages() -> int:
    """Pages that the system must hand out for one large array that is written to."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(SIZE, dtype=np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc, which is on Linux only")
def test_freed_memory_is_kept_within_and_handed_back_after() -> None:
    # numpy asks for huge pages, which count once each, so that a tenth is far above what others need.
    assert new_pages() > PAGES / 1000
    with kept_memory():
        new_pages()
        within = new_pages()
    assert within < PAGES / 1000
    after = [new_pages(), new_pages()]
    assert min(after) > PAGES / 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc, which is on Linux only")
def test_memory_is_handed_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="mine"), kept_memory():
        raise ValueError("mine")
    assert min(new_pages(), new_pages()) > PAGES / 1000
