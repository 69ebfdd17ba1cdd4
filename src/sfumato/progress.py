"""How a stage says how far it is: the library calls back, the command line draws."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the stage's name, the number of items done so far, and the number in all."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report progress; must be cheap, must not raise."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""
