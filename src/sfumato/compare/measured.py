"""Metrics that are no mean over images, such as mean average precision, and what each image does to them.

The influence u_i of image i on a metric is its derivative by the weight of the image. Metrics here do not
change when every weight is doubled, so influences sum to zero, and the pseudo-values metric + n u_i are
values of single images whose mean over the n images is the metric (infinitesimal jackknife: Efron 1982, "The
jackknife, the bootstrap and other resampling plans", chapter 6). With them in the place of right and wrong,
intervals, tests and plans are those of accuracy, to first order in 1 / n. Images are drawn from all, not
within categories, as an image is of several or of none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.components import Changes, Variance, changes, joined, variance_of
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.outcomes import Cell, Indices, Valued
from sfumato.compare.precision_comparison import PrecisionComparison

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one run is worth on n images, and what each image does to it.

    Attributes:
        values: metric to its value, the main one first.
        influences: metric to (n,): its derivative by the weight of each image.
        classes: (k,) average precision of each attribute or class, of which the main metric is a mean; NaN
            where there is nothing to find.
        class_influences: (k, n) float32: their derivatives; zero where there is nothing to find.
    """

    values: Mapping[str, float]
    influences: Mapping[str, Floats]
    classes: Floats
    class_influences: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured(Valued):
    """Measurements of every model, arm and seed on the same n images.

    Attributes:
        measurements: (model, arm) to one a seed.
        n_positives: (k,) images with each attribute, or with objects of each class.
        counted: (k,) bool: which of them are in the mean.
        least: images with an attribute (and without it) or class that it needs to be in the mean.
    """

    measurements: Mapping[Cell, Sequence[Measurement]]
    n_positives: Indices
    counted: NDArray[np.bool_]
    least: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """As the measurements have them."""
        return tuple(next(iter(self.measurements.values()))[0].values)

    def values(self, cell: Cell, metric: str) -> Floats:
        """Pseudo-values: (seeds, n), each row with the metric of a run as its mean."""
        return np.stack(
            [_pseudo(run.values[metric], run.influences[metric]) for run in self.measurements[cell]]
        )

    def strata(self, columns: Indices) -> tuple[Indices, ...]:
        """All in one."""
        return (columns,)

    @property
    def not_counted(self) -> tuple[str, ...]:
        """Names of attributes or classes that are not in the mean."""
        return self._names(~self.counted)

    @property
    def too_common(self) -> tuple[str, ...]:
        """Those of them that enough images have, but too few lack."""
        return self._names(~self.counted & (self.n_positives >= self.least))

    def _names(self, kept: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(name for name, keep in zip(self.categories, kept, strict=True) if keep)


def _pseudo(value: float, influence: NDArray[Any]) -> Floats:
    centred = influence - influence.mean(dtype=np.float64)  # zero on paper
    return np.asarray(value + len(influence) * centred, dtype=np.float64)


def class_precision(found: Measured, confidence: float) -> PrecisionComparison:
    """Average precision of each attribute or class, and its differences between arms."""
    values = {key: np.stack([run.classes for run in runs]) for key, runs in found.measurements.items()}
    n_seeds = {model: len(seeds) for model, seeds in found.seeds.items()}
    if len(n_seeds) > 1:
        n_seeds[ALL_MODELS] = min(n_seeds.values())
    return PrecisionComparison(
        values=values,
        differences=dict(_differences(found, confidence)),
        n_seeds=n_seeds,
        n_images=found.n_positives,
        n_left_out=0,
    )


def _differences(found: Measured, confidence: float) -> Iterator[tuple[tuple[str, str, str], Changes]]:
    for pair in found.pairs():
        having = [model for model in found.models if all((model, arm) in found.rows for arm in pair)]
        for model in having:
            yield (model, *pair), _changes(found, [model], pair, confidence)
        if len(found.models) > 1:
            yield (ALL_MODELS, *pair), _changes(found, having, pair, confidence)


def _changes(found: Measured, models: Sequence[str], pair: tuple[str, str], confidence: float) -> Changes:
    runs = [
        (number, *of_seed)
        for number, model in enumerate(models)
        for of_seed in zip(*(found.measurements[model, arm] for arm in pair), strict=True)
    ]
    parts = []
    for place in range(len(found.categories)):
        d = np.stack([_class_values(arm, place) - _class_values(base, place) for _, arm, base in runs])
        parts.append(variance_of(d[None], [number for number, *_ in runs]))
    difference = np.concatenate([mean for mean, _ in parts])
    return changes(difference, _known(joined([variance for _, variance in parts]), found), confidence)


def _class_values(run: Measurement, place: int) -> Floats:
    return _pseudo(float(run.classes[place]), run.class_influences[place])


def _known(variance: Variance, found: Measured) -> Variance:
    """Nothing is known of attributes or classes that are not in the mean, or of one image; positives have the
    degrees of freedom."""
    df = np.where(found.counted & (found.n_positives > 1), found.n_positives - 1.0, 0.0)
    return replace(variance, image_df=df)
