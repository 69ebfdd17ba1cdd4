"""A made-up study in which a swap, a real loss and an exposure slope are planted, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare import CompareSettings, Grouping, compare
from sfumato.data import IMAGES_SCHEMA, Dataset
from sfumato.faces import FACES_SCHEMA, FaceTable
from sfumato.predictions import FACE_COLUMNS, PREDICTIONS_SCHEMA, Predictions, read_predictions
from sfumato.records import Manifest, make_key, write_manifest, write_table
from sfumato.report import ReportInputs
from tests.compare.synthetic import BLUR, NONE

LOSER, WINNER, LOST = "Eskimo dog", "Siberian husky", "<script>alert(1)</script>"
"""The pair that is swapped, and the category that is really lost."""

SIDE = 100.0


@dataclass(frozen=True)
class Planted:
    """Near-synonyms are neighbours: 0 and 1, 2 and 3 ...; categories later in the list have more faces.

    Attributes:
        hurt: arm to how far (swap, real loss, exposure slope) go in it.
    """

    n_categories: int = 24
    per_category: int = 60
    models: tuple[str, ...] = ("resnet18", "vgg11")
    seeds: tuple[int, ...] = (0, 1, 2)
    hurt: Mapping[str, tuple[float, float, float]] = field(
        default_factory=lambda: {"original": (0, 0, 0), NONE: (0, 0, 0), BLUR: (1.6, 0.45, 0.6)}
    )

    @property
    def categories(self) -> tuple[str, ...]:
        others = tuple(f"category {number:02d}" for number in range(2, self.n_categories))
        return (LOSER, WINNER, *(LOST if name == "category 04" else name for name in others))

    @property
    def label(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.n_categories), self.per_category)

    @property
    def image_ids(self) -> list[str]:
        return [f"val/{label:04d}/{number:05d}.jpg" for number, label in enumerate(self.label)]

    @property
    def area(self) -> NDArray[np.float64]:
        """Of each image: the share that its face covers; 0 in most of the first categories."""
        rng = np.random.default_rng(7)
        share = self.label / self.n_categories
        return np.where(rng.random(len(share)) < share, rng.uniform(0.01, 0.2, len(share)), 0.0)


def make_planted(root: Path, world: Planted = Planted(), *, title: str = "A planted study") -> ReportInputs:
    """Predictions with scores and attention, tables, and what a report is made from (without pictures)."""
    predictions = [
        _write(root / "runs" / f"{model}-{number}-{seed}", world, (model, arm, seed))
        for model in world.models
        for number, arm in enumerate(world.hurt)
        for seed in world.seeds
    ]
    faces = _faces(world)
    region = Grouping("region", images={name: f"region {name[-5]}" for name in world.image_ids})
    settings = CompareSettings(rounds=200)
    compare(predictions, root / "tables", faces=faces, groups=[region], settings=settings)
    original = Dataset(root, (), world.categories, "0123456789abcdef")
    return ReportInputs(title, root / "tables", faces, original, {}, command="sfumato study study.toml")


def _write(folder: Path, world: Planted, of: tuple[str, str, int]) -> Predictions:
    model, arm, seed = of
    scores = _scores(world, of).astype(np.float16)
    label = world.label
    own = scores[np.arange(len(label)), label][:, None]
    before = (scores > own).sum(axis=1) + (
        (scores == own) & (np.arange(scores.shape[1]) < label[:, None])
    ).sum(1)
    best = np.argsort(-scores.astype(np.float32), axis=1, kind="stable")[:, :5].astype(np.int32)
    n = len(label)
    known: dict[str, Any] = {
        "image_id": world.image_ids,
        "label": label,
        "label_rank": before,
        "top5": list(best),
        "top5_score": [np.full(5, 0.2, np.float32)] * n,
        "status": ["ok"] * n,
        "error": [None] * n,
        **_attention(world),
    }
    schema = pa.schema([*PREDICTIONS_SCHEMA, *FACE_COLUMNS])
    write_table(folder / "predictions.parquet", pa.Table.from_pydict(known, schema=schema))
    np.save(folder / "scores.npy", scores)
    facts = {
        "model": model,
        "seed": seed,
        "train_arm": arm,
        "eval_arm": arm,
        "recipe": "small",
        "split": "val",
    }
    facts |= {"categories": list(world.categories), "n_images": n, "n_failed": 0}
    key = make_key("predictions", {}, facts)
    write_manifest(folder, Manifest("predictions", key, {}, {}, facts=facts))
    return read_predictions(folder)


def _scores(world: Planted, of: tuple[str, str, int]) -> NDArray[np.float64]:
    """What an image looks like is the same in every run; each run adds its own noise."""
    model, arm, seed = of
    label, n = world.label, len(world.label)
    swap, loss, slope = world.hurt[arm]
    images = np.random.default_rng(1)
    shared, clear, luck = (
        images.normal(size=(n, world.n_categories)),
        images.normal(0.9, 1, n),
        images.random(n),
    )
    run = np.random.default_rng([len(model), ord(model[0]), list(world.hurt).index(arm), seed])
    scores = shared + 0.5 * run.normal(size=shared.shape)
    rows, twin = np.arange(n), label ^ 1
    scores[rows, label] = 4 + clear + 0.4 * run.normal(size=n)
    scores[rows, twin] = 4 + 0.4 * run.normal(size=n)
    scores[label < 2, 1] += swap
    lost = luck < np.where(label == 4, loss, 0) + slope * world.area
    scores[rows[lost], label[lost]] -= 6
    scores[rows[lost], twin[lost]] -= 6
    return scores


def _attention(world: Planted) -> dict[str, NDArray[np.float32] | list[float | None]]:
    area = world.area.astype(np.float32)
    looked = [float(min(2 * share, 1)) if share else None for share in area]
    return {"face_area": area, "attention_true": looked, "attention_predicted": looked}


def _faces(world: Planted) -> FaceTable:
    shown = [
        (name, SIDE * float(np.sqrt(area))) for name, area in zip(world.image_ids, world.area, strict=True)
    ]
    faces = {
        "image_id": [name for name, side in shown if side],
        "x0": [0.0 for _, side in shown if side],
        "y0": [0.0 for _, side in shown if side],
        "x1": [side for _, side in shown if side],
        "y1": [side for _, side in shown if side],
        "score": [0.9 for _, side in shown if side],
        "kind": ["face" for _, side in shown if side],
        "source": ["oracle" for _, side in shown if side],
    }
    n = len(shown)
    images = {
        "image_id": world.image_ids,
        "split": ["val"] * n,
        "label": world.label,
        "width": [int(SIDE)] * n,
        "height": [int(SIDE)] * n,
        "status": ["ok"] * n,
        "error": [None] * n,
        "sha256": ["0" * 64] * n,
        "frames": [1] * n,
    }
    return FaceTable(
        pa.Table.from_pydict(faces, schema=FACES_SCHEMA),
        pa.Table.from_pydict(images, schema=IMAGES_SCHEMA),
        Manifest("faces", "0123456789abcdef", {}, {}),
    )
