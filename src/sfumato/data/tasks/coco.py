"""Data sets in COCO's format: one JSON file for each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.data.tasks.layout import Layout, below, need_once
from sfumato.data.tasks.objects import Marked, on_drawn_pixels, place_all
from sfumato.data.tasks.task import TaskData, TaskOptions
from sfumato.errors import TableError
from sfumato.text_files import in_record, read_json

_PARTS = ("images", "annotations", "categories")
_YEARS = ("2017", "2014")
_BESIDE = "_annotations.coco.json"
"""The annotations' name in exports that put them beside the images."""

LAYOUT = Layout(
    "a data set in COCO's format",
    "annotations/\n"
    "  instances_train2017.json           (or 2014)\n"
    "  instances_val2017.json\n"
    "train2017/*.jpg                      (or images/train2017/)\n"
    "val2017/*.jpg\n"
    "or:\n"
    f"train/{_BESIDE}       and the images beside it\n"
    f"valid/{_BESIDE}       (or val/, or test/)",
)


@dataclass(frozen=True)
class _Part:
    """One split: its annotations, and the folder of its images."""

    split: str
    path: Path
    images: Path


def read_coco(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """A data set in COCO's format: trains on `train`, evaluates on `val`.

    An image without annotations stays, with no object. Categories of the same name are one class. Boxes are
    on the pixels as stored, unless the file gives an image the size of its upright picture.

    Args:
        root: folder with `annotations/` and the images, or with `train/` and `valid/` that hold both.
        options: `years` picks 2014 or 2017 where both are there; else 2017.
        cache: not used.

    Raises:
        DatasetError: the layout is another, or images are missing or cannot be read.
        TableError: not COCO's format; the message names the record.
    """
    parts = _find(root, options)
    images: list[Marked] = []
    classes: set[str] = set()
    for part in parts:
        names, found = _read(root, part)
        classes |= names
        images += found
    placed = place_all(root, images, sorted(classes), on_drawn_pixels)
    facts = {"annotations": [part.path.relative_to(root).as_posix() for part in parts], **placed.facts}
    return placed.task("coco", f"{root.resolve().name} (COCO format)", facts)


def _find(root: Path, options: TaskOptions) -> list[_Part]:
    """The two splits, in the first of the layouts that is there."""
    train = root / "train" / _BESIDE
    if train.is_file():
        for folder, split in (("valid", "val"), ("val", "val"), ("test", "test")):
            if (root / folder / _BESIDE).is_file():
                found = root / folder
                return [_Part("train", train, root / "train"), _Part(split, found / _BESIDE, found)]
        raise LAYOUT.error(root, [f"valid/{_BESIDE}"])
    wanted = [year for year in options.years if year in _YEARS] or _YEARS
    year = next((year for year in wanted if _annotations(root, f"train{year}").is_file()), wanted[0])
    names = {split: f"{split}{year}" for split in ("train", "val")}
    LAYOUT.find(root, [root], [f"annotations/instances_{name}.json" for name in names.values()])
    images = LAYOUT.find(root, (root, root / "images"), [f"{name}/" for name in names.values()])
    return [_Part(split, _annotations(root, name), images / name) for split, name in names.items()]


def _annotations(root: Path, name: str) -> Path:
    return root / "annotations" / f"instances_{name}.json"


def _without_outline(record: dict[str, Any]) -> dict[str, Any]:
    """A record without its outline, which takes most of the memory and is not needed."""
    record.pop("segmentation", None)
    return record


def _read(root: Path, part: _Part) -> tuple[set[str], list[Marked]]:
    """Names of the classes, and the images of one split."""
    path = part.path
    value = read_json(path, change=_without_outline)
    if not isinstance(value, dict) or not all(isinstance(value.get(name), list) for name in _PARTS):
        raise TableError(f"{path}: expected an object with the lists {', '.join(_PARTS)}")
    names: dict[Any, str] = {}
    for number, category in enumerate(value["categories"]):
        with in_record(path, f"{number} of categories"):
            names[category["id"]] = category["name"].strip()
    images: dict[Any, Marked] = {}
    for number, image in enumerate(value["images"]):
        with in_record(path, f"{number} of images"):
            if image["id"] in images:
                raise ValueError(f"the id {image['id']} occurs twice")
            images[image["id"]] = _image(root, part, image)
    need_once(path, (image.image_id for image in images.values()))
    for number, annotation in enumerate(value["annotations"]):
        with in_record(path, f"{number} of annotations"):
            _mark(images, annotation, names)
    return set(names.values()), list(images.values())


def _image(root: Path, part: _Part, image: Mapping[str, Any]) -> Marked:
    name = (part.images / below(part.path, image["file_name"])).relative_to(root).as_posix()
    size = (int(image["width"]), int(image["height"])) if {"width", "height"} <= image.keys() else None
    return Marked(name, part.split, part.path, size)


def _mark(images: Mapping[Any, Marked], annotation: Mapping[str, Any], names: Mapping[Any, str]) -> None:
    image, category = annotation["image_id"], annotation["category_id"]
    if image not in images:
        raise ValueError(f"image_id {image} is not in images")
    if category not in names:
        raise ValueError(f"category_id {category} is not in categories")
    x, y, width, height = (float(value) for value in annotation["bbox"])
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {crowd!r}")
    images[image].mark((x, y, x + width, y + height), names[category], crowd=bool(crowd))
