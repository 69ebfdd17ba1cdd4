"""The published study's numbers, as package data, and ours beside them.

The numbers are those of "A Study of Face Obfuscation in ImageNet" (Yang et al., ICML 2022, arXiv 2103.06191)
and its public repository. Its standard errors are `scipy.stats.sem(ddof=2)` over three seeds, root 2 times
the usual ones; here they are converted. Differences are arm minus original and fractions, as everywhere in
Sfumato; the study prints drops in percent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from sfumato.compare.arms import ORIGINAL, is_crossed, reference_of, short_name
from sfumato.records import write_csv, write_table

BESIDE_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("condition", pa.string()),
        ("metric", pa.string()),
        ("published_original", pa.float64()),
        ("published_original_standard_error", pa.float64()),
        ("published", pa.float64()),
        ("published_standard_error", pa.float64()),
        ("published_difference", pa.float64()),
        ("published_difference_standard_error", pa.float64()),
        ("original", pa.float64()),
        ("accuracy", pa.float64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_seeds", pa.int64()),
    ]
)
"""The study's numbers and ours, by model, condition ("blurred" or "overlaid") and metric. Fractions; a
difference is minus the study's drop. Standard errors are the usual ones (ddof 1), that of a difference is of
two independent means. `arm` and the last six columns are ours, null where no model of that name was compared
in such an arm; the published ones are null where the study does not report that model or metric."""

SUMMARY_SCHEMA = pa.schema(
    [
        ("contrast", pa.string()),
        ("metric", pa.string()),
        ("n_models", pa.int64()),
        ("mean_difference", pa.float64()),
        ("standard_deviation", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
        ("largest_drop", pa.float64()),
        ("largest_drop_model", pa.string()),
    ]
)
"""Recomputed from the study's table by model (its 15 ConvNets): mean difference with a 95 % paired t interval
over models, and the largest drop of any. `contrast` is "blurred - original" and so on. Fractions."""

HEADLINE = (
    "The study's headline figures, at most 0.68 % for blurring and at most 1.0 % for overlaying, are the "
    "largest drops of any of its models in top-5 accuracy: {blurred:.3f} ({blurred_model}) and "
    "{overlaid:.3f} ({overlaid_model}). In top-1 accuracy the largest drops are {blurred_top1:.3f} and "
    "{overlaid_top1:.3f} points."
)

CONDITIONS = {"blur": "blurred", "overlay": "overlaid"}
"""Short name of an arm to the study's condition."""

_METRICS = {"top1_accuracy": "top1", "top5_accuracy": "top5"}
_CONTRASTS = (("blurred", "original"), ("overlaid", "original"), ("overlaid", "blurred"))

Floats = NDArray[np.float64]
Key = tuple[str, str, str]
"""Model, condition (or arm) and metric."""


