"""Attributes: scikit-learn on the same values, finite differences, the bootstrap, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from sfumato.compare import CompareSettings, Tables, compare, judge, need_comparable, read_tables
from sfumato.compare.attributes import FEWEST, METRIC, attribute_runs
from sfumato.compare.measured import Measured
from sfumato.compare.pairing import align
from sfumato.errors import MissingExtra, TableError, UsageError
from sfumato.predictions import AttributePredictions, find_predictions, read_any_predictions
from sfumato.progress import silent
from tests.compare.downstream import (
    CELEBA,
    image_names,
    make_attributes,
    run_facts,
    task,
    write_attributes,
)
from tests.compare.synthetic import BLUR, NONE, World, make_faces, make_predictions

FAST = CompareSettings(rounds=200)


def measure(items: Sequence[AttributePredictions]) -> Measured:
    return attribute_runs(align(items, allow_single_seed=True), items)(silent)


def arrays(item: AttributePredictions) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.array(item.table["truth"].to_pylist()), item.scores().astype(np.float64)


def rows(tables: Tables, name: str, **wanted: Any) -> list[dict[str, Any]]:
    found = tables.named()[name].to_pylist()
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def weighted(truth: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]) -> float:
    return float(
        np.mean(
            [
                average_precision_score(truth[:, place], scores[:, place], sample_weight=weights)
                for place in range(truth.shape[1])
            ]
        )
    )


def test_values_equal_scikit_learn_with_ties(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 4)) < (0.5, 0.2, 0.9, 0.1)).astype(np.int8)
    scores = np.round(rng.normal(size=truth.shape) + truth, 1)
    found = measure([write_attributes(tmp_path, truth, scores, run_facts("original", 0, CELEBA))])
    (run,) = found.measurements["resnet18", "original"]
    expected = [average_precision_score(truth[:, k], scores.astype(np.float16)[:, k]) for k in range(4)]
    np.testing.assert_allclose(run.classes, expected, atol=1e-12)
    assert run.values == {METRIC: pytest.approx(np.mean(expected), abs=1e-12)}
    (values,) = found.values(("resnet18", "original"), METRIC)
    assert values.mean() == pytest.approx(np.mean(expected), abs=1e-12)


def test_influences_are_derivatives_by_the_weight_of_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((60, 3)) < 0.4).astype(np.int8)
    scores = np.round(rng.normal(size=truth.shape) + truth, 1).astype(np.float16)
    (run,) = measure(
        [write_attributes(tmp_path, truth, scores, run_facts("original", 0, CELEBA))]
    ).measurements["resnet18", "original"]
    step, one = 1e-5, np.ones(60)
    derivatives = [
        (weighted(truth, scores, one + step * at) - weighted(truth, scores, one - step * at)) / (2 * step)
        for at in np.eye(60)
    ]
    np.testing.assert_allclose(run.influences[METRIC], derivatives, atol=1e-7)


def test_the_standard_error_is_that_of_drawing_images_anew(tmp_path: Path) -> None:
    (item, base) = make_attributes(
        tmp_path, 600, seeds=(0,), skill={BLUR: 1.4, "original": 2.0}, rates=(0.3, 0.1)
    )
    settings = replace(FAST, allow_single_seed=True)
    (row,) = rows(compare([item, base], tmp_path / "out", settings=settings), "differences")
    rng, (truth, scores), (_, others) = np.random.default_rng(0), arrays(item), arrays(base)
    drawn = []
    for _ in range(200):
        weights = np.bincount(rng.integers(0, 600, 600), minlength=600)
        drawn.append(weighted(truth, scores, weights) - weighted(truth, others, weights))
    assert row["standard_error"] == pytest.approx(np.std(drawn), rel=0.15)  # 200 rounds know it to 5 %
    assert row["ci_low"] < row["difference"] < row["ci_high"]


def test_a_comparison_of_attributes_is_a_folder_of_tables(tmp_path: Path) -> None:
    items = make_attributes(tmp_path / "runs", models=("resnet18", "alexnet"))
    found = [read_any_predictions(folder) for folder in find_predictions(tmp_path / "runs")]
    made = compare(found, tmp_path / "out", settings=FAST)
    read = read_tables(tmp_path / "out")
    assert all(read.named()[name].equals(table) for name, table in made.named().items())
    assert (read.metrics, read.task) == ((METRIC,), CELEBA)
    pairs = {(row["arm"], row["reference"]) for row in rows(made, "differences", model="all")}
    assert pairs == {
        ("original", "scratch"),
        (NONE, "scratch"),
        (NONE, "original"),
        *((BLUR, reference) for reference in ("scratch", "original", "none")),
    }
    by_hand = {}
    for item in items:
        truth, scores = arrays(item)
        key = (item.facts["model"], item.facts["train_arm"], item.facts["seed"])
        by_hand[key] = weighted(truth, scores, np.ones(len(truth)))
    for row in rows(made, "seeds"):
        assert row[METRIC] == pytest.approx(by_hand[row["model"], row["arm"], row["seed"]])
    for row in rows(made, "overall", model="alexnet"):
        assert row["mean"] == pytest.approx(
            np.mean([by_hand["alexnet", row["arm"], seed] for seed in range(3)])
        )
    assert len(made.by_category) == 0


def test_each_attribute_has_its_precision_and_its_change(tmp_path: Path) -> None:
    items = make_attributes(tmp_path / "runs", skill={"original": 2.0, BLUR: 0.5})
    made = compare(items, tmp_path / "out", settings=FAST)
    for row in rows(made, "precision"):
        of_arm = [item for item in items if item.facts["train_arm"] == row["arm"]]
        values = [
            average_precision_score(t[:, row["label"]], s[:, row["label"]]) for t, s in map(arrays, of_arm)
        ]
        assert row["average_precision"] == pytest.approx(np.mean(values))
        assert row["n_images"] == arrays(items[0])[0][:, row["label"]].sum()
    found = rows(made, "precision_differences")
    assert [(row["category"], row["reference"]) for row in found] == [(f"a{k}", "original") for k in range(3)]
    for row in found:
        arm, base = (
            next(r for r in rows(made, "precision", arm=arm) if r["label"] == row["label"])
            for arm in (BLUR, "original")
        )
        assert row["difference"] == pytest.approx(arm["average_precision"] - base["average_precision"])
        assert row["ci_low"] < row["difference"] < row["ci_high"] < 0
        assert row["q_value_benjamini_hochberg"] < 0.05


def test_rare_attributes_are_reported_and_not_in_the_mean(tmp_path: Path) -> None:
    n = 400
    truth = np.zeros((n, 3), dtype=np.int8)
    truth[::3, 0], truth[:FEWEST, 1], truth[: FEWEST - 1, 2] = 1, 1, 1
    items = []
    for arm in ("original", BLUR):
        for seed in (0, 1):
            scores = np.random.default_rng([seed, arm == BLUR]).normal(size=truth.shape) + truth
            items.append(write_attributes(tmp_path / "runs", truth, scores, run_facts(arm, seed, CELEBA)))
    made = compare(items, tmp_path / "out", settings=FAST)
    assert made.manifest is not None
    assert list(made.manifest.facts["not_counted"]) == ["a2"]
    by_attribute = {row["category"]: row for row in rows(made, "precision", arm=BLUR)}
    assert by_attribute["a2"]["n_images"] == FEWEST - 1
    (row,) = rows(made, "overall", arm=BLUR)
    assert row["mean"] == pytest.approx(np.mean([by_attribute[k]["average_precision"] for k in ("a0", "a1")]))
    *known, rare = rows(made, "precision_differences")
    assert all(row["p_value"] is not None for row in known)
    assert rare["difference"] is not None
    assert (rare["ci_low"], rare["p_value"], rare["q_value_benjamini_hochberg"]) == (None, None, None)


def test_only_rare_attributes_are_an_error(tmp_path: Path) -> None:
    truth = np.eye(20, 3, dtype=np.int8)
    item = write_attributes(tmp_path, truth, np.zeros((20, 3)), run_facts("original", 0, CELEBA))
    with pytest.raises(
        UsageError, match="none of the 3 attributes has 10 images with it and 10 without it among the 20"
    ):
        measure([item])


def test_attributes_that_nearly_all_have_are_not_in_the_mean(tmp_path: Path) -> None:
    n = 400
    truth = np.ones((n, 4), dtype=np.int8)
    truth[::3, 0], truth[:FEWEST, 1], truth[: FEWEST - 1, 2], truth[5:, 3] = 0, 0, 0, 0
    items = [
        write_attributes(
            tmp_path / "runs",
            truth,
            np.random.default_rng([seed, arm == BLUR]).normal(size=truth.shape) + truth,
            run_facts(arm, seed, CELEBA),
        )
        for arm in ("original", BLUR)
        for seed in (0, 1)
    ]
    made = compare(items, tmp_path / "out", settings=FAST)
    assert made.manifest is not None
    assert list(made.manifest.facts["not_counted"]) == ["a2", "a3"]
    assert list(made.manifest.facts["too_common"]) == ["a2"]
    by_attribute = {row["category"]: row for row in rows(made, "precision", arm=BLUR)}
    (row,) = rows(made, "overall", arm=BLUR)
    assert row["mean"] == pytest.approx(np.mean([by_attribute[k]["average_precision"] for k in ("a0", "a1")]))
    known = [row["category"] for row in rows(made, "precision_differences") if row["p_value"] is not None]
    assert known == ["a0", "a1"]
    told = [text for text in judge(made).caveats if "not in the mean" in text]
    assert told == [
        "1 attribute has fewer than 10 images with it and is not in the mean: a3.",
        "1 attribute has fewer than 10 images without it and is not in the mean: a2.",
    ]


@given(truth=arrays_of(np.int8, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.integers(0, 1)))
def test_what_can_be_compared_is_known_before_training(truth: NDArray[np.int8]) -> None:
    enough = any(
        list(column).count(0) >= FEWEST and list(column).count(1) >= FEWEST for column in truth.T.tolist()
    )
    with nullcontext() if enough else pytest.raises(UsageError, match="evaluate on more images"):
        need_comparable("attributes", truth)
    need_comparable("categories")


def test_objects_need_pycocotools_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    need_comparable("objects")
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtra, match=r"sfumato\[objects\]"):
        need_comparable("objects")


def test_an_attribute_without_any_positive_is_null(tmp_path: Path) -> None:
    truth = np.stack([np.arange(40) % 2, np.zeros(40)], axis=1).astype(np.int8)
    rng = np.random.default_rng(0)
    items = [
        write_attributes(tmp_path / "runs", truth, rng.normal(size=(40, 2)), run_facts(arm, seed, CELEBA))
        for arm in ("original", BLUR)
        for seed in (0, 1)
    ]
    made = compare(items, tmp_path / "out", settings=FAST)
    (row,) = rows(made, "precision", arm=BLUR, category="a1")
    assert (row["average_precision"], row["n_images"]) == (None, 0)
    (row,) = rows(made, "precision_differences", category="a1")
    assert row["difference"] is None


def test_an_image_that_failed_once_is_left_out_everywhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random((90, 2)) < 0.5).astype(np.int8)
    scores = rng.normal(size=(4, 90, 2)) + truth
    items = [
        write_attributes(tmp_path, truth, scores[place], run_facts(arm, seed, CELEBA), failed)
        for place, (arm, seed, failed) in enumerate(
            [("original", 0, [5]), ("original", 1, []), (BLUR, 0, [7]), (BLUR, 1, [])]
        )
    ]
    found = measure(items)
    assert list(found.excluded) == [image_names(90)[5], image_names(90)[7]]
    kept = np.delete(np.arange(90), [5, 7])
    half = scores[3].astype(np.float16)
    expected = [average_precision_score(truth[kept, k], half[kept, k]) for k in range(2)]
    np.testing.assert_allclose(found.measurements["resnet18", BLUR][1].classes, expected, atol=1e-12)


def test_other_truth_is_refused(tmp_path: Path) -> None:
    items = make_attributes(tmp_path, 60, skill={"original": 1.0, BLUR: 1.0}, seeds=(0,))
    truth, scores = arrays(items[1])
    truth[11, 1] ^= 1
    items[1] = write_attributes(tmp_path, truth, scores, run_facts(BLUR, 0, CELEBA))
    with pytest.raises(UsageError, match=r"give 'test/00011.jpg' different attributes"):
        measure(items)


def test_damaged_predictions_are_errors(tmp_path: Path) -> None:
    (item,) = make_attributes(tmp_path, 60, skill={"original": 1.0}, seeds=(0,))
    truth, scores = arrays(item)
    scores[3, 1] = np.nan
    with pytest.raises(TableError, match="a score that is no number"):
        measure([write_attributes(tmp_path, truth, scores, run_facts("original", 0, CELEBA))])
    with pytest.raises(TableError, match="neither 1 nor 0"):
        measure([write_attributes(tmp_path, truth + 1, scores, run_facts("original", 0, CELEBA))])
    with pytest.raises(TableError, match="has not 4 attributes"):
        measure([replace(item, facts={**item.facts, "categories": ["a", "b", "c", "d"]})])
    (item.folder / "scores.npy").unlink()
    with pytest.raises(TableError, match=r"scores were not kept"):
        measure([item])


def test_one_task_at_a_time(tmp_path: Path) -> None:
    items = make_attributes(tmp_path / "runs", 60, skill={"original": 1.0, BLUR: 1.0}, seeds=(0, 1))
    for other in (
        task("celeba", "attributes", [METRIC], "linear"),
        task("other", "attributes", [METRIC]),
        None,
    ):
        mixed = [*items[:3], replace(items[3], facts={**items[3].facts, "task": other})]
        with pytest.raises(UsageError, match=r"0003 is of .* of .*; compare one task at a time") as caught:
            compare(mixed, tmp_path / "out")
        assert "0002" in str(caught.value)  # the one that it does not go with is named too
    categories = make_predictions(tmp_path / "categories", World())
    with pytest.raises(UsageError, match=r"holds predictions of attributes, .* of categories"):
        compare([*items, *categories], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faces_and_groups_are_not_for_attributes(tmp_path: Path) -> None:
    items = make_attributes(tmp_path / "runs", 60, skill={"original": 1.0, BLUR: 1.0}, seeds=(0, 1))
    with pytest.raises(UsageError, match="leave --faces, --groups and --supercategories out"):
        compare(items, tmp_path / "out", faces=make_faces(World(), []))
