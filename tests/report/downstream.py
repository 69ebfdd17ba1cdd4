"""Made-up comparisons of starts on downstream tasks, as `sfumato transfer` leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sfumato.compare import CompareSettings, compare
from sfumato.predictions import (
    ATTRIBUTES_KIND,
    ATTRIBUTES_SCHEMA,
    PREDICTIONS,
    SCORES,
    AttributePredictions,
    Predictions,
    read_attribute_predictions,
)
from sfumato.records import Manifest, make_key, write_manifest, write_table
from tests.compare.synthetic import BLUR, NONE, World, write_predictions

STARTS = {"scratch": 0.5, "original": 0.84, NONE: 0.83, BLUR: 0.76}
"""Start to how often an image is right."""


def a_task(name: str = "cifar10", title: str = "CIFAR-10", **changes: Any) -> dict[str, Any]:
    """Facts about a task of categories."""
    metrics = ["top1_accuracy", "top5_accuracy"]
    plain = {"name": name, "title": title, "kind": "categories", "protocol": "finetune", "metrics": metrics}
    return plain | changes


def own_seed(arm: str, seed: int) -> int | None:
    """Every start goes on from a run of its own seed."""
    return None if arm == "scratch" else seed


def one_run(arm: str, seed: int) -> int | None:
    """Every start goes on from the same run, whatever the seed of the transfer."""
    return None if arm == "scratch" else 0


def make_transfer(
    folder: Path,
    task: Mapping[str, Any],
    *,
    starts: Mapping[str, float] = STARTS,
    models: Sequence[str] = ("resnet18", "mine"),
    start_seed: Callable[[str, int], int | None] = own_seed,
) -> Path:
    """Tables of a comparison on a task, of images drawn right or wrong one by one; in `folder/tables`."""
    world = World(per_category=(40,) * 4, accuracy=starts, seeds=(0, 1, 2), models=models)
    rng = np.random.default_rng(len(models))
    predictions: list[Predictions] = []
    for model in models:
        for arm, chance in starts.items():
            for seed in world.seeds:
                right = rng.random(len(world.labels)) < chance
                ranks = np.where(right, 0, rng.integers(1, 8, size=len(right)))
                facts = {"model": model, "seed": seed, "train_arm": arm, "eval_arm": arm}
                facts |= {"task": dict(task), "start_seed": start_seed(arm, seed)}
                predictions.append(write_predictions(folder / "runs", world, ranks, facts))
    compare(predictions, folder / "tables", settings=CompareSettings(rounds=200))
    return folder / "tables"


ATTRIBUTES = ("Smiling", "Eyeglasses <b>", "Bald")
N_FACES = 150
POSITIVES = (70, 40, 3)
"""Images that have each attribute: of the last one too few."""


def make_attributes(folder: Path, task: Mapping[str, Any]) -> Path:
    """Tables of a comparison on a task of attributes; a start tells them apart as well as it is right."""
    rng = np.random.default_rng(0)
    truth = np.stack([np.arange(N_FACES) * 7 % N_FACES < positives for positives in POSITIVES], axis=1)
    predictions: list[AttributePredictions] = []
    for arm, skill in STARTS.items():
        for seed in (0, 1, 2):
            noise = rng.normal(size=truth.shape)
            run: dict[str, Any] = {"model": "resnet18", "seed": seed, "train_arm": arm, "eval_arm": arm}
            facts = run | {"task": dict(task), "start_seed": own_seed(arm, seed), "recipe": "small"}
            scores = (4 * skill * truth + noise).astype(np.float16)
            predictions.append(_write_attributes(folder / f"runs/{len(predictions)}", truth, scores, facts))
    compare(predictions, folder / "tables", settings=CompareSettings(rounds=200))
    return folder / "tables"


def _write_attributes(
    folder: Path, truth: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], facts: Mapping[str, Any]
) -> AttributePredictions:
    rows = [
        {"image_id": f"{number:06d}.jpg", "truth": row.tolist(), "status": "ok", "error": None}
        for number, row in enumerate(truth.astype(np.int8))
    ]
    write_table(folder / PREDICTIONS, pa.Table.from_pylist(rows, schema=ATTRIBUTES_SCHEMA))
    np.save(folder / SCORES, scores)
    counts = {"n_images": len(rows), "n_failed": 0, "split": "test", "categories": list(ATTRIBUTES)}
    whole = {**facts, **counts}
    key = make_key(ATTRIBUTES_KIND, {}, {**whole, "scores": scores.tolist()})
    write_manifest(folder, Manifest(ATTRIBUTES_KIND, key, {}, {}, facts=whole))
    return read_attribute_predictions(folder)
