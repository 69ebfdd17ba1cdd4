"""The embedded data set: eight drawn categories with real faces at known places.

It exists to check Sfumato on truth that is known, and is no evidence about anybody's data. One category
never has a face, one always stands beside one, and two twins wear a small plate on the face whose stripes
alone tell them apart, as the mask and the harmonica of the study: hiding faces must cost the twins, and
nobody else, most of their accuracy.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as PillowImage

from sfumato.boxes import Boxes, as_boxes
from sfumato.data import drawing
from sfumato.data.drawing import N_FACES, Canvas, Head, Opacity, Window
from sfumato.errors import DatasetError, OutputExists, UsageError
from sfumato.images import Pixels
from sfumato.records import locked, read_json, write_atomic, write_json

Role = Literal["never", "always", "pair", "crowd", "other"]

FACES_FILE = "faces.json"
FACTS_FILE = "planted.json"
_FORMAT = 1
_SMALLEST = 64
_PLATE = (0.34, 0.52)  # height and width, as shares of the face's height
_PLATE_TOP = (0.56, 0.6)  # its upper edge below the face's, likewise: on the mouth


@dataclass(frozen=True, slots=True)
class PlantedCategory:
    """What is drawn in one category.

    Attributes:
        name: of its folder.
        role: "never" or "always" with a face, one of the twin "pair", "crowd" (up to three faces), "other".
        face_rate: probability that an image has a face.
        photograph: that its object is cut from; empty where the background is the object, or a face wears it.
        window: of the object within the photograph, pixels.
        shape: of the cut: an ellipse, a rectangle with round corners, or the silhouette that is there.
    """

    name: str
    role: Role
    face_rate: float
    photograph: str = ""
    window: Window = (0, 0, 0, 0)
    shape: Literal["oval", "slab", "silhouette"] = "slab"


CATEGORIES = (
    PlantedCategory("brick_wall", "never", 0.0),
    PlantedCategory("coffee", "other", 0.3, "coffee", (72, 8, 486, 392), "oval"),
    PlantedCategory("coins", "other", 0.2, "coins", (10, 10, 370, 295)),
    PlantedCategory("harmonica", "pair", 1.0),
    PlantedCategory("horse", "other", 0.5, "horse", (15, 5, 395, 315), "silhouette"),
    PlantedCategory("mask", "pair", 1.0),
    PlantedCategory("motorcycle", "always", 1.0, "motorcycle", (85, 70, 695, 455)),
    PlantedCategory("rocket", "crowd", 0.6, "rocket", (185, 100, 470, 427)),
)
"""The eight categories, by name."""

SWINGS = {"harmonica": (95.0, 0.0, 38.0), "mask": (-15.0, 45.0, 95.0)}
"""What tells the twins apart: pink and green stripes, or blue and brown ones. Both have the same mean colour,
and stripes of the same brightness (0.299 R + 0.587 G + 0.114 B), so that a detector finds both alike."""

_PHOTOGRAPHS = ("grass", "gravel", "moon", "immunohistochemistry", "hubble_deep_field", "retina")
_PLAIN_RATE = 0.25


@dataclass(frozen=True, eq=False)
class PlantedTruth:
    """The embedded data set as it was written, with what is true about it.

    Attributes:
        folder: that holds train, val, faces.json and planted.json.
        categories: what is drawn in each, sorted by name, as `read_folder` sorts labels.
        pair: names of the two categories that hiding faces makes look alike.
        faces: image id to its planted faces, (n, 4) float32 boxes in pixels; n is 0 where there is none.
    """

    folder: Path
    categories: tuple[PlantedCategory, ...]
    pair: tuple[str, str]
    faces: Mapping[str, Boxes]


def write_planted(
    folder: Path, *, size: int = 96, n_train: int = 100, n_val: int = 40, seed: int = 0
) -> PlantedTruth:
    """Draw the embedded data set into a folder: train, val, faces.json, planted.json.

    The same arguments give the same bytes: each image draws from its own generator, made from the seed
    and its id. A folder that holds the set already is left as it is. The folder appears when it is whole.

    Args:
        folder: to write; must be new, empty, or written by this function with these arguments.
        size: width and height of every image, pixels.
        n_train, n_val: images of each category in each split.
        seed: of everything.

    Raises:
        OutputExists: the folder holds anything else.
        UsageError: images below 64 px, or a split without images.
    """
    if size < _SMALLEST or min(n_train, n_val) < 1:
        raise UsageError(
            f"the embedded data set needs images of {_SMALLEST} px or more, and one in each split"
        )
    folder = Path(folder)
    with locked(folder):
        facts = _facts(size, {"train": n_train, "val": n_val}, seed)
        if (folder / FACTS_FILE).is_file() and read_json(folder / FACTS_FILE) == facts:
            return read_planted(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputExists(f"{folder} exists already and holds something else; name another folder")
        _write(folder, facts)
    return read_planted(folder)


def read_planted(folder: Path) -> PlantedTruth:
    """Read back what `write_planted` wrote.

    Raises:
        DatasetError: the folder holds no finished embedded data set.
    """
    if not (folder / FACTS_FILE).is_file():
        raise DatasetError(f"{folder}: no {FACTS_FILE}; not the embedded data set (sfumato demo writes it)")
    facts = read_json(folder / FACTS_FILE)
    categories = tuple(
        PlantedCategory(**{**row, "window": tuple(row["window"])}) for row in facts["categories"]
    )
    first, second = (category.name for category in categories if category.role == "pair")
    faces = {record["url"]: _boxes(record["bboxes"]) for record in read_json(folder / FACES_FILE)}
    return PlantedTruth(folder, categories, (first, second), faces)


def draw_image(category: PlantedCategory, size: int, rng: np.random.Generator) -> tuple[Pixels, Boxes]:
    """One image of a category, (size, size, 3) uint8, and its faces, (n, 4), pixels."""
    canvas = _background(category, size, rng)
    if category.role == "pair":
        heads = [_head(rng, size, height=rng.uniform(0.48, 0.62), band=(0, 0, 1, 0.96))]
        room = None
    else:
        heads, room = arrange(category, size, rng)
    for head in heads:
        drawing.draw_head(rng, canvas, head)
    if category.role == "pair":
        _draw_plate(rng, canvas, heads[0], SWINGS[category.name])
    if category.photograph and room is not None:
        _draw_object(rng, canvas, category, room)
    light = rng.uniform(0.85, 1.12)
    pixels = np.clip(np.rint(canvas * light), 0, 255).astype(np.uint8)
    return pixels, as_boxes([head.box for head in heads])


def _facts(size: int, n_images: Mapping[str, int], seed: int) -> dict[str, Any]:
    rows = [{**asdict(category), "window": list(category.window)} for category in CATEGORIES]
    return {"format": _FORMAT, "seed": seed, "size": size, "n_images": dict(n_images), "categories": rows}


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Draw everything beside the folder, then rename: a killed run leaves nothing half done in its place."""
    unfinished = folder.parent / f".{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    records = [
        _write_image(unfinished, category, image_id, facts)
        for category, image_id in _image_ids(facts["n_images"])
    ]
    write_json(unfinished / FACES_FILE, records)
    write_json(unfinished / FACTS_FILE, facts)
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)


