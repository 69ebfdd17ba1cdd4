"""COCO: one JSON object with images, annotations and categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded, without
from sfumato.text_files import in_record, read_json, write_json_text

_PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Coco:
    """Pixels, `bbox` is x, y, width, height; the category's name is the kind; all other fields are kept.

    An image in `images` without an annotation was examined and has no face.
    """

    name: ClassVar[str] = "coco"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read the file.

        Raises:
            TableError: not this format; the message names the image or annotation.
        """
        value = read_json(path)
        if not isinstance(value, dict) or not all(isinstance(value.get(part), list) for part in _PARTS):
            raise TableError(f"{path}: expected an object with the lists {', '.join(_PARTS)}")
        kinds: dict[Any, str] = {}
        for number, category in enumerate(value["categories"]):
            with in_record(path, f"{number} of categories"):
                kinds[category["id"]] = category["name"]
        collector, by_image = Collector(path), _by_image(path, value)
        for number, image in enumerate(value["images"]):
            with in_record(path, f"{number} of images"):
                _read_image(collector, image)
                boxes = by_image.pop(image["id"], [])
            for at, annotation in boxes:
                with in_record(path, f"{at} of annotations"):
                    _read_box(collector, annotation, kinds)
        for boxes in by_image.values():
            raise TableError(f"{path}: record {boxes[0][0]} of annotations has an image_id that no image has")
        return collector.done(
            without(value, "images", "annotations") if set(value) - set(_PARTS) or kinds else {}
        )

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file; ids that were read are kept, others are counted on."""
        images, boxes = _written(annotations)
        categories = list(annotations.file_extra.get("categories", []))
        ids = {category["name"]: category["id"] for category in categories}
        for kind in sorted({*annotations.kind} - set(ids)) if annotations.kind or ids else ["face"]:
            ids[kind] = max([0, *(number for number in ids.values() if isinstance(number, int))]) + 1
            categories.append({"id": ids[kind], "name": kind, "supercategory": ""})
        for at, box in enumerate(boxes):
            box["category_id"] = ids[annotations.kind[at]]
        parts = {"images": images, "annotations": boxes, "categories": categories}
        write_json_text(path, without(annotations.file_extra, *_PARTS) | parts)


def _by_image(path: Path, value: Mapping[str, Any]) -> dict[Any, list[tuple[int, dict[str, Any]]]]:
    found: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for at, annotation in enumerate(value["annotations"]):
        with in_record(path, f"{at} of annotations"):
            found.setdefault(annotation["image_id"], []).append((at, annotation))
    return found


def _read_image(collector: Collector, image: Mapping[str, Any]) -> None:
    size = (image["width"], image["height"]) if "width" in image and "height" in image else None
    collector.image(image["file_name"], size, without(image, "file_name", "width", "height"))


def _read_box(collector: Collector, annotation: Mapping[str, Any], kinds: Mapping[Any, str]) -> None:
    x, y, width, height = annotation["bbox"]
    category = annotation["category_id"]
    if category not in kinds:
        raise ValueError(f"category_id {category} is not in categories")
    extra = without(annotation, "bbox", "category_id", "image_id", "score")
    collector.box((x, y, x + width, y + height), annotation.get("score", 1.0), kinds[category], extra)


def _written(annotations: Annotations) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    xyxy = annotations.xyxy
    xywh = rounded(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))
    image_extra = [decoded(annotations.image_extra, row) for row in range(len(annotations))]
    extra = [decoded(annotations.extra, at) for at in range(len(xyxy))]
    image_ids, box_ids = _ids(image_extra), _ids(extra)
    images, boxes = [], []
    for row, indices in annotations.boxes_of():
        width, height = annotations.size_of(row)
        image = {"id": image_ids[row], "file_name": annotations.names[row], "width": width, "height": height}
        images.append(image_extra[row] | image)
        for at in indices:
            box = {"id": box_ids[at], "image_id": image_ids[row], "category_id": 0, "bbox": xywh[at]}
            if annotations.score[at] != 1:
                box["score"] = float(annotations.score[at])
            area = rounded(np.array([xywh[at][2] * xywh[at][3]]))[0]
            boxes.append({"area": area, "iscrowd": 0} | extra[at] | box)
    return images, boxes


def _ids(extras: Sequence[Mapping[str, Any]]) -> list[Any]:
    """An id for each row: its own where it has one that nobody had before, else the next free number."""
    given = [extra.get("id") for extra in extras]
    following = max((number for number in given if isinstance(number, int)), default=0)
    seen: set[Any] = set()
    ids: list[Any] = []
    for number in given:
        if number is None or number in seen:
            following += 1
            number = following
        seen.add(number)
        ids.append(number)
    return ids
