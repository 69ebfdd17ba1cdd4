"""Predictions: one row an image of the evaluation split, with the facts of the run that made them.

A folder of predictions holds `predictions.parquet`, `manifest.json` (kind "predictions", or another of
`KINDS`) and, when asked for, `scores.npy`. Training writes them, comparison reads them; neither knows the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.errors import TableError
from sfumato.records import find_artefacts, read_manifest, read_table

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

FACE_COLUMNS = pa.schema(
    [
        ("face_area", pa.float32()),
        ("attention_true", pa.float32()),
        ("attention_predicted", pa.float32()),
    ]
)
"""Columns that predictions may have besides, when evaluated with faces, and with attention.

`face_area` is the share of the square that the model saw which lies in face boxes; 0 where no face was found
in it, null where nobody looked for faces or the image failed. `attention_true` and `attention_predicted` are
the shares of the Grad-CAM map's sum that lie in face boxes, for the image's own and for the best category;
null where no face is in view, or where the map is zero everywhere."""


ATTRIBUTES_KIND = "attribute_predictions"
ATTRIBUTES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("truth", pa.list_(pa.int8())),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""Predictions of attributes, one row a sample: `truth` has 1 or 0 for each attribute. The scores before the
sigmoid are in `scores.npy`, float16 (n_images, n_attributes), rows as here, NaN where the image failed."""

