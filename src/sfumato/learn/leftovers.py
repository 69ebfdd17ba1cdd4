"""What an earlier call left in a run's folder: a finished run, one to go on with, or one of no use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sfumato.errors import TrainingError, UsageError
from sfumato.records import is_done, read_json

CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "model.safetensors"


def is_finished(run: Path, key: str, *, overwrite: bool) -> bool:
    """Whether a folder holds the finished run with this key, and weights that can be read.

    A checkpoint that a kill after the end has left there is removed.

    Args:
        run: its folder.
        key: see `sfumato.records.make_key`.
        overwrite: a run without usable weights counts as none; `clear_useless` makes room for another.

    Raises:
        TrainingError: the weights are missing or cut off, and `overwrite` is not set.
    """
    if not is_done(run, key):
        return False
    wrong = _what_is_wrong(run / WEIGHTS)
    if wrong and not overwrite:
        raise TrainingError(f"{run / WEIGHTS}: {wrong}; delete the folder {run} and train again")
    if (run / CHECKPOINT).is_file():
        (run / CHECKPOINT).unlink()
    return not wrong


def clear_useless(run: Path, key: str) -> None:
    """Remove the finished run with this key where its weights are missing or cut off; to be called locked."""
    if is_done(run, key) and _what_is_wrong(run / WEIGHTS):
        shutil.rmtree(run)


def need_same_way(run: Path, now: dict[str, Any]) -> None:
    """Check that a run that was begun one way goes on that way: another would give a mixture of two.

    Args:
        run: its folder.
        now: its facts as they would be now: images, precision, processes.

    Raises:
        UsageError: packed images are streamed now, or the other way round; or the number format or the number
            of processes is another.
    """
    if not (run / CHECKPOINT).is_file() or not (run / CONFIG).is_file():
        return
    before = read_json(run / CONFIG)
    ways = {
        "images": ("begun with {} images, which now would be {}", "the --cache-budget"),
        "precision": ("begun in {}, which now would be {}", "the device and precision"),
        "processes": ("begun in {} process(es), which now are {}", "as many processes as those"),
    }
    for name, (change, remedy) in ways.items():
        if before.get(name, now[name]) != now[name]:
            raise UsageError(
                f"{run}: {change.format(before[name], now[name])}; go on with {remedy} that it was begun "
                f"with, or delete the folder {run} to start anew"
            )


def _what_is_wrong(weights: Path) -> str:
    """Why a file of weights cannot be used; "" for a good one. Its header says how long it must be."""
    from safetensors import SafetensorError, safe_open

    if not weights.is_file():
        return "the weights of a finished run are missing"
    try:
        with safe_open(weights, framework="np"):
            return ""
    except (SafetensorError, OSError) as error:
        return f"the weights of a finished run are damaged ({error})"
