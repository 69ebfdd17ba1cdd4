"""Swaps and losses: simulated studies in which it is known what happened to whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from sfumato.compare.components import Changes, group_changes
from sfumato.compare.losses import LOSSES_SCHEMA, Measures, losses_table
from sfumato.compare.swaps import (
    SWAPS_SCHEMA,
    PairedRuns,
    Predicted,
    Swaps,
    SwapSettings,
    best_categories,
    falls,
    find_swaps,
    swaps_table,
)
from sfumato.errors import UsageError
from sfumato.predictions import PREDICTIONS_SCHEMA

CONTRAST = ("blur", "original")
N_CATEGORIES, PER_CATEGORY = 40, 50
NAMES = tuple(f"category{number:02d}" for number in range(N_CATEGORIES))


@dataclass(frozen=True)
class World:
    """Categories 2k and 2k + 1 are near-synonyms; what the arm does to the first ones.

    Attributes:
        swap: how far the balance between 0 and 1 is tipped towards 1.
        real: share of category 10's images that are lost to other categories.
        tipping: how far each run tips each pair by chance.
    """

    swap: float = 0.0
    real: float = 0.05
    tipping: float = 0.1
    seeds: int = 3
    models: int = 2


@dataclass(frozen=True, eq=False)
class Study:
    runs: PairedRuns
    top5: Changes

    def found(self) -> tuple[Swaps, pa.Table]:
        top1 = self.runs.top1_changes()
        swaps = find_swaps(self.runs, top1=top1, others=[self.top5])
        measures = Measures(top1, self.top5)
        return swaps, losses_table(measures, swaps, categories=NAMES, contrast=CONTRAST)


def simulate(world: World, seed: int) -> Study:
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(N_CATEGORIES), PER_CATEGORY)
    clear = rng.normal(0.8, 1, len(label))
    predicted: dict[tuple[str, str], Predicted] = {}
    top5: dict[tuple[str, str], NDArray[np.float32]] = {}
    for model in range(world.models):
        for arm in ("original", "blur"):
            made = [_run(rng, world, label, clear, hidden=arm == "blur") for _ in range(world.seeds)]
            predicted[f"model{model}", arm] = np.stack([best for best, _ in made])
            top5[f"model{model}", arm] = np.stack([five for _, five in made])
    runs = PairedRuns.of(predicted, label, NAMES, CONTRAST)
    d = np.concatenate(
        [top5[f"model{model}", "blur"] - top5[f"model{model}", "original"] for model in range(world.models)]
    )
    return Study(runs, group_changes(d, label, N_CATEGORIES, models=runs.models))


def _run(
    rng: np.random.Generator,
    world: World,
    label: NDArray[np.int64],
    clear: NDArray[np.float64],
    *,
    hidden: bool,
) -> tuple[Predicted, NDArray[np.float32]]:
    tip = rng.normal(0, world.tipping, N_CATEGORIES // 2)
    tip[0] += world.swap if hidden else 0
    side = np.where(label % 2 == 0, 1, -1)
    first = side * (clear + rng.normal(0, 0.6, len(label))) > tip[label // 2]
    best = label // 2 * 2 + np.where(first, 0, 1)
    lost = rng.random(len(label)) < np.where((label == 10) & hidden, world.real, 0.05)
    best = np.where(lost, rng.integers(0, N_CATEGORIES, len(label)), best)
    five = ~(lost & (rng.random(len(label)) < 0.7))
    return best.astype(np.int32), five.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_exactly_the_planted_swap_and_the_planted_loss_are_named(seed: int) -> None:
    swaps, losses = simulate(World(swap=0.8, real=0.5), seed).found()
    named = [
        (NAMES[swaps.loser[pair]], NAMES[swaps.winner[pair]], swaps.kind[pair]) for pair in swaps.named()
    ]
    assert named == [("category00", "category01", "swap")]
    kinds = {row["category"]: row["kind"] for row in losses.to_pylist()}
    assert kinds == {"category00": "swap", "category10": "real loss"}
    explained = {row["category"]: row["share_explained_by_swaps"] for row in losses.to_pylist()}
    assert explained["category00"] > 0.8
    assert explained["category10"] == 0


def test_a_real_loss_into_ones_own_near_synonym_is_no_swap() -> None:
    study = simulate(World(), 0)
    arm = study.runs.arm.copy()
    rng = np.random.default_rng(1)
    turned = (study.runs.label == 4) & (rng.random(arm.shape) < 0.5)
    arm[turned] = 5  # images of 4 are called 5, and those of 5 as before
    runs = PairedRuns(study.runs.label, study.runs.reference, arm, study.runs.models, NAMES)
    assert not len(find_swaps(runs, top1=runs.top1_changes()).named())


@pytest.mark.parametrize("tipping", [0.0, 0.3])
def test_nothing_is_named_where_nothing_happens(tipping: float) -> None:
    with_swap = with_loss = 0
    for seed in range(60):
        swaps, losses = simulate(World(tipping=tipping, seeds=2, models=1), 1000 + seed).found()
        with_swap += bool(len(swaps.named()))
        with_loss += bool(len(losses))
    # 5 % of 60 studies are 3, with a standard error of 1.7.
    assert with_swap <= 3 + 3 * 1.7
    assert with_loss <= 3 + 3 * 1.7


def test_direction_and_flows() -> None:
    study = simulate(World(swap=-0.8), 3)  # the other way round: 1 loses
    top1 = study.runs.top1_changes()
    swaps = find_swaps(study.runs, top1=top1, others=[study.top5])
    counts = np.bincount(study.runs.label)
    table = swaps_table(swaps, top1, categories=NAMES, counts=counts, contrast=CONTRAST)
    assert table.schema == SWAPS_SCHEMA
    row = table.to_pylist()[0]
    assert (row["loser"], row["winner"], row["kind"]) == ("category01", "category00", "swap")
    label, runs = study.runs.label, study.runs
    for name, found, own, called in (
        ("loser_called_winner", runs.arm, 1, 0),
        ("loser_called_winner_reference", runs.reference, 1, 0),
        ("winner_called_loser", runs.arm, 0, 1),
        ("winner_called_loser_reference", runs.reference, 0, 1),
    ):
        assert row[name] == pytest.approx((found[:, label == own] == called).mean())
    assert row["loser_called_winner_difference"] > 0 > row["winner_called_loser_difference"]
    assert row["loser_top1_difference"] == pytest.approx(
        (runs.arm[:, label == 1] == 1).mean() - (runs.reference[:, label == 1] == 1).mean()
    )
    assert row["n_images_loser"] == PER_CATEGORY


def test_only_pairs_that_are_confused_both_ways_are_candidates() -> None:
    study = simulate(World(), 4)
    top1 = study.runs.top1_changes()
    swaps = find_swaps(study.runs, top1=top1, settings=SwapSettings(least_flow=0.05))
    pairs = {tuple(sorted(pair)) for pair in zip(swaps.loser.tolist(), swaps.winner.tolist(), strict=True)}
    assert pairs == {(first, first + 1) for first in range(0, N_CATEGORIES, 2)}
    assert len(find_swaps(study.runs, top1=top1, settings=SwapSettings(least_flow=0.9)).named()) == 0


def made_of(difference: float, p: float) -> Changes:
    """One category's change among two."""
    values = np.array([difference, 0.0])
    return Changes(values, values - 0.1, values + 0.1, np.array([p, 1.0]), np.array([p, 1.0]))


