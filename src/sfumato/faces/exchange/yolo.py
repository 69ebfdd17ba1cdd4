"""YOLO: a text file for each image, beside which lies `classes.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector
from sfumato.faces.names import without_suffix
from sfumato.records import write_atomic
from sfumato.text_files import in_record, read_text

CLASSES = "classes.txt"


@dataclass(frozen=True)
class Yolo:
    """Lines `class x y width height [score]`: centre and size as fractions of the image.

    An image without faces has an empty file; an image without a file was not examined.

    Attributes:
        classes: kind of each class number; `classes.txt` in the folder has them where it is there.
    """

    name: ClassVar[str] = "yolo"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind"})

    classes: tuple[str, ...] = ("face",)

    def read(self, path: Path) -> Annotations:
        """Read a folder of labels, folders in it too.

        Raises:
            TableError: not this format; the message names file and line.
        """
        if not path.is_dir():
            raise TableError(f"{path}: expected a folder with one text file an image")
        given = path / CLASSES
        classes = read_text(given).split("\n") if given.is_file() else list(self.classes)
        files = sorted(file for file in path.rglob("*.txt") if file != given)
        if not files:
            raise TableError(f"{path}: no label file in it (looked for .txt files)")
        collector = Collector(path, relative=True, by_stem=True)
        for file in files:
            collector.image(file.relative_to(path).as_posix().removesuffix(".txt"))
            for number, line in enumerate(read_text(file).splitlines(), start=1):
                with in_record(file, f"in line {number}"):
                    _read_line(collector, line.split(), classes)
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write a folder of labels, named like the images.

        Raises:
            TableError: the size of an image is not known, or two images would share one file.
        """
        used = set(annotations.kind)
        classes = [*self.classes, *sorted(used - set(self.classes))]
        files = [f"{without_suffix(name)}.txt" for name in annotations.names]
        twice = {file for file in files if file == CLASSES} or _first_twice(files)
        if twice:
            raise TableError(
                f"two files would have the name {min(twice)}; YOLO's names have no image endings"
            )
        lines = _lines(annotations, classes)
        write_atomic(path / CLASSES, "".join(f"{kind}\n" for kind in classes).encode())
        for row, boxes in annotations.boxes_of():
            text = "".join(f"{lines[at]}\n" for at in boxes)
            write_atomic(path / files[row], text.encode(), durable=False)


def _first_twice(files: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    for file in files:
        if file in seen:
            return {file}
        seen.add(file)
    return set()


def _read_line(collector: Collector, words: list[str], classes: Sequence[str]) -> None:
    if not words:
        return
    if len(words) not in (5, 6):
        raise ValueError(f"a face has 5 or 6 numbers, not {len(words)}")
    number = int(words[0])
    if not (0 <= number < len(classes) and classes[number].strip()):
        raise ValueError(f"class {number} has no name; give yolo(classes=(...)) or a {CLASSES}")
    x, y, width, height = map(float, words[1:5])
    if width < 0 or height < 0:
        raise ValueError("a box ends before it starts")
    score = float(words[5]) if len(words) == 6 else 1.0
    xyxy = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    collector.box(xyxy, score, classes[number].strip())


def _lines(annotations: Annotations, classes: Sequence[str]) -> list[str]:
    xyxy = annotations.fractions()
    size = xyxy[:, 2:] - xyxy[:, :2]
    rows = np.hstack([xyxy[:, :2] + size / 2, size]).tolist()
    lines = []
    for at, row in enumerate(rows):
        score = f" {float(annotations.score[at])!r}" if annotations.score[at] != 1 else ""
        numbers = " ".join(f"{value:.9f}" for value in row)
        lines.append(f"{classes.index(annotations.kind[at])} {numbers}{score}")
    return lines
