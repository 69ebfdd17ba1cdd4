"""One training run as a folder: settings, one row an epoch, checkpoint, weights, manifest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data import Dataset
from sfumato.data.tasks import TaskData
from sfumato.engines import Work
from sfumato.errors import ManifestError, TrainingError, UsageError
from sfumato.learn.config import RunConfig as RunConfig
from sfumato.learn.config import config_from
from sfumato.learn.index import Images
from sfumato.learn.inputs import DEFAULT_BUDGET, prepare_images
from sfumato.learn.leftovers import CHECKPOINT, CONFIG, clear_useless, is_finished, need_same_way
from sfumato.learn.leftovers import WEIGHTS as WEIGHTS
from sfumato.learn.operators import import_torch, import_torchvision
from sfumato.learn.overlap import note_trained
from sfumato.learn.subject import as_task, check_task, need_examples, task_facts, task_settings
from sfumato.progress import is_alone, silent
from sfumato.records import (
    Manifest,
    finish,
    locked,
    make_key,
    prepare_output,
    read_manifest,
    versions,
    write_atomic,
    write_json,
)

if TYPE_CHECKING:
    from sfumato.learn.training import Training
    from sfumato.learn.world import World

KIND = "run"
METRICS = "metrics.jsonl"
BEST = "best.safetensors"
DIVERGED = "diverged.json"

Row = dict[str, Any]


def train(  # noqa: PLR0913 -- the options of a command; the last two change no key
    data: Dataset | TaskData,
    config: RunConfig,
    out: Path,
    *,
    cache: Path | None = None,
    budget: int = DEFAULT_BUDGET,
    work: Work = Work(),
) -> Path:
    """Train one model on the "train" split of a data set, or of a downstream task.

    A finished run with the same settings is left as it is, an unfinished one goes on from its last
    checkpoint. Processes that `torchrun` started train one model together: all call this with the same
    arguments, on a folder that all of them see.

    Args:
        data: original or variant; or a task, which may be more than one category an image.
        config: what is trained how.
        out: the run's folder.
        cache: folder for decoded images, shared by runs; default ".cache" beside the run's folder.
        budget: bytes that decoded images may take there; where they would take more, they are decoded while
            the model trains. See `sfumato.learn.inputs.prepare_images`.
        work: workers for decoding, progress ("train", in images over all epochs), overwrite.

    Returns:
        The run's folder.

    Raises:
        MissingExtra: torch is not installed.
        DatasetError: fewer than two categories, no split to train or evaluate on, an unlabelled image, or a
            category without a readable image to train on; a task without an object or attribute to learn.
        UnknownName, UsageError: model, device, precision, or pretrained weights; or the run was begun another
            way (packed or streamed, number format, number of processes).
        OutputExists: `out` was made from something else.
        BusyError: another process works there.
        TrainingError: the model does not take the image size, the loss or the weights are not finite, memory
            runs out with two images at once, the checkpoint is damaged, an image was changed meanwhile, the
            disk has no room for the cache, or the weights of a finished run are missing or damaged and
            `work.overwrite` is not set.
    """
    import_torch()
    task = as_task(data)
    check_task(task, "train")
    dataset, settings = task.dataset, config.settings(task.dataset.arm) | task_settings(task)
    key = make_key(KIND, {"dataset": dataset.fingerprint}, settings)
    world = _meet(config)
    if world.share(partial(is_finished, out, key, overwrite=work.overwrite)):
        return out
    training = _start(task, config)
    if not world.main:
        work = replace(work, progress=silent)
    with ExitStack() as held:

        def claim() -> bool:
            held.enter_context(locked(out))
            if work.overwrite:
                clear_useless(out, key)
            return prepare_output(out, KIND, key, overwrite=work.overwrite)

        if not world.share(claim):
            run = _Run(training, task, out, (cache or out.parent / ".cache", budget), work)
            counts, facts = run.train()
            inputs = {"dataset": dataset.fingerprint}
            manifest = Manifest(KIND, key, inputs, settings, counts, facts, versions())
            world.share(partial(_close, out, manifest))
    return out


def check_training(device: str = "auto") -> None:
    """Check that this machine can train, before anything else takes time.

    Raises:
        MissingExtra: torch or torchvision is not installed.
        UsageError: an unknown device, or one that is not there.
    """
    import_torchvision()
    from sfumato.learn.device import choose_runtime

    choose_runtime(device)


def read_config(run: Path) -> RunConfig:
    """The settings of a finished run.

    Raises:
        ManifestError: the folder is no finished run.
    """
    return config_from(dict(read_manifest(run, kind=KIND).settings))


def read_rows(run: Path) -> list[Row]:
    """The rows of a run, one an epoch; see `sfumato.learn.fit.fit` for what is in them.

    Raises:
        ManifestError: there are none, or the file is damaged.
    """
    path = run / METRICS
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}); train the run anew") from error


def _meet(config: RunConfig) -> World:
    """The processes that train together; one alone needs no device yet to find a finished run."""
    from sfumato.learn.device import choose_runtime
    from sfumato.learn.world import World, join_world

    return World() if is_alone() else join_world(choose_runtime(config.device).device)


def _start(task: TaskData, config: RunConfig) -> Training:
    from sfumato.learn.device import choose_runtime
    from sfumato.learn.training import start

    runtime = choose_runtime(config.device, config.precision, compiled=config.compile)
    return start(config, len(task.dataset.categories), runtime=runtime, kind=task.kind)


def _close(out: Path, manifest: Manifest) -> None:
    finish(out, manifest)
    (out / CHECKPOINT).unlink(missing_ok=True)


class _Run:
    """A run on its way: what is trained on what, and where it is written."""

    def __init__(
        self, training: Training, task: TaskData, out: Path, cache: tuple[Path, int], work: Work
    ) -> None:
        self.training, self.config, self.dataset = training, training.config, task.dataset
        self.task = task
        self.out, self.work = out, work
        self.cache, self.budget = cache
        self.rows: list[Row] = []

    def train(self) -> tuple[dict[str, int], dict[str, Any]]:
        """Train to the end; counts and facts for the manifest."""
        from sfumato.learn.checkpoint import write_weights
        from sfumato.learn.training import need_finite
        from sfumato.learn.validate import need_finite_scores

        self._resume()
        images = self._images_together("train")
        need_examples(self.task, images)
        facts = {**self._facts(), "images": images.way}
        self.training.world.share(partial(need_same_way, self.out, facts))
        if self.training.world.main:
            write_json(self.out / CONFIG, {**facts, "recipe": self.config.recipe.settings()})
        self._epochs(images)
        need_finite(self.training)
        if self.task.kind != "objects":  # a detector gives boxes, which are looked at when it is evaluated
            self.training.world.share(partial(need_finite_scores, self.training, images))
        if self.training.world.main:
            self._write_rows()
            note_trained(self.out, self.dataset)
            write_weights(self.out / WEIGHTS, self.training.result())
        counts = {"n_images": len(images), "n_failed": len(images.failed), "epochs": len(self.rows)}
        return counts, {**self._facts(), "images": images.way, "failed": dict(images.failed)}

    def _resume(self) -> None:
        from sfumato.learn.checkpoint import read_checkpoint, sweep

        if (self.out / CHECKPOINT).is_file():
            self.rows = read_checkpoint(self.out / CHECKPOINT, self.training)
        if self.training.world.main:
            sweep(self.out)
            (self.out / DIVERGED).unlink(missing_ok=True)

    def _images_together(self, split: str) -> Images:
        """The images in every process; process 0 prepares them for all."""
        prepared: list[Images] = []
        self.training.world.share(lambda: prepared.append(self._images(split)))
        return prepared[0] if prepared else self._images(split)

    def _images(self, split: str) -> Images:
        given = self.training.preprocessing
        return prepare_images(
            self.dataset,
            split,
            image_size=given.image_size,
            resize_ratio=given.resize_ratio,
            root=self.cache,
            budget=self.budget,
            work=self.work,
        )

    def _epochs(self, images: Images) -> None:
        """Train, leaving a checkpoint and the rows so far after each epoch, and a checkpoint now and then."""
        from sfumato.learn.checkpoint import write_checkpoint
        from sfumato.learn.fit import Diverged, fit
        from sfumato.learn.objective import objective_of
        from sfumato.learn.training import need_finite

        validate = self._validation()
        due = _Due(self.config.checkpoint_seconds)
        report = self._report(self.config.recipe.epochs * len(images))
        report(self.training.place.epoch * len(images) + self.training.place.n_images)
        try:
            objective = objective_of(self.task, images, self.config.recipe)
            for row in fit(self.training, images, objective, on_batch=report, pause=due):
                need_finite(self.training)
                if row is not None:
                    self.rows.append({**row, **validate(row["epoch"])})
                if self.training.world.main:
                    write_checkpoint(self.out / CHECKPOINT, self.training, self.rows)
                    self._write_rows()
                due.begin()
        except Diverged as error:
            if self.training.world.main:
                write_json(self.out / DIVERGED, error.batch)
            raise TrainingError(f"{error} (all images of the batch: {self.out / DIVERGED})") from error

    def _report(self, total: int) -> Callable[[int], None]:
        def report(done: int) -> None:
            parts, asked = self.training.parts, self.config.recipe.accumulate
            stage = "train" if parts == asked else f"train (batches in {parts} parts: out of memory)"
            self.work.progress(stage, done, total)

        return report

    def _validation(self) -> Callable[[int], Row]:
        """What measures the accuracy after an epoch, where that is due, and keeps the best weights."""
        every, epochs = self.config.validate_every, self.config.recipe.epochs
        if every == 0 or not self.training.world.main:
            return _no_row
        if self.task.kind != "categories":
            raise UsageError(f"validate_every measures accuracy; {self.task.title} is of {self.task.kind}")
        from sfumato.learn.checkpoint import write_weights
        from sfumato.learn.validate import accuracy

        images = self._images(self.dataset.evaluation_split)

        def validate(epoch: int) -> Row:
            if epoch % every and epoch != epochs:
                return {}
            reached = accuracy(self.training, images)
            before = [row["val_accuracy"] for row in self.rows if "val_accuracy" in row]
            if reached > max(before, default=-1.0):
                write_weights(self.out / BEST, self.training.result())
            return {"val_accuracy": reached}

        return validate

    def _write_rows(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomic(self.out / METRICS, text.encode())

    def _facts(self) -> dict[str, Any]:
        training, given = self.training, self.training.preprocessing
        return {
            "model": self.config.model,
            "seed": self.config.seed,
            "arm": self.config.arm or self.dataset.arm,
            "recipe": self.config.recipe.describe(),
            "categories": list(self.dataset.categories),
            "image_size": given.image_size,
            "resize_ratio": given.resize_ratio,
            "mean": list(given.mean),
            "std": list(given.std),
            "learning_rate": training.peak_rate,
            "start": training.start,
            "n_parameters": sum(parameter.numel() for parameter in training.model.parameters()),
            "device": training.runtime.device,
            "precision": training.runtime.precision,
            "channels_last": training.runtime.channels_last,
            "compiled": training.runtime.compiled,
            "processes": training.world.size,
            "parts": training.parts,
            **task_facts(self.task),
            **({"protocol": self.config.protocol or "finetune"} if self.task.name else {}),
        }


def _no_row(epoch: int) -> Row:  # noqa: ARG001
    return {}


class _Due:
    """Says when so many seconds have gone by since `begin`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begin()

    def begin(self) -> None:
        self.since = time.monotonic()

    def __call__(self) -> bool:
        return time.monotonic() - self.since >= self.seconds
