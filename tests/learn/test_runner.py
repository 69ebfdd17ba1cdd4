"""Running a plan: what is missing is made, a failed run does not end the others, a busy one is left alone."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.compare import CompareSettings, compare
from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import BusyError, SfumatoError, TableError, TrainingError, UnknownName, UsageError
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
from sfumato.learn.overlap import TRAINED, need_apart
from sfumato.learn.runner import _Clock
from sfumato.learn.subject import as_task
from sfumato.learn.timing import images_done, in_words, remaining_seconds
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
    with pytest.raises(TrainingError, match="alexnet overlay seed 0: training failed"):
        outcome.need_all()
    assert failure.kind is TrainingError
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


def test_a_failed_run_leaves_nothing_in_memory(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Model]] = []
    errors: list[Exception] = []

    def broken(*arguments: object, **options: object) -> Path:
        model = Model()
        held.append(weakref.ref(model))
        try:
            try:
                raise KeyError("layer4")
            except KeyError as error:
                raise TrainingError("no such layer") from error
        except TrainingError as error:
            errors.append(error)  # as a logger or a debugger may
            raise

    monkeypatch.setattr("sfumato.learn.runner.train", broken)
    outcome = run_all(runs, tmp_path / "runs")
    assert [failure.reason for failure in outcome.failures] == ["no such layer"] * 4
    assert len(errors) == 4
    assert [each() for each in held] == [None] * 4


class Model:
    """Stands for what takes memory; a part of it holds it, as a graph does."""

    def __init__(self) -> None:
        self.whole = self


def test_under_torchrun_the_first_run_that_cannot_be_trained_is_named_and_ends_the_plan(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., Path]:
        def broken(*arguments: object, **options: object) -> Path:
            raise error

        return broken

    monkeypatch.setattr("sfumato.learn.runner.is_alone", lambda: False)
    for error in (BusyError("taken"), SfumatoError("process 0 gave up: taken")):
        monkeypatch.setattr("sfumato.learn.runner.train", failing(error))
        expected = BusyError if isinstance(error, BusyError) else TrainingError
        with pytest.raises(expected, match=r"original seed 0: training failed: .*taken; under torchrun"):
            run_all(runs, tmp_path / "runs")
    monkeypatch.setattr("sfumato.learn.runner.train", lambda *arguments, **options: tmp_path)
    monkeypatch.setattr("sfumato.learn.runner.evaluate", failing(ValueError("odd")))
    outcome = run_all(runs, tmp_path / "runs")
    assert len(outcome.failures) == 8


def test_an_unfinished_run_counts_by_what_it_lacks(runs: Runs, tmp_path: Path) -> None:
    run_all(replace(runs, cells=runs.cells[:1]), tmp_path)
    whole = _Clock(runs, tmp_path)
    cell = runs.cells[1]
    begun = run_folder(tmp_path, cell.model, cell.arm, seed=cell.seed)
    begun.mkdir()
    done = run_folder(tmp_path, runs.cells[0].model, runs.cells[0].arm, seed=0)
    shutil.copy(done / "metrics.jsonl", begun)
    assert images_done(begun) == 20
    (timing,) = whole.timings.values()
    runs_left = [whole.n_images[each] for each in runs.cells[1:]]
    assert runs_left == [20 + 3 + 3] * 3  # ten images to evaluate on each of two arms
    before = remaining_seconds([timing], [("small_resnet", count) for count in runs_left])
    after = remaining_seconds([timing], [("small_resnet", count) for count in (6, 26, 26)])
    assert before is not None
    assert after is not None
    assert whole.left(1) == f", about {in_words(after)} left"
    assert after / before == pytest.approx(58 / 78)


def test_images_that_were_trained_on_are_not_evaluated_on(runs: Runs, tmp_path: Path) -> None:
    """As in a flat folder that is divided by chance, once this way and once that way."""
    outcome = run_all(replace(runs, cells=runs.cells[:1]), tmp_path / "runs")
    (run,) = outcome.trained
    dataset = as_task(runs.datasets["original"]).dataset
    need_apart(run, dataset)
    first = dataset.subset("train").samples[3]
    moved = replace(
        dataset,
        samples=tuple(replace(each, split="val") if each == first else each for each in dataset.samples),
    )
    with pytest.raises(UsageError, match=rf"1 of 11 images .* trained on .'{first.image_id}' first"):
        need_apart(run, moved)
    (run / TRAINED).write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"trained\.parquet: cannot be read"):
        need_apart(run, dataset)
    (run / TRAINED).unlink()
    need_apart(run, moved)


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
        ({"precision": "fp16"}, UsageError, "fp16 works on cuda only, not on cpu"),
    ]
    for change, error, message in cases:
        with pytest.raises(error, match=message):
            train_plan(replace(plan, **change), tmp_path / "runs", options=TrainingOptions("cpu"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="lie in one another"):
        train_plan(plan, plan.photos / "runs")
    with pytest.raises(UsageError, match="unknown device"):
        train_plan(plan, tmp_path / "runs", options=TrainingOptions("gpu"))
    assert not (tmp_path / "runs").exists()
