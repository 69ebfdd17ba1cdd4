"""PASCAL VOC: the development kit of 2007 to 2012, with an XML file for each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sfumato.data.tasks.layout import Layout, below, need_all, shown
from sfumato.data.tasks.objects import Marked, on_drawn_pixels, place_all
from sfumato.data.tasks.task import VOC_METRICS, TaskData, TaskOptions
from sfumato.errors import DatasetError, UsageError
from sfumato.images import Frame
from sfumato.text_files import in_record, read_text, read_xml

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty of 2007 to 2012, sorted."""

YEARS = tuple(str(year) for year in range(2007, 2013))
_TESTED = "2007"
"""The only year whose test annotations are public."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class _Plan:
    """What is read of the years.

    Attributes:
        lists: year and name of each list, to the split that its images are in.
        ending: of the task's name; "" for the official task of these years.
        evaluated_on: for the facts.
    """

    lists: dict[tuple[str, str], str]
    ending: str
    evaluated_on: str


def _layout(years: tuple[str, ...]) -> Layout:
    lines = ["VOCdevkit/"]
    for year in years:
        lists = "train.txt, val.txt" if _TESTED not in years else "trainval.txt"
        lists += ", test.txt (of VOCtest_06-Nov-2007.tar)" if year == _TESTED else ""
        lines += [
            f"  VOC{year}/",
            "    JPEGImages/*.jpg",
            "    Annotations/*.xml",
            f"    ImageSets/Main/{lists}",
        ]
    lines += ["(without test.txt of 2007, under another name: its train.txt and val.txt)"]
    return Layout(
        "PASCAL VOC",
        "\n".join(lines if _TESTED in years else lines[:-1]),
        ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar", "VOCtrainval_11-May-2012.tar"),
    )


def read_voc(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """PASCAL VOC's detection task.

    With 2007 among the years it is the official task: trains on `trainval` of every year, evaluates on
    `test` of 2007. Where the list `test` of 2007 is missing it is another task with another name,
    "voc2007-val" or "voc2007+2012-val": trains on `train` of 2007 (of other years on `trainval`, which holds
    no image of 2007), evaluates on `val` of 2007. Other years have no public test annotations, so "voc2012"
    trains on `train` and evaluates on `val` always; a list `test` of theirs is never read.

    VOC counts pixels from 1 and its boxes include the last one: x0 is xmin - 1, x1 is xmax.

    Args:
        root: `VOCdevkit`, the folder that it lies in, or one of its years.
        options: `years`.
        cache: not used.

    Returns:
        The task. Its facts have the lists that were read, and `evaluated_on`, a sentence.

    Raises:
        UsageError: a year that there is not.
        DatasetError: the layout is another, images or annotations are missing, or one year is trained on an
            image that another is evaluated on.
        TableError: an annotation is not of VOC's format; the message names the file.
    """
    years = _years(options.years)
    layout = _layout(years)
    parts = [part for year in years for part in (f"VOC{year}/JPEGImages/", f"VOC{year}/Annotations/")]
    inner = [root.absolute().parent] if root.name in {f"VOC{year}" for year in years} else []
    kit = layout.find(root, (root, root / "VOCdevkit", root / "TrainVal" / "VOCdevkit", *inner), parts)
    plan = _plan(kit, years)
    _need_lists(layout, root, kit, plan)
    images = [
        image for (year, name), split in plan.lists.items() for image in _images(kit, year, name, split)
    ]
    _need_apart(kit, images)
    found = place_all(kit, images, CLASSES, _place)
    facts = {
        "years": list(years),
        "lists": {split: [f"{year}/{given}" for (year, given), to in plan.lists.items() if to == split]
                  for split in found.dataset.splits},
        "evaluated_on": plan.evaluated_on,
        **found.facts,
    }  # fmt: skip
    name = "voc" + "+".join(years) + plan.ending.replace(", ", "-")
    return found.task(name, f"PASCAL VOC {' and '.join(years)}{plan.ending}", facts, VOC_METRICS)


def _years(years: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [year for year in years if year not in YEARS]
    if unknown or not years:
        raise UsageError(f"VOC has the years {', '.join(YEARS)}, not '{unknown[0] if unknown else ''}'")
    return tuple(sorted(set(years)))


def _plan(kit: Path, years: tuple[str, ...]) -> _Plan:
    if _TESTED not in years:
        lists = {(year, name): name for year in years for name in ("train", "val")}
        return _Plan(lists, "", f"val of {' and '.join(years)}: annotations of their test are not public")
    lists = {(year, "trainval"): "train" for year in years}
    if _list(kit, _TESTED, "test").is_file():
        return _Plan(lists | {(_TESTED, "test"): "test"}, "", "test of 2007")
    del lists[_TESTED, "trainval"]
    lists = {(_TESTED, "train"): "train", (_TESTED, "val"): "val"} | lists
    told = "val of 2007: the list test of 2007 is missing; not comparable with results on test"
    return _Plan(lists, ", val", told)


def _need_lists(layout: Layout, root: Path, kit: Path, plan: _Plan) -> None:
    missing = [_list(kit, *key) for key in plan.lists if not _list(kit, *key).is_file()]
    if missing:
        raise layout.error(root, [shown(root, path) for path in missing])


def _need_apart(kit: Path, images: Iterable[Marked]) -> None:
    """Refuse what is trained on in one year and evaluated on in another.

    Later years contain images of earlier ones under their old names, "2008_000002", and those of 2007, which
    has names without a year, as "2007_000027".
    """
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for image in images:
        year, _, name = image.image_id.removesuffix(".jpg").partition("/JPEGImages/")
        full = f"{_TESTED}_{name}" if year == f"VOC{_TESTED}" else name
        names[image.split == "train"].add(full)
    both = sorted(names[True] & names[False])
    if both:
        raise DatasetError(
            f"{kit}: {len(both)} image(s) would be trained on in one list and evaluated on in another "
            f"(the first: {both[0]}); name one of the years, or correct the lists"
        )


def _list(kit: Path, year: str, name: str) -> Path:
    return kit / f"VOC{year}" / "ImageSets" / "Main" / f"{name}.txt"


def _images(kit: Path, year: str, name: str, split: str) -> Iterable[Marked]:
    given, folder = _list(kit, year, name), kit / f"VOC{year}"
    stems = [below(given, line.split()[0]) for line in read_text(given).splitlines() if line.strip()]
    annotations = [folder / "Annotations" / f"{stem}.xml" for stem in stems]
    need_all(given, (folder / "JPEGImages" / f"{stem}.jpg" for stem in stems))
    need_all(given, annotations)
    for stem, path in zip(stems, annotations, strict=True):
        yield _marked(f"VOC{year}/JPEGImages/{stem}.jpg", split, path)


def _marked(image_id: str, split: str, path: Path) -> Marked:
    root = read_xml(path)
    marked = Marked(image_id, split, path)
    size = root.find("size")
    if size is not None:
        with in_record(path, "size"):
            marked.size = int(_text(size, "width")), int(_text(size, "height"))
    for number, element in enumerate(root.iter("object")):
        with in_record(path, f"{number} of object"):
            _mark(marked, element)
    return marked


def _mark(marked: Marked, element: ElementTree.Element) -> None:
    name = _text(element, "name")
    if name not in CLASSES:
        raise ValueError(f"'{name}' is none of VOC's classes; other data sets are read as COCO or YOLO")
    box = element.find("bndbox")
    if box is None:
        raise ValueError("no bndbox")
    x0, y0, x1, y1 = (float(_text(box, corner)) for corner in _CORNERS)
    difficult = element.findtext("difficult", "0").strip()
    if difficult not in ("0", "1"):
        raise ValueError(f"difficult is '{difficult}'")
    marked.mark((x0 - 1, y0 - 1, x1, y1), name, difficult=difficult == "1")


def _text(element: ElementTree.Element, tag: str) -> str:
    text = element.findtext(tag)
    if text is None or not text.strip():
        raise ValueError(f"no {tag}")
    return text.strip()


def _place(marked: Marked, frame: Frame) -> NDArray[np.float64]:
    # Tools that write VOC's format leave the size 0, or give it the wrong way round; boxes are right then.
    if marked.size in ((0, 0), (frame.height, frame.width)) and frame.orientation < 5:
        marked = replace(marked, size=None)
    return on_drawn_pixels(marked, frame)
