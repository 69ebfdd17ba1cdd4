"""Downstream data sets in their official layouts, at a tiny size, with something in them that can be learned.

Nothing here knows Sfumato: each function writes what the publishers of a data set distribute, and gives the
truth that a reader must find in it. Ids are paths below the folder that the files of the data set lie in
(`SUN397`, `celeba`, `VOCdevkit`; for COCO and YOLO the root).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

CIFAR10_CATEGORIES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SUN_CATEGORIES = ("a/abbey", "b/bathroom", "o/outhouse/indoor", "o/outhouse/outdoor")
CELEBA_ATTRIBUTES = ("Bangs", "Eyeglasses", "Male", "Smiling")
VOC_CLASSES = ("bicycle", "dog", "person")
BOX_CLASSES = ("cup", "apple", "traffic light")

COLOURS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
    (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 190),
)  # fmt: skip
"""Of categories, attributes and classes, by index."""


@dataclass(frozen=True)
class Thing:
    """One object in an image: its class, its box in pixels, half open from 0, and its flags."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class Scene:
    """One image of a data set of objects."""

    image_id: str
    split: str
    width: int
    height: int
    things: tuple[Thing, ...]


def noise(colour: Sequence[int], height: int, width: int, rng: np.random.Generator) -> Pixels:
    """A picture in one colour with noise: categories differ by it, images within one by the noise."""
    values = np.asarray(colour) + rng.normal(0, 30, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


# CIFAR-10


def python2_pickle(value: Any) -> bytes:
    """A value as Python 2's cPickle wrote it with protocol 2: texts are bytes, arrays of numpy 1."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode("latin1")
        return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(part) for item in value.items() for part in item) + b"u"
    assert isinstance(value, np.ndarray)
    assert value.dtype == np.uint8
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes().decode("latin1")) + b"tb"


def write_cifar10(
    root: Path, n_train: int = 100, n_test: int = 50, *, seed: int = 0
) -> dict[str, tuple[Pixels, list[int]]]:
    """`root/cifar-10-batches-py`: five training batches, a test batch, and their meta data.

    Returns:
        By split: pixels (n, 32, 32, 3) and labels, in the order of the files.
    """
    rng = np.random.default_rng(seed)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    meta = {"num_cases_per_batch": n_train // 5, "label_names": list(CIFAR10_CATEGORIES), "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))
    truth: dict[str, tuple[Pixels, list[int]]] = {}
    for split, count in (("train", n_train), ("test", n_test)):
        labels = [number % len(CIFAR10_CATEGORIES) for number in range(count)]
        pixels = np.array([noise(COLOURS[label], 32, 32, rng) for label in labels], dtype=np.uint8)
        truth[split] = pixels.reshape(-1, 32, 32, 3), labels
    for number, rows in enumerate(np.array_split(np.arange(n_train), 5), start=1):
        _write_batch(folder / f"data_batch_{number}", truth["train"], rows.tolist(), f"{number} of 5")
    _write_batch(folder / "test_batch", truth["test"], list(range(n_test)), "1 of 1")
    return truth


def _write_batch(path: Path, images: tuple[Pixels, list[int]], rows: list[int], part: str) -> None:
    pixels, labels = images
    batch = {
        "batch_label": f"batch {part}",
        "labels": [labels[row] for row in rows],
        "data": np.ascontiguousarray(pixels[rows].transpose(0, 3, 1, 2).reshape(len(rows), 3072)),
        "filenames": [f"{CIFAR10_CATEGORIES[labels[row]]}_s_{row:06d}.png" for row in rows],
    }
    path.write_bytes(python2_pickle(batch))


# SUN397


def write_sun397(
    root: Path, n_train: int = 4, n_test: int = 3, *, partitions: Sequence[int] = (1, 2), inside: bool = False
) -> dict[int, dict[str, list[str]]]:
    """`root/SUN397` with a folder for each letter, and the official `Partitions` beside (or inside) it.

    Args:
        root: folder to write into.
        n_train, n_test: images of each category in each half of a partition.
        partitions: which are written; none writes no folder `Partitions`.
        inside: `Partitions` lies in `SUN397`.

    Returns:
        By partition and split ("train", "test"): ids of its images, "a/abbey/sun_aaaaaaaa.jpg".
    """
    rng = np.random.default_rng(0)
    folder = root / "SUN397"
    ids: dict[str, list[str]] = {}
    for number, category in enumerate(SUN_CATEGORIES):
        names = [f"{category}/sun_{chr(97 + number)}{at:07d}.jpg" for at in range(n_train + n_test)]
        for name in names:
            _save(folder / name, noise(COLOURS[number], 40, 48, rng))
        ids[category] = names
    _lines(folder / "ClassName.txt", [f"/{category}" for category in SUN_CATEGORIES])
    truth: dict[int, dict[str, list[str]]] = {}
    listed = (folder if inside else root) / "Partitions"
    for partition in partitions:
        orders = {category: rng.permutation(names).tolist() for category, names in ids.items()}
        halves = {
            "train": sorted(name for names in orders.values() for name in names[:n_train]),
            "test": sorted(name for names in orders.values() for name in names[n_train:]),
        }
        _lines(listed / "ClassName.txt", [f"/{category}" for category in SUN_CATEGORIES])
        for word, split in (("Training", "train"), ("Testing", "test")):
            _lines(listed / f"{word}_{partition:02d}.txt", [f"/{name}" for name in halves[split]])
        truth[partition] = halves
    return truth


# CelebA


def write_celeba(
    root: Path, n_train: int = 40, n_val: int = 5, n_test: int = 20, *, wild: bool = False
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """`root/celeba`: images, their attributes, the official partition. An attribute is a coloured square.

    Returns:
        By image id ("img_align_celeba/000001.jpg"): split ("train", "valid", "test") and 1 or 0 for each of
        `CELEBA_ATTRIBUTES`.
    """
    rng = np.random.default_rng(0)
    folder = root / "celeba"
    images = "img_celeba" if wild else "img_align_celeba"
    splits = ["train"] * n_train + ["valid"] * n_val + ["test"] * n_test
    truth: dict[str, tuple[str, tuple[int, ...]]] = {}
    attributes, partition = [], []
    for number, split in enumerate(splits, start=1):
        there = tuple(int(value) for value in rng.integers(0, 2, len(CELEBA_ATTRIBUTES)))
        pixels = noise((60, 60, 60), 64, 56, rng)
        for at, on in enumerate(there):
            if on:
                y, x = 4 + 30 * (at // 2), 4 + 26 * (at % 2)
                pixels[y : y + 24, x : x + 20] = COLOURS[at]
        name = f"{number:06d}.jpg"
        _save(folder / images / name, pixels)
        attributes.append(name + "".join(f" {1 if on else -1:2d}" for on in there))
        partition.append(f"{name} {('train', 'valid', 'test').index(split)}")
        truth[f"{images}/{name}"] = split, there
    head = [str(len(splits)), " ".join(CELEBA_ATTRIBUTES) + " "]
    _lines(folder / "list_attr_celeba.txt", [*head, *attributes])
    _lines(folder / "list_eval_partition.txt", partition)
    return truth


# Objects


def draw_scene(
    classes: Sequence[str], rng: np.random.Generator, *, most: int = 3
) -> tuple[Pixels, list[Thing]]:
    """Up to `most` bright rectangles on a dark ground, each in the colour of its class, none on another."""
    height, width = int(rng.integers(72, 97)), int(rng.integers(72, 113))
    pixels = noise((20, 20, 20), height, width, rng)
    things: list[Thing] = []
    for _ in range(int(rng.integers(min(1, most), most + 1))):
        w, h = (int(size) for size in rng.integers(20, 33, 2))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        box = (x, y, x + w, y + h)
        if any(_meet(box, thing.box) for thing in things):
            continue
        label = int(rng.integers(0, len(classes)))
        pixels[y : y + h, x : x + w] = COLOURS[label]
        things.append(Thing(classes[label], box))
    return pixels, things


def _meet(first: Sequence[int], second: Sequence[int]) -> bool:
    return all(first[at] < second[at + 2] and second[at] < first[at + 2] for at in (0, 1))


def write_voc(
    root: Path, year: str = "2007", n_train: int = 12, n_test: int = 8, *, seed: int = 0
) -> list[Scene]:
    """`root/VOCdevkit/VOC<year>`: images, an XML file for each, lists train, val, trainval, and test.

    The first object of every fourth image is difficult. No list `test` is written where `n_test` is 0, as of
    VOC 2012. A third of the training images are in `val`.

    Returns:
        One scene an image, split "train", "val" or "test", id "VOC2007/JPEGImages/000001.jpg".
    """
    rng = np.random.default_rng(seed + int(year))
    folder = root / "VOCdevkit" / f"VOC{year}"
    lists: dict[str, list[str]] = {name: [] for name in ("train", "val", "test")[: 3 if n_test else 2]}
    scenes = []
    for number in range(1, n_train + n_test + 1):
        split = "test" if number > n_train else "val" if number % 3 == 0 else "train"
        stem = f"{number:06d}" if year == "2007" else f"{year}_{number:06d}"
        pixels, things = draw_scene(VOC_CLASSES, rng)
        if number % 4 == 0:
            things[0] = Thing(things[0].name, things[0].box, difficult=True)
        _save(folder / "JPEGImages" / f"{stem}.jpg", pixels)
        lists[split].append(stem)
        height, width = pixels.shape[:2]
        _lines(folder / "Annotations" / f"{stem}.xml", voc_xml(f"{stem}.jpg", width, height, things))
        scenes.append(Scene(f"VOC{year}/JPEGImages/{stem}.jpg", split, width, height, tuple(things)))
    lists["trainval"] = sorted(lists["train"] + lists["val"])
    for name, stems in lists.items():
        _lines(folder / "ImageSets" / "Main" / f"{name}.txt", stems)
    return scenes


def voc_xml(name: str, width: int, height: int, things: Sequence[Thing]) -> list[str]:
    """Lines of a file of VOC's `Annotations`: pixels are counted from 1, and the last one belongs to it."""
    lines = ["<annotation>", f"\t<filename>{name}</filename>", "\t<size>"]
    lines += [f"\t\t<width>{width}</width>", f"\t\t<height>{height}</height>", "\t\t<depth>3</depth>"]
    lines += ["\t</size>"]
    for thing in things:
        x0, y0, x1, y1 = thing.box
        corners = {"xmin": x0 + 1, "ymin": y0 + 1, "xmax": x1, "ymax": y1}
        lines += [
            "\t<object>",
            f"\t\t<name>{thing.name}</name>",
            f"\t\t<difficult>{thing.difficult:d}</difficult>",
        ]
        lines += ["\t\t<bndbox>", *(f"\t\t\t<{key}>{value}</{key}>" for key, value in corners.items())]
        lines += ["\t\t</bndbox>", "\t</object>"]
    return [*lines, "</annotation>"]


def write_coco(
    root: Path, n_train: int = 12, n_val: int = 8, *, year: str = "2017", roboflow: bool = False
) -> list[Scene]:
    """COCO's own layout, or that of Roboflow's exports: `train/_annotations.coco.json` beside the images.

    Every fifth image has no object; the last box of every fourth is a crowd. Ids of categories have gaps.

    Returns:
        One scene an image, split "train" or "val", id "train2017/000000000001.jpg".
    """
    rng = np.random.default_rng(int(year))
    scenes: list[Scene] = []
    for split, count in (("train", n_train), ("val", n_val)):
        folder = {"train": "train", "val": "valid"}[split] if roboflow else f"{split}{year}"
        rows = []
        for number in range(len(scenes) + 1, len(scenes) + count + 1):
            pixels, things = draw_scene(BOX_CLASSES, rng, most=3 if number % 5 else 0)
            if things and number % 4 == 0:
                things[-1] = Thing(things[-1].name, things[-1].box, crowd=True)
            name = f"{number:012d}.jpg"
            _save(root / folder / name, pixels)
            height, width = pixels.shape[:2]
            rows.append(Scene(f"{folder}/{name}", split, width, height, tuple(things)))
        given = f"{folder}/_annotations.coco.json" if roboflow else f"annotations/instances_{folder}.json"
        _lines(root / given, [json.dumps(coco_json(rows))])
        scenes += rows
    return scenes


def coco_json(scenes: Sequence[Scene]) -> dict[str, Any]:
    """What a file of COCO's annotations says of some images; ids of categories are 3, 13, 23, …"""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name = scene.image_id.rsplit("/", 1)[-1]
        images.append({"id": number, "file_name": name, "width": scene.width, "height": scene.height})
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            row = {"id": len(annotations) + 1, "image_id": number, "iscrowd": int(thing.crowd)}
            row |= {"category_id": 3 + 10 * BOX_CLASSES.index(thing.name), "area": (x1 - x0) * (y1 - y0)}
            annotations.append({**row, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    categories = [{"id": 3 + 10 * at, "name": name} for at, name in enumerate(BOX_CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_yolo(root: Path, n_train: int = 12, n_val: int = 8) -> list[Scene]:
    """`root/data.yaml` with `images/` and `labels/`; every fifth image has no object, and no label file.

    Returns:
        One scene an image, split "train" or "val", id "images/train/0001.jpg".
    """
    rng = np.random.default_rng(8)
    scenes = []
    for number in range(1, n_train + n_val + 1):
        split = "train" if number <= n_train else "val"
        pixels, things = draw_scene(BOX_CLASSES, rng, most=3 if number % 5 else 0)
        height, width = pixels.shape[:2]
        _save(root / "images" / split / f"{number:04d}.jpg", pixels)
        if things:
            lines = [yolo_line(thing, width, height) for thing in things]
            _lines(root / "labels" / split / f"{number:04d}.txt", lines)
        scenes.append(Scene(f"images/{split}/{number:04d}.jpg", split, width, height, tuple(things)))
    names = [f"  {at}: {name}" for at, name in enumerate(BOX_CLASSES)]
    _lines(root / "data.yaml", ["path: .", "train: images/train", "val: images/val", "names:", *names])
    return scenes


def yolo_line(thing: Thing, width: int, height: int) -> str:
    """A line of YOLO's labels: class, centre and size as fractions of the image."""
    x0, y0, x1, y1 = thing.box
    numbers = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{BOX_CLASSES.index(thing.name)} " + " ".join(f"{number:.6f}" for number in numbers)
