"""Running a plan: what is missing is made, a failed run does not end the others, a busy one is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.compare import CompareSettings, compare
from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import BusyError, TrainingError, UnknownName, UsageError
from sfumato.learn import (
    Outcome,
    Part,
    Recipe,
    RunConfig,
    Runs,
    TrainingOptions,
    TrainingPlan,
    cells_of,
    evaluation_arms,
    read_training_plan,
    run_all,
    run_folder,
    train_plan,
)
from sfumato.predictions import find_predictions, read_predictions
from sfumato.records import locked, read_manifest

Make = Callable[..., Dataset]
Variant = Callable[..., Path]
OVERLAY = "overlay(color=127)"


@pytest.fixture
def runs(colours: Make, tiny: Recipe) -> Runs:
    """Two arms of the same images, one model, two seeds, crossed."""
    dataset = colours()
    datasets = {arm: replace(dataset, arm=arm) for arm in ("original", OVERLAY)}
    cells = cells_of(("small_resnet",), (0, 1), evaluation_arms("all", tuple(datasets)))
    return Runs(datasets, cells, RunConfig("small_resnet", replace(tiny, epochs=1), device="cpu"))


def manifests(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("manifest.json") if ".cache" not in path.parts
    }


def test_every_run_is_trained_and_evaluated_on_every_arm_once(runs: Runs, tmp_path: Path) -> None:
    outcome = run_all(runs, tmp_path / "runs")
    assert (len(outcome.trained), len(outcome.predictions)) == (4, 8)
    assert (outcome.failures, outcome.elsewhere) == ([], [])
    facts = [read_predictions(folder).facts for folder in find_predictions(tmp_path / "runs")]
    made = {(each["train_arm"], each["eval_arm"], each["seed"]) for each in facts}
    assert made == {(a, b, seed) for a in runs.datasets for b in runs.datasets for seed in (0, 1)}
    before = manifests(tmp_path / "runs")
    assert len(before) == 12
    again = run_all(runs, tmp_path / "runs")
    assert (again.trained, again.predictions) == (outcome.trained, outcome.predictions)
    assert manifests(tmp_path / "runs") == before


def test_crossed_runs_can_be_compared(runs: Runs, tmp_path: Path) -> None:
    outcome = run_all(runs, tmp_path / "runs")
    predictions = [read_predictions(folder) for folder in outcome.predictions]
    tables = compare(predictions, tmp_path / "tables", settings=CompareSettings(rounds=100))
    assert set(tables.overall["arm"].to_pylist()) == {
        "original", f"original -> {OVERLAY}", OVERLAY, f"{OVERLAY} -> original"
    }  # fmt: skip
    references = {row["arm"]: row["reference"] for row in tables.differences.to_pylist()}
    assert references[f"{OVERLAY} -> original"] == "original"


def test_a_failed_run_does_not_end_the_others_and_is_tried_again(runs: Runs, tmp_path: Path) -> None:
    cells = [runs.cells[0], replace(runs.cells[1], model="alexnet"), *runs.cells[2:]]
    outcome = run_all(replace(runs, cells=cells), tmp_path / "runs")
    assert (len(outcome.trained), len(outcome.predictions)) == (3, 6)
    (failure,) = outcome.failures
    assert str(failure).startswith("alexnet overlay seed 0: training failed: alexnet cannot take images")
    with pytest.raises(TrainingError, match="alexnet overlay seed 0: training failed") as caught:
        outcome.need_all()
    assert caught.value.__cause__ is failure.error
    folder = run_folder(tmp_path / "runs", "small_resnet", OVERLAY, seed=0)
    assert not folder.exists()
    assert len(run_all(runs, tmp_path / "runs").trained) == 4


def test_errors_of_other_peoples_code_are_noted_too(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> Path:
        raise KeyError("layer4")

    monkeypatch.setattr("sfumato.learn.runner.evaluate", broken)
    outcome = run_all(replace(runs, cells=runs.cells[:1]), tmp_path / "runs")
    assert len(outcome.trained) == 1
    assert [failure.doing for failure in outcome.failures] == [
        "evaluation on original",
        "evaluation on overlay",
    ]
    assert outcome.failures[0].reason == "unexpected KeyError: 'layer4'"
    with pytest.raises(TrainingError, match="; 1 more failed;"):
        outcome.need_all()


def test_a_run_that_another_process_holds_is_left_to_it(runs: Runs, tmp_path: Path) -> None:
    held = runs.cells[2]
    with locked(run_folder(tmp_path / "runs", held.model, held.arm, seed=held.seed)):
        outcome = run_all(runs, tmp_path / "runs")
    assert (len(outcome.trained), outcome.elsewhere, outcome.failures) == (3, [held], [])
    with pytest.raises(BusyError, match="small_resnet original seed 1: another process"):
        outcome.need_all()
    assert run_all(runs, tmp_path / "runs").elsewhere == []


def test_progress_names_the_run_and_says_how_long_the_rest_takes(runs: Runs, tmp_path: Path) -> None:
    stages: list[str] = []
    run_all(runs, tmp_path / "runs", work=Work(progress=lambda stage, done, total: stages.append(stage)))
    assert "1/4 small_resnet original seed 0: train" in stages
    assert any(
        stage.startswith("2/4 small_resnet overlay seed 0, about ") and stage.endswith(" left: evaluate")
        for stage in stages
    )


def test_only_the_main_process_evaluates(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of torchrun have trained with it and go on to the next run."""
    monkeypatch.setattr("sfumato.learn.runner.is_main_process", lambda: False)
    outcome = run_all(replace(runs, cells=runs.cells[:1]), tmp_path / "runs")
    assert (len(outcome.trained), outcome.predictions, outcome.failures) == (1, [], [])