def test_a_fall_counts_where_it_is_sure_and_large_enough() -> None:
    assert falls(0, 0.12, [made_of(-0.04, 0.01)], 0.05)
    assert not falls(0, 0.12, [made_of(-0.02, 0.001)], 0.05)  # under a quarter of the loss
    assert not falls(0, 0.12, [made_of(-0.04, 0.06)], 0.05)
    assert not falls(0, 0.12, [made_of(0.04, 0.01)], 0.05)
    assert not falls(0, 0.12, [made_of(-0.04, 0.03), made_of(0.0, 1.0)], 0.05)  # two tests
    assert not falls(0, 0.12, [], 0.05)


@pytest.mark.parametrize(
    ("flow", "fall", "kind"),
    [(0.1, 0.0, "swap"), (0.1, 0.08, "swap and loss"), (0.02, 0.08, "real loss"), (0.02, 0.0, "top-1 only")],
)
def test_kinds_of_loss(flow: float, fall: float, kind: str) -> None:
    before = np.array([[0.2, 0.2]])
    swaps = Swaps(
        np.array([0]),
        np.array([1]),
        before,
        before + np.array([[flow, -0.1]]),
        np.array([0.001]),
        np.array([0.001]),
        ("swap",),
    )
    measures = Measures(made_of(-0.12, 0.001), made_of(0.0, 1.0), made_of(-fall, 0.001))
    table = losses_table(measures, swaps, categories=("a", "b"), contrast=CONTRAST)
    assert table.schema == LOSSES_SCHEMA
    (row,) = table.to_pylist()
    assert (row["category"], row["kind"], row["partners"]) == ("a", kind, ["b"])
    assert row["share_explained_by_swaps"] == pytest.approx(flow / 0.12)
    assert row["average_precision_difference"] == -fall


def test_best_category_of_each_image() -> None:
    rows = [
        {"image_id": "a", "top5": [3, 1]},
        {"image_id": "b", "top5": None},
        {"image_id": "c", "top5": [0]},
    ]
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA)
    assert best_categories(table).tolist() == [3, -1, 0]
    assert best_categories(table, np.array([2, 0])).tolist() == [0, 3]
    assert best_categories(table.slice(0, 0)).tolist() == []


def test_arms_that_no_model_has_are_refused() -> None:
    predicted = {("net", "original"): np.zeros((1, 2), dtype=np.int32)}
    with pytest.raises(UsageError, match="'blur' and 'original'"):
        PairedRuns.of(predicted, np.zeros(2, dtype=np.int64), ("a",), CONTRAST)
