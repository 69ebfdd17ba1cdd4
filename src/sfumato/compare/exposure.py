"""Loss against exposure: the share of images with faces, and the area that faces cover.

By category, in bins of covered area and as a rank correlation; by image, in bins and as a conditional
logistic regression (`sfumato.compare.logistic`), which compares each image with itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from sfumato.compare.components import Changes, group_changes
from sfumato.compare.logistic import area_effect
from sfumato.faces import FaceTable
from sfumato.faces.statistics import area_shares

EXPOSURE_BINS_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("metric", pa.string()),
        ("level", pa.string()),
        ("area_low", pa.float64()),
        ("area_high", pa.float64()),
        ("n_categories", pa.int64()),
        ("n_images", pa.int64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
"""Mean difference (arm minus reference) by covered area, area_low <= area < area_high, as shares of the
image. `level` "category": categories by the mean area of their images, in the study's bins; `difference` is
the mean over categories, its interval Student's t over them. `level` "image": images by their own area, those
with none in a bin of their own (0 to 0); the interval takes images and seeds together. `area_high` is null
for the last bin. Null where there is nothing, intervals also where there is one."""

EXPOSURE_TRENDS_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("metric", pa.string()),
        ("trend", pa.string()),
        ("n", pa.int64()),
        ("n_pairs", pa.int64()),
        ("estimate", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
    ]
)
"""One row a trend. "spearman_share_with_faces" and "spearman_area": rank correlation over `n` categories of
the difference with the share of images that have faces, and with the mean covered area; negative where
exposed categories lose more. "logistic_area_slope": log odds, per tenth of the image covered, that the arm is
the wrong one where one arm of a pair is; positive where covered images lose more; "logistic_intercept" the
same at no area. `n` are then images with a discordant pair, `n_pairs` the pairs. Null where it cannot be
had."""

STUDY_EDGES = (0.0, 0.01, 0.02, 0.03, 0.04, 0.08)
"""Lower ends of the bins of covered area in "A Study of Face Obfuscation in ImageNet"; the last is left
open."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Exposure:
    """How much of what was hidden each image and category had.

    Attributes:
        label: (n,) category of each image.
        area: (n,) share of each image that is covered by faces; NaN where it is not known.
        has_faces: (n,) 1 with faces, 0 without, -1 not known.
        n_categories: number of categories.
    """

    label: Ints
    area: Floats
    has_faces: NDArray[np.int8]
    n_categories: int

    def mean_area(self) -> Floats:
        """Mean of each category's images of known area, (n_categories,); NaN without any."""
        return _mean_by(self.label, self.area, ~np.isnan(self.area), self.n_categories)

    def share_with_faces(self) -> Floats:
        """Share of each category's examined images, (n_categories,); NaN without any."""
        return _mean_by(self.label, self.has_faces == 1, self.has_faces >= 0, self.n_categories)

    def of(self, columns: Ints) -> tuple[float, float]:
        """Share with faces, and mean area, of some images such as a supercategory's; NaN where not known."""
        area, has = self.area[columns], self.has_faces[columns]
        area, has = area[~np.isnan(area)], has[has >= 0]
        share = float((has == 1).mean()) if len(has) else float("nan")
        return share, float(area.mean()) if len(area) else float("nan")


def _mean_by(label: Ints, values: Any, known: NDArray[np.bool_], n: int) -> Floats:
    counts = np.bincount(label[known], minlength=n)
    sums = np.bincount(label[known], weights=values[known], minlength=n)
    return np.asarray(sums / np.where(counts > 0, counts, np.nan), dtype=np.float64)


def exposure_of(faces: FaceTable, image_ids: Sequence[str], label: Ints, n_categories: int) -> Exposure:
    """Exposure of images from a face table; what was not examined is not known.

    Args:
        faces: the face table.
        image_ids: of the images compared.
        label: (n,) their categories.
        n_categories: number of categories.
    """
    shares, found = area_shares(faces), faces.image_ids_with_faces()
    area = np.array([shares.get(image_id, np.nan) for image_id in image_ids], dtype=np.float64)
    has = [int(image_id in found) if image_id in shares else -1 for image_id in image_ids]
    return Exposure(label, area, np.array(has, dtype=np.int8), n_categories)


@dataclass(frozen=True, eq=False)
class PairedOutcomes:
    """Whether each run was right on each image, in two arms, under one metric.

    Attributes:
        metric: "top1_accuracy" or "top5_accuracy".
        contrast: arm and reference.
        arm, reference: (runs, n) right or wrong; row r of both is one model and seed.
        models: (runs,) number of the model of each row.
    """

    metric: str
    contrast: tuple[str, str]
    arm: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    models: tuple[int, ...]

    @property
    def differences(self) -> NDArray[np.float32]:
        """Arm minus reference, (runs, n)."""
        return self.arm.astype(np.float32) - self.reference

    def names(self) -> dict[str, str]:
        """The columns that say what a row is about."""
        return {"arm": self.contrast[0], "reference": self.contrast[1], "metric": self.metric}


