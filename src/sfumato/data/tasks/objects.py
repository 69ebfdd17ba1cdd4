"""From what annotations say of images to objects in pixels of the upright picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import clip
from sfumato.data.dataset import UNLABELLED, Dataset, Sample
from sfumato.data.tasks.layout import annotated, need_all, need_once, refuse_any
from sfumato.data.tasks.task import METRICS, Objects, TaskData
from sfumato.errors import DatasetError, ImageError, TableError
from sfumato.images import Frame, read_frame
from sfumato.orientation import stored_size, to_upright


@dataclass
class Marked:
    """One image with what is marked in it, as its annotations say.

    Attributes:
        image_id: path below the data set.
        split: "train", "val" or "test".
        told_by: the file that says so.
        size: width and height of the image in pixels, where the annotations have them.
        boxes: x0, y0, x1, y1 of each object; half open, x from 0.
        names: class of each object.
        difficult, crowd: flags of each object.
    """

    image_id: str
    split: str
    told_by: Path
    size: tuple[int, int] | None = None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)

    def mark(self, box: Sequence[float], name: str, *, difficult: bool = False, crowd: bool = False) -> None:
        """Add an object; raises ValueError for numbers that are no box."""
        x0, y0, x1, y1 = map(float, box)
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            raise ValueError("a box holds a value that is no finite number")
        if x1 < x0 or y1 < y0:
            raise ValueError("a box ends before it starts")
        self.boxes.append((x0, y0, x1, y1))
        self.names.append(name)
        self.difficult.append(difficult)
        self.crowd.append(crowd)


Place = Callable[[Marked, Frame], NDArray[np.float64]]
"""From the boxes of an image, by its frame, to (n, 4) in pixels of the upright image; raises ValueError."""


def on_upright_fractions(marked: Marked, frame: Frame) -> NDArray[np.float64]:
    """Boxes in fractions of the upright picture, as YOLO's tools read them."""
    return np.multiply(_array(marked), [frame.width, frame.height] * 2)


def on_drawn_pixels(marked: Marked, frame: Frame) -> NDArray[np.float64]:
    """Boxes in pixels of the picture as its annotations give its size: as stored, or upright.

    Where both have this size (an image turned by 180 degrees, or a square one), and where no size is given,
    boxes are on the stored pixels, which is what COCO's and VOC's own tools show.
    """
    if frame.orientation == 1 and marked.size in (None, (frame.width, frame.height)):
        return _array(marked)  # of nearly every image, and much faster
    turn, upright = np.array([frame.orientation]), np.array([[frame.width, frame.height]])
    stored = tuple(stored_size(upright, turn)[0].tolist())
    boxes = _array(marked)
    if marked.size in (None, stored):
        n = len(boxes)
        return to_upright(boxes, turn.repeat(n), upright.repeat(n, axis=0))
    if marked.size == (frame.width, frame.height):
        return boxes
    given = "{} x {}".format(*marked.size)
    raise ValueError(f"its boxes are of an image of {given} pixels, the file has {stored[0]} x {stored[1]}")


def _array(marked: Marked) -> NDArray[np.float64]:
    return np.array(marked.boxes, dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Found:
    """A data set with the objects in its images.

    Attributes:
        dataset: its fingerprint depends on the objects too.
        objects: by image id, for every sample.
        facts: counts of images and objects, and of what had to be changed.
    """

    dataset: Dataset
    objects: dict[str, Objects]
    facts: dict[str, Any]

    def task(
        self, name: str, title: str, facts: Mapping[str, Any], metrics: Sequence[str] = METRICS["objects"]
    ) -> TaskData:
        """The task of finding them."""
        return TaskData(name, title, "objects", self.dataset, metrics, objects=self.objects, facts=facts)


def place_all(root: Path, images: Iterable[Marked], classes: Sequence[str], place: Place) -> Found:
    """Objects of all images, in pixels of the upright picture.

    Boxes are cut at the border of the image. One that is empty, then or from the start, can neither be found
    nor missed: it stays, as difficult.

    Args:
        root: folder of the image ids.
        images: in any order.
        classes: names, sorted.
        place: how the boxes were written down.

    Raises:
        DatasetError: an image is listed twice, is not there, or has no readable header; or nothing is marked
            in all images of a split.
        TableError: a box lies outside its image, or the image has another size than the annotations say.
    """
    images = sorted(images, key=lambda image: image.image_id)
    need_once(root, (image.image_id for image in images))
    for source in dict.fromkeys(image.told_by for image in images if not (root / image.image_id).is_file()):
        need_all(source, (root / image.image_id for image in images if image.told_by == source))
    frames = _frames(root, images)
    index = {name: number for number, name in enumerate(classes)}
    objects = {
        image.image_id: _objects(image, frame, index, place)
        for image, frame in zip(images, frames, strict=True)
    }
    samples = [Sample(image.image_id, image.split, UNLABELLED) for image in images]
    for split in {image.split for image in images} - {image.split for image in images if image.boxes}:
        raise DatasetError(
            f"{root}: no object is marked in the images to {'train' if split == 'train' else 'evaluate'} on"
        )
    dataset = annotated(root, samples, classes, *(_bytes(found) for found in objects.values()))
    return Found(dataset, objects, _facts(images, objects))


def _frames(root: Path, images: Sequence[Marked]) -> list[Frame]:
    frames: list[Frame] = []
    broken: list[str] = []
    for image in images:
        try:
            frames.append(read_frame(root / image.image_id))
        except ImageError as error:
            broken.append(str(error))
    refuse_any(root, broken, "cannot be read")
    return frames


def _objects(image: Marked, frame: Frame, index: dict[str, int], place: Place) -> Objects:
    try:
        boxes = place(image, frame)
    except ValueError as error:
        raise TableError(f"{image.told_by}: {image.image_id}: {error}") from error
    size = np.array([frame.width, frame.height])
    outside = (boxes[:, :2] >= size).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    if (outside & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)).any():
        box = [round(value, 2) for value in boxes[outside.argmax()].tolist()]
        raise TableError(
            f"{image.told_by}: {image.image_id}: the box {box} lies outside the image "
            f"of {frame.width} x {frame.height} pixels"
        )
    inside = clip(boxes.astype(np.float32), frame.width, frame.height)
    empty = (inside[:, 2:] <= inside[:, :2]).any(axis=1)
    return Objects(
        inside,
        np.array([index[name] for name in image.names], dtype=np.int64),
        np.array(image.difficult, dtype=bool) | empty,
        np.array(image.crowd, dtype=bool),
        frame.height,
        frame.width,
    )


def _bytes(found: Objects) -> bytes:
    columns = (found.boxes, found.labels, found.difficult, found.crowd)
    return b"".join(column.tobytes() for column in columns)


def _facts(images: Sequence[Marked], objects: dict[str, Objects]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for split in sorted({image.split for image in images}):
        found = [objects[image.image_id] for image in images if image.split == split]
        facts[f"n_{split}"] = len(found)
        facts[f"n_{split}_objects"] = sum(map(len, found))
    everything = list(objects.values())
    facts["n_difficult"] = sum(int(found.difficult.sum()) for found in everything)
    facts["n_crowd"] = sum(int(found.crowd.sum()) for found in everything)
    facts["n_empty_boxes"] = sum(
        int((found.boxes[:, 2:] <= found.boxes[:, :2]).any(axis=1).sum()) for found in everything
    )
    return facts
