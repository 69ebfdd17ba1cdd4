"""Outcomes to tables: accuracies, differences with intervals and tests, the same by category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare.arms import NONE, ORIGINAL, is_obfuscated
from sfumato.compare.bootstrap import Indices, errors, resampled_means
from sfumato.compare.by_category import category_rows
from sfumato.compare.inference import (
    interval,
    no_difference,
    p_equivalence,
    p_value,
    paired_t,
    standard_error,
)
from sfumato.compare.layout import ALL_MODELS, Contrast, Layout, Values, accuracies, differences, lay_out
from sfumato.compare.outcomes import Outcomes, Valued
from sfumato.compare.planning import TOLERANCE, images_needed, outcome, seeds_needed
from sfumato.compare.settings import SEM_DDOF, CompareSettings
from sfumato.compare.sums import weighted_sum
from sfumato.compare.tables import SCHEMAS, SPLIT_PARTS, Tables, seeds_schema
from sfumato.compare.variance import Spread, joined_strata, smallest_effect, spread_of
from sfumato.progress import Progress, silent

STAGE = "compare"

HasFaces = NDArray[np.int8]
"""For each image: 1 with faces, 0 examined and none found, -1 not known."""

OUTCOME_TABLES = ("overall", "differences", "split", "architectures", "by_category", "seeds", "excluded")
"""The tables made here; all that values of single images can tell."""

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the images.

    Attributes:
        name: "all", "with_faces" or "without_faces".
        strata: columns of each category, or all in one.
    """

    name: str
    strata: tuple[Indices, ...]

    @property
    def n_images(self) -> int:
        """How many there are."""
        return sum(map(len, self.strata))

    @property
    def columns(self) -> Indices:
        """All of them."""
        return np.concatenate(self.strata)


def tabulate(
    outcomes: Valued,
    has_faces: HasFaces | None,
    *,
    settings: CompareSettings = CompareSettings(),
    progress: Progress = silent,
) -> Tables:
    """The tables that values of single images can tell; the others of `Tables` are left empty.

    Args:
        outcomes: of n images.
        has_faces: (n,); None leaves the subsets with and without faces out.
        settings: of the bootstrap.
        progress: called after each subset, and after the categories.
    """
    layout = lay_out(outcomes)
    subsets = _subsets(outcomes, has_faces)
    rows: dict[str, list[Row]] = {name: [] for name in OUTCOME_TABLES}
    for number, subset in enumerate(subsets, start=1):
        found = list(difference_rows(layout, subset, settings))
        rows["overall"] += _overall_rows(layout, subset, SEM_DDOF[settings.sem])
        rows["differences"] += found
        rows["split"] += split_rows(found)
        rows["architectures"] += architecture_rows(found, settings.confidence)
        progress(STAGE, number, len(subsets) + 1)
    if isinstance(outcomes, Outcomes):
        rows["by_category"] += category_rows(outcomes, layout, has_faces, settings.confidence)
    rows["seeds"] += _seed_rows(outcomes, subsets)
    rows["excluded"] += [{"image_id": key, "reason": reason} for key, reason in outcomes.excluded.items()]
    progress(STAGE, len(subsets) + 1, len(subsets) + 1)
    schemas = SCHEMAS | {"seeds": seeds_schema(outcomes.metrics)}
    return Tables(**{name: pa.Table.from_pylist(of, schema=schemas[name]) for name, of in rows.items()})


def _subsets(outcomes: Valued, has_faces: HasFaces | None) -> list[Subset]:
    everything = np.ones(len(outcomes.image_ids), dtype=bool)
    masks = {"all": everything}
    if has_faces is not None:
        masks |= {"with_faces": has_faces == 1, "without_faces": has_faces == 0}
    return [Subset(name, outcomes.strata(np.flatnonzero(mask))) for name, mask in masks.items()]


