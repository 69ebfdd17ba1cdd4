"""A run that is killed and given again ends in the same bits as an unbroken one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import BusyError, ManifestError, TrainingError, UsageError
from sfumato.learn import Recipe, RunConfig, evaluate, find_recipe, train
from sfumato.learn.device import Runtime
from sfumato.learn.run import read_rows
from sfumato.learn.training import Training
from sfumato.predictions import read_predictions
from sfumato.records import locked, read_json, read_manifest, write_json
from tests.learn import plain_models
from tests.learn.kills import Killed, killed_after, timeless, weights

Make = Callable[..., Dataset]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_models.register(monkeypatch)


def same(one: Path, other: Path) -> None:
    assert weights(one) == weights(other)
    assert timeless(one) == timeless(other)
    assert read_manifest(one) == read_manifest(other)


def place(run: Path) -> dict[str, Any]:
    """Where the checkpoint of a run is."""
    with safe_open(run / "checkpoint.safetensors", framework="pt") as file:
        return dict(json.loads(file.metadata()["state"])["place"])


def assert_resumed_at_each_step(dataset: Dataset, config: RunConfig, folder: Path, *, steps: int) -> None:
    """Kill one run at every step, and go on each time, with a checkpoint after each step."""
    careful = replace(config, checkpoint_seconds=0.0)
    whole = train(dataset, config, folder / "whole")
    n_images = len(dataset.subset("train").samples)
    batches = steps // config.recipe.epochs
    ends = [len(part) for part in np.array_split(range(n_images), batches)] * config.recipe.epochs
    for step, done in enumerate(np.cumsum(ends)[:-1].tolist(), start=1):
        with pytest.raises(Killed):
            train(dataset, careful, folder / "killed", work=killed_after(done))
        at = place(folder / "killed")
        assert at["epoch"] * batches + at["batch"] == step
    same(train(dataset, careful, folder / "killed"), whole)


HARD = {
    "momentum": {},
    "adamw": {"optimizer": "adamw", "nesterov": False, "learning_rate": 0.01, "decay_norms": False},
    "everything": {
        "ema_decay": 0.9,
        "clip_norm": 0.5,
        "accumulate": 2,
        "train_sizes": [0.5, 1.0],
        "decay_norms": False,
        "schedule": "cosine",
    },
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("model", ["dropping", "small_resnet"])
def test_killed_at_every_step(colours: Make, tiny: Recipe, tmp_path: Path, model: str, name: str) -> None:
    recipe = tiny.with_overrides(epochs=2, **HARD[name])
    assert_resumed_at_each_step(colours(), RunConfig(model, recipe), tmp_path, steps=6)


@given(
    epochs=st.integers(1, 3),
    batch_size=st.integers(2, 9),
    checkpointed=st.lists(st.booleans(), min_size=1, max_size=5),
    kills=st.lists(st.integers(0, 60), max_size=4),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_killed_anywhere_and_saved_anywhere(
    colours: Make,
    tiny: Recipe,
    tmp_path_factory: pytest.TempPathFactory,
    epochs: int,
    batch_size: int,
    checkpointed: list[bool],
    kills: list[int],
) -> None:
    """However often it is saved and killed, a run with dropout ends in the same bits."""
    folder = tmp_path_factory.mktemp("run")
    dataset = colours(train=6, val=1)
    config = RunConfig("dropping", tiny.with_overrides(epochs=epochs, batch_size=batch_size), seed=2)
    whole = train(dataset, config, folder / "whole")
    for now, kill in zip([*checkpointed, *[True] * len(kills)], kills, strict=False):
        each = replace(config, checkpoint_seconds=0.0 if now else 1e9)
        try:
            train(dataset, each, folder / "killed", work=killed_after(kill))
        except Killed:
            continue
    same(train(dataset, config, folder / "killed"), whole)


@pytest.mark.slow
def test_a_process_that_is_really_killed_goes_on(colours: Make, tmp_path: Path) -> None:
    recipe = find_recipe("small").with_overrides(image_size=16, epochs=6, batch_size=2, ema_decay=0.9)
    config = RunConfig("small_resnet", recipe, device="cpu")
    whole = train(colours(), config, tmp_path / "whole")
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from sfumato.data import read_folder\n"
        "from sfumato.learn import RunConfig, find_recipe, train\n"
        "torch.set_num_threads(1)\n"
        "recipe = find_recipe('small').with_overrides(image_size=16, epochs=6, batch_size=2, ema_decay=0.9)\n"
        "config = RunConfig('small_resnet', recipe, device='cpu', checkpoint_seconds=0.0)\n"
        "train(read_folder(Path(sys.argv[1])), config, Path(sys.argv[2]))\n"
    )
    run, rng = tmp_path / "killed", np.random.default_rng(5)
    start = [sys.executable, "-c", code, str(tmp_path / "colours"), str(run)]
    for _ in range(2):
        before = _written(run)
        process = subprocess.Popen(start)
        while _written(run) == before and process.poll() is None:
            time.sleep(0.001)  # until it has got a step further
        time.sleep(float(rng.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(start, check=True)
    same(run, whole)
    assert not list(run.glob(".*"))


def _written(run: Path) -> int:
    try:
        return (run / "checkpoint.safetensors").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("keep", [0, 7, 1000, -1])
def test_a_truncated_checkpoint_is_refused_and_nothing_overwritten(
    colours: Make, tiny: Recipe, tmp_path: Path, keep: int
) -> None:
    dataset, config, run = colours(), RunConfig("plain", tiny), tmp_path / "run"
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(27))
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(TrainingError, match=r"checkpoint.safetensors: .*delete it"):
        train(dataset, config, run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_checkpoint_of_another_model_is_refused(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours()
    for model in ("plain", "small_resnet"):
        with pytest.raises(Killed):
            train(dataset, RunConfig(model, tiny), tmp_path / model, work=killed_after(27))
    (tmp_path / "plain" / "checkpoint.safetensors").replace(tmp_path / "small_resnet/checkpoint.safetensors")
    with pytest.raises(TrainingError, match="holds the weights of another model"):
        train(dataset, RunConfig("small_resnet", tiny), tmp_path / "small_resnet")


def test_what_a_killed_writer_left_is_swept(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, config, run = colours(), RunConfig("plain", tiny), tmp_path / "run"
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(27))
    (run / ".checkpoint.safetensors.0123abcd.tmp").write_bytes(b"half")
    (run / ".tmpniYgH9").write_bytes(b"half, as safetensors leaves it")
    train(dataset, config, run)
    assert not list(run.glob(".*"))


def test_two_processes_do_not_work_in_one_folder(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, config, run = colours(), RunConfig("plain", tiny), tmp_path / "run"
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(27))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with locked(run), pytest.raises(BusyError, match="another process works in this folder"):
        train(dataset, config, run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_validation_measures_what_evaluation_does(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours(train=12, val=10, n_categories=3)
    recipe = tiny.with_overrides(epochs=5, ema_decay=0.5, rate_factor=0.02)
    config = RunConfig("small_resnet", recipe, validate_every=2, device="cpu")
    run = train(dataset, config, tmp_path / "run")
    measured = {row["epoch"]: row["val_accuracy"] for row in read_rows(run) if "val_accuracy" in row}
    assert sorted(measured) == [2, 4, 5]
    ranks = read_predictions(evaluate(run, dataset, tmp_path / "last", device="cpu")).table["label_rank"]
    assert measured[5] == np.mean(np.array(ranks.to_pylist()) == 0)
    plain = train(dataset, replace(config, validate_every=0), tmp_path / "plain")
    assert weights(plain) == weights(run)  # looking changes nothing
    assert not (plain / "best.safetensors").exists()


def test_the_best_weights_are_kept(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of epochs that reach the same, the first; what a kill has not lost is not forgotten."""
    dataset, run = colours(), tmp_path / "run"
    config = RunConfig("plain", tiny.with_overrides(epochs=5), validate_every=1)
    reached = {1: 0.2, 2: 0.7, 3: 0.7, 4: 0.5, 5: 0.1}
    kept: dict[int, bytes] = {}

    def accuracy(training: Training, images: object) -> float:
        state = training.result().state_dict()
        kept[training.place.epoch] = state["head.weight"].numpy().tobytes()
        return reached[training.place.epoch]

    monkeypatch.setattr("sfumato.learn.validate.accuracy", accuracy)
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(62))
    train(dataset, config, run)
    assert [row["val_accuracy"] for row in read_rows(run)] == list(reached.values())
    best = load_file(run / "best.safetensors")["head.weight"].numpy().tobytes()
    assert [epoch for epoch, value in kept.items() if value == best] == [2]


