"""Data sets in YOLO's format: a YAML file, folders of images, a text file of labels for each image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sfumato.data.folder import image_ids
from sfumato.data.tasks.layout import Layout, need_all
from sfumato.data.tasks.objects import Marked, on_upright_fractions, place_all
from sfumato.data.tasks.task import TaskData, TaskOptions
from sfumato.errors import DatasetError, TableError
from sfumato.text_files import in_record, read_text

NAMES = ("data", "config", "dataset")
"""What the YAML file may be called where there are several."""

LAYOUT = Layout(
    "a data set in YOLO's format",
    "data.yaml                            path, train, val (or test), names\n"
    "images/train/*.jpg\n"
    "images/val/*.jpg\n"
    "labels/train/*.txt                   a line an object: class; centre, width, height in 0 to 1\n"
    "labels/val/*.txt                     no file: no object",
)

_MOST = 1.01
"""What a fraction may be: tools round, and labels a hair beyond the border are common."""


@dataclass(frozen=True)
class _Config:
    """What the YAML file says.

    Attributes:
        path: of the file.
        bases: folders that its paths may be relative to, the first that fits.
        splits: "train" and "val" or "test", with what each is given as.
        names: of the classes, by number.
        keypoints: lines hold points after the box.
    """

    path: Path
    bases: tuple[Path, ...]
    splits: Mapping[str, Sequence[str]]
    names: Mapping[int, str]
    keypoints: bool


def read_yolo(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """A data set in YOLO's format, as Ultralytics' tools read it: boxes are on the upright picture.

    Trains on `train`, evaluates on `val`, or on `test` where there is no `val`. Each is a folder, a text file
    with a path a line, or a list of these. Labels lie where the last `images` of a path is `labels`, or
    beside the image. A polygon becomes its bounding box.

    Args:
        root: the YAML file, or its folder.
        options: not used.
        cache: not used.

    Raises:
        DatasetError: the layout is another, images are missing, or no image of a split has labels.
        TableError: the YAML file or a label is not of this format; the message names file and line.
    """
    config = _read_config(_find_config(root))
    files = {split: _files(root, config, given) for split, given in config.splits.items()}
    everything = [path for found in files.values() for path in found]
    base = next(
        (base for base in config.bases if all(path.is_relative_to(base) for path in everything)), None
    )
    base = base or Path(os.path.commonpath(everything))
    images = []
    for split, paths in files.items():
        labelled = [_marked(base, config, split, path) for path in paths]
        if not any(image.boxes for image in labelled):
            raise LAYOUT.error(root, [str(_label_file(paths[0]))], why=f"no image of '{split}' has a label")
        images += labelled
    found = place_all(base, images, sorted(config.names.values()), on_upright_fractions)
    facts = {"config": config.path.name, **found.facts}
    return found.task("yolo", f"{config.path.resolve().parent.name} (YOLO format)", facts)


def _find_config(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(path for path in root.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    if len(found) > 1:
        found = [path for path in found if path.stem in NAMES]
    if not found:
        raise LAYOUT.error(root, ["data.yaml"])
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DatasetError(
            f"{root}: several files may describe the data set ({names}); name the one that is meant"
        )
    return found[0]


def _read_config(path: Path) -> _Config:
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        raise TableError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise TableError(f"{path}: expected the fields path, train, val and names")
    evaluated = next((split for split in ("val", "valid", "test") if content.get(split)), "val")
    missing = [field for field in ("train", evaluated) if not content.get(field)]
    if missing:
        raise LAYOUT.error(path, [f"{field} in {path.name}" for field in missing])
    given = content.get("path") or "."
    splits = {"train": _texts(path, content["train"])}
    splits["test" if evaluated == "test" else "val"] = _texts(path, content[evaluated])
    if not isinstance(given, str):
        raise TableError(f"{path}: path is no text")
    bases = tuple(dict.fromkeys(_normal(path.parent / step) for step in (given, ".")))
    return _Config(path, bases, splits, _names(path, content), "kpt_shape" in content)


def _texts(path: Path, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, str) and item for item in values):
        raise TableError(f"{path}: {value!r} is no path, nor a list of paths")
    return values


def _names(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Names of the classes by number, from `names` (a list, or by number), or counted from `nc`."""
    names, count = content.get("names"), content.get("nc")
    if names is None and type(count) is int:
        names = [str(number) for number in range(count)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(number) is int for number in names):
        raise TableError(f"{path}: names is no list of the classes, nor names by number")
    texts = {number: str(name).strip() for number, name in names.items()}
    if len(set(texts.values())) < len(texts) or not all(texts.values()):
        raise TableError(f"{path}: two classes have one name, or one has none")
    return texts


def _files(root: Path, config: _Config, given: Sequence[str]) -> list[Path]:
    """Paths of the images of a split."""
    found = []
    for text in given:
        # Exports of some tools write "../train/images" for a folder beside the file.
        tries = [
            base / part for base in config.bases for part in dict.fromkeys((text, text.removeprefix("../")))
        ]
        place = next((path for path in tries if path.exists()), None)
        if place is None:
            raise LAYOUT.error(root, [str(tries[0])])
        found += _in_folder(place) if place.is_dir() else _in_list(place)
    if not found:
        raise LAYOUT.error(root, [f"images in {', '.join(given)}"])
    return found


def _in_folder(folder: Path) -> list[Path]:
    return [_normal(folder / image_id) for image_id in sorted(image_ids(folder))]


def _in_list(path: Path) -> list[Path]:
    lines = [line.strip() for line in read_text(path).splitlines()]
    found = [_normal(path.parent / line) for line in lines if line]
    need_all(path, found)
    return found


def _normal(path: Path) -> Path:
    """An absolute path without "..", links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 -- Path.absolute keeps "..", Path.resolve follows links


def _label_file(image: Path) -> Path:
    """Where the labels of an image lie."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _marked(base: Path, config: _Config, split: str, image: Path) -> Marked:
    """What the label file of an image says; no file, no object."""
    path = _label_file(image)
    marked = Marked(image.relative_to(base).as_posix(), split, path if path.is_file() else config.path)
    if path.is_file():
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            with in_record(path, f"in line {number}"):
                if words := line.split():
                    _mark(marked, words, config)
    return marked


def _mark(marked: Marked, words: Sequence[str], config: _Config) -> None:
    number = float(words[0])
    if number not in config.names:
        raise ValueError(f"class {words[0]} has no name in {config.path.name}")
    values = [float(word) for word in words[1:]]
    box = values[:4] if config.keypoints else values
    if not all(0 <= value <= _MOST for value in box):
        raise ValueError("a number is not between 0 and 1; labels are fractions of width and height")
    marked.mark(_corners(box), config.names[int(number)])


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around a box given by its centre and size, or around a polygon."""
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"an object has 4 numbers after its class, or the corners of a polygon, not {len(values)}"
        )
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
