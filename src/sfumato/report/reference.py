"""The numbers of the published study, beside ours where the models are the same, else for orientation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from sfumato.compare.published import CONDITIONS, beside, headline, published_summary, read_published
from sfumato.report.comparison import TOP1, Comparison, Row
from sfumato.report.grids import Cells, Grid, cells
from sfumato.report.numerals import UNKNOWN, change, interval, percent

_METRICS = {"top1_accuracy": "top-1", "top5_accuracy": "top-5"}


def reference_section(comparison: Comparison, table: pa.Table) -> dict[str, Any]:
    """What the section about the published study prints.

    Args:
        comparison: ours.
        table: as `sfumato.compare.published.BESIDE_SCHEMA`.
    """
    return {
        "paper": read_published()["paper"],
        "headline": headline(),
        "beside": beside_grid(table),
        "summary": summary_grid(comparison),
    }


def beside_table(comparison: Comparison) -> pa.Table:
    """Ours beside the study's, as `BESIDE_SCHEMA`."""
    return beside(comparison.tables.overall, comparison.tables.differences)


def beside_grid(table: pa.Table) -> Grid:
    """Models that both have, empty where there is none; changes to original images, in points."""
    heads = ("Model", "Method", "Accuracy", "Study: original %", "Study: change", "Ours: original %")
    rows = [row for row in table.to_pylist() if _in_both(row)]
    return Grid((*heads, "Ours: change", "Interval"), tuple(map(_beside_cells, rows)), n_names=3)


def _in_both(row: Row) -> bool:
    return row["difference"] is not None and row["published_difference"] is not None


def _beside_cells(row: Row) -> Cells:
    return cells(
        row["model"],
        row["condition"],
        _METRICS[row["metric"]],
        percent(row["published_original"], decimals=2),
        change(row["published_difference"], decimals=2),
        percent(row["original"], decimals=2),
        change(row["difference"], decimals=2),
        interval(row["ci_low"], row["ci_high"], decimals=2),
    )


def summary_grid(comparison: Comparison) -> Grid:
    """The study's mean change over its models, beside that of our lead model in an arm of the same method."""
    heads = (
        "Method",
        "Accuracy",
        "Study: mean change",
        "Interval",
        "largest loss",
        "Ours: change",
        "Interval",
    )
    return Grid(heads, tuple(_summary_cells(comparison)), n_names=2)


def _summary_cells(comparison: Comparison) -> Iterator[Cells]:
    known = {condition: method for method, condition in CONDITIONS.items()}
    for row in published_summary().to_pylist():
        condition, reference = row["contrast"].split(" - ")
        if reference == "original":
            yield cells(
                condition,
                _METRICS[row["metric"]],
                change(row["mean_difference"], decimals=2),
                interval(row["ci_low"], row["ci_high"], decimals=2),
                change(-row["largest_drop"], decimals=2),
                *_ours(comparison, known[condition], row["metric"]),
            )


def _ours(comparison: Comparison, method: str, metric: str = TOP1) -> tuple[str, str]:
    arms = [arm for arm, name in comparison.names.items() if name == method]
    found = [
        row
        for arm in arms
        for row in comparison.differences(
            model=comparison.lead_model, arm=arm, reference="original", metric=metric, subset="all"
        )
    ]
    if len(found) != 1:  # none, or several strengths of the method: the table of differences has them
        return UNKNOWN, UNKNOWN
    return change(found[0]["difference"], decimals=2), interval(
        found[0]["ci_low"], found[0]["ci_high"], decimals=2
    )