@pytest.fixture
def plan(colours: Make, variant: Variant) -> TrainingPlan:
    photos = colours().root
    return TrainingPlan(
        photos,
        (variant(photos, "none", "v-none"), variant(photos, "overlay", "v-overlay")),
        models=("small_resnet",),
        seeds=(0, 1),
        change={"image_size": 16, "epochs": 1, "batch_size": 8},
        on=(("overlay", "original"),),
        keep_scores=True,
    )


def test_parts_of_a_plan_on_two_machines_are_the_plan(plan: TrainingPlan, tmp_path: Path) -> None:
    done: list[Outcome] = []
    for number in (1, 2):
        outcome, arms = train_plan(
            plan, tmp_path / "runs", options=TrainingOptions("cpu", part=Part(number, 2))
        )
        assert arms.failed == {}
        done.append(outcome)
    assert [len(outcome.trained) for outcome in done] == [3, 3]
    assert len(find_predictions(tmp_path / "runs")) == 6 + 2
    before = manifests(tmp_path / "runs")
    whole, _ = train_plan(read_training_plan(tmp_path / "runs/training.toml"), tmp_path / "runs")
    assert len(whole.trained) == 6
    assert manifests(tmp_path / "runs") == before
    for folder in whole.predictions:
        assert read_predictions(folder).scores().shape == (10, 2)


def test_a_plan_grows(plan: TrainingPlan, tmp_path: Path) -> None:
    smaller = replace(plan, seeds=(0,), on="same")
    train_plan(smaller, tmp_path / "runs")
    before = manifests(tmp_path / "runs")
    outcome, _ = train_plan(plan, tmp_path / "runs")
    assert (len(outcome.trained), len(outcome.predictions), outcome.failures) == (6, 8, [])
    kept = manifests(tmp_path / "runs")
    assert {path: kept[path] for path in before} == before


def test_another_recipe_does_not_take_the_place_of_a_run(plan: TrainingPlan, tmp_path: Path) -> None:
    plan = replace(plan, seeds=(0,), variants=(), on="same")
    train_plan(plan, tmp_path / "runs")
    key = read_manifest(run_folder(tmp_path / "runs", "small_resnet", "original", seed=0)).key
    other = replace(plan, change={**plan.change, "epochs": 2})
    outcome, _ = train_plan(other, tmp_path / "runs")
    assert "was made from something else" in outcome.failures[0].reason
    assert read_manifest(run_folder(tmp_path / "runs", "small_resnet", "original", seed=0)).key == key


def test_faces_and_attention_are_columns(plan: TrainingPlan, tmp_path: Path) -> None:
    plan = replace(plan, seeds=(0,), variants=(), on="same", faces=tmp_path / "v-none-faces", attention=True)
    outcome, _ = train_plan(plan, tmp_path / "runs")
    outcome.need_all()
    table = read_predictions(outcome.predictions[0]).table
    assert {"face_area", "attention_true", "attention_predicted"} <= set(table.column_names)


def test_a_failed_image_is_in_no_arm(plan: TrainingPlan, tmp_path: Path) -> None:
    gone = plan.photos / "val/blue/01.png"
    gone.unlink()
    outcome, arms = train_plan(replace(plan, seeds=(0,)), tmp_path / "runs")
    assert list(arms.failed) == ["val/blue/01.png"]
    for folder in outcome.predictions:
        assert len(read_predictions(folder).table) == 9


def test_what_a_plan_asks_for_is_looked_up_before_anything_starts(plan: TrainingPlan, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"models": ("resnet1",)}, UnknownName, "unknown model 'resnet1'"),
        ({"recipe": "huge"}, UnknownName, "unknown recipe 'huge'"),
        ({"weights": "no/{model}.pth"}, UsageError, "no/small_resnet.pth"),
        ({"cache_budget": "much"}, UsageError, "'much' is no number of bytes"),
        ({"change": {"epoch": 3}}, UsageError, "has no field 'epoch'"),
        ({"models": ("small_resnet", "small-resnet")}, UnknownName, "small-resnet"),
        ({"on": (("mosaic", "original"),)}, UsageError, "'mosaic' is none of the arms"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            train_plan(replace(plan, **change), tmp_path / "runs")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="lie in one another"):
        train_plan(plan, plan.photos / "runs")
    with pytest.raises(UsageError, match="unknown device"):
        train_plan(plan, tmp_path / "runs", options=TrainingOptions("gpu"))
    assert not (tmp_path / "runs").exists()
