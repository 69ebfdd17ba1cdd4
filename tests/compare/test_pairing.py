from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.compare.pairing import pair
from sfumato.errors import TableError, UsageError
from sfumato.predictions import Predictions
from tests.compare.synthetic import BLUR, NONE, World, make_predictions, write_predictions

SMALL = World(categories=("a", "b"), per_category=(3, 2))


def _facts(arm: str = "original", seed: int = 0, **other: Any) -> dict[str, Any]:
    return {"model": "resnet18", "seed": seed, "train_arm": arm, "eval_arm": arm, **other}


def _four(root: Path, world: World = SMALL) -> list[Predictions]:
    return [
        write_predictions(root, world, np.arange(len(world.labels)), _facts(arm, seed))
        for arm in ("original", BLUR)
        for seed in (0, 1)
    ]


def test_arms_of_a_model_have_one_recipe(tmp_path: Path) -> None:
    items = _four(tmp_path)
    items[2] = replace(items[2], facts={**items[2].facts, "recipe": "small(epochs=1)"})
    with pytest.raises(
        UsageError, match=r"trained with small,.*with small\(epochs=1\); compare runs of one recipe"
    ):
        pair(items)


def test_rows_are_paired_by_image_whatever_their_order(tmp_path: Path) -> None:
    items = _four(tmp_path)
    order = np.random.default_rng(0).permutation(len(items[1].table))
    shuffled = replace(items[1], table=items[1].table.take(order))
    outcomes = pair([shuffled, items[3], items[0], items[2]])
    assert outcomes.image_ids.tolist() == sorted(SMALL.image_ids)
    assert outcomes.arms() == ("original", BLUR)
    for ranks in outcomes.ranks.values():
        assert ranks.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_seeds_are_paired_in_order(tmp_path: Path) -> None:
    items = [
        write_predictions(tmp_path, SMALL, [seed] * 5, _facts(arm, seed))
        for arm, seed in (("original", 7), (BLUR, 3), (BLUR, 7), ("original", 3))
    ]
    outcomes = pair(items)
    assert outcomes.seeds == {"resnet18": (3, 7)}
    assert all(ranks[:, 0].tolist() == [3, 7] for ranks in outcomes.ranks.values())


def test_an_image_that_failed_once_is_left_out_everywhere(tmp_path: Path) -> None:
    items = _four(tmp_path)
    items[2] = write_predictions(tmp_path, SMALL, [0, 1, None, 3, 4], _facts(BLUR, 0))
    outcomes = pair(items)
    assert list(outcomes.excluded) == [SMALL.image_ids[2]]
    assert "truncated file" in outcomes.excluded[SMALL.image_ids[2]]
    assert outcomes.label.tolist() == [0, 0, 1, 1]
    assert {ranks.shape for ranks in outcomes.ranks.values()} == {(2, 4)}


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    items = _four(tmp_path)
    items[2] = write_predictions(tmp_path, SMALL, [None] * 5, _facts(BLUR, 0))
    with pytest.raises(UsageError, match="every image failed"):
        pair(items)


def test_no_predictions_is_an_error() -> None:
    with pytest.raises(UsageError, match="no predictions"):
        pair([])


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    items = _four(tmp_path)
    again = write_predictions(tmp_path, SMALL, [0] * 5, _facts(BLUR, 1))
    with pytest.raises(UsageError, match=r"both hold model resnet18, arm blur.*seed 1"):
        pair([*items, again])


def test_other_images_are_refused(tmp_path: Path) -> None:
    items = _four(tmp_path)
    items[3] = replace(items[3], table=items[3].table.slice(1))
    with pytest.raises(UsageError, match=r"different images.*1 in only one"):
        pair(items)


def test_other_labels_are_refused(tmp_path: Path) -> None:
    items = _four(tmp_path)
    relabelled = replace(SMALL, per_category=(2, 3))
    table = write_predictions(tmp_path, relabelled, [0] * 5, _facts(BLUR, 1)).table
    items[3] = replace(items[3], table=table.set_column(0, "image_id", [SMALL.image_ids]))
    with pytest.raises(UsageError, match="different labels"):
        pair(items)


def test_other_categories_are_refused(tmp_path: Path) -> None:
    items = _four(tmp_path)
    items[3] = replace(items[3], facts={**items[3].facts, "categories": ["a", "c"]})
    with pytest.raises(UsageError, match="different categories"):
        pair(items)


def test_other_seeds_in_an_arm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same seeds in every arm"):
        pair(_four(tmp_path)[:3], allow_single_seed=True)


def test_one_seed_needs_to_be_allowed(tmp_path: Path) -> None:
    items = make_predictions(tmp_path, replace(SMALL, seeds=(4,)))
    with pytest.raises(UsageError, match="--allow-single-seed"):
        pair(items)
    assert pair(items, allow_single_seed=True).seeds == {"resnet18": (4,)}


def test_two_control_arms_are_refused(tmp_path: Path) -> None:
    world = replace(SMALL, accuracy={"original": 0.9, NONE: 0.9, "none(quality=50)": 0.8})
    with pytest.raises(UsageError, match="could be the reference 'none'"):
        pair(make_predictions(tmp_path, world))


def test_a_run_evaluated_on_another_arm_is_an_arm(tmp_path: Path) -> None:
    items = _four(tmp_path)
    for seed in (0, 1):
        crossed = _facts(seed=seed) | {"eval_arm": BLUR}
        items.append(write_predictions(tmp_path, SMALL, [0] * 5, crossed))
    assert pair(items).arms() == ("original", BLUR, f"original -> {BLUR}")


def test_damaged_tables_are_errors(tmp_path: Path) -> None:
    items = _four(tmp_path)
    twice = replace(items[0], table=items[0].table.take([0, 0, 1, 2, 3]))
    with pytest.raises(TableError, match="twice"):
        pair([twice, *items[1:]])
    column = items[0].table.schema.get_field_index("status")
    lying = write_predictions(tmp_path, SMALL, [None, 0, 0, 0, 0], _facts())
    lying = replace(lying, table=lying.table.set_column(column, "status", [["ok"] * 5]))
    with pytest.raises(TableError, match="no label_rank"):
        pair([lying, *items[1:]])
    unknown = [replace(item, facts={**item.facts, "categories": ["a"]}) for item in items]
    with pytest.raises(TableError, match="none of the 1 categories"):
        pair(unknown)


@pytest.mark.parametrize(("fact", "value"), [("images", "streamed"), ("precision", "bf16"), ("processes", 2)])
def test_arms_of_a_model_are_trained_under_the_same_conditions(
    tmp_path: Path, fact: str, value: object
) -> None:
    items = _four(tmp_path)
    usual = {"images": "packed", "precision": "fp32", "processes": 1}
    items = [replace(item, facts={**item.facts, **usual}) for item in items]
    assert pair(items)
    items[2] = replace(items[2], facts={**items[2].facts, fact: value})
    with pytest.raises(UsageError, match=f"{usual[fact]}.*{value}|{value}.*{usual[fact]}"):
        pair(items)
