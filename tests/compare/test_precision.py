"""Average precision: scikit-learn on the same values, finite differences, the bootstrap, simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from sfumato.compare.precision import Column, Order, Scored, average_precision, codes_of
from sfumato.compare.precision_comparison import (
    PRECISION_DIFFERENCES_SCHEMA,
    PRECISION_SCHEMA,
    PrecisionComparison,
    PrecisionSettings,
    compare_precision,
)

Scores = NDArray[np.float16]
Labels = NDArray[np.int64]
CONTRAST = ("blur", "original")


def everything(scores: Scores) -> Scored:
    return Scored(scores, np.arange(len(scores)))


def by_scikit_learn(scores: Scores, label: Labels) -> NDArray[np.float64]:
    return np.array(
        [
            average_precision_score(label == category, scores[:, category].astype(np.float64))
            if (label == category).any()
            else np.nan
            for category in range(scores.shape[1])
        ]
    )


def made_up(seed: int, n: int, n_categories: int, *, skill: float = 1.5) -> tuple[Scores, Labels]:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % n_categories)
    scores = rng.normal(size=(n, n_categories))
    scores[np.arange(n), label] += skill
    return scores.astype(np.float16), label


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(
        st.sampled_from([-60000.0, -1.5, -6e-8, -0.0, 0.0, 6e-8, 0.25, 1.5, 60000.0]),
        min_size=12,
        max_size=90,
    ),
    data=st.data(),
)
def test_equal_to_scikit_learn_with_ties_signs_and_empty_categories(
    values: list[float], data: st.DataObject
) -> None:
    scores = np.array(values[: len(values) // 3 * 3], dtype=np.float16).reshape(-1, 3)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(scores), max_size=len(scores)))
    label = np.array(labels, dtype=np.int64)
    found = average_precision(everything(scores), label)
    np.testing.assert_allclose(found.values, by_scikit_learn(scores, label), atol=1e-12)
    assert found.n_images.tolist() == [labels.count(category) for category in range(3)]
    assert found.n_left_out == 0


def test_equal_to_scikit_learn_on_every_bit_pattern() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    column = bits.view(np.float16)
    column = np.random.default_rng(0).permutation(column[np.isfinite(column)])
    scores = np.stack([column, -column], axis=1)
    label = (np.arange(len(column)) % 50 == 0).astype(np.int64)
    found = average_precision(everything(scores), label)
    np.testing.assert_allclose(found.values, by_scikit_learn(scores, label), atol=1e-9)


def test_infinite_scores_stand_above_and_below_all_others() -> None:
    scores = np.array([[-np.inf], [1.0], [np.inf], [0.0]], dtype=np.float16)
    scores = np.hstack([scores, np.zeros((4, 1), dtype=np.float16)])
    found = average_precision(everything(scores), np.array([0, 1, 0, 1]))
    assert found.values[0] == pytest.approx((1 + 2 / 4) / 2)


def test_images_without_scores_are_left_out_and_counted() -> None:
    scores, label = made_up(1, 120, 4)
    scores[[3, 50, 51]] = np.nan
    kept = ~np.isnan(scores[:, 0])
    found = average_precision(everything(scores), label)
    np.testing.assert_allclose(found.values, by_scikit_learn(scores[kept], label[kept]), atol=1e-12)
    assert found.n_left_out == 3


def test_rows_may_be_any_and_blocks_change_nothing(tmp_path: Path) -> None:
    scores, label = made_up(2, 300, 7)
    np.save(tmp_path / "scores.npy", scores)
    mapped = np.load(tmp_path / "scores.npy", mmap_mode="r")
    rows = np.random.default_rng(0).permutation(300)[:200]
    expected = by_scikit_learn(scores[rows], label[rows])
    for memory in (1, 1200, 2**20):
        found = average_precision(Scored(mapped, rows), label[rows], memory=memory)
        np.testing.assert_allclose(found.values, expected, atol=1e-12)
    in_one_go = np.arange(40, 240)
    found = average_precision(Scored(mapped, in_one_go), label[in_one_go])
    np.testing.assert_allclose(found.values, by_scikit_learn(scores[40:240], label[40:240]), atol=1e-12)


def test_influence_is_the_derivative_by_an_images_weight() -> None:
    scores, label = made_up(3, 60, 3)
    scores = np.round(scores.astype(np.float64), 1).astype(np.float16)  # ties too
    order = Order(label, 3)
    codes = codes_of(everything(scores), order.images, slice(0, 3))
    for category in range(3):
        found = Column(codes[category], order.of(category)).influence()
        column = scores[order.images, category].astype(np.float64)
        own = label[order.images] == category
        for image in range(60):
            ends = []
            for step in (-1e-4, 1e-4):
                weight = np.ones(60)
                weight[image] += step
                ends.append(average_precision_score(own, column, sample_weight=weight))
            assert found[image] == pytest.approx((ends[1] - ends[0]) / 2e-4, abs=2e-5)
        assert found.sum() == pytest.approx(0, abs=1e-5)


def test_influence_of_an_image_without_score_is_nothing() -> None:
    scores, label = made_up(4, 40, 2)
    scores[5] = np.nan
    order = Order(label, 2)
    codes = codes_of(everything(scores), order.images, slice(0, 2))
    place = int(np.flatnonzero(order.images == 5)[0])
    kept = order.images[order.images != 5]
    for category in range(2):
        found = Column(codes[category], order.of(category)).influence()
        assert found[place] == 0
        rest = Order(label[kept], 2)
        alone = codes_of(everything(scores[kept]), rest.images, slice(0, 2))
        expected = Column(alone[category], rest.of(category)).influence()
        np.testing.assert_allclose(np.delete(found, place), expected, atol=1e-7)


def runs_of(
    seed: int, *, models: int = 1, seeds: int = 2, n: int = 240, harm: float = 0.0
) -> tuple[dict[tuple[str, str], list[Scored]], Labels]:
    """Runs that see the same images with errors of their own; in the arm category 0 is `harm` weaker."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 4
    image = rng.normal(size=(n, 4))
    image[np.arange(n), label] += 1.5
    runs: dict[tuple[str, str], list[Scored]] = {}
    for model in range(models):
        for arm in ("original", "blur"):
            weaker = harm * ((label == 0) & (arm == "blur"))[:, None] * (np.arange(4) == 0)
            runs[f"model{model}", arm] = [
                everything((image + rng.normal(0, 0.7, (n, 4)) - weaker).astype(np.float16))
                for _ in range(seeds)
            ]
    return runs, label


