"""Predictions: one row an image of the evaluation split, with the facts of the run that made them.

A folder of predictions holds `predictions.parquet`, `manifest.json` (kind "predictions") and, when asked
for, `scores.npy`. Training writes them, comparison reads them; neither knows the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.errors import ManifestError
from sfumato.records import MANIFEST, read_json, read_manifest, read_table

KIND = "predictions"
PREDICTIONS = "predictions.parquet"
SCORES = "scores.npy"

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),
        ("label_rank", pa.int32()),
        ("top5", pa.list_(pa.int32())),
        ("top5_score", pa.list_(pa.float32())),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""One row for every sample of the evaluation split, in the order of the data set.

`label_rank` is the number of categories placed before the label (0 = right): those with a greater score,
and those with an equal score and a lower index. `top5` and `top5_score` are the best categories and their
softmax probabilities, best first, fewer than five where there are fewer categories. `status` is "ok" or
"failed"; where it failed, `error` has the reason, and rank, categories and scores are null."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run on one evaluation set.

    Attributes:
        table: as `PREDICTIONS_SCHEMA`.
        facts: of the manifest: model, seed, train_arm, eval_arm, recipe, split, categories, n_images,
            n_failed, run (key of the run).
        folder: where they lie.
    """

    table: pa.Table
    facts: Mapping[str, Any]
    folder: Path


def read_predictions(folder: Path) -> Predictions:
    """Read a folder of predictions.

    Raises:
        ManifestError: the folder is no finished folder of predictions.
        TableError: its table is missing or has other columns.
    """
    manifest = read_manifest(folder, kind=KIND)
    return Predictions(read_table(folder / PREDICTIONS, PREDICTIONS_SCHEMA), manifest.facts, folder)


def find_predictions(root: Path) -> list[Path]:
    """Every finished folder of predictions at or below a folder, sorted; links are not followed.

    Raises:
        ManifestError: a manifest below the root is damaged.
    """
    return [folder for folder in _folders(root) if _kind(folder) == KIND]


def _folders(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        if MANIFEST in files:
            found.append(Path(folder))
    return sorted(found)


def _kind(folder: Path) -> str:
    content = read_json(folder / MANIFEST)
    if not isinstance(content, dict):
        raise ManifestError(f"{folder / MANIFEST}: damaged manifest (not an object)")
    return str(content.get("kind"))
