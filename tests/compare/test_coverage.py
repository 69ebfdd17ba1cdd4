"""Studies whose truth is known: how often the interval holds it, and how often the tests err."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from sfumato.compare.bootstrap import errors, resampled_means
from sfumato.compare.inference import interval, p_equivalence, p_value
from sfumato.compare.layout import Layout, differences, lay_out
from sfumato.compare.settings import CompareSettings
from sfumato.compare.variance import spread_of
from tests.compare.synthetic import outcomes_of

BLUR = "blur(strength=0.2)"
N_IMAGES = 300
N_STUDIES = 400
STRATA = np.array_split(np.arange(N_IMAGES), 6)
LABEL = np.repeat(np.arange(6), N_IMAGES // 6)
SETTINGS = CompareSettings(rounds=200, margin=0.05)


@dataclass(frozen=True)
class Truth:
    """Images differ in how hard they are; every run flips a coin for each.

    Attributes:
        effect: of the arm on every image.
        shift: standard deviation by which a seed moves the whole accuracy, in each arm apart.
        n_seeds: of the one model.
    """

    effect: float
    shift: float
    n_seeds: int

    def study(self, rng: np.random.Generator) -> Layout:
        """Outcomes of one study: chances stay within 0 to 1, so that the effect is what it says."""
        base = rng.uniform(0.45, 0.8, size=N_IMAGES)
        ranks = {}
        for arm, effect in (("original", 0.0), (BLUR, self.effect)):
            seeds = np.clip(rng.normal(0, self.shift, (self.n_seeds, 1)), -0.15, 0.15)
            right = rng.random((self.n_seeds, N_IMAGES)) < base + effect + seeds
            ranks["m", arm] = np.where(right, 0, 9).astype(np.int32)
        seeds_of = {"m": tuple(range(self.n_seeds))}
        return lay_out(outcomes_of(ranks, LABEL, "abcdef", seeds_of))


@dataclass(frozen=True, eq=False)
class Answers:
    """What N_STUDIES studies of one truth say; each (N_STUDIES,)."""

    covered: NDArray[np.bool_]
    p: NDArray[np.float64]
    tost: NDArray[np.float64]


def _answers(truth: Truth, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(N_STUDIES):
        layout = truth.study(rng)
        item = differences(layout)[0]
        means = np.stack([layout.correct[layout.rows(group)].mean(axis=0) for group in range(4)])
        d = (item.weights @ means).astype(np.float32)
        spread = spread_of(layout, item, STRATA)
        assert spread is not None
        settings = CompareSettings(rounds=SETTINGS.rounds, margin=SETTINGS.margin, seed=number)
        found = errors(resampled_means(d[None], STRATA, settings)[:, 0], spread, settings)
        difference = float(d.mean())
        low, high = interval(difference, found, 0.95)
        tost = p_equivalence(difference, found, SETTINGS.margin)
        rows.append((low <= truth.effect <= high, p_value(difference, found), tost))
    covered, p, equivalent = (np.array(column) for column in zip(*rows, strict=True))
    return Answers(covered, p, equivalent)


def _error(share: float) -> float:
    """Standard error of a share over the studies."""
    return float(np.sqrt(share * (1 - share) / N_STUDIES))


@pytest.mark.parametrize("effect", [0.0, -0.01])
@pytest.mark.parametrize(
    ("shift", "n_seeds"), [(0.0, 1), (0.0, 2), (0.0, 3), (0.0, 5), (0.05, 2), (0.05, 3), (0.05, 5)]
)
def test_intervals_hold_the_truth_in_95_of_100_studies(effect: float, shift: float, n_seeds: int) -> None:
    """Within 3 standard errors of so many studies, and 2 points upwards: no variance is below its parts."""
    share = _answers(Truth(effect, shift, n_seeds), seed=n_seeds).covered.mean()
    assert 0.95 - 3 * _error(0.95) <= share <= 0.97 + 3 * _error(0.97)


def test_one_seed_knows_nothing_of_seeds_that_move_everything() -> None:
    """What the caveat of a single seed says: the interval is far too narrow."""
    assert _answers(Truth(0.0, 0.05, 1), seed=1).covered.mean() < 0.8


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_where_nothing_differs_p_values_err_as_often_as_they_say(n_seeds: int) -> None:
    p = _answers(Truth(0.0, 0.0, n_seeds), seed=10 + n_seeds).p
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() <= level + 3 * _error(level)
    assert (p <= 0.5).mean() >= 0.5 - 0.06 - 3 * _error(0.5)


def test_equivalence_is_claimed_wrongly_no_more_often_than_it_says() -> None:
    """The truth is the margin itself: the hardest case."""
    tost = _answers(Truth(-0.05, 0.0, 3), seed=20).tost
    assert (tost <= 0.05).mean() <= 0.05 + 3 * _error(0.05)


def test_equivalence_is_found_where_there_is_enough_data() -> None:
    tost = _answers(Truth(0.0, 0.0, 5), seed=21).tost
    assert (tost <= 0.05).mean() > 0.4
