"""Scratch as a reference, tasks of categories, and what a verdict says of a downstream task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.compare import CompareSettings, Tables, compare, judge, reference_of
from sfumato.compare.arms import REFERENCES, references_of
from sfumato.compare.wording import METRIC_WORDS, ONE_START
from sfumato.data.tasks import METRICS, VOC_METRICS
from sfumato.predictions import Evaluated, Predictions
from tests.compare.downstream import CIFAR, SCRATCH, make_attributes, run_facts, write_attributes
from tests.compare.synthetic import BLUR, NONE, World, make_faces, make_predictions, write_predictions

FAST = CompareSettings(rounds=200)
WORLD = World(seeds=(0, 1, 2), accuracy={"original": 0.8, NONE: 0.8, BLUR: 0.75, SCRATCH: 0.3})


def of_task(root: Path, other: Mapping[str, Any] = MappingProxyType({})) -> list[Predictions]:
    """Predictions of a task of categories; other facts are of arms that were pre-trained."""
    rng, made = np.random.default_rng(0), []
    for arm, chance in WORLD.accuracy.items():
        for seed in WORLD.seeds:
            ranks = np.where(rng.random(len(WORLD.labels)) < chance, 0, rng.integers(1, 8, len(WORLD.labels)))
            facts = {**run_facts(arm, seed, CIFAR), **(other if arm != SCRATCH else {})}
            made.append(write_predictions(root, WORLD, ranks, facts))
    return made


def pairs(tables: Tables, name: str) -> set[tuple[str, str]]:
    return {(row["arm"], row["reference"]) for row in tables.named()[name].to_pylist()}


def test_scratch_is_a_reference_for_all_others_and_compared_with_nothing(tmp_path: Path) -> None:
    tables = compare(of_task(tmp_path / "runs"), tmp_path / "out", settings=FAST)
    expected = {(arm, reference) for arm in WORLD.accuracy for reference in references_of(arm)}
    assert expected == {
        *((arm, SCRATCH) for arm in ("original", NONE, BLUR)),
        *((arm, "original") for arm in (NONE, BLUR)),
        (BLUR, "none"),
    }
    assert pairs(tables, "differences") == expected
    means = {(r["arm"], r["metric"]): r["mean"] for r in tables.overall.to_pylist() if r["subset"] == "all"}
    for row in tables.differences.to_pylist():
        (base,) = (arm for arm in WORLD.accuracy if reference_of(arm) == row["reference"])
        assert row["difference"] == pytest.approx(
            means[row["arm"], row["metric"]] - means[base, row["metric"]]
        )
    assert {row["arm"] for row in tables.split.to_pylist()} == {BLUR}


@given(st.sampled_from([*REFERENCES, "none(quality=90)", BLUR, "by hand"]))
def test_no_two_arms_are_compared_both_ways(arm: str) -> None:
    own = reference_of(arm)
    assert own not in references_of(arm)
    assert all(own not in references_of(other) for other in references_of(arm))


def test_the_other_differences_are_those_without_scratch(tmp_path: Path) -> None:
    """Scratch beside them changes no number of the others."""
    items = of_task(tmp_path / "runs")
    faces = make_faces(WORLD, WORLD.image_ids[::3])
    whole = compare(items, tmp_path / "a", faces=faces, settings=FAST)
    without = [item for item in items if item.facts["train_arm"] != SCRATCH]
    part = compare(without, tmp_path / "b", faces=faces, settings=FAST)
    for name, table in part.named().items():
        rows = whole.named()[name].to_pylist()
        kept = [row for row in rows if row.get("arm") != SCRATCH and row.get("reference") != SCRATCH]
        assert kept == table.to_pylist(), name
    assert judge(part).findings == judge(whole).findings


def test_a_verdict_of_a_task_is_about_pre_training(tmp_path: Path) -> None:
    tables = compare(of_task(tmp_path / "runs"), tmp_path / "out", settings=FAST)
    verdict = judge(tables)
    (finding,) = verdict.findings
    assert (finding.arm, finding.reference, verdict.metric) == (BLUR, "none", "top1_accuracy")
    assert "hiding faces with blur in pre-training" in finding.sentence.lower()
    assert "points of top-1 accuracy on CIFAR10" in finding.sentence
    assert [gain.arm for gain in verdict.gains] == ["original", NONE, BLUR]
    rows = {row["arm"]: row for row in tables.differences.to_pylist() if row["reference"] == SCRATCH}
    for gain in verdict.gains:
        assert gain.outcome == "gain"
        assert gain.ci_low > 0.2
        assert 0.3 < gain.difference < 0.7
        assert gain.arm in rows
    assert verdict.gains[0].sentence.startswith("Pre-training on original images gained at least")
    assert (
        "points of top-1 accuracy on CIFAR10 over training from scratch, about" in verdict.gains[0].sentence
    )
    assert verdict.gains[1].sentence.startswith("Pre-training on images written anew with nothing hidden")
    assert verdict.gains[2].sentence.startswith("Pre-training with faces hidden by blur gained at least")
    written = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert [gain["difference"] for gain in written["gains"]] == [gain.difference for gain in verdict.gains]


@pytest.mark.parametrize("kept", [("original", SCRATCH), (BLUR, SCRATCH)])
def test_with_scratch_alone_the_gain_is_the_headline(tmp_path: Path, kept: tuple[str, str]) -> None:
    items = [item for item in of_task(tmp_path / "runs") if item.facts["train_arm"] in kept]
    verdict = judge(compare(items, tmp_path / "out", settings=FAST))
    assert verdict.findings == ()
    (gain,) = verdict.gains
    assert verdict.headline == gain.sentence
    assert any("few seeds" in caveat for caveat in verdict.caveats)


def test_gains_over_models_are_of_the_mean(tmp_path: Path) -> None:
    items = make_attributes(tmp_path / "runs", 120, models=("alexnet", "resnet18"))
    verdict = judge(compare(items, tmp_path / "out", settings=FAST))
    assert {(gain.model, gain.n_models, gain.metric) for gain in verdict.gains} == {
        ("all", 2, "mean_average_precision")
    }
    assert "2 models, 3 seeds" in verdict.gains[0].sentence


@pytest.mark.parametrize(
    ("outcome", "ends", "words"),
    [
        ("gain", (0.021, 0.05), "gained at least 2.1 points of top-1 accuracy on CIFAR10 over training from"),
        ("cost", (-0.05, -0.021), "cost at least 2.1 points of top-1 accuracy on CIFAR10 over training from"),
        ("equivalent", (-0.004, 0.006), "made no meaningful difference to training from scratch: top-1"),
        (
            "undecided",
            (-0.03, 0.05),
            "tell what pre-training on original images gains over training from scr",
        ),
    ],
)
def test_every_outcome_of_a_gain_has_its_sentence(
    tmp_path: Path, outcome: str, ends: tuple[float, float], words: str
) -> None:
    tables = compare(of_task(tmp_path / "runs"), tmp_path / "out", settings=FAST)
    rows = tables.differences.to_pylist()
    for row in rows:
        if (row["arm"], row["reference"]) == ("original", SCRATCH):
            row |= {"outcome": outcome, "ci_low": ends[0], "ci_high": ends[1], "difference": sum(ends) / 2}
    made = replace(tables, differences=tables.differences.from_pylist(rows, schema=tables.differences.schema))
    assert words in judge(made).gains[0].sentence


def test_writing_anew_is_told_against_original_only(tmp_path: Path) -> None:
    """None against scratch is a gain of pre-training, not of writing images anew."""
    verdict = judge(compare(of_task(tmp_path / "runs"), tmp_path / "out", settings=FAST))
    assert not any("Writing the images" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(("starts", "told"), [({"start_seed": 7}, True), ({}, False)])
def test_one_pre_trained_model_is_a_caveat(tmp_path: Path, starts: Mapping[str, int], told: bool) -> None:
    tables = compare(of_task(tmp_path / "runs", starts), tmp_path / "out", settings=FAST)
    assert (ONE_START in judge(tables).caveats) is told


def test_attributes_are_named_where_categories_are(tmp_path: Path) -> None:
    items: list[Evaluated] = []
    truth = (np.random.default_rng(0).random((400, 4)) < (0.4, 0.3, 0.3, 0.01)).astype(np.int8)
    for arm in ("original", BLUR):
        for seed in (0, 1, 2):
            noise = np.random.default_rng([seed, 1]).normal(scale=0.8, size=truth.shape)
            lost = np.array([2.0, 0.0, 0, 0]) if arm == BLUR else 0.0
            task = {**CIFAR, "name": "celeba", "title": "CelebA", "kind": "attributes"}
            facts = run_facts(arm, seed, {**task, "metrics": ["mean_average_precision"]})
            items.append(write_attributes(tmp_path / "runs", truth, noise + (2.0 - lost) * truth, facts))
    verdict = judge(compare(items, tmp_path / "out", settings=FAST))
    (finding,) = verdict.findings
    assert verdict.metric == "mean_average_precision"
    assert "points of mean average precision on CelebA" in verdict.headline
    assert [item.category for item in finding.harmed] == ["a0"]
    assert finding.n_categories == 3
    assert finding.categories_sentence.startswith("In 1 of 3 attributes a change is established")
    assert any("An attribute's change is called established" in caveat for caveat in verdict.caveats)
    (rare,) = [caveat for caveat in verdict.caveats if "not in the mean" in caveat]
    assert rare == "1 attribute has fewer than 10 images with it and is not in the mean: a3."


def test_every_metric_has_words() -> None:
    known = {name for names in METRICS.values() for name in names} | set(VOC_METRICS)
    assert known <= METRIC_WORDS.keys()


def test_studies_know_nothing_of_tasks(tmp_path: Path) -> None:
    tables = compare(make_predictions(tmp_path / "runs", World()), tmp_path / "out", settings=FAST)
    assert tables.manifest is not None
    assert not {"task", "metrics", "start_seeds", "not_counted"} & tables.manifest.facts.keys()
    assert (tables.task, tables.metrics) == (None, ("top1_accuracy", "top5_accuracy"))
    assert judge(tables).gains == ()


def test_the_order_of_runs_changes_no_table(tmp_path: Path) -> None:
    items: Sequence[Evaluated] = make_attributes(tmp_path / "runs", 80, seeds=(0, 1))
    one = compare(items, tmp_path / "a", settings=FAST)
    two = compare(list(reversed(items)), tmp_path / "b", settings=FAST)
    assert one.named() == two.named()
