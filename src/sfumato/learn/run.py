"""One training run as a folder: settings, one row an epoch, checkpoint, weights, manifest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import DatasetError
from sfumato.learn.cache import Packed, pack, packed_side
from sfumato.learn.operators import import_torch, import_torchvision
from sfumato.learn.recipes import SMALL, Recipe, recipe_from
from sfumato.records import (
    Manifest,
    finish,
    is_done,
    locked,
    make_key,
    prepare_output,
    read_manifest,
    versions,
    write_atomic,
    write_json,
)

if TYPE_CHECKING:
    from sfumato.learn.fit import Training

KIND = "run"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class RunConfig:
    """What is trained how.

    Attributes:
        model: a name that `find_model` knows.
        recipe: every setting.
        seed: of first weights, order, crops and dropout.
        device: "auto", "cpu", "cuda" or "mps"; not part of what a run is.
    """

    model: str
    recipe: Recipe = SMALL
    seed: int = 0
    device: str = "auto"

    def settings(self, arm: str) -> dict[str, Any]:
        """What the key of a run depends on, beside its images."""
        return {"model": self.model, "seed": self.seed, "arm": arm, "recipe": self.recipe.settings()}


def train(
    dataset: Dataset, config: RunConfig, out: Path, *, cache: Path | None = None, work: Work = Work()
) -> Path:
    """Train one model on the "train" split of a data set.

    A finished run with the same settings is left as it is, an unfinished one goes on after its last epoch.

    Args:
        dataset: original or variant.
        config: what is trained how.
        out: the run's folder.
        cache: folder for decoded images, shared by runs; default ".cache" beside the run's folder.
        work: workers for decoding, progress ("train", in images over all epochs), overwrite.

    Returns:
        The run's folder.

    Raises:
        MissingExtra: torch is not installed.
        DatasetError: fewer than two categories, no split to train or evaluate on, an unlabelled image, or a
            category without a readable image to train on.
        UnknownName, UsageError: model or device.
        OutputExists: `out` was made from something else.
        BusyError: another process works there.
        TrainingError: the model does not take the image size, or the loss is not finite.
    """
    import_torch()
    check_labels(dataset, "train")
    key = make_key(KIND, {"dataset": dataset.fingerprint}, config.settings(dataset.arm))
    if is_done(out, key):
        return out
    training = _start(dataset, config)
    with locked(out):
        if not prepare_output(out, KIND, key, overwrite=work.overwrite):
            side = packed_side(training.preprocessing.image_size, config.recipe.resize_ratio)
            root = out.parent / ".cache" if cache is None else cache
            images = pack(dataset, "train", shorter_side=side, root=root, work=work)
            _need_examples(dataset, images)
            facts = _facts(dataset, config, training)
            write_json(out / CONFIG, {**facts, "recipe": config.recipe.settings()})
            rows = _train(training, images, config, out, work=work)
            counts = {"n_images": len(images), "n_failed": len(images.failed), "epochs": len(rows)}
            inputs, settings = {"dataset": dataset.fingerprint}, config.settings(dataset.arm)
            finish(out, Manifest(KIND, key, inputs, settings, counts, facts, versions()))
            (out / CHECKPOINT).unlink(missing_ok=True)
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
    settings = read_manifest(run, kind=KIND).settings
    return RunConfig(settings["model"], recipe_from(settings["recipe"]), settings["seed"])


def check_labels(dataset: Dataset, split: str) -> None:
    """Check that a split can be learned from or scored.

    Raises:
        DatasetError: fewer than two categories, no such pair of splits, or an unlabelled image.
    """
    dataset.need_categories()
    samples = dataset.subset(split).samples
    if not samples:
        _ = dataset.evaluation_split  # says which splits are missing
        raise DatasetError(f"{dataset.root}: no image in the split '{split}'")
    for sample in samples:
        if not 0 <= sample.label < len(dataset.categories):
            raise DatasetError(f"{dataset.root}: '{sample.image_id}' has no label; put it into a category")


def _start(dataset: Dataset, config: RunConfig) -> Training:
    from sfumato.learn.device import choose_runtime
    from sfumato.learn.fit import start

    runtime = choose_runtime(config.device)
    return start(config.model, len(dataset.categories), config.recipe, seed=config.seed, runtime=runtime)


def _train(
    training: Training, images: Packed, config: RunConfig, out: Path, *, work: Work
) -> list[dict[str, Any]]:
    """Train to the end, leaving a checkpoint and the rows so far after each epoch."""
    from sfumato.learn.checkpoint import read_checkpoint, write_checkpoint, write_weights
    from sfumato.learn.fit import fit

    total = config.recipe.epochs * len(images)
    checkpoint = out / CHECKPOINT
    rows = read_checkpoint(checkpoint, training) if checkpoint.is_file() else []
    work.progress("train", training.epochs_done * len(images), total)
    for row in fit(
        training,
        images,
        config.recipe,
        seed=config.seed,
        on_batch=lambda done: work.progress("train", done, total),
    ):
        rows.append(row)
        write_checkpoint(checkpoint, training, rows)
        _write_rows(out / METRICS, rows)
    _write_rows(out / METRICS, rows)
    write_weights(out / WEIGHTS, training.model)
    return rows


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def _need_examples(dataset: Dataset, images: Packed) -> None:
    present = set(images.labels.tolist())
    empty = [name for label, name in enumerate(dataset.categories) if label not in present]
    if empty:
        raise DatasetError(
            f"{dataset.root}: no readable image to train on in {len(empty)} categor"
            f"{'y' if len(empty) == 1 else 'ies'} ({', '.join(empty[:5])}); add images or remove the folder"
        )


def _facts(dataset: Dataset, config: RunConfig, training: Training) -> dict[str, Any]:
    preprocessing = training.preprocessing
    return {
        "model": config.model,
        "seed": config.seed,
        "arm": dataset.arm,
        "recipe": config.recipe.describe(),
        "categories": list(dataset.categories),
        "image_size": preprocessing.image_size,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "learning_rate": training.peak_rate,
        "n_parameters": sum(parameter.numel() for parameter in training.model.parameters()),
        "device": training.runtime.device,
        "precision": training.runtime.precision,
        "channels_last": training.runtime.channels_last,
    }
