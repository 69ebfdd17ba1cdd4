"""Which plots a report has, with their titles and text alternatives."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sfumato.compare.layout import ALL_MODELS
from sfumato.report.comparison import SUBSETS, TOP1, Comparison, Row, model_name
from sfumato.report.cost import PARTS, split_rows
from sfumato.report.downstream import Transfer, metric_name
from sfumato.report.exposure import LEVELS, bin_name, bins
from sfumato.report.face_facts import FaceFacts
from sfumato.report.groups import established, group_rows
from sfumato.report.numerals import change, interval, percent
from sfumato.report.plots import (
    LINES,
    Curve,
    Estimate,
    Panel,
    changes_plot,
    curves_plot,
    panels_plot,
    shares_plot,
)

MOST_ROWS = 40
"""Categories or models that a plot has room for."""

_CHANGE = "change of top-1 accuracy, points"
_HOW = "Points are estimates, bars their intervals; a filled point: the interval leaves zero out."
_PART_MARKERS = {"total": "o", "recompression": "s", "obfuscation": "D"}


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


def cost_charts(comparison: Comparison) -> Iterator[Chart]:
    """Changes by arm; split into their parts; with and without faces; by model."""
    lead = [_difference(comparison, arm, reference) for arm, reference in comparison.compared()]
    known = [row for row in lead if row is not None]
    if known:
        labels = [comparison.names[row["arm"]] for row in known]
        yield _differences_chart(comparison, ("differences", "Change of accuracy by method"), labels, known)
    yield from _split_chart(comparison)
    yield from _by_faces_chart(comparison)
    yield from _by_model_charts(comparison)


def exposure_charts(comparison: Comparison) -> Iterator[Chart]:
    """The change by covered area, by category and by image, all arms in one plot."""
    for level, title in LEVELS.items():
        found = {
            comparison.names[arm]: bins(comparison, arm, reference, level)
            for arm, reference in comparison.compared()[: len(LINES)]
        }
        found = {name: rows for name, rows in found.items() if rows}
        if found:
            yield _exposure_chart(level, title, found)


def group_charts(comparison: Comparison) -> Iterator[Chart]:
    """For each way to group and each arm, groups sorted by their change, where a plot has room."""
    for place, grouping in enumerate(dict.fromkeys(comparison.tables.by_group["grouping"].to_pylist()), 1):
        for number, (arm, reference) in enumerate(comparison.compared(), start=1):
            rows = group_rows(comparison, grouping, arm, reference)
            if 0 < len(rows) <= MOST_ROWS:
                points = [
                    replace(_estimate(row["group"], row, "o"), established=established(comparison, row))
                    for row in rows
                ]
                yield Chart(
                    f"groups-{place}-{number}",
                    f"Change by {grouping}: {comparison.names[arm]} against {reference}",
                    "Points are estimates, bars their intervals; a filled point: the change is established.",
                    f"Change of top-1 accuracy in points: {_listed(points)}.",
                    changes_plot(points, _CHANGE),
                )


def transfer_charts(transfers: Sequence[Transfer]) -> Iterator[Chart]:
    """What each obfuscated start changed on each downstream task, a panel a task, all in one plot."""
    panels = [
        (transfer, Panel(transfer.title, rows, transfer.comparison.settings.margin))
        for transfer in transfers
        if (rows := _transfer_rows(transfer))
    ]
    if not panels:
        return
    listed = ". ".join(f"{panel.title}: {_listed(panel.rows)}" for _, panel in panels)
    metrics = dict.fromkeys(metric_name(transfer.metrics[0]) for transfer, _ in panels)
    yield Chart(
        "transfer",
        "Obfuscated starts against the start that is not",
        f"Main metric of each task: {'; '.join(metrics)}. {_HOW} An interval that leaves the picture is of "
        "next to nothing. On the shaded band, between the dashed lines: less than the margin.",
        f"Change of each task’s main metric in points, by task, model and start. {listed}.",
        panels_plot([panel for _, panel in panels], "change of the main metric, points"),
    )


def _transfer_rows(transfer: Transfer) -> list[Estimate]:
    comparison = transfer.comparison
    rows = transfer.to_unhidden(transfer.metrics[0])
    if len(rows) > MOST_ROWS:
        rows = [row for row in rows if row["model"] == comparison.lead_model][:MOST_ROWS]
    return [
        _estimate(f"{model_name(row['model'])}: {comparison.names[row['arm']]}", row, _marker(row))
        for row in rows
    ]


def faces_chart(facts: FaceFacts) -> Iterator[Chart]:
    """The share of images with faces, by category, most first."""
    rows = [row for row in facts.by_category.to_pylist() if row["n_images"]]
    rows.sort(key=lambda row: (-row["share_with_faces"], row["category"]))
    if not rows:
        return
    shown = rows[:MOST_ROWS]
    part = f" (the {len(shown)} highest of {len(rows):,})" if len(rows) > len(shown) else ""
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


def _difference(comparison: Comparison, arm: str, reference: str, subset: str = "all") -> Row | None:
    found = comparison.differences(
        model=comparison.lead_model, arm=arm, reference=reference, metric=TOP1, subset=subset
    )
    return found[0] if found else None


def _by_faces_chart(comparison: Comparison) -> Iterator[Chart]:
    rows = [
        row
        for arm, reference in comparison.compared()
        for subset in SUBSETS
        if (row := _difference(comparison, arm, reference, subset)) is not None
    ]
    if len({row["subset"] for row in rows}) > 1:
        labels = [f"{comparison.names[row['arm']]}, {SUBSETS[row['subset']]}" for row in rows]
        about = ("differences-by-faces", "Images with and without faces apart")
        yield _differences_chart(comparison, about, labels, rows)


def _by_model_charts(comparison: Comparison) -> Iterator[Chart]:
    if len(comparison.models) < 2:
        return
    for number, (arm, reference) in enumerate(comparison.compared(), start=1):
        rows = comparison.differences(arm=arm, reference=reference, metric=TOP1, subset="all")[:MOST_ROWS]
        labels = [model_name(row["model"]) for row in rows]
        about = (f"models-{number}", f"Change by model: {comparison.names[arm]}")
        yield _differences_chart(comparison, about, labels, rows)


def _split_chart(comparison: Comparison) -> Iterator[Chart]:
    rows = [row for row in split_rows(comparison) if row["metric"] == TOP1]
    points = [
        Estimate(
            f"{comparison.names[row['arm']]}: {words.lower()}",
            row[part],
            row[f"{part}_ci_low"],
            row[f"{part}_ci_high"],
            _PART_MARKERS[part],
        )
        for row in rows
        for part, words in PARTS.items()
    ]
    if points:
        yield Chart(
            "split",
            "What is compression, what is hiding",
            f"In all (circles) = writing anew (squares) + hiding (diamonds). {_HOW}",
            f"Change of top-1 accuracy in points, split in two parts: {_listed(points)}.",
            changes_plot(points, _CHANGE, margin=comparison.settings.margin),
        )


def _differences_chart(
    comparison: Comparison, about: tuple[str, str], labels: Sequence[str], rows: Sequence[Row]
) -> Chart:
    name, title = about
    points = [_estimate(label, row, _marker(row)) for label, row in zip(labels, rows, strict=True)]
    references = " or ".join(sorted({row["reference"] for row in rows}))
    margin = f"{percent(comparison.settings.margin)} points"
    return Chart(
        name,
        title,
        f"Compared with {references}. {_HOW} On the shaded band, between the dashed lines: "
        f"less than the margin of {margin}.",
        f"Change of top-1 accuracy in points: {_listed(points)}.",
        changes_plot(points, _CHANGE, margin=comparison.settings.margin),
    )


def _exposure_chart(level: str, title: str, found: dict[str, list[Row]]) -> Chart:
    steps = sorted(
        {(row["area_low"], row["area_high"] or 2.0, bin_name(row)) for of in found.values() for row in of}
    )
    names = [name for *_, name in steps]
    curves = []
    for arm, rows in found.items():
        by_name = {bin_name(row): row for row in rows}
        values = [_estimate(name, by_name[name], "o") if name in by_name else None for name in names]
        curves.append(Curve(arm, values))
    listed = ". ".join(
        f"{curve.name}: {_listed([value for value in curve.values if value is not None])}" for curve in curves
    )
    of_what = "mean area of its images" if level == "category" else "area of the image"
    return Chart(
        f"exposure-{level}",
        f"{title}: change against the area that faces cover",
        "Points are means, bars their intervals; one that leaves the picture is of next to nothing. "
        "Each method has its own marker and dashes.",
        f"Change of top-1 accuracy in points by covered area. {listed}.",
        curves_plot(curves, names, (f"{of_what} that faces cover", _CHANGE)),
    )


def _estimate(label: str, row: Row, marker: str) -> Estimate:
    return Estimate(label, row["difference"], row["ci_low"], row["ci_high"], marker)


def _listed(points: Sequence[Estimate]) -> str:
    return "; ".join(
        f"{point.label} {change(point.value)} (interval {interval(point.low, point.high)})"
        for point in points
    )


def _marker(row: Row) -> str:
    if row["model"] == ALL_MODELS and row["subset"] == "all":
        return "D"
    return {"all": "o", "with_faces": "s", "without_faces": "^"}[row["subset"]]
