"""Runs with scores, made from a model of what hiding does: a swap, a real loss, a slope with covered area."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FACES_SCHEMA, FaceTable
from sfumato.predictions import PREDICTIONS, PREDICTIONS_SCHEMA, SCORES, Predictions, read_predictions
from sfumato.records import Manifest, make_key, write_manifest, write_table
from tests.compare.synthetic import BLUR, NONE

ARMS = ("original", NONE, BLUR)
SIDE = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """What is true of the arm in which faces are hidden; the control arm is like the original.

    Attributes:
        swap: how much the winner's score rises on images of both twins, in standard deviations of a score.
        loss: how much the score of the right category falls in one category.
        slope: how much it falls for each unit of covered area above the mean of its category, and rises below
            it: no category loses by it as a whole.
        n_categories, per_category: of them.
        seeds: of each model.
        models: names.
    """

    swap: float = 0.0
    loss: float = 0.0
    slope: float = 0.0
    n_categories: int = 24
    per_category: int = 60
    seeds: int = 3
    models: tuple[str, ...] = ("large", "small")

    twins = (4, 5)
    harmed = 11

    @property
    def categories(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(f"category{number:02d}" for number in range(self.n_categories))

    @property
    def label(self) -> NDArray[np.int64]:
        """Category of each image."""
        return np.repeat(np.arange(self.n_categories), self.per_category)

    @property
    def image_ids(self) -> list[str]:
        """As in a data set."""
        names = self.categories
        return [f"val/{names[label]}/{number:05d}.jpg" for number, label in enumerate(self.label)]


@dataclass(frozen=True, eq=False)
class Simulation:
    """One study: how hard its images are, and how much of each is covered by a face."""

    truth: Planted
    rng: np.random.Generator
    ease: Floats
    lean: Floats
    area: Floats

    @classmethod
    def of(cls, truth: Planted, seed: int) -> Simulation:
        """Draw the images; they are the same in every run."""
        rng = np.random.default_rng(seed)
        n = len(truth.label)
        area = np.where(rng.random(n) < 0.4, rng.uniform(0.02, 0.4, size=n), 0.0)
        return cls(truth, rng, rng.normal(3.2, 1.0, size=n), rng.normal(0.9, 1.0, size=n), area)

    def scores(self, arm: str) -> NDArray[np.float16]:
        """Of one run, (images, categories)."""
        truth, label, rng = self.truth, self.truth.label, self.rng
        n, rows = len(label), np.arange(len(label))
        tip = rng.normal(0, 0.1, size=truth.n_categories)[label]  # a seed is better at one, worse at another
        own = self.ease + tip + rng.normal(0, 0.5, size=n)
        scores = rng.normal(size=(n, truth.n_categories))
        scores[rows, label] = own
        if arm == BLUR:
            means = np.bincount(label, weights=self.area) / truth.per_category
            exposed = self.area - means[label]
            scores[rows, label] -= truth.slope * exposed + truth.loss * (label == truth.harmed)
        one, two = truth.twins
        for mine, other in ((one, two), (two, one)):
            twins = np.flatnonzero(label == mine)
            noise = rng.normal(0, 0.5, size=len(twins))
            scores[twins, other] = scores[twins, mine] - self.lean[twins] + noise
        if arm == BLUR:
            scores[np.isin(label, truth.twins), two] += truth.swap
        return scores.astype(np.float16)

    def runs(self) -> Iterator[tuple[dict[str, object], NDArray[np.float16]]]:
        """Facts and scores of every run."""
        for model in self.truth.models:
            for arm in ARMS:
                for seed in range(self.truth.seeds):
                    facts = {"model": model, "seed": seed, "train_arm": arm, "eval_arm": arm}
                    facts |= {"recipe": "small", "split": "val", "categories": list(self.truth.categories)}
                    yield facts, self.scores(arm)

    def predictions(self) -> list[Predictions]:
        """Every run in memory, without scores."""
        return [Predictions(self._table(scores), facts, Path("nowhere")) for facts, scores in self.runs()]

    def written(self, root: Path) -> list[Predictions]:
        """Every run as a folder with its scores, read again."""
        made = []
        for number, (facts, scores) in enumerate(self.runs()):
            folder = root / f"{number:03d}"
            write_table(folder / PREDICTIONS, self._table(scores))
            np.save(folder / SCORES, scores)
            key = make_key("predictions", {}, {**facts, "number": number})
            write_manifest(folder, Manifest("predictions", key, {}, {}, facts=facts))
            made.append(read_predictions(folder))
        return made

    def _table(self, scores: NDArray[np.float16]) -> pa.Table:
        label = self.truth.label
        best = np.argsort(-scores, axis=1, kind="stable")
        rank = (best == label[:, None]).argmax(axis=1)
        n = len(label)
        columns = {
            "image_id": self.truth.image_ids,
            "label": label,
            "label_rank": rank,
            "top5": list(best[:, :5].astype(np.int32)),
            "top5_score": [[0.2] * 5] * n,
            "status": ["ok"] * n,
            "error": [None] * n,
        }
        return pa.table(
            [pa.array(columns[f.name], f.type) for f in PREDICTIONS_SCHEMA], schema=PREDICTIONS_SCHEMA
        )

    def faces(self) -> FaceTable:
        """One face as large as the covered area in each image that has one."""
        ids = np.array(self.truth.image_ids)
        seen = self.area > 0
        n, wide = int(seen.sum()), SIDE * np.sqrt(self.area[seen])
        face = [ids[seen], np.zeros(n), np.zeros(n), wide, wide, np.ones(n), ["face"] * n, ["oracle"] * n]
        image = {
            "image_id": ids,
            "split": ["val"] * len(ids),
            "label": self.truth.label,
            "width": [SIDE] * len(ids),
            "height": [SIDE] * len(ids),
            "status": ["ok"] * len(ids),
            "error": [None] * len(ids),
            "sha256": ["0" * 64] * len(ids),
            "frames": [1] * len(ids),
        }
        return FaceTable(
            pa.table([pa.array(c, f.type) for c, f in zip(face, FACES_SCHEMA, strict=True)], FACES_SCHEMA),
            pa.table([pa.array(image[f.name], f.type) for f in IMAGES_SCHEMA], IMAGES_SCHEMA),
            Manifest("faces", "0123456789abcdef", {}, {}),
        )
