"""The training loop: yields one row an epoch and writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from sfumato.errors import TrainingError
from sfumato.learn.architectures import Preprocessing
from sfumato.learn.cache import Packed
from sfumato.learn.catalogue import build_model, find_model, need_image_size
from sfumato.learn.chance import order, torch_seed
from sfumato.learn.device import Runtime
from sfumato.learn.recipes import Recipe
from sfumato.learn.schedules import learning_rate
from sfumato.learn.views import Windows, cut, one_thread_each, training_windows

Made = TypeVar("Made")

_IDS_IN_MESSAGE = 5


@dataclass
class Training:
    """A run in progress: what a checkpoint holds, and what it needs to go on.

    Attributes:
        model: on its device.
        optimizer: over all its parameters.
        peak_rate: initial or highest learning rate.
        preprocessing: with the image size of this run.
        runtime: device and number format.
        epochs_done: epochs behind it.
    """

    model: nn.Module
    optimizer: torch.optim.SGD
    peak_rate: float
    preprocessing: Preprocessing
    runtime: Runtime
    epochs_done: int = 0


def resolve(model_name: str, recipe: Recipe) -> tuple[Preprocessing, float]:
    """What a recipe leaves to the architecture: preprocessing with the image size used, and learning rate.

    Raises:
        UnknownName, MissingExtra: as `find_model`.
    """
    architecture = find_model(model_name)
    given = architecture.preprocessing
    size = given.image_size if recipe.image_size is None else recipe.image_size
    own_rate = architecture.learning_rate * recipe.rate_factor
    rate = own_rate if recipe.learning_rate is None else recipe.learning_rate
    return Preprocessing(size, given.mean, given.std), rate


def start(model_name: str, n_categories: int, recipe: Recipe, *, seed: int, runtime: Runtime) -> Training:
    """A new run; the first weights depend on model, number of categories and seed only.

    Raises:
        UnknownName, MissingExtra: as `find_model`.
        TrainingError: the model takes no images of the recipe's size.
    """
    preprocessing, rate = resolve(model_name, recipe)
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(seed, -1))
        model = build_model(model_name, n_categories)
    need_image_size(model, model_name, preprocessing.image_size)
    model = place(model, runtime)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        fused=runtime.device != "mps",  # one pass over the weights instead of several
    )
    return Training(model, optimizer, rate, preprocessing, runtime)


def place(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The model on its device, in its memory format."""
    placed: nn.Module = model.to(device=runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]
    return placed


