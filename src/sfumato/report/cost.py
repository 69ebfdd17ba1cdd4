"""What hiding faces cost overall: one row a method, then its parts, then every model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sfumato.compare import Finding, Verdict
from sfumato.report.comparison import TOP1, TOP5, Comparison, Row, model_name, rows_where
from sfumato.report.grids import Cell, Cells, Grid, cells, excludes_zero
from sfumato.report.numerals import PLUS_MINUS, change, count, interval, percent, plural, probability

OUTCOMES = {
    "equivalent": "no meaningful cost",
    "cost": "a cost",
    "gain": "a gain",
    "undecided": "cannot tell",
}
"""Outcome of a finding to the words in the table."""

PARTS = {"total": "In all", "recompression": "Writing anew", "obfuscation": "Hiding"}
"""Parts of a difference to how the page calls them."""


def cost_section(comparison: Comparison, verdict: Verdict) -> dict[str, Any]:
    """What the section about cost prints."""
    settings = comparison.settings
    subsets = ("with_faces", "without_faces")
    return {
        "findings": findings_grid(verdict.findings),
        "architectures": [found.architectures for found in verdict.findings if found.architectures],
        "split": split_grid(comparison),
        "overall": overall_grid(comparison),
        "differences": differences_grid(comparison, "all"),
        "by_faces": {subset: differences_grid(comparison, subset, lead_only=True) for subset in subsets},
        "margin": f"{100 * settings.margin:g}",
        "level": f"{comparison.level:.2g}",
    }


def findings_grid(findings: Iterable[Finding]) -> Grid:
    """One row an obfuscated arm: change, tests, outcome, what could be seen and what would settle it."""
    heads = (
        "Method",
        "Outcome",
        "Change",
        "Interval",
        "p: no change",
        "p: margin or more",
        "Smallest effect",
    )
    return Grid((*heads, "Would settle it"), tuple(map(_finding_cells, findings)), n_names=2)


def _finding_cells(found: Finding) -> Cells:
    return (
        *cells(found.name, OUTCOMES[found.outcome]),
        Cell(change(found.difference), excludes_zero(found.ci_low, found.ci_high)),
        *cells(
            interval(found.ci_low, found.ci_high),
            probability(found.p_value),
            probability(found.p_equivalence),
            percent(found.smallest_effect),
            _settling(found),
        ),
    )


def _settling(found: Finding) -> str:
    if found.outcome != "undecided":
        return "settled"
    needed = {"seed": found.seeds_needed, "image": found.images_needed}
    ways = [plural(number, word) for word, number in needed.items() if number is not None]
    return " or ".join(ways) or "neither alone"


def split_grid(comparison: Comparison) -> Grid:
    """What writing anew did and what hiding did, by arm of the lead model."""
    heads = ["Method", "Accuracy"]
    for name in PARTS.values():
        heads += [name, "Interval"]
    return Grid(
        tuple(heads), tuple(_split_cells(comparison, row) for row in split_rows(comparison)), n_names=2
    )


def split_rows(comparison: Comparison) -> list[Row]:
    """Rows of the split of the lead model, all images, where all is known."""
    rows = rows_where(comparison.tables.split, model=comparison.lead_model, subset="all")
    return [row for row in rows if all(row[part] is not None for part in PARTS)]


def _split_cells(comparison: Comparison, row: Row) -> Cells:
    metric = "top-1" if row["metric"] == TOP1 else "top-5"
    found: list[Cell] = [*cells(comparison.names[row["arm"]], metric)]
    for part in PARTS:
        low, high = row[f"{part}_ci_low"], row[f"{part}_ci_high"]
        found += [Cell(change(row[part]), excludes_zero(low, high)), Cell(interval(low, high))]
    return tuple(found)


def overall_grid(comparison: Comparison) -> Grid:
    """Accuracy by model and arm, all images."""
    rows = rows_where(comparison.tables.overall, subset="all")
    top5 = {_arm(row): row for row in rows if row["metric"] == TOP5}
    heads = ("Model", "Arm", "Top-1 %", PLUS_MINUS, "Top-5 %", PLUS_MINUS, "Images", "Seeds")
    return Grid(
        heads,
        tuple(
            cells(
                model_name(row["model"]),
                comparison.names[row["arm"]],
                *_accuracy(row),
                *_accuracy(top5[_arm(row)]),
                count(row["n_images"]),
                count(row["n_seeds"]),
            )
            for row in rows
            if row["metric"] == TOP1
        ),
        n_names=2,
    )


def differences_grid(comparison: Comparison, subset: str, *, lead_only: bool = False) -> Grid:
    """Differences to the references on a subset of the images, in points."""
    wanted = {"model": comparison.lead_model} if lead_only else {}
    top5 = {_pair(row): row for row in comparison.differences(metric=TOP5, subset=subset)}
    rows = comparison.differences(metric=TOP1, subset=subset, **wanted)
    heads = (
        "Model",
        "Arm",
        "Compared with",
        "Top-1",
        "Interval",
        "p",
        "Top-5",
        "Interval",
        "Images",
        "Seeds",
    )
    return Grid(heads, tuple(_difference_rows(comparison, rows, top5)), n_names=3)


def _difference_rows(
    comparison: Comparison, rows: Sequence[Row], top5: dict[tuple[str, ...], Row]
) -> Iterator[Cells]:
    for row in rows:
        names = cells(model_name(row["model"]), comparison.names[row["arm"]], row["reference"])
        p = cells(probability(row["p_value"]))
        counts = cells(count(row["n_images"]), count(row["n_seeds"]))
        yield (*names, *_change(row), *p, *_change(top5[_pair(row)]), *counts)


def _change(row: Row) -> Cells:
    low, high = row["ci_low"], row["ci_high"]
    return Cell(change(row["difference"]), excludes_zero(low, high)), Cell(interval(low, high))


def _accuracy(row: Row) -> tuple[str, str]:
    return percent(row["mean"]), percent(row["standard_error"])


def _arm(row: Row) -> tuple[str, ...]:
    return row["model"], row["arm"]


def _pair(row: Row) -> tuple[str, ...]:
    return row["model"], row["arm"], row["reference"]
