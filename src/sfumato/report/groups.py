"""Groups of images or categories, each treated like a category."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.report.comparison import TOP1, Comparison, Row, rows_where
from sfumato.report.grids import Cell, Cells, Grid, cells
from sfumato.report.numerals import change, count, interval, percent, probability


@dataclass(frozen=True)
class GroupTable:
    """One way to group: its name, how many groups it has, and its table."""

    name: str
    n_groups: int
    grid: Grid


def groups_section(comparison: Comparison) -> list[GroupTable]:
    """One table a grouping, the greatest losses first."""
    names = dict.fromkeys(comparison.tables.by_group["grouping"].to_pylist())
    return [_of_grouping(comparison, name) for name in names]


def group_rows(comparison: Comparison, grouping: str, arm: str, reference: str) -> list[Row]:
    """Top-1 changes of the lead model in the groups that have images, the greatest loss first."""
    rows = rows_where(
        comparison.tables.by_group,
        grouping=grouping,
        model=comparison.lead_model,
        arm=arm,
        reference=reference,
        metric=TOP1,
    )
    known = [row for row in rows if row["difference"] is not None]
    return sorted(known, key=lambda row: (row["difference"], row["group"]))


def established(comparison: Comparison, row: Row) -> bool:
    """Whether the change of a group is, among the groups compared with it."""
    return row["q_value"] is not None and bool(row["q_value"] <= comparison.level)


def _of_grouping(comparison: Comparison, grouping: str) -> GroupTable:
    rows = [
        (arm, row)
        for arm, reference in comparison.compared()
        for row in group_rows(comparison, grouping, arm, reference)
    ]
    heads = ("Group", "Method", "Images", "Top-1 %", "Change", "Interval", "q")
    grid = Grid(heads, tuple(_cells(comparison, arm, row) for arm, row in rows), n_names=2)
    return GroupTable(grouping, len({row["group"] for _, row in rows}), grid)


def _cells(comparison: Comparison, arm: str, row: Row) -> Cells:
    return (
        *cells(row["group"], comparison.names[arm], count(row["n_images"]), percent(row["mean"])),
        Cell(change(row["difference"]), established(comparison, row)),
        *cells(interval(row["ci_low"], row["ci_high"]), probability(row["q_value"])),
    )
