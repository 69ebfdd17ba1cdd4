"""Whether features that were learned on obfuscated images still serve other tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sfumato.compare.arms import SCRATCH
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.published_transfer import study_task, transfer_beside
from sfumato.compare.wording import decimals_of
from sfumato.report.comparison import Row, model_name, rows_where
from sfumato.report.cost import OUTCOMES
from sfumato.report.downstream import Transfer, mean_cell, metric_name
from sfumato.report.grids import Cell, Cells, Grid, cells, excludes_zero
from sfumato.report.numerals import MINUS, PLUS_MINUS, UNKNOWN, change, count, interval, percent, plural
from sfumato.report.reproduction import flat
from sfumato.report.transfer_reference import transfer_reference

GAINS = {
    "equivalent": "no meaningful gain",
    "gain": "a gain",
    "cost": "a loss",
    "undecided": "cannot tell",
}
"""Outcome of a difference to scratch to the words in the table."""

UNITS = {"attributes": "attribute", "objects": "class"}
"""Kind of a task that is scored by average precisions to what each of them is of."""


@dataclass(frozen=True)
class TaskPart:
    """What the page prints of one task and protocol.

    Attributes:
        name: of its files.
        title: task and protocol.
        about: metric, number of images and of seeds.
        unlearned: of the verdict: that no model learned the task, or "".
        headline: of the verdict.
        outcome: of its findings where they agree, else "".
        sentences: of the findings, where there are several.
        gained: over scratch, in a sentence.
        caveats: what to keep in mind of this task alone.
        means, differences, gains, further, by_class: tables; without rows where nothing is known.
        margin: in points.
        lead: the model that the table by class is of.
        hidden_too: whether the task's own images were obfuscated as well (fact "obfuscated" of the task).
        known: what else is recorded of the task's data.
        tables: name of a table to that of its CSV file, without the ending.
    """

    name: str
    title: str
    about: str
    unlearned: str
    headline: str
    outcome: str
    sentences: tuple[str, ...]
    gained: str
    caveats: tuple[str, ...]
    means: Grid
    differences: Grid
    gains: Grid
    further: Grid
    by_class: Grid
    margin: str
    lead: str
    hidden_too: bool
    known: Mapping[str, str]
    tables: Mapping[str, str]


def transfer_section(transfers: Sequence[Transfer]) -> dict[str, Any] | None:
    """What the section about transfer prints; None where nothing was transferred."""
    if not transfers:
        return None
    return {
        "tasks": [task_part(transfer, transfers) for transfer in transfers],
        "caveats": common_caveats(transfers),
        "published": transfer_reference(transfers),
    }


def transfer_tables(transfers: Sequence[Transfer]) -> dict[str, pa.Table]:
    """Name of a file, without its ending, to what is in it, for every task."""
    return {
        f"transfer-{transfer.name}-{name}": table
        for transfer in transfers
        for name, table in _tables(transfer).items()
    }


def _tables(transfer: Transfer) -> dict[str, pa.Table]:
    """The tables that say anything; "published" where the task is one of the study's."""
    tables = transfer.comparison.tables
    found = {name: table for name, table in tables.named().items() if len(table)}
    return found if study_task(transfer.task) is None else found | {"published": transfer_beside(tables)}


def task_part(transfer: Transfer, transfers: Sequence[Transfer]) -> TaskPart:
    """Everything about one task and protocol.

    Args:
        transfer: the one.
        transfers: all; what holds of all of them is said elsewhere.
    """
    verdict, lead = transfer.verdict, transfer.comparison.lead_model
    findings = verdict.findings
    return TaskPart(
        name=transfer.name,
        title=transfer.title,
        about=_about(transfer),
        unlearned=verdict.unlearned,
        headline=verdict.headline,
        outcome=findings[0].outcome if len({found.outcome for found in findings}) == 1 else "",
        sentences=tuple(found.sentence for found in findings) if len(findings) > 1 else (),
        gained=gain_sentence(transfer),
        caveats=tuple(
            text for text in verdict.caveats if not _is_common(text, transfers) and text != verdict.unlearned
        ),
        means=means_grid(transfer),
        differences=differences_grid(transfer),
        gains=gains_grid(transfer),
        further=further_grid(transfer),
        by_class=by_class_grid(transfer),
        margin=f"{100 * transfer.comparison.settings.margin:g}",
        lead="the mean over models" if lead == ALL_MODELS else lead,
        hidden_too=bool((transfer.task.get("facts") or {}).get("obfuscated")),
        known=dict(flat(transfer.task.get("facts") or {})),
        tables={name: f"transfer-{transfer.name}-{name}" for name in _tables(transfer)},
    )


def _about(transfer: Transfer) -> str:
    rows = transfer.overall(transfer.metrics[0]).values()
    images, seeds = (min(row[name] for row in rows) for name in ("n_images", "n_seeds"))
    counted = f"{plural(images, 'test image')}, {plural(seeds, 'seed')}"
    return f"{metric_name(transfer.metrics[0])}; {counted}"


def means_grid(transfer: Transfer) -> Grid:
    """The main metric in percent with its standard error over seeds, a row a model and a column a start."""
    found = transfer.overall(transfer.metrics[0])
    names = transfer.comparison.names
    models = dict.fromkeys(model for model, _ in found)
    rows = tuple(
        cells(model_name(model), *(mean_cell(found.get((model, arm))) for arm in transfer.starts))
        for model in models
    )
    return Grid(("Model", *(names[arm] for arm in transfer.starts)), rows)


