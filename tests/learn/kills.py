"""Runs that are killed, and what is left of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfumato.engines import Work
from sfumato.learn.run import read_rows

TIMES = ("seconds", "images_per_second", "waiting_share")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def killed_after(images: int) -> Work:
    """Work whose progress ends a training run once more images than these are done, over all epochs."""

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "train" and done > images:
            raise Killed

    return Work(progress=progress)


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def timeless(run: Path) -> list[dict[str, Any]]:
    """The rows of a run without what depends on the machine's speed."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_rows(run)]
