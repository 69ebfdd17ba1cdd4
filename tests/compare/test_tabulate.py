from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from sfumato.compare import CompareSettings, Tables
from sfumato.compare.pairing import Outcomes, pair
from sfumato.compare.tables import SCHEMAS
from sfumato.compare.tabulate import tabulate
from tests.compare.synthetic import BLUR, NONE, World, make_predictions

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
    ids = np.array([f"{number:03d}" for number in range(n)])
    names = tuple(f"c{number:02d}" for number in range(n_categories))
    tables = tabulate(
        Outcomes(ids, label, names, {("m", "original"): ranks}, {"m": (0, 1)}, {}), None, settings=FAST
    )
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
    assert seen[-1] == ("compare", 12, 12)
    assert [done for _, done, _ in seen] == list(range(1, 13))
