"""The training loop: yields one row an epoch and writes nothing."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import TrainingError
from sfumato.learn.chance import order, torch_seed
from sfumato.learn.index import Images
from sfumato.learn.inputs import ahead, loading_for
from sfumato.learn.memory import enough_memory, kept_memory
from sfumato.learn.objective import Objective, Targets, Views
from sfumato.learn.schedules import learning_rate, training_size
from sfumato.learn.steps import Steps, follow
from sfumato.learn.training import Place, Training
from sfumato.learn.views import one_thread_each

Row = dict[str, Any]


class Diverged(TrainingError):
    """The loss is not a finite number.

    Attributes:
        batch: where: epoch (from 1), learning_rate, and the image_ids of the whole batch.
    """

    def __init__(self, epoch: int, rate: float, image_ids: list[str]) -> None:
        self.batch = {"epoch": epoch, "learning_rate": rate, "image_ids": image_ids}
        super().__init__(
            f"the loss is not a finite number in epoch {epoch} at learning rate {rate:g}; the batch begins "
            f"with {', '.join(image_ids[:_IDS_IN_MESSAGE])}; try a lower learning rate"
        )


_IDS_IN_MESSAGE = 5
_MASK = (1 << 63) - 1


def fit(
    training: Training,
    images: Images,
    objective: Objective,
    *,
    on_batch: Callable[[int], None] | None = None,
    pause: Callable[[], bool] | None = None,
) -> Iterator[Row | None]:
    """Train on from where a run is; yields one row an epoch, and None at pauses; then it may be saved.

    Order and crops of epoch k depend on seed, k and image ids only, and so does what an epoch consists of:
    each batch is split over the processes, however many there are. On a CPU, a run that goes on from a
    checkpoint gives the same bits as an unbroken one with the same numbers of threads and processes. (Except
    where a model shrinks its images to one pixel and then strides: oneDNN 3's bf16 gradient is not repeatable
    there.)

    Args:
        training: changed in place.
        images: the training split.
        objective: what is learned of it.
        on_batch: called after each batch with the number of images done in all epochs.
        pause: asked before each step whether to pause after it; the answer of any process counts for all.
            On a GPU one more step may be taken first.

    Yields:
        epoch (from 1), train_loss (mean over images), train_accuracy (on the views trained on; None
        where the objective counts none), learning_rate
        (of the last step), image_size (of the views), parts (that a batch is worked through in), n_images,
        seconds, images_per_second, waiting_share (of the time that the model waited for images).

    Raises:
        Diverged: the loss is not finite (names epoch and first images of the batch, and holds all of them).
        TrainingError: out of memory with two images at once, or while a batch is made; batches too small for
            the number of processes.
    """
    while training.place.epoch < training.config.recipe.epochs:
        stretch = _Stretch(
            training, _EpochPlan(training, images, objective), on_batch or _ignore, pause or _never
        )
        runtime = training.runtime
        with one_thread_each(), kept_memory(), runtime.own_chance(), runtime.arithmetic():
            row = stretch.run()
        yield row


def _ignore(done: int) -> None:
    """Report nothing."""


def _never() -> bool:
    return False


class _EpochPlan:
    """The batches of one epoch, made on demand: rows, windows, pixels, and what the model is told."""

    def __init__(self, training: Training, images: Images, objective: Objective) -> None:
        recipe, given = training.config.recipe, training.preprocessing
        self.objective = objective
        self.images, self.seed, self.epoch = images, training.config.seed, training.place.epoch
        self.recipe = replace(recipe, image_size=given.image_size, resize_ratio=given.resize_ratio)
        self.size = training_size(recipe, given.image_size, epoch=self.epoch)
        self.batches = split_evenly(order(images.keys, self.seed, self.epoch), recipe.batch_size)
        self.world = training.world
        self.loading = loading_for(training.runtime.device)

    def rows(self, number: int) -> NDArray[np.int64]:
        """This process's share of a batch."""
        return np.array_split(self.batches[number], self.world.size)[self.world.rank]

    def views(self, number: int) -> tuple[NDArray[np.uint8], Targets]:
        """Pixels of this process's share, and what the model is told of them."""
        rows, images = self.rows(number), self.images
        windows, mirrored = self.objective.windows(
            images.shapes[rows], self.recipe, images.keys[rows], seed=self.seed, epoch=self.epoch
        )
        with enough_memory(len(rows)):
            pixels = images.batch(
                rows, windows, size=self.size, mirrored=mirrored, threads=self.loading.threads
            )
        return pixels, self.objective.targets(Views(rows, windows, mirrored, self.size))