def fit(
    training: Training,
    images: Packed,
    recipe: Recipe,
    *,
    seed: int,
    on_batch: Callable[[int], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train on from where a run is; yields one row an epoch, after which `training` may be saved.

    Order and crops of epoch k depend on seed, k and image ids only. On a CPU, a run that goes on from a
    checkpoint gives the same bits as an unbroken one with the same number of threads. (Except where a model
    shrinks its images to one pixel and then strides: oneDNN 3's bf16 gradient is not repeatable there.)

    Args:
        training: changed in place.
        images: the training split.
        recipe: settings.
        seed: of order, crops and dropout.
        on_batch: called after each batch with the number of images done in all epochs.

    Yields:
        epoch (from 1), train_loss (mean over images), train_accuracy (on the views trained on), learning_rate
        (of the last step), n_images, seconds, images_per_second, waiting_share (of the time that the model
        waited for images).

    Raises:
        TrainingError: the loss is not finite; names epoch and first images of the batch.
    """
    for epoch in range(training.epochs_done, recipe.epochs):
        begun = time.perf_counter()
        plan = _EpochPlan(images, recipe, seed=seed, epoch=epoch, size=training.preprocessing.image_size)
        with one_thread_each(), torch.random.fork_rng():
            torch.manual_seed(torch_seed(seed, epoch))
            row = _epoch(training, plan, on_batch=on_batch or _ignore)
        training.epochs_done = epoch + 1
        seconds = time.perf_counter() - begun
        waited = row.pop("waited") / seconds
        yield {
            **row,
            "n_images": len(images),
            "seconds": seconds,
            "images_per_second": len(images) / seconds,
            "waiting_share": waited,
        }


def _ignore(done: int) -> None:
    """Report nothing."""


class _EpochPlan:
    """The batches of one epoch, made on demand: rows, windows, pixels."""

    def __init__(self, images: Packed, recipe: Recipe, *, seed: int, epoch: int, size: int) -> None:
        self.images, self.recipe, self.seed, self.epoch, self.size = images, recipe, seed, epoch, size
        self.batches = split_evenly(order(images.keys, seed, epoch), recipe.batch_size)

    def pixels(self, number: int) -> NDArray[np.uint8]:
        rows, images = self.batches[number], self.images
        windows, mirrored = training_windows(
            images.shapes[rows], self.recipe, images.keys[rows], seed=self.seed, epoch=self.epoch
        )
        return batch_of(images, rows, windows, size=self.size, mirrored=mirrored)


def split_evenly(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Batches of at most `batch_size` rows, equal up to one row; never a batch of one beside others.

    Normalisation over a batch cannot work with one image, and a short last batch would weigh its images more.
    """
    count = -(-len(rows) // batch_size)
    if count > 1 and len(rows) // count < 2:
        count = len(rows) // 2
    return np.array_split(rows, max(1, count))


def batch_of(
    images: Packed,
    rows: NDArray[np.int64],
    windows: Windows,
    *,
    size: int,
    mirrored: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Squares for n rows of the cache, (n, size, size, 3) uint8; the other arrays go with the rows."""
    batch = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    flips = np.zeros(len(rows), dtype=bool) if mirrored is None else mirrored
    for square, row, window, flip in zip(batch, rows, windows, flips, strict=True):
        view = cut(images.image(row), window, size)
        square[:] = view[:, ::-1] if flip else view
    return batch


def ahead(make: Callable[[int], Made], count: int) -> Iterator[tuple[Made, float]]:
    """make(0), make(1), … each made in a thread while the last is worked on; with the seconds waited."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sfumato-views") as pool:
        coming = pool.submit(make, 0)
        for number in range(count):
            begun = time.perf_counter()
            made = coming.result()
            waited = time.perf_counter() - begun
            if number + 1 < count:
                coming = pool.submit(make, number + 1)
            yield made, waited


class Normalise:
    """Pixels (n, h, w, 3) uint8 to model input (n, 3, h, w) float32 on the device."""

    def __init__(self, preprocessing: Preprocessing, runtime: Runtime) -> None:
        shape = (1, 3, 1, 1)
        self.runtime = runtime
        self.mean = 255 * torch.tensor(preprocessing.mean, device=runtime.device).view(shape)
        self.std = 255 * torch.tensor(preprocessing.std, device=runtime.device).view(shape)

    def __call__(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """See the class."""
        on_device = torch.from_numpy(pixels).to(self.runtime.device)
        # Pixels lie with the channels last already, so this only renames the axes.
        images = (on_device.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return images.contiguous(memory_format=self.runtime.memory_format)


def _epoch(training: Training, plan: _EpochPlan, *, on_batch: Callable[[int], None]) -> dict[str, Any]:
    training.model.train()
    normalise = Normalise(training.preprocessing, training.runtime)
    labels = torch.from_numpy(plan.images.labels)
    n_batches, n_images = len(plan.batches), len(plan.images)
    loss_sum, n_right, waited, done = 0.0, 0, 0.0, 0
    rate = training.peak_rate
    for number, (pixels, seconds) in enumerate(ahead(plan.pixels, n_batches)):
        rows = plan.batches[number]
        step = plan.epoch * n_batches + number
        rate = learning_rate(plan.recipe, training.peak_rate, step=step, steps_per_epoch=n_batches)
        target = labels[torch.from_numpy(rows)].to(training.runtime.device)
        loss, right = _step(training, normalise(pixels), target, rate=rate, recipe=plan.recipe)
        if not np.isfinite(loss):
            raise TrainingError(_diverged(plan, rows, rate=rate))
        loss_sum, n_right = loss_sum + loss * len(rows), n_right + right
        waited, done = waited + seconds, done + len(rows)
        on_batch(plan.epoch * n_images + done)
    return {
        "epoch": plan.epoch + 1,
        "train_loss": loss_sum / n_images,
        "train_accuracy": n_right / n_images,
        "learning_rate": rate,
        "waited": waited,
    }


def _step(
    training: Training, images: torch.Tensor, target: torch.Tensor, *, rate: float, recipe: Recipe
) -> tuple[float, int]:
    """One optimizer step; the loss and the number of images that were right."""
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    with training.runtime.autocast():
        scores = training.model(images)
    scores = scores.float()
    loss = functional.cross_entropy(scores, target, label_smoothing=recipe.label_smoothing)
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    training.optimizer.step()
    return float(loss.detach()), int((scores.argmax(dim=1) == target).sum())


def _diverged(plan: _EpochPlan, rows: Sequence[int] | NDArray[np.int64], *, rate: float) -> str:
    ids = ", ".join(plan.images.image_ids[row] for row in rows[:_IDS_IN_MESSAGE])
    return (
        f"the loss is not a finite number in epoch {plan.epoch + 1} at learning rate {rate:g}; "
        f"the batch begins with {ids}; try a lower learning rate"
    )