def bins_table(
    exposure: Exposure, outcomes: PairedOutcomes, by_category: Changes, *, confidence: float = 0.95
) -> pa.Table:
    """Rows of `EXPOSURE_BINS_SCHEMA`, by category and by image.

    Args:
        exposure: of the images.
        outcomes: of the same images.
        by_category: change of each category under the metric of `outcomes`.
        confidence: of the intervals.
    """
    rows = [
        {**outcomes.names(), **row}
        for found in (
            _category_bins(exposure, by_category.difference, confidence),
            _image_bins(exposure, outcomes, confidence),
        )
        for row in found
    ]
    return pa.Table.from_pylist(rows, schema=EXPOSURE_BINS_SCHEMA)


def _category_bins(exposure: Exposure, difference: Floats, confidence: float) -> Iterator[dict[str, Any]]:
    area = exposure.mean_area()
    place = _bin(np.where(np.isnan(difference), np.nan, area))
    counts = np.bincount(exposure.label, minlength=exposure.n_categories)
    for number, low in enumerate(STUDY_EDGES):
        inside = place == number
        yield {
            "level": "category",
            "area_low": low,
            "area_high": _high(number),
            "n_categories": int(inside.sum()),
            "n_images": int(counts[inside].sum()),
            **_mean_with_interval(difference[inside], confidence),
        }


def _bin(area: Floats) -> Ints:
    """Bin of each area, -1 where it is not known."""
    place = np.searchsorted(STUDY_EDGES, area, side="right") - 1
    return np.where(np.isnan(area), -1, place).astype(np.int64)


def _high(number: int) -> float | None:
    return STUDY_EDGES[number + 1] if number + 1 < len(STUDY_EDGES) else None


def _mean_with_interval(values: Floats, confidence: float) -> dict[str, float | None]:
    if len(values) < 2:
        return {"difference": float(values[0]) if len(values) else None}
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return {"difference": mean, "ci_low": mean - half, "ci_high": mean + half}


def _image_bins(exposure: Exposure, outcomes: PairedOutcomes, confidence: float) -> Iterator[dict[str, Any]]:
    place = np.where(exposure.area == 0, 0, _bin(exposure.area) + 1)
    place = np.where(np.isnan(exposure.area), -1, place)
    n_bins = len(STUDY_EDGES) + 1
    found = group_changes(outcomes.differences, place, n_bins, models=outcomes.models, confidence=confidence)
    for number in range(n_bins):
        inside = place == number
        yield {
            "level": "image",
            "area_low": STUDY_EDGES[max(0, number - 1)],
            "area_high": _high(number - 1) if number else 0.0,
            "n_categories": len(np.unique(exposure.label[inside])),
            "n_images": int(inside.sum()),
            "difference": _known(found.difference[number]),
            "ci_low": _known(found.ci_low[number]),
            "ci_high": _known(found.ci_high[number]),
        }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def trends_table(
    exposure: Exposure, outcomes: PairedOutcomes, by_category: Changes, *, confidence: float = 0.95
) -> pa.Table:
    """Rows of `EXPOSURE_TRENDS_SCHEMA`; arguments as of `bins_table`."""
    measures = {
        "spearman_share_with_faces": exposure.share_with_faces(),
        "spearman_area": exposure.mean_area(),
    }
    rows = [
        {"trend": trend, **_known_of(rank_correlation(values, by_category.difference, confidence))}
        for trend, values in measures.items()
    ]
    rows += _logistic_rows(exposure, outcomes, confidence)
    named = [{**outcomes.names(), **row} for row in rows]
    return pa.Table.from_pylist(named, schema=EXPOSURE_TRENDS_SCHEMA)


def rank_correlation(x: Floats, y: Floats, confidence: float = 0.95) -> dict[str, float]:
    """Spearman's rank correlation over the entries where both are known.

    The interval is Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright (2000,
    Psychometrika 65(1)); the p-value is by Student's t. NaN below four entries, or where one of the two does
    not vary.

    Returns:
        n, estimate, ci_low, ci_high and p_value.
    """
    both = ~(np.isnan(x) | np.isnan(y))
    x, y, n = x[both], y[both], int(both.sum())
    if n < 4 or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return {"n": n, **dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value"), float("nan"))}
    found = stats.spearmanr(x, y)
    r = float(found.statistic)
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt((1 + r**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):  # r of exactly 1 or -1 has an infinite z
        low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return {
        "n": n,
        "estimate": r,
        "ci_low": float(low),
        "ci_high": float(high),
        "p_value": float(found.pvalue),
    }


def _known_of(row: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _known(value) for name, value in row.items()}


def _logistic_rows(
    exposure: Exposure, outcomes: PairedOutcomes, confidence: float
) -> Iterator[dict[str, Any]]:
    lost = (outcomes.reference & ~outcomes.arm).sum(axis=0)
    gained = (outcomes.arm & ~outcomes.reference).sum(axis=0)
    found = area_effect(lost, gained, exposure.area, confidence=confidence)
    for trend, effect in (("logistic_intercept", found.intercept), ("logistic_area_slope", found.slope)):
        yield {"trend": trend, "n": found.n_images, "n_pairs": found.n_pairs, **_known_of(vars(effect))}