def split_evenly(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Batches of at most `batch_size` rows, equal up to one row; never a batch of one beside others.

    Normalisation over a batch cannot work with one image, and a short last batch would weigh its images more.
    """
    count = -(-len(rows) // batch_size)
    if count > 1 and len(rows) // count < 2:
        count = len(rows) // 2
    return np.array_split(rows, max(1, count))


class _Stretch:
    """An epoch, or what of it lies between two pauses."""

    def __init__(
        self,
        training: Training,
        plan: _EpochPlan,
        on_batch: Callable[[int], None],
        pause: Callable[[], bool],
    ) -> None:
        self.training, self.plan, self.on_batch, self.pause = training, plan, on_batch, pause
        self.steps = Steps(training, plan.objective)
        self.n_batches = len(self.plan.batches)
        in_16_bits = training.runtime.precision != "fp32" and training.config.weights is None
        self.n_in_fp32 = training.config.recipe.fp32_steps if in_16_bits else 0
        self.unread: deque[torch.Tensor] = deque()

    def run(self) -> Row | None:
        """Train to the next pause, which gives None, or to the end of the epoch, which gives its row."""
        place, begun = self.training.place, time.perf_counter()
        _need_batches(self.plan)
        self._begin()
        for number, (pixels, targets) in self._views():
            self.unread.append(self._step(number, pixels, targets))
            if self._read(self.training.runtime.unread) and number + 1 < self.n_batches:
                break
        self._read(0)
        place.seconds += time.perf_counter() - begun
        if place.batch < self.n_batches:
            self.training.chance = self.training.world.gather(self.training.runtime.chance())
            return None
        self.training.place, self.training.chance = Place(epoch=place.epoch + 1), []
        return self._row(place)

    def _begin(self) -> None:
        """Chance as it was at the pause, or as it is at the start of an epoch; each process has its own."""
        training, rank = self.training, self.training.world.rank
        training.set_mode()
        torch.manual_seed((torch_seed(self.plan.seed, self.plan.epoch) + rank) & _MASK)
        if rank < len(training.chance):
            training.runtime.set_chance(training.chance[rank])

    def _views(self) -> Iterator[tuple[int, tuple[torch.Tensor, Targets]]]:
        place, stage = self.training.place, self.steps.normalise.stage

        def make(number: int) -> tuple[torch.Tensor, Targets]:
            pixels, targets = self.plan.views(number)
            return stage(pixels), targets

        made = ahead(make, self.n_batches, first=place.batch, loading=self.plan.loading)
        for number, (views, waited) in enumerate(made, start=place.batch):
            place.waited += waited
            yield number, views

    def _step(self, number: int, pixels: torch.Tensor, targets: Targets) -> torch.Tensor:
        training, step = self.training, self._step_of_run(number)
        self.steps.in_fp32(wanted=step < self.n_in_fp32)
        if step == self.n_in_fp32:  # parts that memory made of batches in float32 need not do so further on
            training.parts = training.config.recipe.accumulate
        figures = self.steps.take(
            pixels,
            targets,
            rate=self._rate(number),
            n_batch=len(self.plan.batches[number]),
            pause=self.pause(),
        )
        follow(training, step)
        return figures

    def _rate(self, number: int) -> float:
        recipe, peak, step = self.training.config.recipe, self.training.peak_rate, self._step_of_run(number)
        return learning_rate(recipe, peak, step=step, steps_per_epoch=self.n_batches)

    def _step_of_run(self, number: int) -> int:
        return self.plan.epoch * self.n_batches + number

    def _read(self, left: int) -> bool:
        """Read figures of steps until so many are left; whether one of them asked for a pause."""
        pause = False
        while len(self.unread) > left:
            loss, right, asked = self.unread.popleft().tolist()
            pause |= asked > 0
            self._note(loss, right)
        return pause

    def _note(self, loss: float, right: float) -> None:
        place = self.training.place
        rows = self.plan.batches[place.batch]
        if not math.isfinite(loss):
            ids = [self.plan.images.image_ids[row] for row in rows]
            raise Diverged(place.epoch + 1, self._rate(place.batch), ids)
        place.loss_sum += loss * len(rows)
        place.n_right += right
        place.n_images += len(rows)
        place.batch += 1
        self.on_batch(self.plan.epoch * len(self.plan.images) + place.n_images)

    def _row(self, place: Place) -> Row:
        return {
            "epoch": place.epoch + 1,
            "train_loss": place.loss_sum / place.n_images,
            "train_accuracy": place.n_right / place.n_images if self.plan.objective.counts_right else None,
            "learning_rate": self._rate(self.n_batches - 1),
            "image_size": self.plan.size,
            "parts": self.training.parts,
            "n_images": place.n_images,
            "seconds": place.seconds,
            "images_per_second": place.n_images / place.seconds,
            "waiting_share": place.waited / place.seconds,
        }


def _need_batches(plan: _EpochPlan) -> None:
    smallest, size = min(map(len, plan.batches)), plan.world.size
    if size > 1 and smallest < 2 * size:
        raise TrainingError(
            f"batches of {smallest} images are too small for {size} processes, each of which needs 2; "
            "use larger batches or fewer processes"
        )