def difference_rows(layout: Layout, subset: Subset, settings: CompareSettings) -> Iterator[Row]:
    """Rows of the table of differences for one subset; one draw of images serves all of them."""
    contrasts = differences(layout)
    means = _means(layout, subset.columns)
    strata = joined_strata(subset.strata)
    spreads = [spread_of(layout, item, strata) for item in contrasts]
    resampled = resampled_means(_by_image(layout, contrasts), strata, settings) if contrasts else None
    for number, (item, spread) in enumerate(zip(contrasts, spreads, strict=True)):
        difference = None if means is None else float(item.weights @ means)
        row = {
            **_names(item),
            "reference": item.reference,
            "subset": subset.name,
            "difference": difference,
            "n_images": subset.n_images,
            "n_seeds": _n_seeds(layout, item),
            "n_rounds": settings.rounds,
            "margin": settings.margin,
        }
        if difference is not None and spread is not None and resampled is not None:
            found = errors(resampled[:, number], spread, settings)
            row |= _tests(difference, found, spread, (subset.n_images, settings))
            row |= _without_variance(row, spread, settings)
        yield row


def _without_variance(row: Row, spread: Spread, settings: CompareSettings) -> Row:
    """What to put instead where every image does the same in both arms, so that no variance is seen.

    Were the images alike by chance only: of no change, a share of them that is the margin could have gone
    unseen; a change could be of either sign in each, and n agree with probability 2^(1 - n).
    """
    n, alpha = row["n_images"], 1 - settings.confidence
    if spread.variance * n**2 > _LEAST_SEEN:
        return {}
    if abs(row["difference"]) > TOLERANCE:
        return dict.fromkeys(_TESTED) if 0.5 ** (n - 1) > alpha else {}
    tost = max(row["p_equivalence"], no_difference(n, settings.margin))
    decided = outcome((0.0, 0.0), tost, alpha)
    needed = ceil(log(alpha) / log(1 - settings.margin)) if decided == "undecided" else None
    return {"p_equivalence": tost, "outcome": decided, "seeds_needed": None, "images_needed": needed}


_LEAST_SEEN = 1e-6
"""Variance times squared number of images: one image that changed in one of a hundred runs is a hundred times
that; sums that are zero on paper stay far below."""


def _by_image(layout: Layout, contrasts: Sequence[Contrast]) -> Values:
    """Each contrast of single images, seeds averaged: (contrasts, n)."""
    means = np.stack(
        [layout.correct[layout.rows(group)].mean(axis=0, dtype=float) for group in range(len(layout.groups))]
    )
    return weighted_sum(np.stack([item.weights for item in contrasts]), means)


def _tests(
    difference: float, found: Values, spread: Spread, study: tuple[int, CompareSettings]
) -> dict[str, Any]:
    n_images, settings = study
    low, high = interval(difference, found, settings.confidence)
    tost = p_equivalence(difference, found, settings.margin)
    decided = outcome((low, high), tost, 1 - settings.confidence)
    undecided = decided == "undecided"
    return {
        "ci_low": low,
        "ci_high": high,
        "standard_error": float(np.sqrt(spread.variance)),
        "degrees_of_freedom": spread.df,
        "p_value": p_value(difference, found),
        "p_equivalence": tost,
        "outcome": decided,
        "smallest_effect": smallest_effect(spread, settings.confidence),
        "seeds_needed": seeds_needed(spread, difference, settings) if undecided else None,
        "images_needed": images_needed(spread, difference, n_images, settings) if undecided else None,
    }


_TESTED = (
    "ci_low",
    "ci_high",
    "standard_error",
    "degrees_of_freedom",
    "p_value",
    "p_equivalence",
    "outcome",
    "smallest_effect",
    "seeds_needed",
    "images_needed",
)


