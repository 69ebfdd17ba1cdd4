"""Label Studio: the JSON list of tasks that it exports and imports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, rounded, without
from sfumato.text_files import in_record, iterate_objects, write_json_text

Part = Literal["annotations", "predictions"]
_PLACE = ("x", "y", "width", "height", "rotation")
_BOX_TYPES = ("rectanglelabels", "rectangle")
_REMARKS = frozenset(
    {
        "choices",
        "textarea",
        "labels",
        "rating",
        "number",
        "taxonomy",
        "datetime",
        "pairwise",
        "ranker",
        "relation",
    }
)
"""Types of results that say something of an image or region, and are no region themselves."""


@dataclass(frozen=True)
class LabelStudio:
    """Percent of width and height; the first rectangle label is the kind; all other fields are kept.

    A task without a finished annotation was not examined. Turned rectangles and other shapes are refused,
    since leaving one out would leave a face visible.

    Attributes:
        part: read and write what people drew ("annotations") or what a model found ("predictions").
        image: field of a task's `data` that holds the image's path or URL.
    """

    name: ClassVar[str] = "label_studio"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "kind", "extra"})

    part: Part = "annotations"
    image: str = "image"

    def __post_init__(self) -> None:
        if self.part not in get_args(Part):
            raise ValueError(f"part is one of {', '.join(get_args(Part))}, not '{self.part}'")

    def read(self, path: Path) -> Annotations:
        """Read the file.

        Raises:
            TableError: not this format, a task with several annotations, or a shape that is no upright box.
        """
        collector = Collector(path, relative=True)
        for number, task in enumerate(iterate_objects(path, "a list of tasks")):
            with in_record(path, f"{number} (task {task.get('id', 'without id')})"):
                self._read_task(collector, task)
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write the file.

        Raises:
            TableError: the size of an image is not known.
        """
        xyxy = annotations.fractions()
        percent = rounded(100 * np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]), 7)
        tasks = []
        for row, boxes in annotations.boxes_of():
            extra = decoded(annotations.image_extra, row)
            results = [_result(annotations, row, at, percent[at]) for at in boxes]
            drawn = extra.get("drawn", {}) | {"result": results + extra.get("results", [])}
            data = extra.get("data", {}) | {self.image: annotations.names[row]}
            tasks.append(extra.get("task", {}) | {"data": data, self.part: [drawn]})
        write_json_text(path, tasks)

    def _read_task(self, collector: Collector, task: Mapping[str, Any]) -> None:
        name = image_name(task["data"][self.image])
        finished = [drawn for drawn in task.get(self.part) or () if not drawn.get("was_cancelled")]
        if not finished:
            return
        if len(finished) > 1:
            raise ValueError(f"{len(finished)} {self.part} of one image; leave one of them")
        (drawn,) = finished
        boxes = [item for item in drawn["result"] if _is_box(item)]
        extra = {
            "task": without(task, "data", self.part),
            "data": without(task["data"], self.image),
            "drawn": without(drawn, "result"),
            "results": [item for item in drawn["result"] if not _is_box(item)],
        }
        size = (boxes[0]["original_width"], boxes[0]["original_height"]) if boxes else None
        collector.image(name, size, {key: value for key, value in extra.items() if value})
        for item in boxes:
            _read_box(collector, item)


def image_name(url: str) -> str:
    """The path in an address of Label Studio: "/data/local-files/?d=n1/a%20b.jpg" gives "n1/a b.jpg"."""
    if not isinstance(url, str):
        raise TypeError(f"the image is {url!r}")
    query = parse_qs(urlsplit(url).query)
    if "d" in query:
        return query["d"][0]
    return unquote(url) if "://" in url or url.startswith("/data/") else url


def _is_box(item: Mapping[str, Any]) -> bool:
    if item.get("type") in _BOX_TYPES:
        return True
    if item.get("type") not in _REMARKS:
        raise ValueError(f"holds a shape of type {item.get('type')}; draw rectangles only")
    return False


def _read_box(collector: Collector, item: Mapping[str, Any]) -> None:
    value = item["value"]
    if value.get("rotation", 0) != 0 or item.get("image_rotation", 0) != 0:
        raise ValueError("holds a turned rectangle; draw upright ones only")
    labels = value.get("rectanglelabels") or ["face"]
    x, y = value["x"] / 100, value["y"] / 100
    extra: dict[str, Any] = {"fields": without(item, "value", "score", "original_width", "original_height")}
    extra |= {"value": without(value, *_PLACE, "rectanglelabels"), "labels": labels[1:]}
    collector.box(
        (x, y, x + value["width"] / 100, y + value["height"] / 100),
        item.get("score", 1.0),
        labels[0],
        {key: kept for key, kept in extra.items() if kept},
    )


def _result(annotations: Annotations, row: int, at: int, place: Sequence[float]) -> dict[str, Any]:
    extra = decoded(annotations.extra, at)
    width, height = annotations.size_of(row)
    value: dict[str, Any] = dict(zip(_PLACE, [*place, 0], strict=True))
    defaults = {"id": f"box{at}", "from_name": "label", "to_name": "image", "type": "rectanglelabels"}
    item: dict[str, Any] = defaults | extra.get("fields", {})
    if item["type"] == "rectanglelabels":  # the label of a bare "rectangle" is a result of its own
        value["rectanglelabels"] = [annotations.kind[at], *extra.get("labels", [])]
    item |= {"original_width": width, "original_height": height, "value": extra.get("value", {}) | value}
    if annotations.score[at] != 1:
        item["score"] = float(annotations.score[at])
    return item
