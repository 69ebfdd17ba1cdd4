"""Paired hierarchical bootstrap: images within strata, seeds within models.

In each round the images of every stratum are drawn with replacement, and the same draw serves every arm and
model: that is what makes it paired (Efron and Tibshirani 1993, chapter 8). Two to five seeds are too few to
be drawn from (their bootstrap shows only (S - 1) / S of their variance, at a handful of values), so the
second level is parametric: each round draws the error of the seeds from the t distribution that their
variance has. How large both errors are is taken from the variance's own parts (`sfumato.compare.variance`),
which count what varies by image and seed once and not two or three times, as drawing from both would.

Simulated (`tests/compare/test_coverage.py`: 300 images that differ in how hard they are, a difference of 0
or of 1 point), 95 % intervals hold the truth in 94 to 96 % of studies: with one to five seeds that differ
image by image, and with two to five that also move the whole accuracy. One seed says nothing of that: there
the interval holds the truth of that seed only. Models are taken as given: an interval of "all" models says
nothing about a model that is not among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sfumato.compare.layout import Values
from sfumato.compare.settings import CompareSettings
from sfumato.compare.sums import in_steps
from sfumato.compare.variance import Spread

BLOCK = 2_000_000
"""Weights (rounds by images) held at a time: bounds memory to some 50 MB whatever the data set."""

_FAR = 8.0
"""Standard deviations beyond which the normal distribution is 1 in floating point."""

Indices = NDArray[np.int64]


def resampled_means(
    values: NDArray[np.floating], strata: Sequence[Indices], settings: CompareSettings
) -> Values:
    """Means over resampled images, (rounds, rows).

    Each stratum keeps its number of images in every round, and draws from a generator of its own. Values are
    rounded to `sfumato.compare.sums.STEP`: the sums are then exact, and the same with any number of threads.

    Args:
        values: (rows, n) anything that is averaged over images, of sizes that sum to 4 million at most (such
            as 4 million between -1 and 1); beyond that the last bits may differ.
        strata: columns of each stratum.
        settings: rounds and seed.
    """
    sums = np.zeros((settings.rounds, len(values)))
    for number, columns in enumerate(strata):
        rng = np.random.default_rng([settings.seed, 1, number])
        of_stratum = in_steps(values[:, columns].T)
        step = max(1, BLOCK // max(1, len(columns)))
        for start in range(0, settings.rounds if len(columns) else 0, step):
            rounds = min(step, settings.rounds - start)
            sums[start : start + rounds] += _weights(rng, rounds, len(columns)) @ of_stratum
    return sums / max(1, sum(map(len, strata)))


def _weights(rng: np.random.Generator, rounds: int, n: int) -> Values:
    """How often each of n items is drawn in n draws with replacement: (rounds, n), rows sum to n."""
    drawn = rng.integers(0, n, size=(rounds, n), dtype=_smallest_type(n)).astype(np.int64)
    drawn += np.arange(rounds)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=rounds * n).reshape(rounds, n).astype(np.float64)


def _smallest_type(n: int) -> type[np.unsignedinteger]:
    """Short integers draw several times faster."""
    return np.uint8 if n < 2**8 else np.uint16 if n < 2**16 else np.uint32


def errors(means: Values, spread: Spread, settings: CompareSettings) -> Values:
    """Errors of a mean difference, sorted, (rounds,): the shape of the bootstrap with the size of the
    variance.

    Args:
        means: (rounds,) of resampled images.
        spread: parts of the variance.
        settings: seed.
    """
    deviation = means - means.mean()
    size = deviation.std()
    scaled = deviation / size if size > 0 else np.zeros(len(means))
    # Few images know their own variance only roughly: Student's t in the place of the normal.
    shape = special.stdtrit(spread.image_df, special.ndtr(np.clip(scaled, -_FAR, _FAR)))
    found = np.sqrt(spread.of_images) * shape
    if spread.seed_df:
        rng = np.random.default_rng([settings.seed, 2])
        # Stratified: the tails of a t with one degree of freedom are too long to be left to chance.
        steps = (rng.permutation(len(means)) + 0.5) / len(means)
        found = found + np.sqrt(spread.of_seeds) * special.stdtrit(spread.seed_df, steps)
    return np.sort(found)
