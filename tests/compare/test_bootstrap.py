from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sfumato.compare import CompareSettings
from sfumato.compare import bootstrap as module
from sfumato.compare.bootstrap import resampled_sums
from sfumato.compare.pairing import Outcomes
from sfumato.compare.tabulate import tabulate
from sfumato.errors import UsageError

BLUR = "blur(strength=0.2)"


def _outcomes(right: dict[str, NDArray[np.bool_]], label: NDArray[np.int64]) -> Outcomes:
    """One model; `right` is arm to (seeds, n)."""
    n_seeds = len(next(iter(right.values())))
    return Outcomes(
        image_ids=np.array([f"{number:05d}" for number in range(len(label))]),
        label=label,
        categories=tuple(f"c{number}" for number in range(int(label.max()) + 1)),
        ranks={("m", arm): np.where(value, 0, 9).astype(np.int32) for arm, value in right.items()},
        seeds={"m": tuple(range(n_seeds))},
        excluded={},
    )


def _interval(outcomes: Outcomes, rounds: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    tables = tabulate(outcomes, None, settings=CompareSettings(rounds=rounds, seed=seed))
    row = tables.differences.to_pylist()[0]
    assert (row["metric"], row["reference"]) == ("top1_accuracy", "original")
    return row["difference"], row["ci_low"], row["ci_high"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(1, 4))
def test_each_round_draws_as_many_images_as_each_stratum_has(sizes: list[int], rows: int) -> None:
    bounds = np.cumsum([0, *sizes])
    strata = [np.arange(start, end) for start, end in pairwise(bounds)]
    correct = np.ones((rows, bounds[-1]), dtype=np.float32)
    sums = list(resampled_sums(correct, strata, CompareSettings(rounds=100)))
    assert [np.unique(of_stratum).tolist() for of_stratum in sums] == [[float(size)] for size in sizes]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = np.random.default_rng(0).random((3, 40)).round().astype(np.float32)
    strata = [np.arange(0, 25), np.arange(25, 40)]
    whole = list(resampled_sums(correct, strata, CompareSettings(rounds=120)))
    monkeypatch.setattr(module, "BLOCK", 90)
    parts = list(resampled_sums(correct, strata, CompareSettings(rounds=120)))
    np.testing.assert_array_equal(whole, parts)


def test_one_seed_has_the_width_of_a_stratified_mean() -> None:
    """Closed form: the variance of a stratified mean is the sum of n_c s_c^2 over N^2."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], [80, 120, 200])
    chance = np.array([0.95, 0.6, 0.3])[label]
    right = {"original": rng.random((1, 400)) < 0.9, BLUR: rng.random((1, 400)) < chance}
    difference, low, high = _interval(_outcomes(right, label), rounds=6000)
    d = right[BLUR][0].astype(float) - right["original"][0]
    assert difference == pytest.approx(d.mean())
    variance = sum((label == c).sum() * d[label == c].var() for c in range(3)) / len(d) ** 2
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.05)
    assert (high + low) / 2 == pytest.approx(difference, abs=0.1 * np.sqrt(variance))


def test_seeds_and_images_have_the_width_of_the_crossed_closed_form() -> None:
    """Both factors drawn: moments of multinomial weights, summed over every pair of pairs."""
    rng = np.random.default_rng(2)
    n_seeds, n = 5, 24
    shift = np.array([0.9, 0.7, 0.5, 0.6, 0.8])[:, None]
    right = {"original": rng.random((n_seeds, n)) < 0.8, BLUR: rng.random((n_seeds, n)) < shift}
    _, low, high = _interval(_outcomes(right, np.zeros(n, dtype=np.int64)), rounds=20_000)
    d = right[BLUR].astype(float) - right["original"]
    images = 1 + np.eye(n) - 1 / n
    seeds = 1 + np.eye(n_seeds) - 1 / n_seeds
    variance = (
        sum(d[s] @ (seeds[s, t] * images - 1) @ d[t] for s, t in product(range(n_seeds), repeat=2))
        / (n_seeds * n) ** 2
    )
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.06)


@pytest.mark.parametrize("effect", [0.0, 0.06])
def test_intervals_cover_the_truth(effect: float) -> None:
    """Images differ in how hard they are, seeds flip a coin on each: 95 % intervals must hold the truth."""
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(4), 50)
    covered = 0
    n_studies = 150
    for study in range(n_studies):
        base = rng.uniform(0.5, 0.9, size=200)
        right = {
            "original": rng.random((3, 200)) < base,
            BLUR: rng.random((3, 200)) < base - effect,
        }
        _, low, high = _interval(_outcomes(right, label), rounds=300, seed=study)
        covered += low <= -effect <= high
    # Resampling both factors is known to be wide here, never narrow: 4 binomial errors below 95 %.
    assert covered / n_studies >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / n_studies)


def test_a_shifted_arm_is_seen() -> None:
    rng = np.random.default_rng(4)
    right = {"original": rng.random((2, 500)) < 0.8, BLUR: rng.random((2, 500)) < 0.6}
    _, _, high = _interval(_outcomes(right, np.repeat(np.arange(5), 100)))
    assert high < -0.1


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    right = {"original": rng.random((2, 60)) < 0.8, BLUR: rng.random((2, 60)) < 0.7}
    outcomes = _outcomes(right, np.repeat(np.arange(3), 20))
    assert _interval(outcomes, seed=1) == _interval(outcomes, seed=1)
    # Ends of one interval may agree by chance (outcomes are whole numbers), those of twenty do not.
    assert len({_interval(outcomes, rounds=100, seed=seed) for seed in range(20)}) > 1


@pytest.mark.parametrize("bad", [{"rounds": 99}, {"confidence": 0.0}, {"confidence": 1.0}])
def test_settings_that_make_no_interval_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CompareSettings(**bad)  # type: ignore[arg-type]
