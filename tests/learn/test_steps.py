"""One step of the optimizer, against torch's own arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import TrainingError, UsageError
from sfumato.learn import Recipe, RunConfig, evaluate, find_recipe, train
from sfumato.learn.cache import Packed
from sfumato.learn.catalogue import need_image_size
from sfumato.learn.checkpoint import read_checkpoint, write_checkpoint
from sfumato.learn.device import Normalise, choose_runtime, exact_float32
from sfumato.learn.memory import is_out_of_memory
from sfumato.learn.objective import OneCategory
from sfumato.learn.run import read_rows
from sfumato.learn.steps import Steps, follow
from sfumato.learn.training import Training, start
from sfumato.records import read_manifest
from tests.learn import plain_models

Make = Callable[..., Dataset]
N_CATEGORIES = 3


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_models.register(monkeypatch)


def started(model: str = "plain", **changes: Any) -> Training:
    recipe = find_recipe("small").with_overrides(image_size=16, **changes)
    return start(RunConfig(model, recipe), N_CATEGORIES, runtime=choose_runtime("cpu", "fp32"))


def batch(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(rng.integers(0, N_CATEGORIES, n))


def step(training: Training, n: int, seed: int = 0, rate: float = 0.1) -> torch.Tensor:
    pixels, labels = batch(n, seed)
    objective = OneCategory(labels.numpy(), training.config.recipe.label_smoothing)
    return Steps(training, objective).take(pixels, labels, rate=rate, n_batch=n, pause=False)


def values(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().reshape(-1) for value in model.parameters()])


CHANGES: list[dict[str, Any]] = [
    {},
    {"clip_norm": 0.05},
    {"clip_norm": 1e6},
    {"decay_norms": False, "weight_decay": 0.5},
    {"optimizer": "adamw", "nesterov": False, "learning_rate": 0.01, "weight_decay": 0.1},
    {"label_smoothing": 0.0, "nesterov": False},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_steps_are_those_of_torch(changes: dict[str, Any]) -> None:
    """Two steps, against a loop as anyone would write it."""
    training = started(**changes)
    recipe = training.config.recipe
    model = copy.deepcopy(training.model)
    vectors = [value for value in model.parameters() if value.ndim == 1]
    matrices = [value for value in model.parameters() if value.ndim > 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors}]
    if not recipe.decay_norms:
        groups[1]["weight_decay"] = 0.0
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.999), weight_decay=recipe.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            groups, lr=0.1, momentum=0.9, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay
        )
    normalise = Normalise(training.preprocessing, training.runtime)
    for number in range(2):
        pixels, labels = batch(7, number)
        figures = step(training, 7, number)
        scores = model(normalise(pixels))
        loss = functional.cross_entropy(scores, labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        assert figures.tolist() == pytest.approx([loss.item(), int((scores.argmax(1) == labels).sum()), 0])
    assert torch.allclose(values(training.model), values(model), atol=1e-6)


@given(n=st.integers(2, 17), parts=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_parts_of_a_batch_add_up_to_it(n: int, parts: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plain_models.register(patch)
        whole, split = started(), started(accumulate=parts)
        figures = [step(training, n) for training in (whole, split)]
    assert torch.allclose(figures[0], figures[1], atol=1e-5)
    assert torch.allclose(values(whole.model), values(split.model), atol=1e-6)


def test_where_memory_runs_out_the_step_is_the_same(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    """Batches of 7 and memory for 3: after 7 and 4 images at once, 3 are tried."""
    stages: dict[str, None] = {}
    work = Work(progress=lambda stage, done, total: stages.setdefault(stage))
    dataset, tiny = colours(), tiny.with_overrides(fp32_steps=0)
    hungry = train(dataset, RunConfig("hungry", tiny), tmp_path / "hungry", work=work)
    four = tiny.with_overrides(accumulate=4)
    whole, split = (
        train(dataset, RunConfig("plain", recipe), tmp_path / f"{recipe.accumulate}")
        for recipe in (tiny, four)
    )
    assert (hungry / "model.safetensors").read_bytes() == (split / "model.safetensors").read_bytes()
    losses = [[row["train_loss"] for row in read_rows(run)] for run in (hungry, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # bf16 rounds
    assert [row["parts"] for row in read_rows(hungry)] == [3, 3, 3]
    assert read_manifest(hungry).facts["parts"] == 3
    assert list(stages)[-1] == "train (batches in 3 parts: out of memory)"


def test_two_images_that_do_not_fit_end_the_run(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="out of memory with 3 images at once; choose smaller images"):
        train(colours(), RunConfig("greedy", tiny), tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_other_errors_of_a_model_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    training, calls = started(), []

    def broken(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        raise RuntimeError("shapes do not match")

    training.forward = broken
    with pytest.raises(RuntimeError, match="shapes do not match"):
        step(training, 8)
    assert calls == [8]


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=30), st.floats(0.1, 0.999))
@settings(max_examples=20, deadline=None)
def test_the_running_mean_is_what_the_formula_says(weights: list[float], decay: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plain_models.register(patch)
        training = started(ema_decay=decay)
    expected = float(training.model.state_dict()["head.bias"][0])
    for number, weight in enumerate(weights):
        with torch.no_grad():
            training.model.state_dict()["head.bias"].fill_(weight)
        follow(training, number)
        share = min(decay, (1 + number) / (10 + number))
        expected = share * expected + (1 - share) * weight
    kept = training.result().state_dict()["head.bias"]
    assert float(kept[0]) == pytest.approx(expected, abs=1e-5)
    assert training.result() is not training.model


def test_the_mean_is_what_is_written(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours()
    runs = [
        train(dataset, RunConfig("small_resnet", replace(tiny, ema_decay=decay)), tmp_path / f"{decay}")
        for decay in (0.0, 1e-9, 0.9)
    ]
    last, hardly, mean = ((run / "model.safetensors").read_bytes() for run in runs)
    assert last != mean
    assert len(last) == len(hardly)
    assert [row["train_loss"] for row in read_rows(runs[0])] == [
        row["train_loss"] for row in read_rows(runs[2])
    ]


def test_views_grow(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    recipe = tiny.with_overrides(
        image_size=32, epochs=5, train_sizes=[0.5, 0.75], train_sizes_ramp=[0.3, 0.7]
    )
    run = train(colours(), RunConfig("plain", recipe), tmp_path / "run")
    assert [row["image_size"] for row in read_rows(run)] == [16, 16, 16, 24, 24]
    assert read_manifest(run).facts["image_size"] == 32  # evaluated on


def test_a_size_on_the_way_that_the_model_cannot_take_is_said_first(
    colours: Make, tiny: Recipe, tmp_path: Path
) -> None:
    recipe = tiny.with_overrides(image_size=64, train_sizes=[0.25, 1.0])
    with pytest.raises(TrainingError, match="alexnet cannot take images of 16 px"):
        train(colours(), RunConfig("alexnet", recipe), tmp_path / "run")


@pytest.mark.parametrize("clip_norm", [0.0, 0.05])
def test_scaled_gradients_make_the_same_step(clip_norm: float, tmp_path: Path) -> None:
    """Scales are powers of two, so that in float32 nothing is rounded; the scale survives a checkpoint."""
    plain, scaled = started(clip_norm=clip_norm), started(clip_norm=clip_norm)
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    for number in range(3):
        assert step(plain, 6, number).tolist() == step(scaled, 6, number).tolist()
    assert torch.equal(values(plain.model), values(scaled.model))
    assert scaled.scaler.get_scale() == 2.0**11
    write_checkpoint(tmp_path / "checkpoint", scaled, [])
    other = started(clip_norm=clip_norm)
    other.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    read_checkpoint(tmp_path / "checkpoint", other)
    assert other.scaler.state_dict() == scaled.scaler.state_dict()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_learns_in_every_format(colours: Make, tiny: Recipe, tmp_path: Path, precision: str) -> None:
    recipe = tiny.with_overrides(epochs=6)
    config = RunConfig("small_resnet", recipe, device="cuda", precision=precision, checkpoint_seconds=0.0)
    run = train(colours(), config, tmp_path / "run")
    assert read_manifest(run).facts["precision"] == precision
    assert read_rows(run)[-1]["train_accuracy"] > 0.9


def test_number_formats_are_chosen_and_refused() -> None:
    assert choose_runtime("cpu", "fp32").precision == "fp32"
    assert choose_runtime("cpu", "bf16").precision == "bf16"
    with pytest.raises(UsageError, match="fp16 works on cuda only, not on cpu"):
        choose_runtime("cpu", "fp16")
    with pytest.raises(UsageError, match="unknown precision 'half'; known: auto, fp32, bf16, fp16"):
        choose_runtime("cpu", "half")


def test_the_format_is_part_of_what_a_run_is(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    config = RunConfig("plain", tiny, precision="fp32")
    run = train(colours(), config, tmp_path / "run")
    assert read_manifest(run).facts["precision"] == "fp32"
    keys = {
        str(each.settings("a"))
        for each in (config, replace(config, precision="bf16"), replace(config, validate_every=1))
    }
    assert len(keys) == 3
    assert config.settings("a") == replace(config, device="cpu", checkpoint_seconds=1.0).settings("a")


def test_a_compiled_model_is_called_and_the_plain_one_written(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way through `torch.compile`, with a compiler that changes nothing."""
    calls: list[int] = []

    def compile_(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def called(images: torch.Tensor) -> torch.Tensor:
            calls.append(len(images))
            return function(images)

        return called

    dataset = colours()
    plain = train(dataset, RunConfig("plain", tiny), tmp_path / "plain")
    monkeypatch.setattr(torch, "compile", compile_)
    run = train(dataset, RunConfig("plain", tiny, compile=True), tmp_path / "run")
    assert (run / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    assert read_manifest(run).facts["compiled"] is True
    assert sum(calls) == 2 + 3 * 20  # the trial of the compiler, then every image of every epoch


def test_no_compiler_is_said_before_anything_starts(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_(function: object) -> object:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.raises(
        UsageError, match=r"torch.compile does not work here \(Inval.* found\); it needs a C\+\+"
    ):
        train(colours(), RunConfig("plain", tiny, compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Late(nn.Module):
    """Memory runs out after the normalisation and the dropout have done their part."""

    def __init__(self, inner: nn.Module, most: int, error: Exception) -> None:
        super().__init__()
        self.inner, self.most, self.error = inner, most, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.inner(x)
        if len(x) > self.most:
            raise self.error
        return scores


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), MemoryError()], ids=repr)
def test_a_failed_try_leaves_no_trace(error: Exception) -> None:
    """Running statistics and dropout are those of a step taken in two parts from the start."""
    retried, split = started("restless"), started("restless", accumulate=2)
    retried.forward = Late(retried.model, 4, error)
    for training in (retried, split):
        torch.manual_seed(5)
        for number in range(2):
            step(training, 8, number)
    assert retried.parts == 2
    one, two = retried.model.state_dict(), split.model.state_dict()
    assert int(one["norm.num_batches_tracked"]) == 4
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "words",
    [
        "could not create a primitive",
        "could not create a memory object",
        "MPS backend out of memory (MPS allocated: 1 GB)",
        "CUDA error: out of memory",
        "GET was unable to find an engine to execute this computation",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_runs_out_in_many_words(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(ValueError(words))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_too_large_an_image_is_not_said_to_be_too_small() -> None:
    class Full(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(TrainingError, match="one image of 9000 px does not fit into memory with huge"):
        need_image_size(Full(), "huge", 9000)


def test_memory_that_runs_out_while_a_batch_is_made_is_said(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    dataset = colours()
    run = train(dataset, RunConfig("plain", tiny), tmp_path / "run")
    monkeypatch.setattr(Packed, "batch", full)
    with pytest.raises(TrainingError, match="out of memory while reading 7 images for one batch"):
        train(dataset, RunConfig("plain", tiny, seed=1), tmp_path / "other")
    with pytest.raises(TrainingError, match="out of memory while reading 10 images for one batch"):
        evaluate(run, dataset, tmp_path / "out")


def _switches() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float32_is_float32_and_switches_are_put_back(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Training in fp32 and every evaluation switch TensorFloat-32 off, and only for as long."""
    seen: dict[bool, set[tuple[bool, str]]] = {True: set(), False: set()}

    def note(model: nn.Module, x: torch.Tensor) -> None:
        if len(x) > 1:  # not the trial of the image size
            seen[model.training].add(_switches())

    plain_models.before_forward(monkeypatch, note)
    before = _switches()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        dataset = colours()
        run = train(dataset, RunConfig("plain", tiny, device="cpu", precision=precision), tmp_path / "run")
        evaluate(run, dataset, tmp_path / "out", device="cpu")
        assert _switches() == (True, "high")
        with pytest.raises(ZeroDivisionError), exact_float32():
            raise ZeroDivisionError
        assert _switches() == (True, "high")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
    assert seen[False] == {(False, "highest")}
    in_bf16 = {(True, "high")} if precision == "bf16" else set()
    assert seen[True] == {(False, "highest"), *in_bf16}  # the first steps are in float32 either way


def test_first_steps_from_random_weights_are_in_float32(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def note(model: nn.Module, x: torch.Tensor) -> None:
        if model.training:
            seen.append(torch.is_autocast_enabled("cpu"))

    plain_models.before_forward(monkeypatch, note)
    dataset = colours()
    config = RunConfig("plain", tiny, device="cpu", precision="bf16")
    first = train(dataset, config, tmp_path / "first")
    assert seen == 2 * [False] + 7 * [True]
    seen.clear()
    train(dataset, replace(config, weights=str(first)), tmp_path / "second")
    assert seen == 9 * [True]


def test_a_run_of_first_steps_only_is_the_run_in_float32(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, all_ = colours(), tiny.with_overrides(fp32_steps=9)
    whole, first, none = (
        train(
            dataset,
            RunConfig("small_resnet", recipe, device="cpu", precision=precision),
            tmp_path / f"{precision}-{recipe.fp32_steps}",
        )
        for recipe, precision in ((tiny, "fp32"), (all_, "bf16"), (tiny.with_overrides(fp32_steps=0), "bf16"))
    )
    weights = [(run / "model.safetensors").read_bytes() for run in (whole, first, none)]
    assert weights[0] == weights[1] != weights[2]


def test_parts_for_want_of_memory_in_float32_are_put_together_again(
    colours: Make, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    most = 4

    def need_memory(model: nn.Module, x: torch.Tensor) -> None:
        if model.training and len(x) > most and not torch.is_autocast_enabled("cpu"):
            raise torch.cuda.OutOfMemoryError("out of memory")
        if model.training:
            sizes.append(len(x))

    plain_models.before_forward(monkeypatch, need_memory)
    config = RunConfig("plain", tiny, device="cpu", precision="bf16")
    run = train(colours(), config, tmp_path / "run")
    assert sizes == [4, 3, 4, 3] + [6] + 2 * [7, 7, 6]
    most = 0
    with pytest.raises(TrainingError, match="smaller model, or --set fp32_steps=0"):
        train(colours(), config, tmp_path / "greedy")
    assert read_manifest(run).facts["parts"] == 1