def _image_ids(n_images: Mapping[str, int]) -> Iterator[tuple[PlantedCategory, str]]:
    for split, count in n_images.items():
        for category in CATEGORIES:
            for number in range(count):
                # Formats are mixed in one category, so that readers meet more than JPEG.
                suffix = "png" if category.name == "coins" and number % 4 == 3 else "jpg"
                yield category, f"{split}/{category.name}/{number:04d}.{suffix}"


def _write_image(
    root: Path, category: PlantedCategory, image_id: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    digest = hashlib.sha256(image_id.encode()).digest()
    words = np.frombuffer(digest[:16], dtype="<u4").tolist()
    pixels, boxes = draw_image(category, facts["size"], np.random.default_rng([facts["seed"], *words]))
    file = io.BytesIO()
    if image_id.endswith(".png"):
        PillowImage.fromarray(pixels).save(file, "PNG")
    else:
        PillowImage.fromarray(pixels).save(file, "JPEG", quality=92, subsampling=0)
    write_atomic(root / image_id, file.getvalue(), durable=False)
    return {"url": image_id, "bboxes": [_record(box) for box in boxes]}


def _boxes(records: list[Mapping[str, float]]) -> Boxes:
    return as_boxes([[record[name] for name in ("x0", "y0", "x1", "y1")] for record in records])


def _record(box: Boxes) -> dict[str, float]:
    return {name: round(float(value), 2) for name, value in zip(("x0", "y0", "x1", "y1"), box, strict=True)}


def _background(category: PlantedCategory, size: int, rng: np.random.Generator) -> Canvas:
    if category.role == "never":
        return drawing.texture(rng, "brick", size, contrast=(0.9, 1.4))
    if rng.random() < _PLAIN_RATE:
        return drawing.wall(rng, size)
    name = _PHOTOGRAPHS[rng.integers(len(_PHOTOGRAPHS))]
    return drawing.texture(rng, name, size, contrast=(0.35, 0.8))


def _head(rng: np.random.Generator, size: int, *, height: float, band: Window) -> Head:
    """A head whose face has this height and lies anywhere in a band, all in shares of the image's side."""
    mirrored = bool(rng.integers(2))
    x0, y0, x1, y1 = drawing.face_window(mirrored=mirrored)
    side = round(height * size / (y1 - y0))
    corner = []
    for start, end, low, high in ((x0, x1, band[0], band[2]), (y0, y1, band[1], band[3])):
        first, last = np.ceil(low * size - start * side), np.floor(high * size - end * side)
        corner.append(int(rng.integers(first, last + 1)))
    return Head(int(rng.integers(N_FACES)), side, corner[0], corner[1], mirrored)


def arrange(category: PlantedCategory, size: int, rng: np.random.Generator) -> tuple[list[Head], Window]:
    """Heads in a band along one edge, and the room that is left for the object, in shares of the side.

    Images without a face are arranged as if they had one: where the object lies says nothing. The room begins
    about a fifth of a face away from the faces, beyond what any method reaches when it hides them.
    """
    n_faces = int(rng.integers(1, 4)) if category.role == "crowd" else 1
    side = "bottom" if n_faces > 1 else str(rng.choice(("left", "right", "bottom")))
    height = rng.uniform(0.26, 0.33) if n_faces > 1 else rng.uniform(0.3, 0.42)
    if rng.random() < 0.1:
        height = rng.uniform(0.17, 0.24)
    if side == "bottom":
        top = 0.92 - height
        bands = [(part / n_faces, top, (part + 1) / n_faces, 0.96) for part in range(n_faces)]
        room = (0.02, 0.02, 0.98, top - 0.2 * height)
    else:
        wide = 0.88 * height + 0.035
        bands = [(0.01, 0.02, wide, 0.92)] if side == "left" else [(1 - wide, 0.02, 0.99, 0.92)]
        room = (1.2 * wide, 0.02, 0.98, 0.98) if side == "left" else (0.02, 0.02, 1 - 1.2 * wide, 0.98)
    heads = [_head(rng, size, height=height, band=band) for band in bands]
    return (heads if rng.random() < category.face_rate else []), room


def _draw_plate(
    rng: np.random.Generator, canvas: Canvas, head: Head, swing: tuple[float, float, float]
) -> None:
    """Lay the striped plate on the mouth; it stays inside the face box."""
    x0, y0, x1, y1 = (float(value) for value in head.box)
    height, width = (round(share * (y1 - y0)) for share in _PLATE)
    picture, opacity = drawing.stripes(rng, (height, width), swing)
    x = (x0 + x1 - width) / 2 + rng.uniform(-0.06, 0.06) * (x1 - x0)
    y = y0 + rng.uniform(*_PLATE_TOP) * (y1 - y0)
    drawing.blend(canvas, picture, opacity, at=(round(x), round(y)))


def _draw_object(rng: np.random.Generator, canvas: Canvas, category: PlantedCategory, room: Window) -> None:
    """Lay the category's object somewhere into the room, larger or smaller, mirrored or not."""
    size = len(canvas)
    picture = _cut(rng, category)
    x0, y0, x1, y1 = (value * size for value in room)
    scale = min((x1 - x0) / picture.shape[1], (y1 - y0) / picture.shape[0]) * rng.uniform(0.88, 1)
    width, height = int(scale * picture.shape[1]), int(scale * picture.shape[0])
    picture = drawing.resize(picture[:, :: rng.choice((-1, 1))], width, height)
    picture, opacity = _shaped(rng, category, picture)
    lit = np.asarray(np.clip(picture * rng.uniform(0.85, 1.15), 0, 255), dtype=np.float32)
    x, y = (int(rng.integers(int(low), int(high) + 1)) for low, high in ((x0, x1 - width), (y0, y1 - height)))
    drawing.blend(canvas, lit, opacity, at=(x, y))


def _shaped(rng: np.random.Generator, category: PlantedCategory, picture: Canvas) -> tuple[Canvas, Opacity]:
    """An object's picture and opacity; a silhouette is filled with one colour."""
    height, width = picture.shape[:2]
    if category.shape == "oval":
        return picture, drawing.oval((height, width), (0, 0, width, height), soft=1.5)
    if category.shape == "slab":
        return picture, drawing.slab((height, width), corner=0.12 * height)
    colour = rng.uniform(95, 150) * np.array([1.0, 0.5, 0.25], dtype=np.float32)  # chestnut
    return np.full_like(picture, colour), np.float32(1) - picture[:, :, 0] / np.float32(255)


def _cut(rng: np.random.Generator, category: PlantedCategory) -> Canvas:
    """The object's piece of its photograph; a little more or less of it each time, and some of the coins."""
    x0, y0, x1, y1 = category.window
    width, height = x1 - x0, y1 - y0
    kept = 0.55 if category.name == "coins" else 0.96
    x = x0 + rng.uniform(0, 1 - kept) * width
    y = y0 + rng.uniform(0, 1 - kept) * height
    picture = drawing.photograph(category.photograph)
    return picture[int(y) : int(y + kept * height), int(x) : int(x + kept * width)]
