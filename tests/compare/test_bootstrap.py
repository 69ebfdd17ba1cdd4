from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from sfumato.compare import CompareSettings
from sfumato.compare import bootstrap as module
from sfumato.compare.bootstrap import errors, resampled_means
from sfumato.compare.outcomes import Outcomes
from sfumato.compare.tabulate import tabulate
from sfumato.compare.variance import Spread
from sfumato.errors import UsageError
from tests.compare.synthetic import outcomes_of

BLUR = "blur(strength=0.2)"


def _outcomes(right: dict[str, NDArray[np.bool_]], label: NDArray[np.int64]) -> Outcomes:
    """One model; `right` is arm to (seeds, n)."""
    n_seeds = len(next(iter(right.values())))
    ranks = {("m", arm): np.where(value, 0, 9).astype(np.int32) for arm, value in right.items()}
    names = [f"c{number}" for number in range(int(label.max()) + 1)]
    return outcomes_of(ranks, label, names, {"m": tuple(range(n_seeds))})


def _interval(outcomes: Outcomes, rounds: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    tables = tabulate(outcomes, None, settings=CompareSettings(rounds=rounds, seed=seed))
    row = tables.differences.to_pylist()[0]
    assert (row["metric"], row["reference"]) == ("top1_accuracy", "original")
    return row["difference"], row["ci_low"], row["ci_high"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 4))
def test_each_round_draws_as_many_images_as_each_stratum_has(sizes: list[int], rows: int) -> None:
    """An image that stands for its stratum alone counts n_c / N on average, and exactly in sum."""
    bounds = np.cumsum([0, *sizes])
    strata = [np.arange(start, end) for start, end in pairwise(bounds)]
    for inside in strata:
        values = np.zeros((rows, bounds[-1]), dtype=np.float32)
        values[:, inside] = 1
        found = resampled_means(values, strata, CompareSettings(rounds=100))
        np.testing.assert_allclose(found, len(inside) / bounds[-1])


def test_blocks_change_nothing_but_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small blocks have the spread of one, the closed form: a stratified mean."""
    values = np.random.default_rng(0).random((1, 40)).astype(np.float32)
    strata = [np.arange(0, 25), np.arange(25, 40)]
    size = np.sqrt(sum(len(s) * values[0, s].var() for s in strata)) / 40
    for block in (module.BLOCK, 90):
        monkeypatch.setattr(module, "BLOCK", block)
        found = resampled_means(values, strata, CompareSettings(rounds=4000))[:, 0]
        assert found.mean() == pytest.approx(values.mean(), abs=4 * size / np.sqrt(4000))
        assert found.std() == pytest.approx(size, rel=4 / np.sqrt(2 * 4000))


@pytest.mark.parametrize("n", [20, 300, 70_000])
def test_weights_are_multinomial(n: int) -> None:
    """Each image is drawn as a binomial of n tries and 1 / n: mean 1, variance 1 - 1 / n."""
    weights = module._weights(np.random.default_rng(0), 50, n)
    assert (weights.sum(axis=1) == n).all()
    error = np.sqrt(2 / weights.size)
    assert weights.var() == pytest.approx(1 - 1 / n, abs=6 * error)
    assert (weights == 0).mean() == pytest.approx((1 - 1 / n) ** n, abs=5 * np.sqrt(0.25 / weights.size))


def test_one_seed_has_the_width_of_a_stratified_mean() -> None:
    """Closed form: the variance of a stratified mean is the sum of n_c s_c^2 over N^2."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], [80, 120, 200])
    chance = np.array([0.95, 0.6, 0.3])[label]
    right = {"original": rng.random((1, 400)) < 0.9, BLUR: rng.random((1, 400)) < chance}
    difference, low, high = _interval(_outcomes(right, label), rounds=6000)
    d = right[BLUR][0].astype(float) - right["original"][0]
    assert difference == pytest.approx(d.mean())
    variance = sum((label == c).sum() * d[label == c].var(ddof=1) for c in range(3)) / len(d) ** 2
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.05)
    assert (high + low) / 2 == pytest.approx(difference, abs=0.1 * np.sqrt(variance))


def test_seeds_that_move_everything_have_the_width_of_students_t() -> None:
    """Every image does what its seed does: the interval is the paired t over seeds."""
    accuracy = np.array([0.9, 0.7, 0.5, 0.6, 0.8])[:, None]
    n = 400
    place = (np.arange(n) + 0.5) / n
    right = {"original": np.ones((5, n), dtype=bool), BLUR: place[None] < accuracy}
    _, low, high = _interval(_outcomes(right, np.zeros(n, dtype=np.int64)), rounds=6000)
    d = (right[BLUR].astype(float) - right["original"]).mean(axis=1)
    width = 2 * stats.t.ppf(0.975, 4) * stats.sem(d)
    assert high - low == pytest.approx(width, rel=0.05)


def test_errors_have_the_shape_of_the_images_and_the_size_of_the_variance() -> None:
    skew = np.random.default_rng(2).gamma(2, size=5000)
    found = errors(skew, Spread(image=0.25, image_df=1e7), CompareSettings())
    assert found.std() == pytest.approx(0.5, rel=1e-4)
    assert stats.skew(found) == pytest.approx(stats.skew(skew), rel=1e-4)
    assert (np.diff(found) >= 0).all()


def test_few_images_have_the_longer_tails_of_students_t() -> None:
    normal = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = errors(normal, Spread(image=4.0, image_df=6), CompareSettings())
    assert np.quantile(found, 0.975) == pytest.approx(2 * stats.t.ppf(0.975, 6), rel=0.01)


def test_images_that_all_agree_have_no_error() -> None:
    assert not errors(np.full(200, 0.3), Spread(image=0.0, image_df=10), CompareSettings()).any()


def test_a_shifted_arm_is_seen() -> None:
    rng = np.random.default_rng(4)
    right = {"original": rng.random((3, 500)) < 0.8, BLUR: rng.random((3, 500)) < 0.6}
    _, _, high = _interval(_outcomes(right, np.repeat(np.arange(5), 100)))
    assert high < -0.05


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    right = {"original": rng.random((2, 60)) < 0.8, BLUR: rng.random((2, 60)) < 0.7}
    outcomes = _outcomes(right, np.repeat(np.arange(3), 20))
    assert _interval(outcomes, seed=1) == _interval(outcomes, seed=1)
    assert len({_interval(outcomes, rounds=100, seed=seed) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    "bad",
    [
        {"rounds": 99},
        {"confidence": 0.0},
        {"confidence": 1.0},
        {"margin": 0.0},
        {"margin": 1.0},
        {"sem": "x"},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CompareSettings(**bad)  # type: ignore[arg-type]
