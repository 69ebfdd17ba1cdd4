"""Every category in every obfuscated arm: what its accuracy was, what it became, and what that is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sfumato.compare import Finding, reference_of
from sfumato.report.changes import kinds
from sfumato.report.comparison import Comparison, Row, rows_where
from sfumato.report.grids import Cell, Cells, Grid, cells
from sfumato.report.numerals import change, count, interval, percent, probability
from sfumato.report.scatter import GAIN, OTHER, Point, scatter

MOST_ARMS = 6
"""Arms that the page has room for at a thousand categories; the CSV files have all."""


@dataclass(frozen=True)
class CategoryRow:
    """One category in one arm.

    Attributes:
        row: of the table by category; values are of the lead model.
        reference: what the arm is compared with.
        before: top-1 accuracy in the reference, a fraction.
        precision: change of average precision, a fraction; None where it is not known.
        kind: what sort of change it is; "" where none is established.
    """

    row: Row
    reference: str
    before: float | None
    precision: float | None
    kind: str

    def value(self, name: str, metric: str = "top1") -> float | None:
        """A number about the change to the reference, such as "difference" or "ci_low"."""
        found: float | None = self.row[f"{metric}_{name}_to_{self.reference}"]
        return found


@dataclass(frozen=True)
class ArmCategories:
    """All categories of one arm.

    Attributes:
        number: of the arm, from 1; its plot's file has it in its name.
        name: short, of the arm.
        reference: what it is compared with.
        sentence: which categories changed.
        grid: the table, the most harmed first.
        svg: the scatter of all categories.
        alt: the same in words.
    """

    number: int
    name: str
    reference: str
    sentence: str
    grid: Grid
    svg: str
    alt: str


def categories_section(comparison: Comparison, findings: Mapping[str, Finding]) -> Iterator[ArmCategories]:
    """Of each obfuscated arm, as far as the page has room.

    Args:
        comparison: the tables.
        findings: arm to what the verdict says of it.
    """
    for number, (arm, reference) in enumerate(comparison.compared()[:MOST_ARMS], start=1):
        rows = category_rows(comparison, arm, reference)
        name = comparison.names[arm]
        sentence = findings[arm].categories_sentence if arm in findings else ""
        points = [point for row in rows if (point := _point(row)) is not None]
        title = f"Change by category: {name} against {reference}"
        svg = scatter(points, title=title, xlabel=_xlabel(rows)) if points else ""
        alt = _alt(points)
        yield ArmCategories(number, name, reference, sentence, _grid(rows), svg, alt)


def category_rows(comparison: Comparison, arm: str, reference: str) -> list[CategoryRow]:
    """Categories of an arm, the most harmed first, those without images last."""
    found = kinds(comparison, arm, reference)
    before = {row["label"]: row["top1_accuracy"] for row in _reference_rows(comparison, reference)}
    precision = _precision(comparison, arm, reference)
    rows = [
        CategoryRow(
            row,
            reference,
            before.get(row["label"]),
            precision.get(row["label"]),
            found.get(row["category"]) or _kind(row, reference, comparison.level),
        )
        for row in comparison.categories(arm)
    ]
    return sorted(rows, key=_harm)


def _harm(row: CategoryRow) -> tuple[bool, float, int]:
    difference = row.value("difference")
    return difference is None, difference or 0.0, row.row["label"]


def _kind(row: Row, reference: str, level: float) -> str:
    q, difference = row[f"top1_q_value_to_{reference}"], row[f"top1_difference_to_{reference}"]
    if q is None or q > level or not difference:
        return ""
    return GAIN if difference > 0 else OTHER


def _reference_rows(comparison: Comparison, reference: str) -> list[Row]:
    arms = [arm for arm in comparison.names if reference_of(arm) == reference]
    return [row for arm in arms[:1] for row in comparison.categories(arm)]


def _precision(comparison: Comparison, arm: str, reference: str) -> dict[int, float | None]:
    table = comparison.tables.precision_differences
    rows = rows_where(table, model=comparison.lead_model, arm=arm, reference=reference)
    return {row["label"]: row["difference"] for row in rows}


def _grid(rows: list[CategoryRow]) -> Grid:
    precise = any(row.precision is not None for row in rows)
    heads = [
        "Category",
        "What it is",
        "Images",
        "Faces %",
        "Before %",
        "Change",
        "Interval",
        "q",
        "Top-5",
    ]
    heads += ["Average precision"] if precise else []
    return Grid(tuple(heads), tuple(_cells(row, precise=precise) for row in rows), n_names=2)


def _cells(row: CategoryRow, *, precise: bool) -> Cells:
    return (
        *cells(row.row["category"], row.kind, count(row.row["n_images"])),
        *cells(percent(row.row["share_with_faces"], decimals=0), percent(row.before)),
        Cell(change(row.value("difference")), bool(row.kind)),
        *cells(interval(row.value("ci_low"), row.value("ci_high")), probability(row.value("q_value"))),
        *cells(change(row.value("difference", "top5")), *([change(row.precision)] if precise else [])),
    )


def _xlabel(rows: list[CategoryRow]) -> str:
    known = any(row.row["share_with_faces"] is not None for row in rows)
    return "images of the category with faces, %" if known else "accuracy before, %"


def _point(row: CategoryRow) -> Point | None:
    difference, share = row.value("difference"), row.row["share_with_faces"]
    place = row.before if share is None else share
    if difference is None or place is None:
        return None
    ends = interval(row.value("ci_low"), row.value("ci_high"))
    faces = "" if share is None else f", {percent(share, decimals=0)} % of its images with faces"
    told = f" ({row.kind})" if row.kind else ""
    note = f"{change(difference)} points{told}, interval {ends}{faces}"
    return Point(row.row["category"], 100 * place, 100 * difference, row.kind, note)


def _alt(points: list[Point]) -> str:
    if not points:
        return ""
    first, last = points[0], points[-1]
    told = [f"{point.name} ({point.note})" for point in points if point.kind]
    named = f" Established: {'; '.join(told[:10])}{' and others' if len(told) > 10 else ''}." if told else ""
    return (
        f"A point for each of {len(points):,} categories. The greatest loss is {first.name} ({first.note}), "
        f"the greatest gain {last.name} ({last.note}).{named} The table below has the same numbers."
    )
