"""Which run is which row of one big matrix, and which differences are taken between rows.

Everything that is compared is linear in the values of single images, so a whole comparison is one matrix of
values (runs by images), one product with resampling weights, and one with contrasts. A value is right or
wrong; or, of a metric that is no mean over images, a pseudo-value (`sfumato.compare.measured`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.arms import reference_of, references_of
from sfumato.compare.outcomes import Valued

ALL_MODELS = "all"
"""Stands for the mean over models, in tables of more than one."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only, under one metric."""

    model: str
    arm: str
    metric: str


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of groups: a metric, or (with a reference) a difference of two.

    Attributes:
        model: or "all", the mean over models.
        arm, metric: what it is about.
        reference: "scratch", "original", "none", or "" for the metric itself.
        weights: (groups,).
    """

    model: str
    arm: str
    metric: str
    reference: str
    weights: Values


@dataclass(frozen=True, eq=False)
class Layout:
    """The matrix of values and what its rows mean.

    Attributes:
        groups: model, arm and metric.
        correct: (rows + 1, n) float32, 1 where a run was right, or float64, the value of an image; the last
            row is zero, for padding.
        members: (groups, most seeds): rows of each group, padded with the last row.
        n_seeds: (groups,).
        models: names.
    """

    groups: tuple[Group, ...]
    correct: NDArray[np.floating[Any]]
    members: NDArray[np.int64]
    n_seeds: NDArray[np.int64]
    models: tuple[str, ...]

    def seed_means(self, sums: Values, n_images: int) -> Values:
        """Mean over seeds and images of each group, (groups,), from sums over images, (rows + 1,)."""
        means: Values = sums[self.members].sum(axis=1) / self.n_seeds / n_images
        return means

    def rows(self, group: int) -> NDArray[np.int64]:
        """Rows of a group, one a seed."""
        return self.members[group, : self.n_seeds[group]]


def lay_out(outcomes: Valued) -> Layout:
    """Values as one matrix; right and wrong in half the memory."""
    groups = [
        Group(model, arm, metric)
        for model in outcomes.models
        for arm in outcomes.arms(model)
        for metric in outcomes.metrics
    ]
    blocks = [outcomes.values((group.model, group.arm), group.metric) for group in groups]
    counts = np.array([len(block) for block in blocks])
    zero = np.zeros((1, len(outcomes.image_ids)), dtype=blocks[0].dtype)
    members = np.full((len(groups), counts.max()), counts.sum())
    for number, (start, count) in enumerate(zip(np.cumsum(counts) - counts, counts, strict=True)):
        members[number, :count] = start + np.arange(count)
    kind = np.float32 if blocks[0].dtype == bool else np.float64
    correct: NDArray[np.floating[Any]] = np.concatenate([*blocks, zero]).astype(kind)
    return Layout(tuple(groups), correct, members, counts, outcomes.models)


def accuracies(layout: Layout) -> list[Contrast]:
    """The value of each model and arm under each metric, and the mean over models where there are more."""
    found = []
    for number, group in enumerate(layout.groups):
        weights = np.zeros(len(layout.groups))
        weights[number] = 1
        found.append(Contrast(group.model, group.arm, group.metric, "", weights))
    return found + _over_models(layout, found)


def differences(layout: Layout) -> list[Contrast]:
    """The difference of every arm to each of its references (`references_of`) that the model has."""
    index = {group: number for number, group in enumerate(layout.groups)}
    found = []
    for group, number in index.items():
        for reference in references_of(group.arm):
            base = _reference_group(layout, group, reference)
            if base is None:
                continue
            weights = np.zeros(len(index))
            weights[number], weights[index[base]] = 1, -1
            found.append(Contrast(group.model, group.arm, group.metric, reference, weights))
    return found + _over_models(layout, found)


def _reference_group(layout: Layout, group: Group, reference: str) -> Group | None:
    same = (other for other in layout.groups if (other.model, other.metric) == (group.model, group.metric))
    return next((other for other in same if reference_of(other.arm) == reference), None)


def _over_models(layout: Layout, contrasts: list[Contrast]) -> list[Contrast]:
    if len(layout.models) == 1:
        return []
    pooled: dict[tuple[str, str, str], list[Values]] = {}
    for item in contrasts:
        pooled.setdefault((item.arm, item.metric, item.reference), []).append(item.weights)
    return [
        Contrast(ALL_MODELS, arm, metric, reference, np.mean(weights, axis=0))
        for (arm, metric, reference), weights in pooled.items()
    ]
