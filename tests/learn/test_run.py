from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.data import Dataset, Sample
from sfumato.engines import Work
from sfumato.errors import BusyError, DatasetError, OutputExists, TrainingError, UnknownName, UsageError
from sfumato.learn import Recipe, RunConfig, evaluate, read_config, train
from sfumato.learn.device import choose_runtime
from sfumato.learn.fit import split_evenly
from sfumato.learn.training import start
from sfumato.records import locked, read_json, read_manifest

Make = Callable[..., Dataset]
TIMES = ("seconds", "images_per_second", "waiting_share")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def timeless(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(run)]


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def killed_after(images: int) -> Work:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == "train" and done > images:
            raise Killed

    return Work(progress=progress)


def test_two_colours_are_learned(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    run = train(colours(), RunConfig("small_resnet", replace(tiny, epochs=6)), tmp_path / "runs" / "a")
    metrics = rows(run)
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4, 5, 6]
    assert metrics[-1]["train_accuracy"] == 1
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert {row["n_images"] for row in metrics} == {20}
    assert all(0 <= row["waiting_share"] <= 1 for row in metrics)
    assert sorted(path.name for path in run.iterdir()) == [
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "trained.parquet",
    ]
    assert (tmp_path / "runs" / ".cache").is_dir()


def test_a_run_says_all_about_itself(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    config = RunConfig("small_resnet", replace(tiny, epochs=1), seed=5, device="cpu")
    run = train(replace(colours(), arm="blur(strength=0.2)"), config, tmp_path / "run")
    manifest, written = read_manifest(run, kind="run"), read_json(run / "config.json")
    for facts in (manifest.facts, written):
        assert facts["model"] == "small_resnet"
        assert facts["seed"] == 5
        assert facts["arm"] == "blur(strength=0.2)"
        assert facts["categories"] == ["blue", "green"]
        assert facts["image_size"] == 16
        assert facts["learning_rate"] == pytest.approx(0.1 * 0.4)
        assert facts["device"] == "cpu"
        assert facts["precision"] in {"bf16", "fp32"}
        assert facts["n_parameters"] > 100_000
    assert manifest.facts["recipe"] == "small(image_size=16, batch_size=8, epochs=1, fp32_steps=2)"
    assert written["recipe"] == manifest.settings["recipe"]
    assert manifest.counts == {"n_images": 20, "n_failed": 0, "epochs": 1}
    assert read_config(run) == replace(config, device="auto")


@pytest.mark.parametrize(
    ("model", "size", "images"),
    [*(("small_resnet", 16, images) for images in (0, 12, 20, 27, 45, 59)), ("mobilenet_v2", 32, 27)],
)
def test_a_killed_run_ends_in_the_same_bits(
    colours: Make, tiny: Recipe, tmp_path: Path, model: str, size: int, images: int
) -> None:
    dataset, config = colours(), RunConfig(model, replace(tiny, image_size=size))
    whole = train(dataset, config, tmp_path / "whole")
    with pytest.raises(Killed):
        train(dataset, config, tmp_path / "killed", work=killed_after(images))
    assert not (tmp_path / "killed" / "manifest.json").exists()
    killed = train(dataset, config, tmp_path / "killed")
    assert weights(killed) == weights(whole)
    assert timeless(killed) == timeless(whole)
    assert read_manifest(killed) == read_manifest(whole)


def test_a_finished_run_is_skipped_and_another_refused(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, config = colours(), RunConfig("small_resnet", replace(tiny, epochs=1))
    run = train(dataset, config, tmp_path / "run")
    before = (run / "manifest.json").stat().st_mtime_ns
    train(dataset, replace(config, device="cpu"), run)
    assert (run / "manifest.json").stat().st_mtime_ns == before
    for other in (replace(config, seed=1), replace(config, recipe=replace(tiny, epochs=2))):
        with pytest.raises(OutputExists):
            train(dataset, other, run)
    first = weights(run)
    train(dataset, replace(config, seed=1), run, work=Work(overwrite=True))
    assert weights(run) != first
    with locked(run), pytest.raises(BusyError):
        train(dataset, config, run)


def test_arms_share_first_weights_and_order_but_seeds_do_not(tiny: Recipe) -> None:
    runtime = choose_runtime("cpu")

    def first(seed: int) -> dict[str, Any]:
        config = RunConfig("small_resnet", tiny, seed)
        return dict(start(config, 3, runtime=runtime).model.state_dict())

    state = torch.random.get_rng_state()
    a, b, other = first(0), first(0), first(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["head.weight"], other["head.weight"])


def test_a_failed_image_is_left_out_and_counted(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours()
    dataset.path(dataset.samples[0].image_id).write_bytes(b"")
    run = train(dataset, RunConfig("small_resnet", replace(tiny, epochs=1)), tmp_path / "run")
    manifest = read_manifest(run)
    assert manifest.counts == {"n_images": 19, "n_failed": 1, "epochs": 1}
    assert list(manifest.facts["failed"]) == [dataset.samples[0].image_id]
    assert manifest.facts["failed"][dataset.samples[0].image_id]


def test_a_loss_that_is_not_finite_stops_the_run(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    recipe = tiny.with_overrides(learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"epoch 1 at learning rate .* begins with train/.*\.png, train/"):
        train(colours(), RunConfig("small_resnet", recipe), tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_the_whole_batch_of_a_loss_that_is_not_finite_is_written(
    colours: Make, tiny: Recipe, tmp_path: Path
) -> None:
    dataset, run = colours(), tmp_path / "run"
    wild = tiny.with_overrides(learning_rate=1e38, schedule="step")
    with pytest.raises(TrainingError, match=r"all images of the batch: .*run/diverged\.json"):
        train(dataset, RunConfig("small_resnet", wild), run)
    written = read_json(run / "diverged.json")
    assert written["epoch"] == 1
    assert len(set(written["image_ids"])) in {6, 7}
    assert set(written["image_ids"]) <= {sample.image_id for sample in dataset.subset("train").samples}
    train(dataset, RunConfig("small_resnet", tiny), run, work=Work(overwrite=True))
    assert not (run / "diverged.json").exists()


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_weights_that_are_not_finite_are_never_written(
    colours: Make, tiny: Recipe, tmp_path: Path, ema_decay: float
) -> None:
    """One step, whose loss is finite still."""
    changes = {"learning_rate": 3e38, "schedule": "step", "epochs": 1, "batch_size": 64}
    recipe = tiny.with_overrides(**changes, weight_decay=1e3, ema_decay=ema_decay)
    with pytest.raises(TrainingError, match=r"weights are not finite .* epoch 1 .*; try a lower learning"):
        train(colours(), RunConfig("small_resnet", recipe), tmp_path / "run")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"manifest.json", "model.safetensors", "checkpoint.safetensors"}


def test_weights_that_are_finite_but_useless_are_no_result(
    colours: Make, tiny: Recipe, tmp_path: Path
) -> None:
    """Weights of 1e36, after a last step: the loss was finite, and so are they, but no score is."""
    recipe = tiny.with_overrides(learning_rate=1e38, schedule="step", epochs=1, batch_size=64)
    dataset, run = colours(), tmp_path / "run"
    with pytest.raises(TrainingError, match=r"are not finite numbers.*; try a lower learning rate"):
        train(dataset, RunConfig("small_resnet", recipe), run)
    assert not {path.name for path in run.iterdir()} & {"manifest.json", "model.safetensors"}
    train(dataset, RunConfig("small_resnet", replace(tiny, epochs=1)), run, work=Work(overwrite=True))
    evaluate(run, dataset, tmp_path / "out")


@pytest.mark.parametrize("keep", [None, 0, 7, -1])
def test_a_finished_run_without_its_weights_can_be_repaired(
    colours: Make, tiny: Recipe, tmp_path: Path, keep: int | None
) -> None:
    dataset, config = colours(), RunConfig("small_resnet", replace(tiny, epochs=1))
    run = train(dataset, config, tmp_path / "run")
    whole = weights(run)
    for overwrite in (True, False):
        (run / "model.safetensors").unlink()
        if keep is not None:
            (run / "model.safetensors").write_bytes(whole[:keep])
        with pytest.raises(TrainingError, match=r"model.safetensors: .*; delete the folder .*run and train"):
            evaluate(run, dataset, tmp_path / "out")
        with pytest.raises(TrainingError, match=r"model.safetensors: .*; delete the folder .*run and train"):
            train(dataset, config, run)
        if not overwrite:
            shutil.rmtree(run)
        train(dataset, config, run, work=Work(overwrite=overwrite))
        assert weights(run) == whole


def test_a_checkpoint_that_a_kill_left_beside_a_finished_run_is_removed(
    colours: Make, tiny: Recipe, tmp_path: Path
) -> None:
    dataset, config = colours(), RunConfig("small_resnet", replace(tiny, epochs=1))
    run = train(dataset, config, tmp_path / "run")
    (run / "checkpoint.safetensors").write_bytes(b"late")
    train(dataset, config, run)
    assert not (run / "checkpoint.safetensors").exists()


def without(dataset: Dataset, split: str, label: int) -> Dataset:
    kept = [sample for sample in dataset.samples if (sample.split, sample.label) != (split, label)]
    return replace(dataset, samples=tuple(kept))


def test_bad_data_sets_are_refused_in_words(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, config = colours(), RunConfig("small_resnet", tiny)
    lost = replace(dataset, samples=(*dataset.samples[:-1], Sample("val/x.png", "train", -1)))
    flat = replace(dataset, samples=tuple(replace(sample, split="all") for sample in dataset.samples))
    cases = {
        "no readable image to train on in 1 category \\(green\\)": without(dataset, "train", 1),
        "only one category": replace(dataset, categories=("blue",)),
        "no categories": replace(dataset, categories=()),
        "'val/x.png' has no label": lost,
        "--val-fraction": flat,
    }
    for message, case in cases.items():
        with pytest.raises(DatasetError, match=message):
            train(case, config, tmp_path / "run", cache=tmp_path / "cache")


def test_unknown_model_and_device_leave_nothing_behind(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours()
    with pytest.raises(UnknownName, match="small_resnet"):
        train(dataset, RunConfig("resnet1", tiny), tmp_path / "run")
    with pytest.raises(UsageError, match="unknown device 'gpu'; known: auto, cpu, cuda, mps"):
        train(dataset, RunConfig("small_resnet", tiny, device="gpu"), tmp_path / "run")
    with pytest.raises(TrainingError, match="alexnet cannot take images of 16 px"):
        train(dataset, RunConfig("alexnet", tiny), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no cuda device"):
        choose_runtime("cuda")


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(20, 8, [7, 7, 6]), (8, 8, [8]), (9, 8, [5, 4]), (3, 2, [3]), (5, 2, [3, 2]), (1, 8, [1])],
)
def test_batches_are_even(n: int, batch_size: int, sizes: list[int]) -> None:
    batches = split_evenly(np.arange(n), batch_size)
    assert [len(batch) for batch in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(n))
