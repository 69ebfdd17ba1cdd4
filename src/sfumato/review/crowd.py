"""Crowd tasks: images to a page like the study's on Mechanical Turk, and its results back as records."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.errors import BoxError, TableError, UsageError
from sfumato.faces import Faces
from sfumato.faces.names import NameIndex
from sfumato.records import write_atomic
from sfumato.review.gold import GoldRule, answer_of
from sfumato.review.log import Log
from sfumato.review.model import Record
from sfumato.review.versions import rows_of

CROWD = "crowd"
"""Name under which results count; an image that comes again counts as "crowd 2", and so on."""

_ENDS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class TaskPlan:
    """How images become tasks.

    Attributes:
        prefix: of the URLs, "https://…/"; the image id follows.
        per_task: images of a task.
        gold_per_task: gold ones among them; fewer where there are too few.
        seed: of their choice and places.
    """

    prefix: str = ""
    per_task: int = 50
    gold_per_task: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.gold_per_task < self.per_task:
            raise UsageError(
                f"a crowd task of {self.per_task} images cannot have {self.gold_per_task} gold ones"
            )


@dataclass(frozen=True, eq=False)
class CrowdImage:
    """One image of a crowd task.

    Attributes:
        url: where the page finds the image; ends with the image id.
        faces: boxes to begin with; of a result: what they were made into.
        truth: the known answer of a gold image, else None.
        change: of a result, whether the worker changed anything; None in an input.
    """

    url: str
    faces: Faces
    truth: Faces | None = None
    change: bool | None = None


def tasks(
    shown: Mapping[str, Faces], truth: Mapping[str, Faces], plan: TaskPlan = TaskPlan()
) -> list[list[CrowdImage]]:
    """Images as tasks, each with some gold images in between.

    Args:
        shown: boxes to begin with, by image id, gold images included.
        truth: known faces of the gold images, by image id.
        plan: how.
    """
    rng = np.random.default_rng(plan.seed)
    gold = sorted(image_id for image_id in shown if image_id in truth)
    plain = [image_id for image_id in shown if image_id not in truth]
    n_gold = min(plan.gold_per_task, len(gold))
    size = plan.per_task - n_gold
    found = []
    for start in range(0, len(plain), size):
        ids = plain[start : start + size]
        for at in rng.permutation(len(gold))[:n_gold].tolist():
            ids.insert(int(rng.integers(len(ids) + 1)), gold[at])
        answers = {image_id: answer_of(truth[image_id]) for image_id in ids if image_id in truth}
        found.append(
            [
                CrowdImage(f"{plan.prefix}{image_id}", shown[image_id], answers.get(image_id))
                for image_id in ids
            ]
        )
    return found


def write_tasks(path: Path, found: Iterable[Sequence[CrowdImage]]) -> None:
    """Write tasks as simple-amt's input: a line for each, a JSON list of its images.

    An image is `{"url", "bboxes": [{"x0", "y0", "x1", "y1"}], "ground_truth_bboxes"}`, the last for gold
    images only; pixels.
    """
    _write(path, [[_input(image) for image in task] for task in found])


def write_results(path: Path, found: Iterable[Sequence[CrowdImage]]) -> None:
    """Write results as the study's page hands them in: a line for each task, a JSON list of its images.

    An image is `{"url", "refined_bboxes": [{"x0", "x1", "y0", "y1"}], "change", "ground_truth_bboxes"}`.
    """
    _write(path, [[_result(image) for image in task] for task in found])


def read_tasks(path: Path) -> list[list[CrowdImage]]:
    """Read inputs, as `write_tasks` writes them.

    Raises:
        TableError: not that format; the message names the line.
    """
    return _read(path, "bboxes")


def read_results(path: Path) -> list[list[CrowdImage]]:
    """Read results: a line for each task, or one JSON list of images, or of tasks.

    A line may also be an object of simple-amt that has the list under "output".

    Raises:
        TableError: not that format; the message names the line.
    """
    return _read(path, "refined_bboxes")


@dataclass(frozen=True)
class Imported:
    """What a review has of crowd tasks already.

    Attributes:
        times: how often each image came, by its id.
        tasks: how often each task came, by its name (see `task_name`).
    """

    times: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Imported:
        """Of the records of a review that are of crowd tasks."""
        kept = [record for record in records if record.task == "crowd"]
        named = Counter((str(record.extra.get("crowd_task")), record.image_id) for record in kept)
        tasks: dict[str, int] = {}
        for (name, _), times in named.items():
            tasks[name] = max(times, tasks.get(name, 0))
        return cls(Counter(record.image_id for record in kept), tasks)


def task_name(task: Sequence[CrowdImage]) -> str:
    """Name of a result by what it says: the same for the same result, in whatever file it comes."""
    return hashlib.sha256(json.dumps([_result(image) for image in task]).encode()).hexdigest()[:16]


def without_known(
    found: Iterable[Sequence[CrowdImage]], known: Imported
) -> tuple[list[Sequence[CrowdImage]], int]:
    """Results that a review does not have, and how many it has: a file that comes twice counts once.

    Equal results within a file are of several workers, and all count.
    """
    left = Counter(known.tasks)
    new = []
    for task in (tasks := list(found)):
        name = task_name(task)
        left[name] -= 1
        if left[name] < 0:
            new.append(task)
    return new, len(tasks) - len(new)


def crowd_records(
    found: Iterable[Sequence[CrowdImage]],
    image_ids: Iterable[str],
    *,
    first: int = 1,
    known: Imported = Imported(),
    rule: GoldRule = GoldRule(),
) -> list[Record]:
    """Results as records of a reviewer: one pass of each image, from the face table's boxes.

    Gold images are left out; a task that fails one of them counts for nothing, since the study's page hands
    in no such task. An image that several tasks have becomes a pass of several people, "crowd", "crowd 2", ….

    Args:
        found: results by task.
        image_ids: of the face table; a URL belongs to the id that it ends with.
        first: number of the first record: one more than the log has.
        known: what the review has already.
        rule: of gold images.

    Raises:
        TableError: a URL that belongs to no image, or to several.
    """
    index = NameIndex(image_ids)
    records: list[Record] = []
    times = Counter(known.times)
    for task in found:
        if not all(_passes(image, rule) for image in task):
            continue
        for image in task:
            if image.truth is not None:
                continue
            image_id = _meant(index, image.url)
            times[image_id] += 1
            name = CROWD if times[image_id] == 1 else f"{CROWD} {times[image_id]}"
            extra = {"change": image.change, "crowd_task": task_name(task)}
            records.append(_record(image, (first + len(records), name, image_id), extra))
    return records


def new_records(
    found: Iterable[Sequence[CrowdImage]], image_ids: Iterable[str], log: Log, rule: GoldRule
) -> tuple[list[Record], int]:
    """What a log lacks of these results, and how many tasks it has; see `crowd_records`.

    Raises:
        TableError: as `crowd_records`.
    """
    known = Imported.of(log)
    new, n_known = without_known(found, known)
    return crowd_records(new, image_ids, first=len(log) + 1, known=known, rule=rule), n_known


def _write(path: Path, found: Iterable[Any]) -> None:
    write_atomic(path, "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in found).encode())


def _passes(image: CrowdImage, rule: GoldRule) -> bool:
    return image.truth is None or rule.check(image.faces.xyxy, image.truth)[1]


def _meant(index: NameIndex, url: str) -> str:
    alike = index.alike(url)
    if len(alike) != 1:
        few = "no image" if not alike else f"{len(alike)} images: {', '.join(alike[:3])}"
        raise TableError(f"crowd results: '{url}' may mean {few} of the face table; is it the right one?")
    return alike[0]


def _record(image: CrowdImage, made: tuple[int, str, str], extra: Mapping[str, Any]) -> Record:
    n, name, image_id = made
    faces = replace(image.faces, source=(name,) * len(image.faces))
    return Record(n, "", name, image_id, "crowd", "", 0, rows_of(faces), extra=extra)


def _input(image: CrowdImage) -> dict[str, Any]:
    return {"url": image.url, "bboxes": _boxes(image.faces, _ENDS), **_gold(image)}


def _result(image: CrowdImage) -> dict[str, Any]:
    boxes = _boxes(image.faces, ("x0", "x1", "y0", "y1"))
    return {"url": image.url, "refined_bboxes": boxes, "change": bool(image.change), **_gold(image)}


def _gold(image: CrowdImage) -> dict[str, Any]:
    return {} if image.truth is None else {"ground_truth_bboxes": _boxes(image.truth, _ENDS)}


def _boxes(faces: Faces, order: Sequence[str]) -> list[dict[str, float]]:
    rows = [dict(zip(_ENDS, box, strict=True)) for box in faces.xyxy.tolist()]
    return [{name: row[name] for name in order} for row in rows]


def _read(path: Path, boxes: str) -> list[list[CrowdImage]]:
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read ({error})") from error
    try:
        whole = json.loads(text)
        lines = whole if isinstance(whole, list) else [whole]
        if lines and isinstance(lines[0], dict) and boxes in lines[0]:
            lines = [lines]
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip()]
    return [_task(line, boxes, f"{path}: task {number}") for number, line in enumerate(lines, start=1)]


def _task(line: Any, boxes: str, where: str) -> list[CrowdImage]:
    try:
        value = json.loads(line) if isinstance(line, str) else line
        rows = value["output"] if isinstance(value, dict) else value
        return [_image(row, boxes) for row in rows]
    except KeyError as error:
        raise TableError(f"{where} has an image without {error}") from error
    except (ValueError, TypeError, AttributeError, BoxError) as error:
        raise TableError(f"{where} is no list of images with url and {boxes} ({error})") from error


def _image(row: Mapping[str, Any], boxes: str) -> CrowdImage:
    truth = row.get("ground_truth_bboxes")
    change = row.get("change")
    if not isinstance(row["url"], str) or not isinstance(row[boxes], list):
        raise TypeError("url is no text, or the boxes are no list")
    return CrowdImage(
        row["url"],
        _faces(row[boxes]),
        None if truth is None else _faces(truth),
        None if change is None else bool(change),
    )


def _faces(rows: Sequence[Mapping[str, float]]) -> Faces:
    return Faces.of([[float(row[name]) for name in _ENDS] for row in rows], source=CROWD)
