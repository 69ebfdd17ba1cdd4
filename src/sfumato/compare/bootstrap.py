"""Paired hierarchical bootstrap: images within strata, seeds within models.

In each round the images of every stratum and the seeds of every model are drawn with replacement,
independently of each other, and the same draw serves every arm: that is what makes it paired. The interval is
the percentile interval over rounds (Efron and Tibshirani 1993, chapter 13; resampling both factors: Owen
2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)).

What it can and cannot do: where seeds disagree image by image, resampling both factors counts that
disagreement more than once and the interval is wider than it need be. Where a seed moves the whole accuracy
up or down, S seeds show only (S - 1) / S of that variance. In simulations (500 images, a difference of one
point) 95 % intervals held the truth in 93 % of studies with one seed, in 99 to 100 % with two to four seeds
that differ by chance image by image, and in 97 % with two or three whose accuracy also moves by two points:
on the safe side, at the price of width. Models are taken as given: an interval of "all" models says nothing
about a model that is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sfumato.compare.layout import Contrast, Layout, Values
from sfumato.compare.settings import CompareSettings

BLOCK = 4_000_000
"""Weights (rounds by images) held at a time: bounds memory to some 100 MB whatever the data set."""

Indices = NDArray[np.int64]


def resampled_sums(
    correct: NDArray[np.float32], strata: Sequence[Indices], settings: CompareSettings
) -> Iterator[Values]:
    """For each stratum, the sums over resampled images, (rounds, rows).

    Each stratum keeps its number of images in every round, and draws from a generator of its own.

    Args:
        correct: (rows, n) outcomes.
        strata: columns of each stratum; an empty one gives zeros.
        settings: rounds and seed.
    """
    for number, columns in enumerate(strata):
        rng = np.random.default_rng([settings.seed, 1, number])
        outcomes = np.ascontiguousarray(correct[:, columns].T)
        sums = np.zeros((settings.rounds, len(correct)))
        step = max(1, BLOCK // max(1, len(columns)))
        for start in range(0, settings.rounds if len(columns) else 0, step):
            rounds = min(step, settings.rounds - start)
            sums[start : start + rounds] = _weights(rng, rounds, len(columns)) @ outcomes
        yield sums


def _weights(rng: np.random.Generator, rounds: int, n: int) -> NDArray[np.float32]:
    """How often each of n items is drawn in n draws with replacement: (rounds, n), rows sum to n."""
    drawn = rng.integers(0, n, size=(rounds, n), dtype=np.int32)
    flat = (drawn + np.arange(rounds, dtype=np.int64)[:, None] * n).ravel()
    return np.bincount(flat, minlength=rounds * n).reshape(rounds, n).astype(np.float32)


def seed_weights(layout: Layout, settings: CompareSettings) -> Values:
    """Weights of resampled seeds, (rounds, groups, most seeds); groups of one model share their draw."""
    weights = np.zeros((settings.rounds, *layout.members.shape))
    for number, model in enumerate(layout.models):
        rng = np.random.default_rng([settings.seed, 2, number])
        of_model = [index for index, group in enumerate(layout.groups) if group.model == model]
        n_seeds = int(layout.n_seeds[of_model[0]])
        drawn = _weights(rng, settings.rounds, n_seeds) / n_seeds
        weights[:, of_model, :n_seeds] = drawn[:, None, :]
    return weights


class Resampling:
    """Intervals of contrasts, from resampled sums of any set of images."""

    def __init__(self, layout: Layout, contrasts: Sequence[Contrast], settings: CompareSettings) -> None:
        self._layout = layout
        self._contrasts = np.stack([item.weights for item in contrasts], axis=1)
        self._seed_weights = seed_weights(layout, settings)
        tail = (1 - settings.confidence) / 2
        self._tails = (tail, 1 - tail)

    def intervals(self, sums: Values, n_images: int) -> tuple[Values, Values]:
        """Lower and upper ends, each (contrasts,), from sums over resampled images (rounds, rows)."""
        by_seed = sums[:, self._layout.members]
        groups = np.einsum("rgs,rgs->rg", by_seed, self._seed_weights) / n_images
        low, high = np.quantile(groups @ self._contrasts, self._tails, axis=0)
        return low, high