def test_figures_read_a_step_late_are_the_same(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the next step has begun before the figures of one are read."""
    dataset, config = colours(), RunConfig("dropping", tiny)
    whole = train(dataset, config, tmp_path / "whole")
    monkeypatch.setattr(Runtime, "unread", 1)
    same(train(dataset, config, tmp_path / "late"), whole)
    for done in (8, 27, 41):
        with pytest.raises(Killed):
            train(
                dataset, replace(config, checkpoint_seconds=0.0), tmp_path / "killed", work=killed_after(done)
            )
    same(train(dataset, config, tmp_path / "killed"), whole)
    wild = RunConfig("plain", tiny.with_overrides(learning_rate=1e38, schedule="step"))
    with pytest.raises(TrainingError, match="the loss is not a finite number in epoch 1"):
        train(dataset, wild, tmp_path / "wild")


def test_the_random_numbers_of_the_caller_stay(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    train(colours(), RunConfig("dropping", tiny, checkpoint_seconds=0.0), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)


def test_damaged_rows_are_said(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    run = train(colours(), RunConfig("plain", tiny), tmp_path / "run")
    assert [row["epoch"] for row in read_rows(run)] == [1, 2, 3]
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(ManifestError, match=r"metrics.jsonl: cannot be read .*; train the run anew"):
        read_rows(run)


def test_a_run_goes_on_with_images_from_where_it_began(tmp_path: Path, colours: Make, tiny: Recipe) -> None:
    dataset, config = colours(), RunConfig("plain", tiny, checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        train(dataset, config, tmp_path / "run", work=killed_after(8))
    with pytest.raises(UsageError, match=r"begun with packed images.*--cache-budget"):
        train(dataset, config, tmp_path / "run", budget=0)
    with pytest.raises(UsageError, match=r"or delete the folder .*run to start anew"):
        train(dataset, config, tmp_path / "run", budget=0, work=Work(overwrite=True))
    train(dataset, config, tmp_path / "run")
    assert read_manifest(tmp_path / "run").facts["images"] == "packed"


@pytest.mark.parametrize(
    ("name", "before", "message"),
    [
        ("precision", "fp16", r"begun in fp16, which now would be fp32; go on with the device and precision"),
        ("processes", 4, r"begun in 4 process\(es\), which now are 1; go on with as many processes"),
    ],
)
def test_a_run_goes_on_as_it_was_begun(
    tmp_path: Path, colours: Make, tiny: Recipe, name: str, before: object, message: str
) -> None:
    dataset, config = colours(), RunConfig("plain", tiny, precision="fp32", checkpoint_seconds=0.0)
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(8))
    begun = read_json(run / "config.json")
    write_json(run / "config.json", {**begun, name: before})
    with pytest.raises(UsageError, match=message):
        train(dataset, config, run)
    write_json(run / "config.json", begun)
    train(dataset, config, run)
    assert read_manifest(run).facts[name] == begun[name]


def _rewritten(checkpoint: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    with safe_open(checkpoint, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    tensors = load_file(checkpoint)
    change(tensors, state)
    save_file(tensors, checkpoint, metadata={"format": "pt", "state": json.dumps(state)})


def _unknown(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    tensors["optimizer.momentum_buffer.tail.bias"] = tensors["model.head.bias"].clone()
    state["optimizer"] = sorted([*state["optimizer"], "momentum_buffer.tail.bias"])


def _unlisted(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    del tensors["optimizer.momentum_buffer.head.bias"]


def _forgotten(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        del tensors[name]
    state["optimizer"] = []


def _reshaped(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    tensors["optimizer.momentum_buffer.head.bias"] = torch.zeros(7)


def _renumbered(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    tensors["chance.5"] = tensors.pop("chance.0")


def _averaged(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    tensors["average.head.bias"] = torch.zeros(7)


@pytest.mark.parametrize("change", [_unknown, _unlisted, _forgotten, _reshaped, _renumbered, _averaged])
def test_a_checkpoint_that_lacks_something_is_refused(
    tmp_path: Path,
    colours: Make,
    tiny: Recipe,
    change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None],
) -> None:
    dataset, run = colours(), tmp_path / "run"
    config = RunConfig("plain", replace(tiny, ema_decay=0.5), checkpoint_seconds=0.0)
    with pytest.raises(Killed):
        train(dataset, config, run, work=killed_after(8))
    _rewritten(run / "checkpoint.safetensors", change)
    with pytest.raises(TrainingError, match=r"damaged checkpoint .*; delete it to start anew"):
        train(dataset, config, run)
