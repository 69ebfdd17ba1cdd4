"""Variance of many differences: analysis of variance by loops, and simulation with seeds that tip
categories."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sfumato.compare.components import changes, group_changes, joined, run_weights, variance_of

Differences = NDArray[np.float32]


def two_way(d: NDArray[np.float64]) -> tuple[float, float, float]:
    """V_image, V_seed and V_rest of (seeds, n) by loops."""
    seeds, n = d.shape
    grand = d.mean()
    image = sum((d[:, i].mean() - grand) ** 2 for i in range(n)) / (n - 1) / n
    seed = sum((d[s].mean() - grand) ** 2 for s in range(seeds)) / (seeds - 1) / seeds
    rest = 0.0
    for s in range(seeds):
        for i in range(n):
            rest += (d[s, i] - d[s].mean() - d[:, i].mean() + grand) ** 2
    return image, seed, rest / ((seeds - 1) * (n - 1)) / (seeds * n)


def test_parts_of_the_variance_are_those_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    d = rng.integers(-1, 2, size=(2, 7, 30)).astype(np.float32)
    models = (0, 0, 0, 1, 1, 1, 1)
    mean, found = variance_of(d, models)
    for kind in range(2):
        one, two = d[kind, :3].astype(float), d[kind, 3:].astype(float)
        over_models = (one.mean(axis=0) + two.mean(axis=0)) / 2
        assert mean[kind] == pytest.approx(over_models.mean())
        assert found.image[kind] == pytest.approx(over_models.var(ddof=1) / 30)
        parts = [two_way(one), two_way(two)]
        assert found.seed[kind] == pytest.approx(sum(part[1] for part in parts) / 4)
        assert found.rest[kind] == pytest.approx(sum(part[2] for part in parts) / 4)
    assert found.seed_df == 5
    assert found.image_df.tolist() == [29, 29]


def test_one_seed_gives_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    d = rng.integers(-1, 2, size=(1, 40)).astype(np.float32)
    found = group_changes(d, np.arange(40) % 2, 2, models=(0,))
    for group in range(2):
        truth = stats.ttest_1samp(d[0, group::2].astype(float), 0)
        assert found.p_value[group] == pytest.approx(truth.pvalue)
        ends = truth.confidence_interval(0.95)
        assert (found.ci_low[group], found.ci_high[group]) == pytest.approx((ends.low, ends.high))


def test_groups_are_means_of_their_own_images() -> None:
    rng = np.random.default_rng(2)
    d = rng.normal(size=(4, 50)).astype(np.float32)
    group = rng.integers(-1, 3, size=50)
    found = group_changes(d, group, 4, models=(0, 0, 1, 1))
    for number in range(3):
        mean, variance = variance_of(d[None][:, :, group == number], (0, 0, 1, 1))
        alone = changes(mean, variance, 0.95)
        assert found.difference[number] == pytest.approx(mean[0], abs=1e-6)
        assert found.ci_high[number] == pytest.approx(alone.ci_high[0], abs=1e-6)
    assert np.isnan(found.difference[3])
    assert np.isnan(found.q_value[3])


def test_nothing_known_is_nan_and_nothing_changed_is_one() -> None:
    d = np.zeros((2, 7), dtype=np.float32)
    d[:, 3:5] = 1
    found = group_changes(d, np.array([0, 0, 1, 2, 2, 2, 3]), 4, models=(0, 0))
    assert found.p_value[0] == 1  # two images that did the same
    assert np.isnan(found.p_value[1])  # one image
    assert 0 < found.p_value[2] < 1
    same = np.ones((2, 5), dtype=np.float32)
    constant = group_changes(same, np.zeros(5, dtype=np.int64), 1, models=(0, 0))
    assert constant.difference[0] == 1
    assert np.isnan(constant.p_value[0])


def test_every_model_counts_the_same() -> None:
    assert run_weights((0, 0, 0, 1)).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_joining_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(size=(6, 3, 20)).astype(np.float32)
    mean, whole = variance_of(d, (0, 0, 0))
    parts = [variance_of(part, (0, 0, 0)) for part in (d[:2], d[2:])]
    again = changes(np.concatenate([part[0] for part in parts]), joined([part[1] for part in parts]), 0.9)
    np.testing.assert_allclose(again.p_value, changes(mean, whole, 0.9).p_value)


def study(rng: np.random.Generator, *, seeds: int, tipping: float) -> Differences:
    """Outcomes of 60 categories by 50 images in two equal arms; each run tips each category by chance."""
    base = rng.normal(0.9, 1.5, 3000)

    def run() -> NDArray[np.bool_]:
        score = base + np.repeat(rng.normal(0, tipping, 60), 50) + rng.normal(size=3000)
        return np.asarray(rng.random(3000) < 1 / (1 + np.exp(-score)))

    return np.stack([run().astype(np.float32) - run() for _ in range(seeds)])


@pytest.mark.parametrize(("seeds", "tipping"), [(2, 0.0), (2, 0.25), (2, 0.5), (3, 0.5)])
def test_intervals_hold_and_false_discoveries_stay_rare_though_seeds_tip_categories(
    seeds: int, tipping: float
) -> None:
    rng = np.random.default_rng(11)
    label = np.repeat(np.arange(60), 50)
    held, named, studies = 0, 0, 150
    for _ in range(studies):
        d = study(rng, seeds=seeds, tipping=tipping)
        found = group_changes(d, label, 60, models=(0,) * seeds)
        held += int(((found.ci_low <= 0) & (found.ci_high >= 0)).sum())
        named += int((found.q_value <= 0.05).any())
    assert 0.94 <= held / (60 * studies) <= 0.97  # one standard error: 0.23 points
    # Where nothing differs, every discovery is false: 5 % of studies may have one (+- 1.8).
    assert named / studies <= 0.05 + 3 * 0.018


def test_without_what_all_categories_tell_the_same_studies_would_mislead() -> None:
    rng = np.random.default_rng(11)
    named = 0
    for _ in range(20):
        d = study(rng, seeds=2, tipping=0.5)
        parts = [d[:, start : start + 50] for start in range(0, 3000, 50)]
        alone = [group_changes(part, np.zeros(50, dtype=np.int64), 1, models=(0, 0)) for part in parts]
        p = np.array([found.p_value[0] for found in alone])
        named += int(stats.false_discovery_control(p).min() <= 0.05)
    assert named / 20 > 0.2


def test_two_seeds_that_agree_by_chance_leave_the_variance_of_images() -> None:
    d = np.zeros((2, 40), dtype=np.float32)
    d[0, :4], d[1, 4:8] = 1, 1  # the same mean, from other images
    mean, variance = variance_of(d[None], (0, 0))
    assert variance.seed[0] == 0
    found = changes(mean, variance, 0.95)
    truth = stats.ttest_1samp(d.mean(axis=0).astype(float), 0)
    assert found.p_value[0] == pytest.approx(truth.pvalue)