@cache
def read_published() -> Mapping[str, Any]:
    """The study's numbers as they are published: percent, drops, its own standard errors; see the notes in
    it."""
    text = resources.files("sfumato.compare").joinpath("published.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@dataclass(frozen=True)
class PublishedAccuracy:
    """A mean over the study's three seeds, as fractions; the usual standard error, NaN where none is
    published."""

    mean: float
    standard_error: float


def published_accuracies() -> dict[Key, PublishedAccuracy]:
    """Model, condition ("original", "blurred", "overlaid") and metric to what the study reports."""
    content = read_published()
    factor = content["sem_to_usual_factor"] / 100
    return {
        (row["model"], row["condition"], metric): PublishedAccuracy(
            row[short] / 100, _number(row.get(f"{short}_sem")) * factor
        )
        for row in content["overall"]
        for metric, short in _METRICS.items()
        if row.get(short) is not None
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def published_summary() -> pa.Table:
    """Rows of `SUMMARY_SCHEMA`, recomputed from the table by model."""
    rows = [_summary_row(pair, metric) for metric in _METRICS for pair in _CONTRASTS]
    return pa.Table.from_pylist(rows, schema=SUMMARY_SCHEMA)


def _summary_row(pair: tuple[str, str], metric: str) -> dict[str, Any]:
    models, difference = _differences(pair, metric)
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    worst = int(difference.argmin())
    return {
        "contrast": f"{pair[0]} - {pair[1]}",
        "metric": metric,
        "n_models": len(models),
        "mean_difference": float(difference.mean()),
        "standard_deviation": float(difference.std(ddof=1)),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p_value": float(stats.ttest_1samp(difference, 0).pvalue),
        "largest_drop": float(-difference[worst]),
        "largest_drop_model": models[worst],
    }


def _differences(pair: tuple[str, str], metric: str) -> tuple[list[str], Floats]:
    """Models with a published spread (Swin-B has one decimal and none), and their differences."""
    found = published_accuracies()
    models = [
        model
        for model, condition, name in found
        if (condition, name) == (pair[1], metric)
        and not np.isnan(found[model, condition, name].standard_error)
    ]
    means = [[found[model, condition, metric].mean for model in models] for condition in pair]
    return models, np.array(means[0]) - np.array(means[1])


def headline() -> str:
    """What the study's headline figures are, in one sentence for a report, numbers recomputed."""
    rows = {(row["contrast"], row["metric"]): row for row in published_summary().to_pylist()}
    blurred, overlaid = (
        {metric: rows[f"{condition} - original", metric] for metric in _METRICS}
        for condition in ("blurred", "overlaid")
    )
    return HEADLINE.format(
        blurred=100 * blurred["top5_accuracy"]["largest_drop"],
        blurred_model=blurred["top5_accuracy"]["largest_drop_model"],
        overlaid=100 * overlaid["top5_accuracy"]["largest_drop"],
        overlaid_model=overlaid["top5_accuracy"]["largest_drop_model"],
        blurred_top1=100 * blurred["top1_accuracy"]["largest_drop"],
        overlaid_top1=100 * overlaid["top1_accuracy"]["largest_drop"],
    )


def mean_drops() -> str:
    """The study's mean drops over its models in one sentence, recomputed from its table by model."""
    rows = {(row["contrast"], row["metric"]): row for row in published_summary().to_pylist()}
    blurred, overlaid = (
        [-100 * rows[f"{condition} - original", metric]["mean_difference"] for metric in _METRICS]
        for condition in ("blurred", "overlaid")
    )
    n_models = rows["blurred - original", "top1_accuracy"]["n_models"]
    return (
        f"Mean drop over the study's {n_models} ConvNets, in points of top-1 and of top-5 accuracy: "
        f"{blurred[0]:.3f} and {blurred[1]:.3f} with blurring, {overlaid[0]:.3f} and {overlaid[1]:.3f} with "
        "overlaying."
    )


def write_published(folder: Path, overall: pa.Table, differences: pa.Table) -> int:
    """Write ours beside the study's (`published`) and its means (`published_summary`), parquet and CSV.

    Args:
        folder: of the comparison.
        overall, differences: as for `beside`.

    Returns:
        How many of ours have a published number beside them.
    """
    table = beside(overall, differences)
    for name, each in (("published", table), ("published_summary", published_summary())):
        write_table(folder / f"{name}.parquet", each)
        write_csv(folder / f"{name}.csv", each)
    both = [row for row in table.to_pylist() if None not in (row["difference"], row["published_difference"])]
    return len(both)


def beside(overall: pa.Table, differences: pa.Table) -> pa.Table:
    """Ours beside the study's: rows of `BESIDE_SCHEMA`, every published model first, then ours that it lacks.

    A model is the study's where it has the same name, an arm where it was trained and evaluated with one
    method: blur or overlay.

    Args:
        overall: as `sfumato.compare.tables.OVERALL_SCHEMA`; only subset "all" is taken.
        differences: as `DIFFERENCES_SCHEMA`; only subset "all" against "original" is taken.
    """
    ours = _ours(overall, differences)
    published = published_accuracies()
    keys = {key: None for key in published if key[1] != ORIGINAL}
    rows = []
    for key in dict.fromkeys([*keys, *ours]):
        for found in ours.get(key, [{}]):
            rows.append({**_names(key), **_published_columns(published, key), **found})
    return pa.Table.from_pylist(rows, schema=BESIDE_SCHEMA)


def _names(key: Key) -> dict[str, str]:
    return dict(zip(("model", "condition", "metric"), key, strict=True))


def _published_columns(published: Mapping[Key, PublishedAccuracy], key: Key) -> dict[str, float | None]:
    model, _, metric = key
    before, after = published.get((model, ORIGINAL, metric)), published.get(key)
    if before is None or after is None:
        return {}
    return {
        "published_original": before.mean,
        "published_original_standard_error": _known(before.standard_error),
        "published": after.mean,
        "published_standard_error": _known(after.standard_error),
        "published_difference": after.mean - before.mean,
        "published_difference_standard_error": _known(
            float(np.hypot(before.standard_error, after.standard_error))
        ),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _ours(overall: pa.Table, differences: pa.Table) -> dict[Key, list[dict[str, Any]]]:
    """What was compared here in the study's conditions; several arms where a method ran at several
    strengths."""
    accuracy = {
        (row["model"], row["arm"], row["metric"]): row["mean"]
        for row in overall.to_pylist()
        if row["subset"] == "all"
    }
    originals = {
        (model, metric): mean
        for (model, arm, metric), mean in accuracy.items()
        if not is_crossed(arm) and reference_of(arm) == ORIGINAL
    }
    found: dict[Key, list[dict[str, Any]]] = {}
    for row in differences.to_pylist():
        condition = _condition(row["arm"])
        if condition is None or (row["subset"], row["reference"]) != ("all", ORIGINAL):
            continue
        model, metric = row["model"], row["metric"]
        columns = {
            "original": originals.get((model, metric)),
            "accuracy": accuracy.get((model, row["arm"], metric)),
            **{name: row[name] for name in ("arm", "difference", "ci_low", "ci_high", "n_seeds")},
        }
        found.setdefault((model, condition, metric), []).append(columns)
    return found


def _condition(arm: str) -> str | None:
    return None if is_crossed(arm) else CONDITIONS.get(short_name(arm))