def differences_grid(transfer: Transfer) -> Grid:
    """The main metric of each obfuscated start, less that of none and of original, in points."""
    rows = [row for row in transfer.differences(transfer.metrics[0]) if row["arm"] in transfer.hidden]
    kept = [row for row in rows if row["reference"] != SCRATCH]
    heads = ("Model", "Start", "Compared with", "Difference", "Interval", "Outcome", "Smallest effect")
    return Grid(heads, tuple(_difference_cells(transfer, row) for row in kept), n_names=3)


def _difference_cells(transfer: Transfer, row: Row) -> Cells:
    names = transfer.comparison.names
    return (
        *cells(model_name(row["model"]), names[row["arm"]], row["reference"]),
        *_change(row),
        *cells(OUTCOMES.get(row["outcome"], UNKNOWN), percent(row["smallest_effect"])),
    )


def gains_grid(transfer: Transfer) -> Grid:
    """The main metric of each start, less that of random weights, in points."""
    rows = [row for row in transfer.differences(transfer.metrics[0]) if row["reference"] == SCRATCH]
    names = transfer.comparison.names
    models = [model for model, _ in transfer.overall(transfer.metrics[0])]
    heads = ("Model", "Start", "Gain over scratch", "Interval", "Outcome")
    return Grid(
        heads,
        tuple(
            (
                *cells(model_name(row["model"]), names[row["arm"]]),
                *_change(row),
                Cell(GAINS.get(row["outcome"], UNKNOWN)),
            )
            for row in sorted(rows, key=lambda row: models.index(row["model"]))
        ),
        n_names=2,
    )


def _change(row: Row) -> Cells:
    low, high = row["ci_low"], row["ci_high"]
    return Cell(change(row["difference"]), excludes_zero(low, high)), Cell(interval(low, high))


def further_grid(transfer: Transfer) -> Grid:
    """Every other metric: its mean, and the difference to the start that is not obfuscated."""
    heads = ("Model", "Start", "Metric", "Mean %", PLUS_MINUS, "Compared with", "Difference", "Interval")
    rows = [row for metric in transfer.metrics[1:] for row in _further_rows(transfer, metric)]
    return Grid(heads, tuple(rows), n_names=3)


def _further_rows(transfer: Transfer, metric: str) -> Iterator[Cells]:
    found = {(row["model"], row["arm"]): row for row in transfer.to_unhidden(metric)}
    for (model, arm), row in transfer.overall(metric).items():
        other = found.get((model, arm))
        yield (
            *cells(model_name(model), transfer.comparison.names[arm], metric_name(metric)),
            *cells(percent(row["mean"]), percent(row["standard_error"])),
            *((Cell(other["reference"]), *_change(other)) if other else cells(*[UNKNOWN] * 3)),
        )


def by_class_grid(transfer: Transfer) -> Grid:
    """Average precision of each attribute or class in every start, of the lead model, and its changes."""
    if transfer.task["kind"] not in UNITS:
        return Grid(("",), ())
    names = transfer.comparison.names
    pairs = [pair for pair in transfer.comparison.compared() if pair[0] in transfer.hidden]
    heads = [UNITS[transfer.task["kind"]].capitalize(), "Images"]
    heads += [f"{names[arm]} %" for arm in transfer.starts]
    heads += [f"{names[arm]} {MINUS} {reference}" for arm, reference in pairs]
    return Grid(tuple(heads), tuple(_class_rows(transfer, pairs)))


def _class_rows(transfer: Transfer, pairs: Sequence[tuple[str, str]]) -> Iterator[Cells]:
    comparison = transfer.comparison
    lead = {"model": comparison.lead_model}
    left_out = dict.fromkeys(transfer.facts.get("not_counted", ()), " (not in the mean)")
    means = {(row["label"], row["arm"]): row for row in rows_where(comparison.tables.precision, **lead)}
    changes = {
        (row["label"], row["arm"], row["reference"]): row
        for row in rows_where(comparison.tables.precision_differences, **lead)
    }
    for label, row in {label: row for (label, _), row in means.items()}.items():
        found = [means.get((label, arm), {}).get("average_precision") for arm in transfer.starts]
        of_label = [changes.get((label, *pair)) for pair in pairs]
        yield (
            *cells(row["category"], count(row["n_images"]) + left_out.get(row["category"], "")),
            *cells(*map(percent, found)),
            *(_class_change(item, comparison.level) for item in of_label),
        )


def _class_change(row: Row | None, level: float) -> Cell:
    if row is None:
        return Cell(UNKNOWN)
    q = row["q_value_benjamini_hochberg"]
    return Cell(change(row["difference"]), q is not None and q <= level)


def gain_sentence(transfer: Transfer) -> str:
    """What each start gained over random weights; empty where the verdict says just that, or nothing."""
    gains = transfer.verdict.gains if transfer.verdict.findings else ()
    told = [f"{of.name} {_told(of.difference)} ({_told(of.ci_low)} to {_told(of.ci_high)})" for of in gains]
    return f"Points gained over training from scratch: {', '.join(told)}." if told else ""


def _told(fraction: float) -> str:
    """In a sentence what is not zero does not print as zero."""
    return change(fraction, decimals=decimals_of(fraction))


def common_caveats(transfers: Sequence[Transfer]) -> list[str]:
    """What to keep in mind of every task; that it was not learned is said with its headline."""
    verdict = transfers[0].verdict
    return [text for text in verdict.caveats if _is_common(text, transfers) and text != verdict.unlearned]


def _is_common(text: str, transfers: Sequence[Transfer]) -> bool:
    return all(text in transfer.verdict.caveats for transfer in transfers)
