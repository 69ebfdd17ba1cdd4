"""Outcomes to tables: accuracies, differences with intervals, the same by category."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare.bootstrap import Indices, Resampling, resampled_sums
from sfumato.compare.layout import Contrast, Layout, Values, accuracies, differences, lay_out
from sfumato.compare.pairing import Outcomes
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import (
    BY_CATEGORY_SCHEMA,
    DIFFERENCES_SCHEMA,
    EXCLUDED_SCHEMA,
    OVERALL_SCHEMA,
    SEEDS_SCHEMA,
    Tables,
)
from sfumato.progress import Progress, silent

STAGE = "compare"

HasFaces = NDArray[np.int8]
"""For each image: 1 with faces, 0 examined and none found, -1 not known."""


@dataclass(frozen=True, eq=False)
class _Subset:
    name: str
    strata: tuple[Indices, ...]

    @property
    def n_images(self) -> int:
        return sum(map(len, self.strata))

    @property
    def columns(self) -> Indices:
        return np.concatenate(self.strata)


def tabulate(
    outcomes: Outcomes,
    has_faces: HasFaces | None,
    *,
    settings: CompareSettings = CompareSettings(),
    progress: Progress = silent,
) -> Tables:
    """All tables of a comparison.

    Args:
        outcomes: of n images.
        has_faces: (n,); None leaves the subsets with and without faces out.
        settings: of the bootstrap.
        progress: called after each category of each subset.
    """
    layout = lay_out(outcomes)
    subsets = _subsets(outcomes, has_faces)
    estimate = _Estimate(layout, settings, progress, len(subsets) * len(outcomes.categories))
    overall: list[dict[str, Any]] = []
    difference: list[dict[str, Any]] = []
    for subset in subsets:
        overall += _overall_rows(layout, subset)
        difference += estimate.rows(subset)
    categories = list(_category_rows(outcomes, layout, has_faces, estimate))
    excluded = [{"image_id": key, "reason": reason} for key, reason in outcomes.excluded.items()]
    return Tables(
        overall=pa.Table.from_pylist(overall, schema=OVERALL_SCHEMA),
        differences=pa.Table.from_pylist(difference, schema=DIFFERENCES_SCHEMA),
        by_category=pa.Table.from_pylist(categories, schema=BY_CATEGORY_SCHEMA),
        seeds=pa.Table.from_pylist(list(_seed_rows(outcomes, subsets)), schema=SEEDS_SCHEMA),
        excluded=pa.Table.from_pylist(excluded, schema=EXCLUDED_SCHEMA),
    )


def _subsets(outcomes: Outcomes, has_faces: HasFaces | None) -> list[_Subset]:
    everything = np.ones(len(outcomes.label), dtype=bool)
    masks = {"all": everything}
    if has_faces is not None:
        masks |= {"with_faces": has_faces == 1, "without_faces": has_faces == 0}
    return [
        _Subset(
            name,
            tuple(
                np.flatnonzero(mask & (outcomes.label == label)) for label in range(len(outcomes.categories))
            ),
        )
        for name, mask in masks.items()
    ]


class _Estimate:
    """Differences and their intervals, overall and, from the same draws, by category."""

    def __init__(self, layout: Layout, settings: CompareSettings, progress: Progress, total: int) -> None:
        self.layout = layout
        self.contrasts = differences(layout)
        self.by_category: list[tuple[Values, Values] | None] = []
        self._settings = settings
        self._resampling = Resampling(layout, self.contrasts, settings) if self.contrasts else None
        self._progress = progress
        self._done, self._total = 0, total

    def rows(self, subset: _Subset) -> list[dict[str, Any]]:
        """Rows of the table of differences for one subset; "all" also fills `by_category`."""
        if self._resampling is None:
            return []
        bounds = self._bounds(self._resampling, subset)
        means = _means(self.layout, subset.columns)
        return [
            {
                **_names(item),
                "reference": item.reference,
                "subset": subset.name,
                "difference": None if means is None else float(item.weights @ means),
                "ci_low": None if bounds is None else float(bounds[0][number]),
                "ci_high": None if bounds is None else float(bounds[1][number]),
                "n_images": subset.n_images,
                "n_seeds": _n_seeds(self.layout, item),
                "n_rounds": self._settings.rounds,
            }
            for number, item in enumerate(self.contrasts)
        ]

    def _bounds(self, resampling: Resampling, subset: _Subset) -> tuple[Values, Values] | None:
        totals = np.zeros((self._settings.rounds, len(self.layout.correct)))
        sums = resampled_sums(self.layout.correct, subset.strata, self._settings)
        for columns, of_category in zip(subset.strata, sums, strict=True):
            totals += of_category
            if subset.name == "all":
                n = len(columns)
                self.by_category.append(resampling.intervals(of_category, n) if n > 1 else None)
            self._done += 1
            self._progress(STAGE, self._done, self._total)
        # One image knows nothing about how images vary: no interval rather than one of width zero.
        return resampling.intervals(totals, subset.n_images) if subset.n_images > 1 else None


def _means(layout: Layout, columns: Indices) -> Values | None:
    if not len(columns):
        return None
    return layout.seed_means(layout.correct[:, columns].sum(axis=1, dtype=np.float64), len(columns))


def _names(item: Contrast) -> dict[str, str]:
    return {"model": item.model, "arm": item.arm, "metric": item.metric}


def _n_seeds(layout: Layout, item: Contrast) -> int:
    return int(layout.n_seeds[item.weights != 0].min())


def _overall_rows(layout: Layout, subset: _Subset) -> Iterator[dict[str, Any]]:
    means, errors = _means(layout, subset.columns), _standard_errors(layout, subset.columns)
    for item in accuracies(layout):
        n_seeds = _n_seeds(layout, item)
        yield {
            **_names(item),
            "subset": subset.name,
            "mean": None if means is None else float(item.weights @ means),
            "standard_error": None if errors is None or n_seeds < 2 else _combined(item, errors),
            "n_images": subset.n_images,
            "n_seeds": n_seeds,
        }


def _combined(item: Contrast, errors: Values) -> float:
    return float(np.sqrt(item.weights**2 @ errors**2))  # seeds of different models are independent


def _standard_errors(layout: Layout, columns: Indices) -> Values | None:
    """Standard error over seeds of each group, (groups,); 0 stands in for groups of one seed."""
    if not len(columns):
        return None
    by_run = layout.correct[:, columns].mean(axis=1, dtype=np.float64)
    errors = np.zeros(len(layout.groups))
    for group, n_seeds in enumerate(layout.n_seeds):
        if n_seeds > 1:
            errors[group] = by_run[layout.rows(group)].std(ddof=1) / np.sqrt(n_seeds)
    return errors


def _category_rows(
    outcomes: Outcomes, layout: Layout, has_faces: HasFaces | None, estimate: _Estimate
) -> Iterator[dict[str, Any]]:
    arms: dict[tuple[str, str], list[Contrast]] = {}
    for item in accuracies(layout):
        arms.setdefault((item.model, item.arm), []).append(item)
    columns = [np.flatnonzero(outcomes.label == label) for label in range(len(outcomes.categories))]
    means = [_means(layout, of_label) for of_label in columns]
    shares = [_share(has_faces, of_label) for of_label in columns]
    for (model, arm), items in arms.items():
        for label, category in enumerate(outcomes.categories):
            mean = means[label]
            yield {
                "model": model,
                "arm": arm,
                "category": category,
                "label": label,
                "n_images": len(columns[label]),
                "n_seeds": _n_seeds(layout, items[0]),
                "share_with_faces": shares[label],
                **{item.metric: None if mean is None else float(item.weights @ mean) for item in items},
                **_category_differences(estimate, (model, arm), label, mean),
            }


def _share(has_faces: HasFaces | None, columns: Indices) -> float | None:
    if has_faces is None:
        return None
    known = has_faces[columns][has_faces[columns] >= 0]
    return float((known == 1).mean()) if len(known) else None


def _category_differences(
    estimate: _Estimate, arm: tuple[str, str], label: int, means: Values | None
) -> dict[str, float]:
    found: dict[str, float] = {}
    if means is None:
        return found
    bounds = estimate.by_category[label] if estimate.by_category else None
    for number, item in enumerate(estimate.contrasts):
        if (item.model, item.arm) != arm:
            continue
        short = item.metric.removesuffix("_accuracy")
        found[f"{short}_difference_to_{item.reference}"] = float(item.weights @ means)
        if bounds is not None:
            found[f"{short}_ci_low_to_{item.reference}"] = float(bounds[0][number])
            found[f"{short}_ci_high_to_{item.reference}"] = float(bounds[1][number])
    return found


def _seed_rows(outcomes: Outcomes, subsets: list[_Subset]) -> Iterator[dict[str, Any]]:
    for model in outcomes.models:
        for arm in outcomes.arms(model):
            for seed, ranks in zip(outcomes.seeds[model], outcomes.ranks[model, arm], strict=True):
                for subset in subsets:
                    seen = ranks[subset.columns]
                    yield {
                        "model": model,
                        "arm": arm,
                        "seed": seed,
                        "subset": subset.name,
                        "n_images": len(seen),
                        "top1_accuracy": float((seen < 1).mean()) if len(seen) else None,
                        "top5_accuracy": float((seen < 5).mean()) if len(seen) else None,
                    }
