from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sfumato.compare.inference import (
    benjamini_hochberg,
    interval,
    no_difference,
    p_equivalence,
    p_value,
    paired_t,
    standard_error,
)
from sfumato.compare.planning import images_needed, outcome, seeds_needed, settles
from sfumato.compare.settings import CompareSettings
from sfumato.compare.variance import Spread, smallest_effect

P_VALUES = st.lists(st.floats(0, 1), max_size=30)


@given(P_VALUES)
def test_benjamini_hochberg_equals_scipy(p: list[float]) -> None:
    values = np.array(p)
    expected = stats.false_discovery_control(values) if p else values
    np.testing.assert_allclose(benjamini_hochberg(values), expected)


@given(P_VALUES, st.integers(0, 5))
def test_tests_that_were_not_made_change_no_other(p: list[float], missing: int) -> None:
    values = np.array([*p, *[np.nan] * missing])
    found = benjamini_hochberg(values)
    np.testing.assert_array_equal(found[: len(p)], benjamini_hochberg(np.array(p)))
    assert np.isnan(found[len(p) :]).all()


def test_discoveries_by_the_step_up_rule() -> None:
    """The rule itself: the largest k with p_(k) <= q k / m."""
    p = np.random.default_rng(0).beta(0.3, 1, size=200)
    for q in (0.01, 0.05, 0.2):
        ranked = np.sort(p)
        passing = np.flatnonzero(ranked <= q * np.arange(1, 201) / 200)
        assert (benjamini_hochberg(p) <= q).sum() == (passing[-1] + 1 if len(passing) else 0)


def _t_errors(df: float, size: float, n: int = 200_001) -> np.ndarray:
    return np.asarray(size * stats.t.ppf((np.arange(n) + 0.5) / n, df))


@pytest.mark.parametrize("difference", [-0.02, -0.004, 0.0, 0.007, 0.03])
def test_interval_and_p_are_those_of_the_errors_distribution(difference: float) -> None:
    """With errors of a t distribution everything has a closed form."""
    errors = _t_errors(7, 0.004)
    low, high = interval(difference, errors, 0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 7, difference, 0.004), abs=1e-6)
    assert p_value(difference, errors) == pytest.approx(2 * stats.t.sf(abs(difference) / 0.004, 7), abs=3e-5)
    tost = max(stats.t.sf((0.01 - difference) / 0.004, 7), stats.t.sf((0.01 + difference) / 0.004, 7))
    assert p_equivalence(difference, errors, 0.01) == pytest.approx(tost, abs=3e-5)