def split_rows(rows: Sequence[Row]) -> Iterator[Row]:
    """What compression did and what hiding did, from rows of differences of one subset."""
    index = {(row["model"], row["arm"], row["metric"], row["reference"]): row for row in rows}
    controls = {
        (model, metric): row
        for (model, arm, metric, reference), row in index.items()
        if not is_obfuscated(arm) and reference == ORIGINAL
    }
    for (model, arm, metric, reference), total in index.items():
        hiding, writing = index.get((model, arm, metric, NONE)), controls.get((model, metric))
        if reference != ORIGINAL or hiding is None or writing is None:
            continue
        parts = zip(SPLIT_PARTS, (total, writing, hiding), strict=True)
        yield {
            **{name: total[name] for name in ("model", "arm", "metric", "subset", "n_images", "n_seeds")},
            **{
                f"{part}{ending}": row.get(column)
                for part, row in parts
                for ending, column in _SPLIT_COLUMNS.items()
            },
        }


_SPLIT_COLUMNS = {"": "difference", "_ci_low": "ci_low", "_ci_high": "ci_high", "_p_value": "p_value"}


def architecture_rows(rows: Sequence[Row], confidence: float) -> Iterator[Row]:
    """Paired t over models, from rows of differences of one subset."""
    names = ("arm", "reference", "metric", "subset", "n_images")
    cells: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if row["model"] != ALL_MODELS and row["difference"] is not None:
            cells.setdefault(tuple(row[name] for name in names), []).append(row["difference"])
    for key, values in cells.items():
        if len(values) > 1:
            error, low, high, p = paired_t(np.array(values), confidence)
            yield {
                **dict(zip(names, key, strict=True)),
                "n_models": len(values),
                "difference": float(np.mean(values)),
                "standard_error": error,
                "ci_low": low,
                "ci_high": high,
                "p_value": p,
            }


def _means(layout: Layout, columns: Indices) -> Values | None:
    if not len(columns):
        return None
    return layout.seed_means(layout.correct[:, columns].sum(axis=1, dtype=np.float64), len(columns))


def _names(item: Contrast) -> dict[str, str]:
    return {"model": item.model, "arm": item.arm, "metric": item.metric}


def _n_seeds(layout: Layout, item: Contrast) -> int:
    return int(layout.n_seeds[item.weights != 0].min())


def _overall_rows(layout: Layout, subset: Subset, ddof: int) -> Iterator[Row]:
    by_run = layout.correct[:, subset.columns].mean(axis=1, dtype=np.float64) if subset.n_images else None
    by_group = [None if by_run is None else by_run[layout.rows(g)] for g in range(len(layout.groups))]
    for item in accuracies(layout):
        parts = [(item.weights[g], by_group[g]) for g in np.flatnonzero(item.weights)]
        known = [(weight, values) for weight, values in parts if values is not None]
        yield {
            **_names(item),
            "subset": subset.name,
            "mean": float(sum(weight * values.mean() for weight, values in known)) if known else None,
            "standard_error": _combined([(w, standard_error(values, ddof)) for w, values in known]),
            "n_images": subset.n_images,
            "n_seeds": _n_seeds(layout, item),
        }


def _combined(parts: Sequence[tuple[float, float | None]]) -> float | None:
    """Standard error of a weighted sum; seeds of different models are independent."""
    known = [(weight * error) ** 2 for weight, error in parts if error is not None]
    return float(np.sqrt(sum(known))) if parts and len(known) == len(parts) else None


def _seed_rows(outcomes: Valued, subsets: Sequence[Subset]) -> Iterator[Row]:
    for model in outcomes.models:
        for arm in outcomes.arms(model):
            found = {metric: outcomes.values((model, arm), metric) for metric in outcomes.metrics}
            for place, seed in enumerate(outcomes.seeds[model]):
                for subset in subsets:
                    seen = {metric: values[place][subset.columns] for metric, values in found.items()}
                    yield {
                        "model": model,
                        "arm": arm,
                        "seed": seed,
                        "subset": subset.name,
                        "n_images": subset.n_images,
                        **{name: float(of.mean()) if len(of) else None for name, of in seen.items()},
                    }
