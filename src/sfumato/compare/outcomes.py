"""Runs side by side: the same images in the same order, and what each run made of each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.arms import REFERENCES, reference_of, references_of

METRICS = {"top1_accuracy": 1, "top5_accuracy": 5}
"""Metric to k: an image counts as right where fewer than k categories were placed before its own."""

Cell = tuple[str, str]
"""Model and arm."""

Strings = NDArray[np.str_]
Ranks = NDArray[np.int32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Paired:
    """Which rows of the runs of every model, arm and seed are of the same n images.

    Attributes:
        image_ids: (n,) sorted.
        categories: names of categories, attributes or classes of objects.
        seeds: model to its seeds, in the order of the rows of `rows`.
        excluded: image id to the reason for which it is in none of these.
        rows: (model, arm) to (seeds, n): which row of a run's own table (and scores) an image is.
        task: of the facts of the predictions; None where they are not of a downstream task.
    """

    image_ids: Strings
    categories: tuple[str, ...]
    seeds: Mapping[str, tuple[int, ...]]
    excluded: Mapping[str, str]
    rows: Mapping[Cell, Indices]
    task: Mapping[str, Any] | None = field(default=None, kw_only=True)

    @property
    def models(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self.seeds))

    def arms(self, model: str | None = None) -> tuple[str, ...]:
        """Arms of one model or of all: the references, then the others by name."""
        found = {arm for name, arm in self.rows if model in (None, name)}
        return tuple(sorted(found, key=arm_order))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Every arm with each reference that some model has beside it, in the order of the differences."""
        for arm in self.arms():
            for reference in references_of(arm):
                for base in self.arms():
                    both = any((m, arm) in self.rows and (m, base) in self.rows for m in self.models)
                    if reference_of(base) == reference and both:
                        yield arm, base


def arm_order(arm: str) -> tuple[int, str]:
    """Sorts arms: the references, then the others by name."""
    reference = reference_of(arm)
    return (REFERENCES.index(reference) if reference else len(REFERENCES), arm)


class Valued(ABC, Paired):
    """Runs with a value of every image under each metric, whose mean over images is the metric."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names, the main one first."""

    @abstractmethod
    def values(self, cell: Cell, metric: str) -> NDArray[Any]:
        """What each seed made of each image, (seeds, n): booleans, or float64."""

    @abstractmethod
    def strata(self, columns: Indices) -> tuple[Indices, ...]:
        """Some images (indices into n) in the groups that they are drawn within."""


@dataclass(frozen=True, eq=False)
class Outcomes(Valued):
    """What every model, trained in every arm with every seed, made of n images of one category each.

    Attributes:
        label: (n,) index into `categories`.
        ranks: (model, arm) to (seeds, n): how many categories were placed before the right one.
    """

    label: Indices
    ranks: Mapping[Cell, Ranks]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Top-1 and top-5 accuracy."""
        return tuple(METRICS)

    def values(self, cell: Cell, metric: str) -> NDArray[np.bool_]:
        """Right or wrong."""
        return self.ranks[cell] < METRICS[metric]

    def strata(self, columns: Indices) -> tuple[Indices, ...]:
        """By category, also those without images."""
        order = columns[np.argsort(self.label[columns], kind="stable")]
        ends = np.cumsum(np.bincount(self.label[columns], minlength=len(self.categories)))
        return tuple(np.split(order, ends[:-1]))
