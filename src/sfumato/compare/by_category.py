"""Accuracies and differences of every category, with Benjamini-Hochberg over the categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.arms import SCRATCH
from sfumato.compare.components import Changes, group_changes
from sfumato.compare.layout import Contrast, Layout, Values, accuracies, differences
from sfumato.compare.outcomes import Outcomes
from sfumato.compare.sums import weighted_sum
from sfumato.compare.variance import Strata, by_model


def category_rows(
    outcomes: Outcomes, layout: Layout, has_faces: NDArray[np.int8] | None, confidence: float
) -> Iterator[dict[str, Any]]:
    """Rows of the table by category.

    Args:
        outcomes: of n images.
        layout: of these outcomes.
        has_faces: (n,) 1 with faces, 0 without, -1 not known; None where nobody looked.
        confidence: of the intervals.
    """
    n_categories = len(outcomes.categories)
    counts = np.bincount(outcomes.label, minlength=n_categories)
    means = _group_means(layout, outcomes.label, n_categories)
    strata = np.split(np.argsort(outcomes.label, kind="stable"), np.cumsum(counts)[:-1])
    shares = _shares(outcomes.label, has_faces, n_categories)
    cells: dict[tuple[str, str], list[Contrast]] = {}
    wanted = [item for item in differences(layout) if item.reference != SCRATCH]
    for item in [*accuracies(layout), *wanted]:
        cells.setdefault((item.model, item.arm), []).append(item)
    for (model, arm), items in cells.items():
        columns: dict[str, list[float | None]] = {}
        for item in items:
            columns |= _columns(layout, item, (strata, means), confidence)
        names = list(columns)
        used = layout.n_seeds[items[0].weights != 0]
        for label, values in enumerate(zip(*columns.values(), strict=True)):
            yield {
                "model": model,
                "arm": arm,
                "category": outcomes.categories[label],
                "label": label,
                "n_images": int(counts[label]),
                "n_seeds": int(used.min()),
                "share_with_faces": shares[label],
                **dict(zip(names, values, strict=True)),
            }


def _columns(
    layout: Layout, item: Contrast, groups: tuple[Strata, Values], confidence: float
) -> dict[str, list[float | None]]:
    strata, means = groups
    if not item.reference:
        return {item.metric: _or_null(weighted_sum(item.weights, means))}
    found = contrast_changes(layout, item, strata, confidence)
    short = item.metric.removesuffix("_accuracy")
    return {
        f"{short}_{column}_to_{item.reference}": _or_null(getattr(found, column))
        for column in ("difference", "ci_low", "ci_high", "p_value", "q_value")
    }


def contrast_changes(layout: Layout, item: Contrast, strata: Strata, confidence: float) -> Changes:
    """The change of each group of images under one contrast.

    Args:
        layout: outcomes.
        item: a difference.
        strata: columns of each group; an image may be in several.
        confidence: of the intervals.
    """
    parts = by_model(layout, item, np.concatenate(strata))
    d = np.concatenate(parts).astype(np.float32) * len(parts)  # each model's share is in its weights
    models = [number for number, part in enumerate(parts) for _ in part]
    group = np.repeat(np.arange(len(strata)), [len(columns) for columns in strata])
    return group_changes(d, group, len(strata), models=models, confidence=confidence)


def _group_means(layout: Layout, label: NDArray[np.int64], n_categories: int) -> Values:
    """Mean over seeds and the images of each category: (groups, categories), NaN without images."""
    counts = np.bincount(label, minlength=n_categories)
    means = np.full((len(layout.groups), n_categories), np.nan)
    for group in range(len(layout.groups)):
        right = layout.correct[layout.rows(group)].mean(axis=0, dtype=np.float64)
        sums = np.bincount(label, weights=right, minlength=n_categories)
        np.divide(sums, counts, out=means[group], where=counts > 0)
    return means


def _shares(
    label: NDArray[np.int64], has_faces: NDArray[np.int8] | None, n_categories: int
) -> Sequence[float | None]:
    if has_faces is None:
        return [None] * n_categories
    known = np.bincount(label[has_faces >= 0], minlength=n_categories)
    found = np.bincount(label[has_faces == 1], minlength=n_categories)
    return [int(a) / int(b) if b else None for a, b in zip(found, known, strict=True)]


def _or_null(values: Values) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
