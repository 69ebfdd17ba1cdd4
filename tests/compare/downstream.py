"""Made-up predictions of downstream tasks, written as the folders that evaluation writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.predictions import (
    ATTRIBUTES_KIND,
    ATTRIBUTES_SCHEMA,
    DETECTIONS_SCHEMA,
    OBJECT_IMAGES_SCHEMA,
    OBJECTS_KIND,
    OBJECTS_SCHEMA,
    AttributePredictions,
    ObjectPredictions,
    read_attribute_predictions,
    read_object_predictions,
)
from sfumato.records import Manifest, make_key, write_manifest, write_table
from tests.compare.synthetic import BLUR, NONE

SCRATCH = "scratch"
ARMS = ("original", NONE, BLUR, SCRATCH)


def task(name: str, kind: str, metrics: Sequence[str], protocol: str = "finetune") -> dict[str, Any]:
    return {"name": name, "title": name.upper(), "kind": kind, "protocol": protocol, "metrics": list(metrics)}


CELEBA = task("celeba", "attributes", ["mean_average_precision"])
VOC = task("voc2007", "objects", ["voc2007_ap", "voc2010_ap", "coco_ap", "coco_ap50"])
CIFAR = task("cifar10", "categories", ["top1_accuracy", "top5_accuracy"])


def run_facts(arm: str, seed: int, of_task: Mapping[str, Any] | None, **other: Any) -> dict[str, Any]:
    facts = {"model": "resnet18", "seed": seed, "train_arm": arm, "eval_arm": arm, "recipe": "small"}
    start = None if arm == SCRATCH else seed
    return facts | ({} if of_task is None else {"task": of_task, "start_seed": start}) | other


def image_names(n: int) -> list[str]:
    return [f"test/{number:05d}.jpg" for number in range(n)]


def _folder(root: Path) -> Path:
    return root / f"{len(list(root.glob('*'))) if root.exists() else 0:04d}"


def _finish(folder: Path, kind: str, facts: Mapping[str, Any], content: str) -> None:
    write_manifest(
        folder, Manifest(kind, make_key(kind, {}, {**facts, "is": content}), {}, {}, facts=dict(facts))
    )


def write_attributes(
    root: Path,
    truth: NDArray[np.int8],
    scores: NDArray[Any],
    facts: Mapping[str, Any],
    failed: Sequence[int] = (),
) -> AttributePredictions:
    """A folder of predictions of attributes (n, k) of images named by their number."""
    folder, scores = _folder(root), scores.astype(np.float16)
    scores[list(failed)] = np.nan
    rows = [
        {
            "image_id": name,
            "truth": of_image.tolist(),
            "status": "failed" if number in failed else "ok",
            "error": "truncated file" if number in failed else None,
        }
        for number, (name, of_image) in enumerate(zip(image_names(len(truth)), truth, strict=True))
    ]
    write_table(folder / "predictions.parquet", pa.Table.from_pylist(rows, schema=ATTRIBUTES_SCHEMA))
    np.save(folder / "scores.npy", scores)
    whole = {"categories": [f"a{place}" for place in range(truth.shape[1])], "split": "test", **facts}
    _finish(folder, ATTRIBUTES_KIND, whole, scores.tobytes().hex())
    return read_attribute_predictions(folder)


@dataclass(frozen=True)
class Scene:
    """Objects and detections of one image: (class, box, flag) and (class, box, score)."""

    objects: Sequence[tuple[int, tuple[float, float, float, float], str]] = ()
    detections: Sequence[tuple[int, tuple[float, float, float, float], float]] = ()
    failed: bool = field(default=False)


def write_objects(
    root: Path, scenes: Sequence[Scene], facts: Mapping[str, Any], n_classes: int = 2
) -> ObjectPredictions:
    """A folder of predictions of objects in images named by number; flags are "difficult" or "crowd"."""
    folder, names = _folder(root), image_names(len(scenes))
    images = [
        {
            "image_id": name,
            "height": 100,
            "width": 100,
            "status": "failed" if scene.failed else "ok",
            "error": "truncated file" if scene.failed else None,
        }
        for name, scene in zip(names, scenes, strict=True)
    ]
    objects = [
        {
            "image_id": name,
            "label": label,
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "difficult": flag == "difficult",
            "crowd": flag == "crowd",
        }
        for name, scene in zip(names, scenes, strict=True)
        for label, box, flag in scene.objects
    ]
    detections = [
        {
            "image_id": name,
            "label": label,
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "score": score,
        }
        for name, scene in zip(names, scenes, strict=True)
        for label, box, score in scene.detections
    ]
    write_table(folder / "predictions.parquet", pa.Table.from_pylist(images, schema=OBJECT_IMAGES_SCHEMA))
    write_table(folder / "objects.parquet", pa.Table.from_pylist(objects, schema=OBJECTS_SCHEMA))
    write_table(folder / "detections.parquet", pa.Table.from_pylist(detections, schema=DETECTIONS_SCHEMA))
    whole = {"categories": [f"c{place}" for place in range(n_classes)], "split": "test", **facts}
    _finish(folder, OBJECTS_KIND, whole, repr((objects, detections)))
    return read_object_predictions(folder)


def make_attributes(
    root: Path,
    n: int = 300,
    *,
    rates: Sequence[float] = (0.3, 0.1, 0.5),
    skill: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    models: Sequence[str] = ("resnet18",),
    seed: int = 0,
) -> list[AttributePredictions]:
    """Predictions of every arm and seed; a positive's score is higher by `skill` of the arm."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, len(rates))) < rates).astype(np.int8)
    hard = rng.normal(size=truth.shape)
    made = []
    for model in models:
        for arm, gap in (skill or {"original": 2.0, NONE: 2.0, BLUR: 1.7, SCRATCH: 0.8}).items():
            for run_seed in seeds:
                scores = hard + rng.normal(scale=0.5, size=truth.shape) + gap * truth
                facts = run_facts(arm, run_seed, CELEBA, model=model)
                made.append(write_attributes(root, truth, scores, facts))
    return made
