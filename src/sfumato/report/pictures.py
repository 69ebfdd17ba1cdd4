"""Example pictures: the same images in each arm, small enough to lie inside the page."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from sfumato.data import Dataset
from sfumato.errors import ImageError
from sfumato.faces import FaceTable
from sfumato.images import Pixels
from sfumato.obfuscate import VARIANT_SCHEMA
from sfumato.records import read_table

LONG_SIDE = 256
"""Pixels that the longer side of an example has at most."""

MOST_PICTURES = 48
"""Pictures in a page, over all arms: keeps it below some two megabytes."""


@dataclass(frozen=True)
class Picture:
    """One example in one arm: `uri` is a data URI, width and height are its pixels."""

    arm: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Example:
    """One image in several arms."""

    image_id: str
    category: str
    pictures: tuple[Picture, ...]


def examples(faces: FaceTable, shown: Mapping[str, Dataset], *, n_images: int = 6) -> list[Example]:
    """The same images in each of the arms that are shown.

    Images come from as many categories as possible, within a category those whose face covers most; the
    choice depends on nothing else. An image that cannot be read in one of the arms is passed over.

    Args:
        faces: of the original; only images in which a face was found are shown.
        shown: arm to data set. Whoever calls decides which arms may be seen.
        n_images: rows of the grid at most.
    """
    wanted = min(n_images, MOST_PICTURES // max(1, len(shown)))
    found: list[Example] = []
    for image_id, category in _candidates(faces, shown) if shown else ():
        if len(found) == wanted:
            break
        try:
            pictures = tuple(_picture(arm, dataset.read(image_id)) for arm, dataset in shown.items())
        except ImageError:
            continue
        found.append(Example(image_id, category, pictures))
    return found


def _candidates(faces: FaceTable, shown: Mapping[str, Dataset]) -> Iterator[tuple[str, str]]:
    """Image id and category, one of each category in turn, largest covered share first."""
    present = set.intersection(*map(_may_be_shown, shown.values()))
    categories = next(iter(shown.values())).categories
    by_label: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for row in _largest_faces(faces).to_pylist():
        if row["image_id"] in present:
            by_label[row["label"]].append((-row["share"], row["image_id"]))
    queues = [(label, sorted(by_label[label])) for label in sorted(by_label)]
    for place in range(max((len(queue) for _, queue in queues), default=0)):
        for label, queue in queues:
            if place < len(queue):
                yield queue[place][1], categories[label] if 0 <= label < len(categories) else ""


def _may_be_shown(dataset: Dataset) -> set[str]:
    """Images of a data set, less those that a variant passed on as they came: nothing is hidden there."""
    ids = {sample.image_id for sample in dataset.samples}
    table = dataset.root / "images.parquet"
    if not table.is_file():
        return ids
    rows = read_table(table, VARIANT_SCHEMA).select(["image_id", "written"]).to_pylist()
    return ids - {row["image_id"] for row in rows if row["written"] not in ("edited", "encoded")}


def _largest_faces(faces: FaceTable) -> pa.Table:
    """Columns image_id, label, share: of the image that its largest face covers."""
    table = faces.faces
    area = pc.multiply(pc.subtract(table["x1"], table["x0"]), pc.subtract(table["y1"], table["y0"]))
    largest = pa.table({"image_id": table["image_id"], "area": area})
    largest = largest.group_by("image_id").aggregate([("area", "max")])
    images = faces.images.filter(pc.equal(faces.images["status"], "ok"))
    images = images.select(["image_id", "label", "width", "height"])
    joined = largest.join(images, "image_id", join_type="inner")
    pixels = pc.cast(pc.multiply(pc.cast(joined["width"], pa.int64()), joined["height"]), pa.float32())
    return joined.append_column("share", pc.divide(joined["area_max"], pixels))


def _picture(arm: str, pixels: Pixels) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=85, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
    return Picture(arm, uri, image.width, image.height)
