"""PASCAL VOC: the development kit of 2007 to 2012, with an XML file for each image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sfumato.data.tasks.layout import Layout, below, need_all, shown
from sfumato.data.tasks.objects import Marked, on_drawn_pixels, place_all
from sfumato.data.tasks.task import VOC_METRICS, TaskData, TaskOptions
from sfumato.errors import UsageError
from sfumato.images import Frame
from sfumato.text_files import in_record, read_text, read_xml

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty of 2007 to 2012, sorted."""

YEARS = tuple(str(year) for year in range(2007, 2013))
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _layout(years: Iterable[str]) -> Layout:
    lines = ["VOCdevkit/"]
    for year in years:
        lists = "trainval.txt, test.txt (of VOCtest_06-Nov-2007.tar)" if year == "2007" else "trainval.txt"
        lines += [
            f"  VOC{year}/",
            "    JPEGImages/*.jpg",
            "    Annotations/*.xml",
            f"    ImageSets/Main/{lists}",
        ]
    tree = "\n".join([*lines, "(without test.txt: train.txt and val.txt)"])
    return Layout(
        "PASCAL VOC",
        tree,
        ("VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar", "VOCtrainval_11-May-2012.tar"),
    )


def read_voc(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """PASCAL VOC's detection task.

    Trains on `trainval` of every year named, evaluates on `test` of those that have it. Where no year has a
    test list (that of 2012 is not public), trains on `train` and evaluates on `val`. VOC counts pixels from
    1 and its boxes include the last one: x0 is xmin - 1, x1 is xmax.

    Args:
        root: `VOCdevkit`, the folder that it lies in, or one of its years.
        options: `years`.
        cache: not used.

    Raises:
        UsageError: a year that there is not.
        DatasetError: the layout is another, or images or annotations are missing.
        TableError: an annotation is not of VOC's format; the message names the file.
    """
    years = _years(options.years)
    layout = _layout(years)
    parts = [part for year in years for part in (f"VOC{year}/JPEGImages/", f"VOC{year}/Annotations/")]
    inner = [root.absolute().parent] if root.name in {f"VOC{year}" for year in years} else []
    kit = layout.find(root, (root, root / "VOCdevkit", root / "TrainVal" / "VOCdevkit", *inner), parts)
    lists = _lists(layout, root, kit, years)
    images = [image for (year, name), split in lists.items() for image in _images(kit, year, name, split)]
    found = place_all(kit, images, CLASSES, _place)
    name, words = "voc" + "+".join(years), " and ".join(years)
    facts = {
        "years": list(years),
        "lists": {split: [f"{year}/{given}" for (year, given), to in lists.items() if to == split]
                  for split in found.dataset.splits},
        **found.facts,
    }  # fmt: skip
    return TaskData(
        name, f"PASCAL VOC {words}", "objects", found.dataset, VOC_METRICS, objects=found.objects, facts=facts
    )


def _years(years: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [year for year in years if year not in YEARS]
    if unknown or not years:
        raise UsageError(f"VOC has the years {', '.join(YEARS)}, not '{unknown[0] if unknown else ''}'")
    return tuple(sorted(set(years)))


def _lists(layout: Layout, root: Path, kit: Path, years: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Year and name of each list that is read, to the split that its images are in."""
    tested = [year for year in years if _list(kit, year, "test").is_file()]
    wanted = {(year, "trainval"): "train" for year in years} | {(year, "test"): "test" for year in tested}
    if not tested:
        wanted = {(year, name): name for year in years for name in ("train", "val")}
    missing = [_list(kit, *key) for key in wanted if not _list(kit, *key).is_file()]
    if missing:
        raise layout.error(root, [shown(root, path) for path in missing])
    return wanted


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
