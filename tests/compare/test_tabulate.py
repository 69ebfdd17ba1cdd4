from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from sfumato.compare import CompareSettings, Tables
from sfumato.compare.outcomes import Outcomes
from sfumato.compare.pairing import pair
from sfumato.compare.tables import SCHEMAS
from sfumato.compare.tabulate import tabulate
from tests.compare.synthetic import BLUR, NONE, World, make_predictions, outcomes_of

FAST = CompareSettings(rounds=200, allow_single_seed=True)


def _outcomes(root: Path, world: World = World()) -> Outcomes:
    return pair(make_predictions(root, world), allow_single_seed=True)


def _rows(tables: Tables, name: str, **wanted: Any) -> list[dict[str, Any]]:
    rows = tables.named()[name].to_pylist()
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def _one(tables: Tables, name: str, **wanted: Any) -> dict[str, Any]:
    (row,) = _rows(tables, name, **wanted)
    return row


def test_tables_have_their_schemas(tmp_path: Path) -> None:
    for name, table in tabulate(_outcomes(tmp_path), None, settings=FAST).named().items():
        assert table.schema == SCHEMAS[name]


def test_accuracies_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    n, n_categories = 90, 12
    label = np.arange(n) % n_categories
    scores = rng.normal(size=(2, n, n_categories))
    scores[:, np.arange(n), label] += 1.5
    of_label = scores[:, np.arange(n), label]
    ranks = (scores > of_label[..., None]).sum(axis=2).astype(np.int32)
    names = tuple(f"c{number:02d}" for number in range(n_categories))
    outcomes = outcomes_of({("m", "original"): ranks}, label, names, {"m": (0, 1)})
    tables = tabulate(outcomes, None, settings=FAST)
    for seed in (0, 1):
        row = _one(tables, "seeds", seed=seed, subset="all")
        assert row["top1_accuracy"] == pytest.approx(accuracy_score(label, scores[seed].argmax(axis=1)))
        assert row["top5_accuracy"] == pytest.approx(top_k_accuracy_score(label, scores[seed], k=5))
    by_seed = [accuracy_score(label, scores[seed].argmax(axis=1)) for seed in (0, 1)]
    row = _one(tables, "overall", metric="top1_accuracy", subset="all")
    assert row["mean"] == pytest.approx(np.mean(by_seed))
    assert row["standard_error"] == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2)  # two values, ddof 1
    assert len(tables.differences) == 0


def test_means_and_differences_equal_plain_loops(tmp_path: Path) -> None:
    outcomes = _outcomes(tmp_path, World(models=("a", "b"), seeds=(0, 1, 2)))
    tables = tabulate(outcomes, None, settings=FAST)
    for metric, k in (("top1_accuracy", 1), ("top5_accuracy", 5)):
        right = {cell: (ranks < k).mean(axis=1) for cell, ranks in outcomes.ranks.items()}
        for (model, arm), by_seed in right.items():
            row = _one(tables, "overall", model=model, arm=arm, metric=metric, subset="all")
            assert row["mean"] == pytest.approx(by_seed.mean())
            assert row["standard_error"] == pytest.approx(by_seed.std(ddof=1) / np.sqrt(3))
            assert (row["n_images"], row["n_seeds"]) == (120, 3)
        for reference, base in (("original", "original"), ("none", NONE)):
            row = _one(tables, "differences", model="b", arm=BLUR, metric=metric, reference=reference)
            assert row["difference"] == pytest.approx(right["b", BLUR].mean() - right["b", base].mean())
            assert row["ci_low"] <= row["difference"] <= row["ci_high"]
            assert (row["n_images"], row["n_seeds"], row["n_rounds"]) == (120, 3, 200)


def test_all_models_are_the_mean_over_models(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path, World(models=("a", "b"))), None, settings=FAST)
    wanted = {"arm": BLUR, "metric": "top1_accuracy", "subset": "all"}
    a, b, both = (_one(tables, "overall", model=model, **wanted) for model in ("a", "b", "all"))
    assert both["mean"] == pytest.approx((a["mean"] + b["mean"]) / 2)
    assert both["standard_error"] == pytest.approx(np.hypot(a["standard_error"], b["standard_error"]) / 2)
    for name in ("differences", "by_category"):
        assert {row["model"] for row in tables.named()[name].to_pylist()} == {"a", "b", "all"}
    assert {row["model"] for row in tables.seeds.to_pylist()} == {"a", "b"}


def test_one_model_has_no_rows_of_all(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path), None, settings=FAST)
    assert set(tables.overall["model"].to_pylist()) == {"resnet18"}


def test_references_are_compared_once(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path), None, settings=FAST)
    pairs = {(row["arm"], row["reference"]) for row in tables.differences.to_pylist()}
    assert pairs == {(NONE, "original"), (BLUR, "original"), (BLUR, "none")}


def test_one_seed_has_no_standard_error(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path, World(seeds=(0,), models=("a", "b"))), None, settings=FAST)
    assert tables.overall["standard_error"].null_count == len(tables.overall)
    assert tables.differences["ci_low"].null_count == 0


