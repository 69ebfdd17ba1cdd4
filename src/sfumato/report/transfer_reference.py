"""The published study's transfer numbers beside ours, and what of them is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sfumato.compare.arms import SCRATCH
from sfumato.compare.published import read_published
from sfumato.compare.published_transfer import (
    TRANSFER_UNKNOWN,
    published_transfer,
    study_task,
    transfer_beside,
)
from sfumato.report.comparison import Row
from sfumato.report.downstream import Transfer, mean_cell
from sfumato.report.grids import Cells, Grid, cells
from sfumato.report.numerals import PLUS_MINUS, UNKNOWN, signed

STARTS = ("original", "blurred", "overlaid", SCRATCH)
"""Of the study, in the order of the columns."""

TASKS = {"cifar10": "CIFAR-10", "celeba": "CelebA", "voc_detection": "PASCAL VOC detection"}
"""Task of the study to its title."""


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
    rows = [row for task in TASKS for row in _task_rows(task, transfers)]
    return Grid(("Task and model", "Whose", *(f"{start} %" for start in STARTS)), tuple(rows), n_names=2)


def _task_rows(task: str, transfers: Sequence[Transfer]) -> Iterator[Cells]:
    same = [transfer for transfer in transfers if study_task(transfer.task) == task]
    beside = [(transfer, transfer_beside(transfer.comparison.tables).to_pylist()) for transfer in same]
    for model, found in _published(task).items():
        title = f"{TASKS[task]}: {model}"
        yield cells(title, "study", *(_as_printed(found.get(start)) for start in STARTS))
        for transfer, rows in beside:
            ours = [row for row in rows if row["model"] == model and row["ours"] is not None]
            if ours:
                whose = "ours" if len(same) == 1 else f"ours, {transfer.task['title']}"
                yield cells(title, whose, *(_ours(transfer, ours, start) for start in STARTS))


def _published(task: str) -> dict[str, dict[str, Row]]:
    """Model to start to what the study has of it."""
    found: dict[str, dict[str, Row]] = {}
    for row in published_transfer().to_pylist():
        if row["task"] == task:
            found.setdefault(row["model"], {})[row["init"]] = row
    return found


def _as_printed(row: Row | None) -> str:
    """The study's value with the decimals that it has, and the error of reading where it was read off."""
    if row is None:
        return UNKNOWN
    error = row["reading_error"]
    return _percent(row["value"]) + ("" if error is None else f" {PLUS_MINUS} {_percent(error)}")


def _percent(fraction: float) -> str:
    """With one decimal, or two where the study has two: "79.4", "79.29"."""
    return str(round(100 * fraction, 2))


def _ours(transfer: Transfer, rows: Sequence[Row], start: str) -> str:
    """Our mean of a start; each with its name where one method ran at several strengths."""
    found = [row for row in rows if row["condition"] == start]
    means = [mean_cell({"mean": row["ours"], "standard_error": row["ours_standard_error"]}) for row in found]
    if len(found) > 1:
        names = transfer.comparison.names
        means = [f"{mean} ({names[row['arm']]})" for mean, row in zip(means, found, strict=True)]
    return "; ".join(means) or UNKNOWN


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


def celeba_sentence() -> str:
    """What the study's numbers for CelebA say, computed from them."""
    parts = []
    for condition in ("blurred", "overlaid"):
        changes = {
            model: round(100 * (found[condition]["value"] - found["original"]["value"]), 1)
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
