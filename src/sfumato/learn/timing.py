"""What finished runs say about time: how long the rest of a plan will take, how much the model waited."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import ManifestError
from sfumato.learn.run import KIND, read_rows
from sfumato.records import MANIFEST, read_manifest

MINUTE, HOUR, DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Timing:
    """How long a finished run took.

    Attributes:
        model: its name.
        images: seen in all its epochs.
        seconds: of all its epochs, evaluation and decoding left out.
        waited: seconds of these in which the model waited for images.
    """

    model: str
    images: int
    seconds: float
    waited: float = 0.0


def read_timing(run: Path) -> Timing | None:
    """How long a finished run took; None where there is no such run, or its rows cannot be read."""
    if not (run / MANIFEST).is_file():
        return None
    try:
        model = str(read_manifest(run, kind=KIND).facts["model"])
        rows = read_rows(run)
        return Timing(
            model,
            images=sum(row["n_images"] for row in rows),
            seconds=sum(row["seconds"] for row in rows),
            waited=sum(row["seconds"] * row["waiting_share"] for row in rows),
        )
    except (ManifestError, KeyError, TypeError):
        return None  # a figure for people is not worth stopping for; whoever needs the run says what is wrong


def images_done(run: Path) -> int:
    """Images that an unfinished run has seen in its whole epochs; 0 where there is no such run."""
    try:
        return sum(row["n_images"] for row in read_rows(run))
    except (ManifestError, KeyError, TypeError):
        return 0


def parts_for_memory(run: Path) -> int | None:
    """Parts that a finished run's batches went through in, where memory ran out; None where it did not."""
    try:
        asked = int(read_manifest(run, kind=KIND).settings["recipe"]["accumulate"])
        parts = max((row["parts"] for row in read_rows(run)), default=asked)
    except (ManifestError, KeyError, TypeError):
        return None
    return parts if parts != asked else None


def waiting_share(timings: Iterable[Timing]) -> float:
    """Share of the time of all runs in which the model waited for images; 0 for none."""
    timings = list(timings)
    seconds = sum(timing.seconds for timing in timings)
    return sum(timing.waited for timing in timings) / seconds if seconds else 0.0


def remaining_seconds(finished: Iterable[Timing], left: Iterable[tuple[str, int]]) -> float | None:
    """Seconds for the runs that are left: their images times the seconds an image.

    Seconds an image are those of the finished runs of the same model; of a model without any, those of all.

    Args:
        finished: runs that are done.
        left: model and number of images (in all epochs) of each run that is not.

    Returns:
        None where something is left and nothing has finished that could tell.
    """
    seconds: dict[str, float] = defaultdict(float)
    images: dict[str, int] = defaultdict(int)
    for timing in finished:
        seconds[timing.model] += timing.seconds
        images[timing.model] += timing.images
    n_images = sum(images.values())
    total = 0.0
    for model, count in left:
        if images.get(model, 0):
            total += count * seconds[model] / images[model]
        elif n_images:
            total += count * sum(seconds.values()) / n_images
        else:
            return None
    return total


def in_words(seconds: float) -> str:
    """A duration as coarse as it is sure: "50 s", "12 min", "3 h 20 min", "2 d 5 h"."""
    if seconds < MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    large, small, words = (HOUR, MINUTE, ("h", "min")) if seconds < DAY else (DAY, HOUR, ("d", "h"))
    whole, rest = divmod(round(seconds / small), large // small)
    return f"{whole} {words[0]} {rest} {words[1]}"
