"""Made-up predictions with known truth, written as the folders that evaluation writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare.outcomes import Outcomes
from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FACES_SCHEMA, FaceTable
from sfumato.predictions import PREDICTIONS_SCHEMA, Predictions, read_predictions
from sfumato.records import Manifest, make_key, write_manifest, write_table

BLUR = "blur(strength=0.2, grow=0.1)"
NONE = "none()"


@dataclass(frozen=True)
class World:
    """A data set, and how likely an image of each category is right in each arm."""

    categories: tuple[str, ...] = ("apron", "drum", "kite", "mask")
    per_category: Sequence[int] = (30, 30, 30, 30)
    accuracy: Mapping[str, float] = field(default_factory=lambda: {"original": 0.8, NONE: 0.78, BLUR: 0.76})
    harmed: Mapping[tuple[str, str], float] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1)
    models: Sequence[str] = ("resnet18",)

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.categories)), self.per_category)

    @property
    def image_ids(self) -> list[str]:
        counts = [range(count) for count in self.per_category]
        return [
            f"val/{name}/{number:04d}.jpg"
            for name, of_name in zip(self.categories, counts, strict=True)
            for number in of_name
        ]


def make_predictions(root: Path, world: World, *, seed: int = 0) -> list[Predictions]:
    """Predictions of every model, arm and seed of a world; right and wrong are drawn image by image."""
    rng = np.random.default_rng(seed)
    made = []
    for model in world.models:
        for arm, base in world.accuracy.items():
            for run_seed in world.seeds:
                chance = np.array(
                    [world.harmed.get((arm, world.categories[label]), base) for label in world.labels]
                )
                right = rng.random(len(chance)) < chance
                ranks = np.where(right, 0, rng.integers(1, 8, size=len(chance)))
                facts = {"model": model, "seed": run_seed, "train_arm": arm, "eval_arm": arm}
                made.append(write_predictions(root, world, ranks, facts))
    return made


def write_predictions(
    root: Path,
    world: World,
    ranks: Sequence[int | None] | NDArray[np.int64],
    facts: Mapping[str, Any],
) -> Predictions:
    """Write and read one folder of predictions; a rank of None is an image that failed."""
    rows = [
        {
            "image_id": image_id,
            "label": int(label),
            "label_rank": None if rank is None else int(rank),
            "top5": None if rank is None else [int(label)],
            "top5_score": None if rank is None else [1.0],
            "status": "failed" if rank is None else "ok",
            "error": "truncated file" if rank is None else None,
        }
        for image_id, label, rank in zip(world.image_ids, world.labels, ranks, strict=True)
    ]
    whole = {
        **facts,
        "recipe": "small",
        "split": "val",
        "categories": list(world.categories),
        "n_images": len(rows),
        "n_failed": sum(row["status"] == "failed" for row in rows),
    }
    folder = root / f"{len(list(root.glob('*'))) if root.exists() else 0:04d}"
    write_table(folder / "predictions.parquet", pa.Table.from_pylist(rows, schema=PREDICTIONS_SCHEMA))
    key = make_key("predictions", {}, {**whole, "ranks": [row["label_rank"] for row in rows]})
    write_manifest(folder, Manifest("predictions", key, {}, {}, facts=whole))
    return read_predictions(folder)


def make_faces(world: World, with_faces: Sequence[str], *, failed: Sequence[str] = ()) -> FaceTable:
    """A face table of a world: one face in each of some images, and some images that could not be read."""
    faces = [
        {
            "image_id": image_id,
            "x0": 10.0,
            "y0": 8.0,
            "x1": 30.0,
            "y1": 32.0,
            "score": 0.9,
            "kind": "face",
            "source": "oracle",
        }
        for image_id in with_faces
    ]
    images = [
        {
            "image_id": image_id,
            "split": "val",
            "label": int(label),
            "width": None if image_id in failed else 64,
            "height": None if image_id in failed else 48,
            "status": "failed" if image_id in failed else "ok",
            "error": "truncated file" if image_id in failed else None,
            "sha256": "0" * 64,
        }
        for image_id, label in zip(world.image_ids, world.labels, strict=True)
    ]
    return FaceTable(
        pa.Table.from_pylist(faces, schema=FACES_SCHEMA),
        pa.Table.from_pylist(images, schema=IMAGES_SCHEMA),
        Manifest("faces", "0123456789abcdef", {}, {}),
    )


def outcomes_of(
    ranks: Mapping[tuple[str, str], NDArray[np.int32]],
    label: NDArray[np.int64],
    categories: Sequence[str],
    seeds: Mapping[str, tuple[int, ...]],
) -> Outcomes:
    """Outcomes of images that are named by their number."""
    n = len(label)
    return Outcomes(
        image_ids=np.array([f"{number:05d}" for number in range(n)]),
        categories=tuple(categories),
        seeds=seeds,
        excluded={},
        rows={cell: np.tile(np.arange(n), (len(of_cell), 1)) for cell, of_cell in ranks.items()},
        label=label,
        ranks=ranks,
    )
