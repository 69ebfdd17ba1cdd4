"""Whether what had more faces in it lost more: by category, by image, and where the models look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import Any

from sfumato.report.comparison import TOP1, Comparison, Row, rows_where
from sfumato.report.grids import Cell, Cells, Grid, cells, excludes_zero
from sfumato.report.numerals import change, count, interval, percent, probability, signed

LEVELS = {"category": "By category", "image": "By image"}
RANK_TRENDS = {
    "spearman_share_with_faces": "the share of images with faces",
    "spearman_area": "the mean area that faces cover",
}
SLOPE = "logistic_area_slope"


@dataclass(frozen=True)
class Trend:
    """One trend in words; `kind` is "loss", "gain" or "none"."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class ArmTrends:
    """What the trends of one arm say."""

    name: str
    reference: str
    trends: tuple[Trend, ...]


def exposure_section(comparison: Comparison) -> dict[str, Any]:
    """What the section about exposure prints."""
    return {
        "arms": [
            ArmTrends(comparison.names[arm], reference, tuple(_trends(comparison, arm, reference)))
            for arm, reference in comparison.compared()
        ],
        "bins": {level: bins_grid(comparison, level) for level in LEVELS},
        "attention": attention_grid(comparison),
    }


def bins(comparison: Comparison, arm: str, reference: str, level: str) -> list[Row]:
    """Bins of covered area that hold anything, of top-1 accuracy."""
    found = rows_where(
        comparison.tables.exposure_bins, arm=arm, reference=reference, level=level, metric=TOP1
    )
    return [_bounded(row) for row in found if row["difference"] is not None]


def _bounded(row: Row) -> Row:
    """No accuracy changes by more than all of it, whatever Student's t says of two categories."""
    low, high = row["ci_low"], row["ci_high"]
    if low is None or high is None:
        return row
    return {**row, "ci_low": max(low, -1.0), "ci_high": min(high, 1.0)}


def bin_name(row: Row) -> str:
    """A bin as its axis says it: "0 %", "1\N{EN DASH}2 %", "8 % or more"."""
    low, high = row["area_low"], row["area_high"]
    if high is None:
        return f"{100 * low:g} % or more"
    return f"{100 * low:g} %" if low == high else f"{100 * low:g}\N{EN DASH}{100 * high:g} %"


def bins_grid(comparison: Comparison, level: str) -> Grid:
    """The numbers of the curve."""
    heads = ("Method", "Area covered", "Change", "Interval")
    counts = ("Categories", "Images") if level == "category" else ("Images",)
    rows = [
        (
            *cells(comparison.names[arm], bin_name(row)),
            Cell(change(row["difference"]), excludes_zero(row["ci_low"], row["ci_high"])),
            *cells(interval(row["ci_low"], row["ci_high"])),
            *cells(*(count(row[f"n_{name.lower()}"]) for name in counts)),
        )
        for arm, reference in comparison.compared()
        for row in bins(comparison, arm, reference, level)
    ]
    return Grid((*heads, *counts), tuple(rows), n_names=2)


def _trends(comparison: Comparison, arm: str, reference: str) -> Iterator[Trend]:
    rows = rows_where(comparison.tables.exposure_trends, arm=arm, reference=reference, metric=TOP1)
    known = {row["trend"]: row for row in rows if row["estimate"] is not None and row["ci_low"] is not None}
    for name, words in RANK_TRENDS.items():
        if name in known:
            yield _rank_trend(known[name], words)
    if SLOPE in known:
        yield _slope(known[SLOPE])


def _rank_trend(row: Row, words: str) -> Trend:
    told = excludes_zero(row["ci_low"], row["ci_high"])
    kind = "none" if not told else "loss" if row["estimate"] < 0 else "gain"
    said = {
        "loss": f"By category: the greater {words}, the more a category loses",
        "gain": f"By category: the greater {words}, the less a category loses",
        "none": f"By category: no trend with {words} can be told",
    }[kind]
    numbers = f"{signed(row['estimate'])}, interval {signed(row['ci_low'])} to {signed(row['ci_high'])}"
    return Trend(kind, f"{said} (rank correlation {numbers}; {count(row['n'])} categories).")


def _slope(row: Row) -> Trend:
    odds, low, high = (_odds(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    told = excludes_zero(row["ci_low"], row["ci_high"])
    kind = "none" if not told else "loss" if row["estimate"] > 0 else "gain"
    said = {
        "loss": "By image: images that faces cover more are lost more often",
        "gain": "By image: images that faces cover more are lost less often",
        "none": "By image: no trend with the area that faces cover can be told",
    }[kind]
    return Trend(
        kind,
        f"{said} (where only one of the two arms is right, each further tenth of the image covered "
        f"multiplies the odds that the arm with hidden faces is the wrong one by {odds}, "
        f"interval {low} to {high}; {count(row['n'])} images, p {probability(row['p_value'])}).",
    )


def _odds(log_odds: float) -> str:
    value = exp(min(log_odds, 20.0))
    return f"{value:.2f}" if value < 100 else "more than 100"


def attention_grid(comparison: Comparison) -> Grid:
    """Over all images with a face in view, one row an arm."""
    heads = ("Arm", "Images", "View that is face %", "Attention on faces %", "for the answer given %")
    whole = [row for row in comparison.tables.attention.to_pylist() if row["category"] is None]
    return Grid((*heads, "Attention per area"), tuple(_attention(comparison, row) for row in whole))


def _attention(comparison: Comparison, row: Row) -> Cells:
    shares = (percent(row[name]) for name in ("face_area", "attention_true", "attention_predicted"))
    ratio = row["attention_per_area"]
    name = comparison.names.get(row["arm"], row["arm"])
    return cells(name, count(row["n_images"]), *shares, "\N{EN DASH}" if ratio is None else f"{ratio:.2f}")
