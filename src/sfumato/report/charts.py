"""Which plots a report has, with their titles and text alternatives."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sfumato.compare.layout import ALL_MODELS
from sfumato.report.face_facts import FaceFacts
from sfumato.report.numerals import change, interval
from sfumato.report.plots import Estimate, changes_plot, shares_plot
from sfumato.report.rows import SUBSETS, Comparison, Row

MOST_ROWS = 40
"""Categories that a plot has room for; of more, those at both ends are drawn."""

_CHANGE = "change of top-1 accuracy, points"


@dataclass(frozen=True)
class Chart:
    """A plot in a page.

    Attributes:
        name: of its SVG file, without the ending.
        title: what it shows.
        note: how to read it.
        alt: the same in words, for who cannot see it.
        svg: the file.
    """

    name: str
    title: str
    note: str
    alt: str
    svg: bytes

    @property
    def uri(self) -> str:
        """The plot as a data URI."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


def difference_charts(comparison: Comparison) -> Iterator[Chart]:
    """Changes by arm and model, then by arm with and without faces."""
    rows = [row for arm in comparison.obfuscated() for row in _to_reference(comparison, arm, "all")]
    if rows:
        several = len({row["model"] for row in rows}) > 1
        labels = [
            f"{comparison.names[row['arm']]}, {_model(row)}" if several else comparison.names[row["arm"]]
            for row in rows
        ]
        yield _changes_chart("differences", "Change by arm", labels, rows)
    apart = [
        row
        for arm in comparison.obfuscated()
        for subset in SUBSETS
        for row in _to_reference(comparison, arm, subset)
        if row["model"] == comparison.lead_model
    ]
    if len({row["subset"] for row in apart}) > 1:
        labels = [f"{comparison.names[row['arm']]}, {SUBSETS[row['subset']]}" for row in apart]
        yield _changes_chart("differences-by-faces", "Images with and without faces apart", labels, apart)


def category_charts(comparison: Comparison) -> Iterator[Chart]:
    """For each obfuscated arm, categories sorted by their change."""
    for number, arm in enumerate(comparison.obfuscated(), start=1):
        reference = comparison.reference(arm)
        rows = _category_rows(comparison, arm, reference)
        if not rows:
            continue
        shown = rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS // 2], *rows[-(MOST_ROWS // 2) :]]
        part = f" ({len(shown)} of {len(rows)}: the most harmed and the most helped)" if shown != rows else ""
        name = comparison.names[arm]
        yield Chart(
            f"categories-{number}",
            f"Change by category: {name}{part}",
            f"Compared with {reference}. Bars are intervals; filled points: the interval excludes zero.",
            f"Change of top-1 accuracy by category with {name}, from {rows[0].label} "
            f"({change(rows[0].value)} points) to {rows[-1].label} ({change(rows[-1].value)} points). "
            "The table of categories has the same numbers.",
            changes_plot(shown, _CHANGE),
        )


def faces_chart(facts: FaceFacts) -> Iterator[Chart]:
    """The share of images with faces, by category, most first."""
    rows = [row for row in facts.by_category.to_pylist() if row["n_images"]]
    rows.sort(key=lambda row: (-row["share_with_faces"], row["category"]))
    if not rows:
        return
    shown = rows[:MOST_ROWS]
    part = f" (the {len(shown)} highest of {len(rows)})" if len(rows) > len(shown) else ""
    listed = ", ".join(f"{row['category']} {100 * row['share_with_faces']:.0f} %" for row in shown[:10])
    yield Chart(
        "faces-by-category",
        f"Images with faces, by category{part}",
        "Over all splits; as the detector found them.",
        f"Share of images with faces by category: {listed}{' and so on' if len(shown) > 10 else ''}.",
        shares_plot(
            [row["category"] for row in shown],
            [row["share_with_faces"] for row in shown],
            "images with faces, %",
        ),
    )


def _to_reference(comparison: Comparison, arm: str, subset: str) -> list[Row]:
    reference = comparison.reference(arm)
    if reference is None:
        return []
    return comparison.differences(arm=arm, reference=reference, metric="top1_accuracy", subset=subset)


def _changes_chart(name: str, title: str, labels: Sequence[str], rows: Sequence[Row]) -> Chart:
    points = [
        Estimate(label, row["difference"], row["ci_low"], row["ci_high"], _marker(row))
        for label, row in zip(labels, rows, strict=True)
    ]
    listed = "; ".join(
        f"{point.label} {change(point.value)} (interval {interval(point.low, point.high)})"
        for point in points
    )
    references = " or ".join(sorted({row["reference"] for row in rows}))
    return Chart(
        name,
        title,
        f"Compared with {references}. Bars are intervals; filled points: the interval excludes zero.",
        f"Change of top-1 accuracy in points: {listed}.",
        changes_plot(points, _CHANGE),
    )


def _marker(row: Row) -> str:
    if row["model"] == ALL_MODELS and row["subset"] == "all":
        return "D"
    return {"all": "o", "with_faces": "s", "without_faces": "^"}[row["subset"]]


def _model(row: Row) -> str:
    return "all models" if row["model"] == ALL_MODELS else str(row["model"])


def _category_rows(comparison: Comparison, arm: str, reference: str | None) -> list[Estimate]:
    found = [
        Estimate(
            row["category"],
            row[f"top1_difference_to_{reference}"],
            row[f"top1_ci_low_to_{reference}"],
            row[f"top1_ci_high_to_{reference}"],
        )
        for row in comparison.tables.by_category.to_pylist()
        if (row["model"], row["arm"]) == (comparison.lead_model, arm) and reference and row["n_images"]
    ]
    return sorted(found, key=lambda item: (item.value, item.label))
