"""Downstream tasks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sfumato.data.tasks.celeba import read_celeba
from sfumato.data.tasks.cifar10 import read_cifar10
from sfumato.data.tasks.coco import read_coco
from sfumato.data.tasks.folder_task import read_photos
from sfumato.data.tasks.sun397 import read_sun397
from sfumato.data.tasks.task import TaskData, TaskOptions
from sfumato.data.tasks.voc import read_voc
from sfumato.data.tasks.yolo import read_yolo
from sfumato.errors import DatasetError, UsageError

Reader = Callable[[Path, TaskOptions, Path], TaskData]
"""From the folder of a data set, options, and a folder for what must be unpacked, to the task."""

_READERS: Mapping[str, Reader] = {
    "cifar10": read_cifar10,
    "sun397": read_sun397,
    "celeba": read_celeba,
    "voc": read_voc,
    "coco": read_coco,
    "yolo": read_yolo,
}

TASKS = tuple(_READERS)
"""Names of the tasks with a layout of their own; anything else is the path of a folder of images."""


def read_task(name: str, root: Path | None, *, options: TaskOptions = TaskOptions(), cache: Path) -> TaskData:
    """Read a downstream task.

    Args:
        name: one of `TASKS`, or the path of a folder with `train/<category>/` and `test/` or `val/`.
        root: where the data set lies, for a named task; None for a folder.
        options: which of several versions is meant.
        cache: folder for what must be unpacked; made when it is needed.

    Returns:
        The task. Its facts have counts of images and what else was found out about the files.

    Raises:
        UsageError: a named task without `root`, a folder with one, or a version that there is not.
        DatasetError: the files do not lie as they are published; the message has the tree that is expected
            and what of it is missing. Or images that are named are not there or cannot be read.
        TableError: a list or annotation is damaged; the message names file and place.
    """
    if name in _READERS:
        if root is None:
            raise UsageError(f"the task {name} needs the folder of its data set; name it with --data PATH")
        return _READERS[name](Path(root), options, cache)
    if root is not None:
        raise UsageError(
            f"--data is for the tasks {', '.join(TASKS)}; '{name}' would be a folder of images itself"
        )
    if not Path(name).is_dir():
        raise DatasetError(f"'{name}' is no task ({', '.join(TASKS)}) and no folder of images")
    return read_photos(Path(name), reserved=TASKS)
