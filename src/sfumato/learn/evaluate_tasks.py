"""Evaluate a model of attributes or of objects: what it said of each image, beside what is true."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from sfumato.data.tasks import Objects, TaskData
from sfumato.engines import Work
from sfumato.errors import TrainingError
from sfumato.learn.device import Normalise, Runtime, exact_float32
from sfumato.learn.index import Images, readable
from sfumato.learn.memory import enough_memory, in_parts, kept_memory
from sfumato.learn.objective import attributes_of, box_scale, clear_outside, valid_size
from sfumato.learn.score_file import ScoreFile
from sfumato.learn.scoring import Scorer, centre_batches
from sfumato.learn.views import one_thread_each, whole_windows
from sfumato.predictions import (
    ATTRIBUTES_SCHEMA,
    DETECTIONS,
    DETECTIONS_SCHEMA,
    OBJECT_IMAGES_SCHEMA,
    OBJECTS,
    OBJECTS_SCHEMA,
    PREDICTIONS,
    SCORES,
)
from sfumato.records import write_table

_BATCH = 8
"""Images that a detector looks at together."""
_SIDES = ("x0", "y0", "x1", "y1")

Found = dict[str, NDArray[Any]]
"""Of one image: "boxes" (k, 4) in pixels of the upright image, "labels" (k,), "scores" (k,)."""


def write_attributes(out: Path, scorer: Scorer, images: Images, task: TaskData, *, work: Work) -> None:
    """Write predictions of attributes, see `sfumato.predictions.ATTRIBUTES_SCHEMA`.

    Raises:
        TrainingError: a score is not finite, or one image does not fit into memory.
    """
    where = np.flatnonzero(readable(images.table))
    kept = ScoreFile(out / SCORES, (len(images.table), len(task.dataset.categories)))
    for batch in centre_batches(images, scorer.given, device=scorer.runtime.device):
        kept.put(where[batch.rows], scorer.scores(batch.pixels))
        work.progress("evaluate", int(batch.rows[-1]) + 1, len(images))
    kept.close()
    table = {name: images.table[name] for name in ("image_id", "status", "error")}
    table["truth"] = attributes_of(task, images.table["image_id"].to_pylist()).tolist()
    write_table(out / PREDICTIONS, _table(table, ATTRIBUTES_SCHEMA))


def write_objects(out: Path, finder: Finder, images: Images, task: TaskData, *, work: Work) -> None:
    """Write predictions of objects, see `sfumato.predictions.OBJECT_IMAGES_SCHEMA`.

    Raises:
        TrainingError: a box or score is not finite, or one image does not fit into memory.
    """
    assert task.objects is not None
    detections: dict[str, list[Any]] = {name: [] for name in DETECTIONS_SCHEMA.names}
    shown = [task.objects[image_id] for image_id in images.image_ids]
    for number, found in enumerate(finder.all(images, shown)):
        _add(detections, images.image_ids[number], found)
        work.progress("evaluate", number + 1, len(images))
    ids = images.table["image_id"].to_pylist()
    fine = readable(images.table)
    sizes = {
        name: [int(getattr(task.objects[i], name)) if good else 0 for i, good in zip(ids, fine, strict=True)]
        for name in ("height", "width")
    }
    table = {name: images.table[name] for name in ("image_id", "status", "error")} | sizes
    write_table(out / DETECTIONS, _table(detections, DETECTIONS_SCHEMA))
    write_table(out / OBJECTS, _table(_truth(ids, task.objects), OBJECTS_SCHEMA))
    write_table(out / PREDICTIONS, _table(table, OBJECT_IMAGES_SCHEMA))


class Finder:
    """A trained detector that finds objects in whole images, in float32; halves what does not fit.

    Attributes:
        model: see `sfumato.learn.detection`, on the device of `runtime`.
        normalise: pixels to its input.
        size: side of the squares in pixels.
        runtime: device and memory format.
        name: for messages.
    """

    def __init__(
        self, model: nn.Module, normalise: Normalise, size: int, runtime: Runtime, name: str
    ) -> None:
        self.model, self.normalise, self.size = model.eval(), normalise, size
        self.runtime, self.name = runtime, name

    def all(self, images: Images, shown: Sequence[Objects]) -> Iterator[Found]:
        """What is found in each readable image, in order.

        Args:
            images: the split.
            shown: of its readable images; only their sizes are used.
        """
        windows = whole_windows(images.shapes)
        with one_thread_each(), kept_memory():
            for start in range(0, len(images), _BATCH):
                rows = np.arange(start, min(start + _BATCH, len(images)))
                with enough_memory(len(rows)):
                    pixels = images.batch(rows, windows[rows], size=self.size)
                sizes = [valid_size(images.shapes[row], self.size) for row in rows]
                for row, size, found in zip(rows.tolist(), sizes, self._found(pixels, sizes), strict=True):
                    yield self._in_image(found, shown[row], size)

    def _found(self, pixels: NDArray[np.uint8], sizes: Sequence[tuple[int, int]]) -> list[Found]:
        def some(part: NDArray[np.int64]) -> list[Found]:
            valid = [sizes[row] for row in part]
            with torch.inference_mode():
                found = self.model(clear_outside(self.normalise(pixels[part]).clone(), valid), valid)
            return [{name: value.cpu().numpy() for name, value in each.items()} for each in found]

        device = self.runtime.device
        with exact_float32():
            parts = in_parts(some, len(pixels), name=self.name, image_size=self.size, device=device)
        return [found for part in parts for found in part]

    def _in_image(self, found: Found, shown: Objects, size: tuple[int, int]) -> Found:
        if not all(np.isfinite(found[name]).all() for name in ("boxes", "scores")):
            raise TrainingError(
                f"{self.name}: the model gives boxes that are not finite; delete the folder of the run and "
                "train again, with a lower learning rate"
            )
        boxes = found["boxes"] / box_scale(shown, size)
        limits = np.array([shown.width, shown.height, shown.width, shown.height], dtype=np.float32)
        return found | {"boxes": np.clip(boxes, 0, limits)}


def _add(detections: dict[str, list[Any]], image_id: str, found: Found) -> None:
    detections["image_id"] += [image_id] * len(found["labels"])
    detections["label"] += found["labels"].tolist()
    detections["score"] += found["scores"].tolist()
    for place, side in enumerate(_SIDES):
        detections[side] += found["boxes"][:, place].tolist()


def _truth(image_ids: Sequence[str], objects: Any) -> dict[str, Any]:
    """Columns of `OBJECTS_SCHEMA`."""
    each: list[Objects] = [objects[image_id] for image_id in image_ids]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(of.boxes for of in each)])
    columns: dict[str, Any] = {
        "image_id": [i for i, of in zip(image_ids, each, strict=True) for _ in of.labels]
    }
    columns |= {side: boxes[:, place] for place, side in enumerate(_SIDES)}
    columns["label"] = [int(label) for of in each for label in of.labels]
    for name in ("difficult", "crowd"):
        columns[name] = [bool(value) for of in each for value in getattr(of, name)]
    return columns


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table(
        [
            column.cast(field.type) if isinstance(column, pa.ChunkedArray) else pa.array(column, field.type)
            for field, column in ((field, columns[field.name]) for field in schema)
        ],
        schema=schema,
    )
