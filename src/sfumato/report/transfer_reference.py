"""The published study's transfer numbers beside ours, and what of them is not known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sfumato.compare import reference_of, short_name
from sfumato.compare.arms import SCRATCH
from sfumato.compare.published import CONDITIONS, read_published
from sfumato.compare.published_transfer import TRANSFER_UNKNOWN
from sfumato.report.comparison import Row
from sfumato.report.downstream import Transfer, mean_cell
from sfumato.report.grids import Cells, Grid, cells
from sfumato.report.numerals import PLUS_MINUS, UNKNOWN, signed

STARTS = ("original", "blurred", "overlaid", SCRATCH)
"""Of the study, in the order of the columns."""

TASKS = {"cifar10": "CIFAR-10", "celeba": "CelebA", "voc_detection": "PASCAL VOC detection"}
"""Task of the study to its title."""

_OURS = {"cifar10": "cifar10", "celeba": "celeba(-wild)?", "voc_detection": r"voc\d+(\+\d+)?"}
"""Task of the study to a pattern of the names of ours."""


def transfer_reference(transfers: Sequence[Transfer]) -> dict[str, Any]:
    """What the page prints of the study's numbers.

    Args:
        transfers: ours; only fine-tuned models stand beside the study's, which were.
    """
    return {
        "paper": read_published()["paper"],
        "beside": beside_grid(transfers),
        "sources": sources_sentence(),
        "celeba": celeba_sentence(),
        "unknown": TRANSFER_UNKNOWN,
    }


def beside_grid(transfers: Sequence[Transfer]) -> Grid:
    """A row of the study's for each of its tasks and models, with rows of ours below where there are any."""
    rows = [row for task in TASKS for row in _task_rows(task, [of for of in transfers if _is_of(of, task)])]
    return Grid(("Task and model", "Whose", *(f"{start} %" for start in STARTS)), tuple(rows), n_names=2)


def _task_rows(task: str, transfers: Sequence[Transfer]) -> Iterator[Cells]:
    for model, found in _published(task).items():
        title = f"{TASKS[task]}: {model}"
        yield cells(title, "study", *(_as_printed(found.get(start)) for start in STARTS))
        for transfer in transfers:
            ours = [_ours(transfer, model, start) for start in STARTS]
            if any(ours):
                whose = "ours" if len(transfers) == 1 else f"ours, {transfer.task['title']}"
                yield cells(title, whose, *map(mean_cell, ours))


def _published(task: str) -> dict[str, dict[str, Row]]:
    """Model to start to what the study has of it, in percent."""
    found: dict[str, dict[str, Row]] = {}
    for row in read_published()["transfer"]:
        if row["task"] == task:
            found.setdefault(row["model"], {})[row["init"]] = row
    return found


def _as_printed(row: Row | None) -> str:
    """The study's value with the decimals that it has, and the error of reading where it was read off."""
    if row is None:
        return UNKNOWN
    error = f" {PLUS_MINUS} {row['reading_error']}" if "reading_error" in row else ""
    return f"{row['value']}{error}"


def sources_sentence() -> str:
    """Where the study's numbers are from: "CIFAR-10: ICML poster; scratch: read off the authors' chart"."""
    return f"Where the study’s numbers are from. {'. '.join(map(_task_sources, TASKS))}."


def _task_sources(task: str) -> str:
    rows = [row for found in _published(task).values() for row in found.values()]
    first = rows[0]["source"]
    others = dict.fromkeys(
        f"{row['init']}: {row['source']} ({PLUS_MINUS} is the error of reading)"
        for row in rows
        if row["source"] != first
    )
    return "; ".join([f"{TASKS[task]}: {first}", *others])


def _is_of(transfer: Transfer, task: str) -> bool:
    """Whether ours is the study's task, done as the study did it: fine-tuned."""
    same = re.fullmatch(_OURS[task], str(transfer.task["name"]))
    return bool(same) and transfer.task["protocol"] == "finetune"


def _ours(transfer: Transfer, model: str, start: str) -> Row | None:
    """Our mean of a model and start; None where there is none, or several strengths of one method."""
    rows = transfer.overall(transfer.metrics[0])
    found = [row for (name, arm), row in rows.items() if name == model and _start(arm) == start]
    return found[0] if len(found) == 1 else None


def _start(arm: str) -> str | None:
    """What the study would call a start."""
    return reference_of(arm) or CONDITIONS.get(short_name(arm))


def celeba_sentence() -> str:
    """What the study's numbers for CelebA say, computed from them."""
    parts = []
    for condition in ("blurred", "overlaid"):
        changes = {
            model: round(found[condition]["value"] - found["original"]["value"], 1)
            for model, found in _published("celeba").items()
        }
        parts.append(
            f"{condition} {', '.join(f'{model} {signed(v, decimals=1)}' for model, v in changes.items())}"
        )
    return (
        "For CelebA the study’s own numbers do not show features that are “equally transferable”. Against "
        f"the original start, in points: {'; '.join(parts)}. No spread is given, so that chance cannot be "
        "told from effect."
    )
