from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from sfumato.compare.layout import Layout, differences, lay_out
from sfumato.compare.variance import Spread, by_model, joined_strata, spread_of
from tests.compare.synthetic import outcomes_of

BLUR = "blur(strength=0.2)"
LABEL = np.repeat([0, 1, 2], [8, 5, 11])
STRATA = [np.flatnonzero(label == LABEL) for label in range(3)]


def _layout(n_models: int = 1, n_seeds: int = 3, seed: int = 0) -> Layout:
    rng = np.random.default_rng(seed)
    models = tuple(f"m{number}" for number in range(n_models))
    ranks = {
        (model, arm): rng.integers(0, 3, size=(n_seeds, len(LABEL))).astype(np.int32)
        for model in models
        for arm in ("original", BLUR)
    }
    seeds = dict.fromkeys(models, tuple(range(n_seeds)))
    return lay_out(outcomes_of(ranks, LABEL, "abc", seeds))


def _spread(layout: Layout, model: str) -> tuple[Spread, list[NDArray[np.float64]]]:
    (item,) = [c for c in differences(layout) if (c.model, c.metric) == (model, "top1_accuracy")]
    found = spread_of(layout, item, STRATA)
    assert found is not None
    return found, by_model(layout, item, np.arange(len(LABEL)))


def test_parts_equal_plain_loops() -> None:
    spread, (d,) = _spread(_layout(), "m0")
    n, seeds = len(LABEL), len(d)
    mean = d.mean(axis=0)
    image = sum(len(s) ** 2 * mean[s].var(ddof=1) / len(s) for s in STRATA) / n**2
    assert spread.image == pytest.approx(image)
    assert spread.seed == pytest.approx(d.mean(axis=1).var(ddof=1) / seeds)
    rest = 0.0
    for s in STRATA:
        residual = d[:, s] - d[:, s].mean(axis=0) - d[:, s].mean(axis=1)[:, None] + d[:, s].mean()
        rest += len(s) / n**2 * (residual**2).sum() / ((seeds - 1) * (len(s) - 1)) / seeds
    assert spread.rest == pytest.approx(rest)
    assert (spread.seed_df, spread.n_seeds) == (seeds - 1, seeds)


def test_models_add_their_seeds_and_share_their_images() -> None:
    layout = _layout(n_models=4, seed=1)
    spread, parts = _spread(layout, "all")
    mean = sum(part.mean(axis=0) for part in parts)  # each part has the weight of its model in it
    image = sum(len(s) * mean[s].var(ddof=1) for s in STRATA) / len(LABEL) ** 2
    assert spread.image == pytest.approx(image)
    alone = [_spread(layout, f"m{number}")[0] for number in range(4)]
    assert spread.seed == pytest.approx(sum(one.seed for one in alone) / 16)
    assert spread.rest == pytest.approx(sum(one.rest for one in alone) / 16)
    assert max(one.seed_df for one in alone) < spread.seed_df <= 8


def test_parts_are_unbiased() -> None:
    """Drawn with known variances: image 0.04, seed 0.01, both 0.09; the means of the parts must be theirs."""
    rng = np.random.default_rng(2)
    layout = _layout(n_seeds=4)
    (item,) = [c for c in differences(layout) if c.metric == "top1_accuracy"]
    found = []
    for _ in range(1500):
        shape = (4, len(LABEL))
        d = rng.normal(0, 0.2, shape[1]) + rng.normal(0, 0.1, (4, 1)) + rng.normal(0, 0.3, shape)
        correct = np.zeros_like(layout.correct)
        correct[layout.rows(int(np.flatnonzero(item.weights == 1)[0]))] = d
        one = spread_of(
            Layout(layout.groups, correct, layout.members, layout.n_seeds, layout.models), item, STRATA
        )
        assert one is not None
        found.append((one.image, one.seed, one.rest))
    n = len(LABEL)
    expected = ((0.04 + 0.09 / 4) / n, 0.01 / 4 + 0.09 / 4 / n, 0.09 / 4 / n)
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.abs((np.mean(found, axis=0) - expected) / error).max() < 4


def test_one_seed_has_images_only() -> None:
    spread, _ = _spread(_layout(n_seeds=1), "m0")
    assert (spread.seed, spread.seed_df, spread.rest) == (0, 0, 0)
    assert spread.variance == spread.image
    assert spread.error(0.975) == pytest.approx(stats.t.ppf(0.975, spread.image_df) * np.sqrt(spread.image))


def test_two_images_are_the_fewest() -> None:
    layout = _layout()
    item = differences(layout)[0]
    assert spread_of(layout, item, joined_strata([np.array([3]), np.array([], dtype=np.int64)])) is None
    assert spread_of(layout, item, joined_strata([np.array([3]), np.array([20])])) is not None


def test_where_images_differ_by_chance_only_the_error_is_students_t_over_seeds() -> None:
    by_chance = Spread(image=1.0, image_df=500, seed=2.0, seed_df=2, rest=1.0, n_seeds=3)
    assert by_chance.error(0.975) == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt(2))
    assert by_chance.df == pytest.approx(2)


def test_where_seeds_change_nothing_the_error_is_students_t_over_images() -> None:
    sure = Spread(image=1.0, image_df=40, seed=0.0, seed_df=2, rest=0.0, n_seeds=3)
    assert sure.error(0.975) == pytest.approx(stats.t.ppf(0.975, 40))
    assert sure.df == pytest.approx(40)


def test_two_seeds_that_agree_by_chance_are_not_taken_for_certainty() -> None:
    lucky = Spread(image=1.0, image_df=500, seed=0.0, seed_df=1, rest=1.0, n_seeds=2)
    assert lucky.variance == pytest.approx(stats.chi2.ppf(0.025, 1))


def test_more_of_everything_is_more_certain() -> None:
    spread = Spread(image=1.0, image_df=100, seed=0.8, seed_df=2, rest=0.4, n_seeds=3)
    assert spread.with_seeds(2).of_images == pytest.approx(spread.of_images)
    assert spread.with_seeds(2).of_seeds == pytest.approx(spread.of_seeds / 2)
    assert spread.with_seeds(2).seed_df == 5
    more = spread.with_images(4)
    assert more.image == pytest.approx(0.25)
    assert more.seed == pytest.approx(0.4 + 0.1)  # what seeds do as a whole stays
    assert more.error(0.975) < spread.error(0.975)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_joined_strata_hold_every_image_once_and_none_alone(sizes: list[int]) -> None:
    strata = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    joined = joined_strata(strata)
    assert sorted(np.concatenate([*joined, []]).tolist()) == list(range(sum(sizes)))
    assert sum(sizes) < 2 or min(map(len, joined)) > 1