def test_images_with_and_without_faces_add_up(tmp_path: Path) -> None:
    outcomes = _outcomes(tmp_path)
    has_faces = (np.arange(120) % 3 - 1).astype(np.int8)  # -1: not known
    tables = tabulate(outcomes, has_faces, settings=FAST)
    for state, subset in ((1, "with_faces"), (0, "without_faces")):
        ranks = outcomes.ranks["resnet18", BLUR][:, has_faces == state]
        row = _one(tables, "overall", arm=BLUR, metric="top1_accuracy", subset=subset)
        assert row["mean"] == pytest.approx((ranks < 1).mean())
        assert row["n_images"] == 40
    assert set(tables.by_category["share_with_faces"].to_pylist()) == {0.5}


def test_a_subset_without_images_is_null(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path), np.zeros(120, dtype=np.int8), settings=FAST)
    for name, column in (("overall", "mean"), ("differences", "difference"), ("differences", "ci_low")):
        rows = _rows(tables, name, subset="with_faces")
        assert rows
        assert all(row[column] is None and row["n_images"] == 0 for row in rows)
    assert all(row["top1_accuracy"] is None for row in _rows(tables, "seeds", subset="with_faces"))


def test_categories_equal_plain_loops(tmp_path: Path) -> None:
    outcomes = _outcomes(tmp_path, World(per_category=(30, 10, 45, 5)))
    tables = tabulate(outcomes, None, settings=FAST)
    for label, category in enumerate(outcomes.categories):
        row = _one(tables, "by_category", arm=BLUR, category=category)
        blur, none = (outcomes.ranks["resnet18", arm][:, outcomes.label == label] for arm in (BLUR, NONE))
        assert row["top1_accuracy"] == pytest.approx((blur < 1).mean())
        assert row["top5_accuracy"] == pytest.approx((blur < 5).mean())
        assert row["top1_difference_to_none"] == pytest.approx((blur < 1).mean() - (none < 1).mean())
        assert row["top5_difference_to_none"] == pytest.approx((blur < 5).mean() - (none < 5).mean())
        assert row["top1_ci_low_to_none"] <= row["top1_difference_to_none"] <= row["top1_ci_high_to_none"]
        assert row["n_images"] == blur.shape[1]
        assert row["share_with_faces"] is None


def test_a_category_without_images_is_a_row_of_nulls(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path, World(per_category=(30, 0, 30, 1))), None, settings=FAST)
    row = _one(tables, "by_category", arm=BLUR, category="drum")
    assert row["n_images"] == 0
    empty = set(row) - {"model", "arm", "category", "label", "n_images", "n_seeds"}
    assert all(row[name] is None for name in empty)
    alone = _one(tables, "by_category", arm=BLUR, category="mask")
    assert alone["top1_difference_to_none"] is not None
    assert alone["top1_ci_low_to_none"] is None


def test_the_references_have_no_difference_to_themselves(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path), None, settings=FAST)
    assert all(
        row["top1_difference_to_original"] is None for row in _rows(tables, "by_category", arm="original")
    )
    for row in _rows(tables, "by_category", arm=NONE):
        assert row["top1_difference_to_original"] is not None
        assert row["top1_difference_to_none"] is None


def test_equal_arms_differ_by_nothing(tmp_path: Path) -> None:
    outcomes = _outcomes(tmp_path)
    same = replace(outcomes, ranks=dict.fromkeys(outcomes.ranks, outcomes.ranks["resnet18", "original"]))
    for row in tabulate(same, None, settings=FAST).differences.to_pylist():
        assert [row["difference"], row["ci_low"], row["ci_high"]] == pytest.approx([0, 0, 0], abs=1e-12)


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    tabulate(
        _outcomes(tmp_path),
        np.ones(120, dtype=np.int8),
        settings=FAST,
        progress=lambda *call: seen.append(call),
    )
    assert seen == [("compare", done, 4) for done in range(1, 5)]  # three subsets, then the categories


def test_the_studys_standard_error_has_ddof_2(tmp_path: Path) -> None:
    outcomes = _outcomes(tmp_path, World(seeds=(0, 1, 2)))
    wanted = {"arm": BLUR, "metric": "top1_accuracy", "subset": "all"}
    row = _one(tabulate(outcomes, None, settings=replace(FAST, sem="study")), "overall", **wanted)
    by_seed = (outcomes.ranks["resnet18", BLUR] < 1).mean(axis=1)
    assert row["standard_error"] == pytest.approx(stats.sem(by_seed, ddof=2))


def test_the_studys_standard_error_needs_three_seeds(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path), None, settings=replace(FAST, sem="study"))
    assert tables.overall["standard_error"].null_count == len(tables.overall)