OBJECTS_KIND = "object_predictions"
DETECTIONS = "detections.parquet"
OBJECTS = "objects.parquet"
OBJECT_IMAGES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""Predictions of objects, one row a sample in `predictions.parquet`; size in pixels, 0 where it failed."""

_BOX = [(side, pa.float32()) for side in ("x0", "y0", "x1", "y1")]
DETECTIONS_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("label", pa.int32()), *_BOX, ("score", pa.float32())]
)
"""What the model found, one row a box, in pixels of the upright image; `label` is an index into the classes
(the categories of the facts)."""
OBJECTS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),
        *_BOX,
        ("difficult", pa.bool_()),
        ("crowd", pa.bool_()),
    ]
)
"""What is to be found, one row an object; see `sfumato.data.tasks.Objects`."""

KINDS = (KIND, ATTRIBUTES_KIND, OBJECTS_KIND)
"""Kinds of folders of predictions. Of a downstream task, the facts have "task": a dictionary with "name",
"title", "kind" ("categories", "attributes" or "objects"), "protocol" ("finetune" or "linear") and "metrics"
(the main one first); "train_arm" and "eval_arm" are then both the arm of the run that the model started from,
"scratch" where it started from random weights; "start_seed" is the seed of that run, null where unknown."""


@dataclass(frozen=True)
class Evaluated:
    """What one run predicted on one evaluation set, of whatever kind.

    Attributes:
        table: one row an image, with `image_id`, `status` and `error`.
        facts: of the manifest: model, seed, train_arm, eval_arm, recipe, split, categories, n_images,
            n_failed, run (key of the run); of a downstream task also task and start_seed.
        folder: where they lie.
    """

    table: pa.Table
    facts: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Predictions(Evaluated):
    """Predictions of categories: a table as `PREDICTIONS_SCHEMA`, which may have some of `FACE_COLUMNS`."""

    def scores(self) -> NDArray[np.float16]:
        """The model's scores before softmax, (n_images, n_categories), rows as in the table, memory-mapped.

        NaN where the image failed.

        Raises:
            TableError: they were not kept, or the file is damaged.
        """
        return _scores(self)


@dataclass(frozen=True)
class AttributePredictions(Evaluated):
    """Predictions of attributes, which are the categories of the facts: a table as `ATTRIBUTES_SCHEMA`."""

    def scores(self) -> NDArray[np.float16]:
        """Scores before the sigmoid, (n_images, n_attributes), rows as in the table, memory-mapped.

        NaN where the image failed.

        Raises:
            TableError: the file is missing or damaged.
        """
        return _scores(self)


@dataclass(frozen=True)
class ObjectPredictions(Evaluated):
    """Predictions of objects: a table as `OBJECT_IMAGES_SCHEMA`; boxes are read when they are asked for."""

    def detections(self) -> pa.Table:
        """What the model found, as `DETECTIONS_SCHEMA`.

        Raises:
            TableError: the table is missing, lacks a column, is of images or classes that are not there, or
                has a side or score that is no number.
        """
        return _boxes(self, DETECTIONS, DETECTIONS_SCHEMA)

    def objects(self) -> pa.Table:
        """What is to be found, as `OBJECTS_SCHEMA`.

        Raises:
            TableError: as `detections`.
        """
        return _boxes(self, OBJECTS, OBJECTS_SCHEMA)


def _scores(item: Evaluated) -> NDArray[np.float16]:
    path = item.folder / SCORES
    if not path.is_file():
        raise TableError(f"{item.folder}: all scores were not kept; evaluate again with --keep-scores")
    try:
        scores = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise TableError(f"{path}: damaged ({error}); evaluate again with --overwrite") from error
    shape = (len(item.table), len(item.facts["categories"]))
    if scores.dtype != np.float16 or scores.shape != shape:
        raise TableError(
            f"{path}: holds {scores.dtype} of shape {scores.shape}, not float16 of shape {shape}; "
            "evaluate again with --overwrite"
        )
    return np.asarray(scores) if not scores.size else scores


def _boxes(item: Evaluated, name: str, schema: pa.Schema) -> pa.Table:
    path = item.folder / name
    table = read_table(path, schema)
    strange = pc.invert(pc.is_in(table["image_id"], item.table["image_id"].combine_chunks()))
    if pc.any(strange).as_py():
        image_id = table["image_id"].filter(strange)[0].as_py()
        raise TableError(
            f"{path}: '{image_id}' is none of the images evaluated; evaluate again with --overwrite"
        )
    labels = table["label"].to_numpy()
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(item.facts["categories"]):
        raise TableError(f"{path}: a label is none of the {len(item.facts['categories'])} classes")
    for field in schema:
        if pa.types.is_floating(field.type) and not np.isfinite(table[field.name].to_numpy()).all():
            raise TableError(f"{path}: column '{field.name}' has something that is no number")
    return table


def read_predictions(folder: Path) -> Predictions:
    """Read a folder of predictions of categories.

    Raises:
        ManifestError: the folder is no finished folder of such predictions.
        TableError: its table is missing, or lacks a column, or has one of another type.
    """
    manifest = read_manifest(folder, kind=KIND)
    table = read_table(folder / PREDICTIONS, PREDICTIONS_SCHEMA)
    for field in FACE_COLUMNS:
        if field.name in table.column_names and table.schema.field(field.name).type != field.type:
            raise TableError(
                f"{folder / PREDICTIONS}: column '{field.name}' is {table.schema.field(field.name).type}, "
                f"not {field.type}"
            )
    return Predictions(table, manifest.facts, folder)


def read_attribute_predictions(folder: Path) -> AttributePredictions:
    """Read a folder of predictions of attributes; errors as of `read_predictions`."""
    manifest = read_manifest(folder, kind=ATTRIBUTES_KIND)
    table = read_table(folder / PREDICTIONS, ATTRIBUTES_SCHEMA)
    return AttributePredictions(table, manifest.facts, folder)


def read_object_predictions(folder: Path) -> ObjectPredictions:
    """Read a folder of predictions of objects; errors as of `read_predictions`."""
    manifest = read_manifest(folder, kind=OBJECTS_KIND)
    table = read_table(folder / PREDICTIONS, OBJECT_IMAGES_SCHEMA)
    return ObjectPredictions(table, manifest.facts, folder)


_READERS: Mapping[str, Callable[[Path], Evaluated]] = {
    KIND: read_predictions,
    ATTRIBUTES_KIND: read_attribute_predictions,
    OBJECTS_KIND: read_object_predictions,
}


def read_any_predictions(folder: Path) -> Evaluated:
    """Read a folder of predictions of any of `KINDS`.

    Raises:
        ManifestError: the folder is no finished folder of predictions.
        TableError: as `read_predictions`.
    """
    read = _READERS.get(read_manifest(folder).kind, read_predictions)  # which says what it is not
    return read(folder)


def find_predictions(root: Path) -> list[Path]:
    """Every finished folder of predictions of any kind at or below a folder, sorted; links are not followed.

    Raises:
        ManifestError: a manifest below the root is damaged.
    """
    return [folder for folder, kind in find_artefacts(root) if kind in KINDS]
