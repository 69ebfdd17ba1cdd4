from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sfumato.compare import CompareSettings, Grouping, compare, read_tables
from sfumato.compare.by_group import group_table
from sfumato.compare.further import FURTHER_SCHEMAS, Beside, further_tables
from sfumato.compare.pairing import pair
from sfumato.errors import UsageError
from sfumato.predictions import Predictions
from tests.compare.synthetic import BLUR, NONE, World, make_faces, make_predictions

FAST = CompareSettings(rounds=100)
WORLD = World(models=("a", "b"), per_category=(40, 30, 30, 20))


def _with_scores(items: list[Predictions], world: World) -> dict[Path, np.ndarray]:
    """Scores beside every run, with their rows as in its table."""
    rng = np.random.default_rng(0)
    kept = {}
    for item in items:
        scores = rng.normal(size=(len(item.table), len(world.categories)))
        scores[np.arange(len(scores)), world.labels] += 2 * (item.table["label_rank"].to_numpy() == 0)
        kept[item.folder] = scores.astype(np.float16)
        np.save(item.folder / "scores.npy", kept[item.folder])
    return kept


def test_all_tables_are_written_and_read_again(tmp_path: Path) -> None:
    items = make_predictions(tmp_path / "runs", WORLD)
    _with_scores(items, WORLD)
    grouping = Grouping("region", images={name: name[-5] for name in WORLD.image_ids})
    faces = make_faces(WORLD, WORLD.image_ids[::2])
    made = compare(items, tmp_path / "out", faces=faces, groups=[grouping], settings=FAST)
    read = read_tables(tmp_path / "out").named()
    for name, schema in FURTHER_SCHEMAS.items():
        assert read[name].equals(made.named()[name])
        assert read[name].schema.names == schema.names
    assert all(len(read[name]) for name in FURTHER_SCHEMAS if name not in {"attention", "losses", "swaps"})
    assert {row["reference"] for row in read["precision_differences"].to_pylist()} == {"original", "none"}


def test_average_precision_is_of_each_runs_own_rows(tmp_path: Path) -> None:
    """One run has its images in another order; scikit-learn is the truth."""
    items = make_predictions(tmp_path, WORLD)
    order = np.random.default_rng(1).permutation(len(WORLD.labels))
    kept = _with_scores(items, WORLD)
    items[1] = replace(items[1], table=items[1].table.take(order))
    np.save(items[1].folder / "scores.npy", kept[items[1].folder][order])
    found = further_tables(pair(items), Beside(items), settings=FAST)["precision"].to_pylist()
    (row,) = [r for r in found if (r["model"], r["arm"], r["category"]) == ("a", "original", "kite")]
    own = [item for item in items if (item.facts["model"], item.facts["train_arm"]) == ("a", "original")]
    expected = [average_precision_score(WORLD.labels == 2, kept[item.folder][:, 2]) for item in own]
    assert row["average_precision"] == pytest.approx(np.mean(expected), abs=1e-9)


def test_nothing_known_makes_empty_tables(tmp_path: Path) -> None:
    items = make_predictions(tmp_path, WORLD)
    found = further_tables(pair(items), Beside(items), settings=FAST)
    assert {name for name, table in found.items() if len(table)} <= {"swaps", "losses"}
    assert {name: table.schema for name, table in found.items()} == FURTHER_SCHEMAS


def test_a_group_is_treated_like_a_category(tmp_path: Path) -> None:
    """Groups that are the categories say what the categories say."""
    from sfumato.compare.tabulate import tabulate

    outcomes = pair(make_predictions(tmp_path, WORLD))
    names = {image_id: image_id.split("/")[1] for image_id in WORLD.image_ids}
    rows = group_table(outcomes, [Grouping("theirs", images=dict(names))], FAST).to_pylist()
    categories = tabulate(outcomes, None, settings=FAST).by_category.to_pylist()
    by_category = {(row["model"], row["arm"], row["category"]): row for row in categories}
    assert len(rows) == 4 * 3 * 3 * 2  # groups, contrasts, models and their mean, metrics
    for row in rows:
        same = by_category[row["model"], row["arm"], row["group"]]
        short = row["metric"].removesuffix("_accuracy")
        assert row["n_images"] == same["n_images"]
        assert row["mean"] == pytest.approx(same[row["metric"]])
        for column in ("difference", "p_value", "q_value"):
            assert row[column] == pytest.approx(same[f"{short}_{column}_to_{row['reference']}"])


def test_an_image_may_be_in_several_supercategories(tmp_path: Path) -> None:
    outcomes = pair(make_predictions(tmp_path, WORLD))
    grouping = Grouping(
        "supercategory", categories={"worn": ["apron", "mask"], "all": list(WORLD.categories)}
    )
    rows = group_table(outcomes, [grouping], FAST).to_pylist()
    assert {row["group"]: row["n_images"] for row in rows} == {"worn": 60, "all": 120}
    (row,) = [
        r
        for r in rows
        if (r["group"], r["model"], r["arm"], r["reference"]) == ("worn", "a", BLUR, "none")
        if r["metric"] == "top1_accuracy"
    ]
    worn = np.isin(outcomes.label, [0, 3])
    right = {arm: (outcomes.ranks["a", arm][:, worn] < 1).mean() for arm in (BLUR, NONE)}
    assert row["difference"] == pytest.approx(right[BLUR] - right[NONE])


def test_groups_that_lack_an_image_are_refused(tmp_path: Path) -> None:
    outcomes = pair(make_predictions(tmp_path, WORLD))
    with pytest.raises(UsageError, match="region"):
        group_table(outcomes, [Grouping("region", images={"nobody": "x"})], FAST)


def test_other_groups_are_another_comparison(tmp_path: Path) -> None:
    items = make_predictions(tmp_path / "runs", WORLD)
    keys = set()
    for number, groups in enumerate([(), (Grouping("a", images=dict.fromkeys(WORLD.image_ids, "x")),)]):
        made = compare(items, tmp_path / str(number), groups=groups, settings=FAST)
        assert made.manifest is not None
        keys.add(made.manifest.key)
    assert len(keys) == 2
