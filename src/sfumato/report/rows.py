"""Tables as rows of text for the page; the numbers themselves are in the CSV files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfumato.compare import Tables, is_obfuscated, short_names
from sfumato.compare.layout import ALL_MODELS
from sfumato.report.numerals import change, count, interval, percent

Row = Mapping[str, Any]

SUBSETS = {"all": "all images", "with_faces": "images with faces", "without_faces": "images without faces"}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether its interval excludes zero."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of the page: heads and rows; the first `n_names` columns are words, the others numbers."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    n_names: int


@dataclass(frozen=True)
class Comparison:
    """The tables of a comparison with what the page asks of them again and again.

    Attributes:
        tables: as `sfumato compare` wrote them.
        names: arm to short name.
        lead_model: "all" where there are several models, else the one.
    """

    tables: Tables
    names: Mapping[str, str]
    lead_model: str

    @classmethod
    def of(cls, tables: Tables) -> Comparison:
        """Look at the tables once."""
        models = tables.overall["model"].to_pylist()
        lead = ALL_MODELS if ALL_MODELS in models else models[0]
        return cls(tables, short_names(tables.overall["arm"].to_pylist()), lead)

    def obfuscated(self) -> list[str]:
        """Arms in which something is hidden."""
        return [arm for arm in self.names if is_obfuscated(arm)]

    def differences(self, **wanted: str) -> list[Row]:
        """Rows of the table of differences with these values, null differences left out."""
        return [
            row
            for row in self.tables.differences.to_pylist()
            if row["difference"] is not None and all(row[key] == value for key, value in wanted.items())
        ]

    def reference(self, arm: str) -> str | None:
        """What an arm is compared with first: the control arm where there is one."""
        found = {row["reference"] for row in self.differences(arm=arm)}
        return next((name for name in ("none", "original") if name in found), None)


def overall_grid(comparison: Comparison) -> Grid:
    """Accuracy by model and arm, all images."""
    rows = comparison.tables.overall.to_pylist()
    top5 = {_arm(row): row for row in rows if _is(row, "top5_accuracy", "all")}
    shown = [row for row in rows if _is(row, "top1_accuracy", "all")]
    return Grid(
        (
            "Model",
            "Arm",
            "Top-1 %",
            "\N{PLUS-MINUS SIGN}",
            "Top-5 %",
            "\N{PLUS-MINUS SIGN}",
            "Images",
            "Seeds",
        ),
        tuple(
            _cells(
                _model(row["model"]),
                comparison.names[row["arm"]],
                *_accuracy(row),
                *_accuracy(top5[_arm(row)]),
                count(row["n_images"]),
                count(row["n_seeds"]),
            )
            for row in shown
        ),
        n_names=2,
    )


def differences_grid(comparison: Comparison, subset: str) -> Grid:
    """Differences to the references on a subset of the images, in points."""
    top5 = {
        (_arm(row), row["reference"]): row
        for row in comparison.differences(metric="top5_accuracy", subset=subset)
    }
    rows = []
    for row in comparison.differences(metric="top1_accuracy", subset=subset):
        other = top5[_arm(row), row["reference"]]
        names = _cells(_model(row["model"]), comparison.names[row["arm"]], row["reference"])
        counts = _cells(count(row["n_images"]), count(row["n_seeds"]))
        rows.append((*names, *_change(row), *_change(other), *counts))
    heads = ("Model", "Arm", "Compared with", "Top-1 change", "Interval", "Top-5 change", "Interval")
    return Grid((*heads, "Images", "Seeds"), tuple(rows), n_names=3)


def categories_grid(comparison: Comparison) -> Grid:
    """One row a category: accuracy and change in each obfuscated arm, most harmed first."""
    arms = [arm for arm in comparison.obfuscated() if comparison.reference(arm)]
    rows = [row for row in comparison.tables.by_category.to_pylist() if row["model"] == comparison.lead_model]
    by_arm = {arm: {row["label"]: row for row in rows if row["arm"] == arm} for arm in arms}
    labels = sorted({row["label"] for row in rows}, key=lambda label: _harm(comparison, by_arm, label))
    any_row = {row["label"]: row for row in rows}
    heads = ["Category", "Images", "With faces %"]
    for arm in arms:
        name = comparison.names[arm]
        heads += [f"{name}: top-1 %", "change", "interval", "top-5 change"]
    return Grid(
        tuple(heads),
        tuple(
            (
                *_category_names(any_row[label]),
                *(
                    cell
                    for arm in arms
                    for cell in _category_cells(by_arm[arm][label], comparison.reference(arm))
                ),
            )
            for label in labels
        ),
        n_names=1,
    )


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether an interval leaves zero out."""
    return low is not None and high is not None and (low > 1e-9 or high < -1e-9)


def _harm(comparison: Comparison, by_arm: Mapping[str, Mapping[int, Row]], label: int) -> tuple[float, int]:
    values = [rows[label][f"top1_difference_to_{comparison.reference(arm)}"] for arm, rows in by_arm.items()]
    return min((value for value in values if value is not None), default=1.0), label


def _category_names(row: Row) -> tuple[Cell, ...]:
    share = percent(row["share_with_faces"], decimals=0)
    return _cells(row["category"], count(row["n_images"]), share)


def _category_cells(row: Row, reference: str | None) -> tuple[Cell, ...]:
    low, high = row[f"top1_ci_low_to_{reference}"], row[f"top1_ci_high_to_{reference}"]
    return (
        Cell(percent(row["top1_accuracy"])),
        Cell(change(row[f"top1_difference_to_{reference}"]), excludes_zero(low, high)),
        Cell(interval(low, high)),
        Cell(change(row[f"top5_difference_to_{reference}"])),
    )


def _cells(*texts: str) -> tuple[Cell, ...]:
    return tuple(Cell(text) for text in texts)


def _change(row: Row) -> tuple[Cell, Cell]:
    low, high = row["ci_low"], row["ci_high"]
    return Cell(change(row["difference"]), excludes_zero(low, high)), Cell(interval(low, high))


def _accuracy(row: Row) -> tuple[str, str]:
    return percent(row["mean"]), percent(row["standard_error"])


def _model(name: str) -> str:
    return "all models" if name == ALL_MODELS else name


def _arm(row: Row) -> tuple[str, str]:
    return row["model"], row["arm"]


def _is(row: Row, metric: str, subset: str) -> bool:
    return bool(row["metric"] == metric and row["subset"] == subset)
