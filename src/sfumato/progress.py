"""How a stage says how far it is: the library calls back, the command line draws."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(Protocol):
    """Called with the stage's name, the number of items done so far, and the number in all."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report progress; must be cheap, must not raise."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def is_main_process() -> bool:
    """Whether this process is the one that reports: true but for the others that `torchrun` started."""
    return is_alone() or os.environ.get("RANK", "0") == "0"


def is_alone() -> bool:
    """Whether this process works by itself, not with others that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1


def labelled(progress: Progress, label: str) -> Progress:
    """Progress whose stages carry a label: "train" becomes "2/8 resnet18 blur: train"."""

    def report(stage: str, done: int, total: int) -> None:
        progress(f"{label}: {stage}", done, total)

    return report


class Bars:
    """Draws one bar a stage on standard error, with rate and remaining time.

    Where standard error is no terminal, a line is written now and then instead of a moving bar.
    """

    def __init__(self) -> None:
        self._stage: str | None = None
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw the stage's progress; a new stage closes the bar of the one before."""
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage, self._bar = stage, _bar(stage, done, total)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Finish the current bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _bar(stage: str, done: int, total: int) -> tqdm[NoReturn]:
    from tqdm import tqdm

    bar: tqdm[NoReturn] = tqdm(
        desc=stage,
        total=total,
        initial=done,  # resumed work does not count into the rate
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 15,
        dynamic_ncols=True,
        unit="",
    )
    return bar