def test_what_is_compression_and_what_is_hiding(tmp_path: Path) -> None:
    world = World(models=("a", "b"), seeds=(0, 1, 2))
    has_faces = (np.arange(120) % 2).astype(np.int8)
    tables = tabulate(_outcomes(tmp_path, world), has_faces, settings=FAST)
    rows = tables.split.to_pylist()
    assert {row["arm"] for row in rows} == {BLUR}
    assert len(rows) == 3 * 2 * 3  # models and their mean, metrics, subsets
    for row in rows:
        assert row["total"] == pytest.approx(row["recompression"] + row["obfuscation"])
        wanted = {name: row[name] for name in ("model", "metric", "subset")}
        hiding = _one(tables, "differences", arm=BLUR, reference="none", **wanted)
        writing = _one(tables, "differences", arm=NONE, reference="original", **wanted)
        for part, other in (("obfuscation", hiding), ("recompression", writing)):
            assert row[part] == other["difference"]
            assert [row[f"{part}_{name}"] for name in ("ci_low", "ci_high", "p_value")] == [
                other[name] for name in ("ci_low", "ci_high", "p_value")
            ]


def test_without_the_control_arm_nothing_is_split(tmp_path: Path) -> None:
    world = World(accuracy={"original": 0.8, BLUR: 0.7})
    tables = tabulate(_outcomes(tmp_path, world), None, settings=FAST)
    assert len(tables.split) == 0
    assert len(tables.differences) == 2


def test_across_architectures_is_a_paired_t_test(tmp_path: Path) -> None:
    models = ("a", "b", "c", "d")
    tables = tabulate(_outcomes(tmp_path, World(models=models)), None, settings=FAST)
    wanted = {"arm": BLUR, "reference": "none", "metric": "top1_accuracy", "subset": "all"}
    row = _one(tables, "architectures", **wanted)
    by_model = [_one(tables, "differences", model=model, **wanted)["difference"] for model in models]
    expected = stats.ttest_1samp(by_model, 0)
    assert (row["n_models"], row["difference"]) == (4, pytest.approx(np.mean(by_model)))
    assert row["p_value"] == pytest.approx(expected.pvalue)
    ends = (row["ci_low"], row["ci_high"])
    assert ends == pytest.approx(tuple(expected.confidence_interval(0.95)))
    alone = tabulate(_outcomes(tmp_path / "one"), None, settings=FAST)
    assert len(alone.architectures) == 0


def test_a_difference_is_judged_in_its_row(tmp_path: Path) -> None:
    world = World(accuracy={"original": 0.9, NONE: 0.9, BLUR: 0.2}, seeds=(0, 1, 2, 3))
    tables = tabulate(_outcomes(tmp_path, world), None, settings=replace(FAST, margin=0.02))
    cost = _one(tables, "differences", arm=BLUR, reference="none", metric="top1_accuracy")
    assert (cost["outcome"], cost["margin"], cost["seeds_needed"]) == ("cost", 0.02, None)
    assert cost["p_value"] < 0.05 < cost["p_equivalence"]
    unclear = _one(tables, "differences", arm=NONE, reference="original", metric="top1_accuracy")
    assert unclear["outcome"] == "undecided"
    assert unclear["smallest_effect"] > unclear["standard_error"] > 0
    assert unclear["images_needed"] is None or unclear["images_needed"] > 120


def test_identical_arms_are_equivalent_only_with_enough_images(tmp_path: Path) -> None:
    for per_category, expected in ((20, "undecided"), (80, "equivalent")):
        outcomes = _outcomes(tmp_path / str(per_category), World(per_category=(per_category,) * 4))
        same = replace(outcomes, ranks=dict.fromkeys(outcomes.ranks, outcomes.ranks["resnet18", "original"]))
        rows = tabulate(same, None, settings=FAST).differences.to_pylist()
        assert {row["outcome"] for row in rows} == {expected}  # 299 images rule a change in 1 of 100 out
        assert {row["images_needed"] for row in rows} == {299 if expected == "undecided" else None}
        assert {row["seeds_needed"] for row in rows} == {None}


@pytest.mark.parametrize(("n", "told"), [(2, False), (5, False), (6, True)])
def test_a_few_images_that_all_changed_alike_prove_nothing(n: int, told: bool) -> None:
    right, wrong = np.zeros((3, n), dtype=np.int32), np.full((3, n), 9, dtype=np.int32)
    ranks = {("m", "original"): right, ("m", BLUR): wrong}
    outcomes = outcomes_of(ranks, np.zeros(n, dtype=np.int64), "a", {"m": (0, 1, 2)})
    for row in tabulate(outcomes, None, settings=FAST).differences.to_pylist():
        assert row["difference"] == -1
        assert (row["outcome"], row["ci_high"]) == (("cost", -1.0) if told else (None, None))


def test_false_discoveries_over_categories_are_adjusted(tmp_path: Path) -> None:
    tables = tabulate(_outcomes(tmp_path, World(seeds=(0, 1, 2))), None, settings=FAST)
    rows = _rows(tables, "by_category", arm=BLUR)
    p, q = (np.array([row[f"top1_{name}_to_none"] for row in rows]) for name in ("p_value", "q_value"))
    np.testing.assert_allclose(q, stats.false_discovery_control(p))