def test_differences_are_of_the_means_over_seeds_and_models() -> None:
    runs, label = runs_of(5, models=2, seeds=3)
    found = compare_precision(runs, label, [CONTRAST])
    every = {cell: np.stack([by_scikit_learn(run.scores, label) for run in of]) for cell, of in runs.items()}
    for cell, values in every.items():
        np.testing.assert_allclose(found.values[cell], values, atol=1e-12)
    by_model = [
        every[model, "blur"].mean(axis=0) - every[model, "original"].mean(axis=0)
        for model in ("model0", "model1")
    ]
    np.testing.assert_allclose(found.differences["model1", *CONTRAST].difference, by_model[1], atol=1e-12)
    np.testing.assert_allclose(
        found.differences["all", *CONTRAST].difference, np.mean(by_model, axis=0), atol=1e-12
    )
    assert found.n_seeds == {"model0": 3, "model1": 3, "all": 3}


def test_blocks_of_categories_change_nothing() -> None:
    runs, label = runs_of(6, models=2)
    whole = compare_precision(runs, label, [CONTRAST])
    calls: list[tuple[str, int, int]] = []
    parts = compare_precision(
        runs,
        label,
        [CONTRAST],
        settings=PrecisionSettings(memory=1),
        progress=lambda stage, done, total: calls.append((stage, done, total)),
    )
    for key, changes in whole.differences.items():
        for name in ("difference", "ci_low", "ci_high", "p_value", "q_value"):
            np.testing.assert_array_equal(getattr(changes, name), getattr(parts.differences[key], name))
    assert calls[-1] == ("average precision", 16, 16)


def test_standard_error_is_that_of_a_bootstrap_within_categories() -> None:
    runs, label = runs_of(7, seeds=1, harm=1.0)
    found = compare_precision(runs, label, [CONTRAST]).differences["model0", *CONTRAST]
    width = (found.ci_high - found.ci_low)[0] / 2 / 2.0010  # t of 59 degrees of freedom
    rng = np.random.default_rng(0)
    columns = [runs["model0", arm][0].scores[:, 0].astype(np.float64) for arm in CONTRAST]
    drawn = []
    for _ in range(600):
        rows = np.concatenate([rng.choice(np.flatnonzero(label == category), 60) for category in range(4)])
        arm, reference = (average_precision_score(label[rows] == 0, column[rows]) for column in columns)
        drawn.append(arm - reference)
    assert width == pytest.approx(np.std(drawn, ddof=1), rel=0.12)


def test_intervals_hold_nothing_where_nothing_differs() -> None:
    held, p_small, n = 0, 0, 0
    for seed in range(150):
        runs, label = runs_of(100 + seed)
        found = compare_precision(runs, label, [CONTRAST]).differences["model0", *CONTRAST]
        held += int(((found.ci_low <= 0) & (found.ci_high >= 0)).sum())
        p_small += int((found.p_value < 0.05).sum())
        n += 4
    # 600 of 95 %: three standard errors are 2.7 points; categories of one study are nearly independent.
    assert 0.92 <= held / n <= 0.985
    assert p_small == n - held


def test_a_weaker_category_is_found_and_no_other() -> None:
    runs, label = runs_of(8, models=3, harm=1.5)
    found = compare_precision(runs, label, [CONTRAST]).differences["all", *CONTRAST]
    assert (found.q_value < 0.05).tolist() == [True, False, False, False]
    assert found.difference[0] < -0.1


def tabulated() -> PrecisionComparison:
    scores, label = made_up(9, 41, 4)
    label[label == 3] = 0
    label[0], label[1:][label[1:] == 2] = 2, 1
    runs = {("net", arm): [everything(np.roll(scores, turn, axis=0))] for turn, arm in enumerate(CONTRAST)}
    return compare_precision(runs, label, [CONTRAST, ("mosaic", "original")])


def test_tables_have_a_row_for_every_category_and_null_where_nothing_is_known() -> None:
    found = tabulated()
    table = found.table(["a", "b", "c", "d"])
    assert table.schema == PRECISION_SCHEMA
    rows = table.to_pylist()
    assert [row["category"] for row in rows] == ["a", "b", "c", "d"] * 2
    assert {row["model"] for row in rows} == {"net"}
    assert rows[3]["average_precision"] is None
    assert rows[3]["n_images"] == 0
    differences = found.difference_table(["a", "b", "c", "d"])
    assert differences.schema == PRECISION_DIFFERENCES_SCHEMA
    by_name = {row["category"]: row for row in differences.to_pylist()}
    assert len(by_name) == 4
    assert by_name["a"]["ci_low"] <= by_name["a"]["difference"] <= by_name["a"]["ci_high"]
    assert by_name["c"]["difference"] is not None
    assert by_name["c"]["p_value"] is None  # one image
    assert by_name["d"]["difference"] is None