def test_ends_are_right_on_average_also_with_few_rounds() -> None:
    """Of n + 1 exchangeable draws the last is beyond the k-th of the others with probability k / (n + 1)."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(6000, 200))
    ends = np.array([interval(0.0, row[:199], 0.9) for row in draws])
    inside = (ends[:, 0] <= draws[:, 199]) & (draws[:, 199] <= ends[:, 1])
    assert inside.mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.9 * 0.1 / 6000))


def test_tost_passes_where_the_wider_interval_lies_within_the_margin() -> None:
    """The two are one test: p <= alpha where the 1 - 2 alpha interval lies within the margin."""
    errors = _t_errors(5, 0.003)
    for difference in np.linspace(-0.02, 0.02, 81):
        low, high = interval(difference, errors, 0.9)
        inside = low > -0.01 and high < 0.01
        assert (p_equivalence(difference, errors, 0.01) <= 0.05) == inside


def test_p_values_are_never_zero() -> None:
    assert p_value(5.0, np.zeros(99)) == pytest.approx(2 / 100)
    assert p_equivalence(0.0, np.zeros(99), 0.01) == pytest.approx(1 / 100)
    assert p_value(0.0, np.zeros(99)) == 1


def test_no_change_in_few_images_shows_nothing() -> None:
    assert no_difference(298, 0.01) > 0.05 >= no_difference(299, 0.01)  # the rule of three


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20), st.integers(1, 2))
def test_standard_errors_equal_scipy(values: list[float], ddof: int) -> None:
    found = standard_error(np.array(values), ddof)
    if len(values) <= ddof:
        assert found is None
    else:
        assert found == pytest.approx(stats.sem(values, ddof=ddof))


def test_the_studys_standard_error_is_larger_by_the_root_of_two() -> None:
    values = np.array([0.71, 0.73, 0.70])
    ours, theirs = (standard_error(values, ddof) for ddof in (1, 2))
    assert ours is not None
    assert theirs == pytest.approx(np.sqrt(2) * ours)


def test_paired_t_equals_scipy() -> None:
    values = np.random.default_rng(1).normal(-0.3, 1, size=15)
    error, low, high, p = paired_t(values, 0.95)
    expected = stats.ttest_1samp(values, 0)
    assert (error, p) == pytest.approx((stats.sem(values), expected.pvalue))
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.2, 0.0)])
def test_models_that_agree_exactly(value: float, p: float) -> None:
    assert paired_t(np.full(4, value), 0.95) == (0, value, value, p)


@pytest.mark.parametrize(
    ("bounds", "tost", "expected"),
    [
        ((-0.004, 0.003), 0.01, "equivalent"),
        ((-0.006, -0.001), 0.01, "equivalent"),  # differs from zero, but by less than the margin
        ((-0.02, -0.001), 0.3, "cost"),
        ((0.001, 0.02), 0.3, "gain"),
        ((-0.02, 0.003), 0.3, "undecided"),
        ((-0.02, 0.0), 0.3, "undecided"),
        ((0.0, 1e-15), 0.3, "undecided"),
    ],
)
def test_outcomes(bounds: tuple[float, float], tost: float, expected: str) -> None:
    assert outcome(bounds, tost, 0.05) == expected


def test_the_smallest_effect_is_the_textbooks() -> None:
    """Of images alone: (t_0.975 + t_0.8) standard errors, Cohen 1988; 2.80 of them with many images."""
    many = Spread(image=0.004**2, image_df=1e6)
    assert smallest_effect(many, 0.95) == pytest.approx(0.004 * (1.959964 + 0.841621), rel=1e-4)
    few = Spread(image=0.004**2, image_df=9)
    assert smallest_effect(few, 0.95) == pytest.approx(0.004 * (stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)))


def test_an_effect_of_that_size_is_seen_in_four_of_five_studies() -> None:
    """Simulated with its own truth: images by chance, seeds with three degrees of freedom."""
    rng = np.random.default_rng(2)
    image, seed, n = 0.003**2, 0.002**2, 40_000
    effect = smallest_effect(Spread(image, 1e6, seed, 1e6), 0.95)
    found = effect + rng.normal(0, np.sqrt(image + seed), size=n)
    power = (np.abs(found) > 1.959964 * np.sqrt(image + seed)).mean()
    assert power == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / n))


SETTINGS = CompareSettings()
NOISY_SEEDS = Spread(image=0.001**2, image_df=40_000, seed=0.006**2, seed_df=2, rest=0.0005**2, n_seeds=3)
NOISY_IMAGES = Spread(image=0.006**2, image_df=900, seed=0.001**2, seed_df=2, rest=0.0009**2, n_seeds=3)


def test_seeds_settle_what_seeds_unsettle() -> None:
    needed = seeds_needed(NOISY_SEEDS, -0.001, SETTINGS)
    assert needed is not None
    assert needed > 3
    assert settles(NOISY_SEEDS.with_seeds(needed / 3), -0.001, SETTINGS)
    assert not settles(NOISY_SEEDS.with_seeds((needed - 1) / 3), -0.001, SETTINGS)
    assert images_needed(NOISY_SEEDS, -0.001, 50_000, SETTINGS) is None


def test_images_settle_what_images_unsettle() -> None:
    needed = images_needed(NOISY_IMAGES, -0.001, 1000, SETTINGS)
    assert needed is not None
    assert needed > 1000
    assert settles(NOISY_IMAGES.with_images(needed / 1000), -0.001, SETTINGS)
    assert not settles(NOISY_IMAGES.with_images((needed - 5) / 1000), -0.001, SETTINGS)
    assert seeds_needed(NOISY_IMAGES, -0.001, SETTINGS) is None


def test_the_textbooks_number_of_images() -> None:
    """Closed forms (Chow, Shao and Wang 2008): n = (z_alpha/2 + z_beta)^2 s^2 / d^2 to see a difference d,
    and n = (z_alpha + z_beta/2)^2 s^2 / margin^2 to show that nothing differs."""
    many = Spread(image=0.01**2, image_df=1e9)
    z = stats.norm.ppf
    seen = 1000 * ((z(0.975) + z(0.8)) * 0.01 / 0.02) ** 2
    assert images_needed(many, -0.02, 1000, SETTINGS) == pytest.approx(seen, rel=2e-3)
    same = 1000 * ((z(0.95) + z(0.9)) * 0.01 / 0.01) ** 2
    assert images_needed(many, 0.0, 1000, SETTINGS) == pytest.approx(same, rel=2e-3)


def test_one_seed_knows_nothing_of_seeds() -> None:
    one = Spread(image=0.006**2, image_df=900)
    assert seeds_needed(one, 0.0, SETTINGS) is None
    assert images_needed(one, 0.0, 1000, SETTINGS) is not None


def test_a_settled_study_needs_what_it_has() -> None:
    sure = Spread(image=0.001**2, image_df=900, seed=0.0005**2, seed_df=30, rest=0.0004**2, n_seeds=3)
    assert seeds_needed(sure, -0.05, SETTINGS) == 3
    assert images_needed(sure, -0.05, 1000, SETTINGS) == 1000
