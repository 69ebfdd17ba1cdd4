"""Whether anything was learned: what takes no learning, worked out a second time, and the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfumato.compare import CompareSettings, Verdict, compare, judge
from sfumato.predictions import Evaluated
from tests.compare.downstream import (
    CELEBA,
    CIFAR,
    VOC,
    Scene,
    make_attributes,
    run_facts,
    write_attributes,
    write_objects,
)
from tests.compare.synthetic import BLUR, World, make_predictions, write_predictions

FAST = CompareSettings(rounds=100)
SIZES = (20, 10, 10)


def verdict_of(items: Sequence[Evaluated], root: Path) -> Verdict:
    return judge(compare(items, root / "out", settings=FAST))


def of_categories(root: Path, right: int, better: int) -> Verdict:
    """Of 40 images, 20 of one category: `right` of them right, in one arm `better`."""
    world = World(categories=("a", "b", "c"), per_category=SIZES)
    items = []
    for arm, n in (("original", right), (BLUR, better)):
        for seed in (0, 1):
            ranks = np.where(np.arange(sum(SIZES)) < n, 0, 6)
            items.append(write_predictions(root / "runs", world, ranks, run_facts(arm, seed, CIFAR)))
    return verdict_of(items, root)


def test_the_most_frequent_category_takes_no_learning(tmp_path: Path) -> None:
    verdict = of_categories(tmp_path, 20, 20)
    assert verdict.unlearned == (
        "No model learned this task (the highest top-1 accuracy of any start is 50.0 %, where naming the "
        "most frequent category every time gives 50.0 %): what follows says nothing about transfer."
    )
    assert verdict.caveats[0] == verdict.unlearned


@pytest.mark.parametrize(("right", "better"), [(20, 21), (21, 0), (40, 40)])
def test_one_start_that_learned_is_enough(tmp_path: Path, right: int, better: int) -> None:
    verdict = of_categories(tmp_path, right, better)
    assert verdict.unlearned == ""
    assert not any("No model learned" in text for text in verdict.caveats)


def test_scores_of_attributes_by_chance_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((4000, 3)) < (0.5, 0.3, 0.001)).astype(np.int8)
    items = [
        write_attributes(tmp_path / "runs", truth, rng.normal(size=truth.shape), run_facts(arm, seed, CELEBA))
        for arm in ("original", BLUR)
        for seed in (0, 1)
    ]
    verdict = verdict_of(items, tmp_path)
    share = 100 * truth[:, :2].mean()  # the third is too rare to be in the mean
    assert f", where chance gives {share:.1f} %)" in verdict.unlearned
    assert verdict_of(make_attributes(tmp_path / "other", seeds=(0, 1)), tmp_path / "other").unlearned == ""


@pytest.mark.parametrize(("n_found", "learned"), [(0, False), (3, True)])
def test_detectors_that_find_nothing_are_told(tmp_path: Path, n_found: int, learned: bool) -> None:
    box, off = (10, 10, 50, 50), (60, 60, 90, 90)
    scenes = [
        Scene(objects=[(0, box, "")], detections=[(0, box if number < n_found else off, 0.5)])
        for number in range(12)
    ]
    items = [
        write_objects(tmp_path / "runs", scenes, run_facts(arm, seed, VOC))
        for arm in ("original", BLUR)
        for seed in (0, 1)
    ]
    verdict = verdict_of(items, tmp_path)
    words = (
        "No model learned this task (the highest mean average precision (VOC 2007, 11 points) of any start"
    )
    assert verdict.unlearned == (
        "" if learned else f"{words} is 0.0 %): what follows says nothing about transfer."
    )


def test_nothing_is_said_of_a_study(tmp_path: Path) -> None:
    world = replace(World(seeds=(0, 1)), accuracy=dict.fromkeys(World().accuracy, 0.1))
    assert verdict_of(make_predictions(tmp_path / "runs", world), tmp_path).unlearned == ""
