"""What a run learns: a data set of categories, or a downstream task; and whether it can be learned."""

from __future__ import annotations

from typing import Any

from sfumato.data import Dataset
from sfumato.data.tasks import METRICS, TaskData
from sfumato.errors import DatasetError
from sfumato.learn.index import Images


def as_task(data: Dataset | TaskData) -> TaskData:
    """A task; a data set is one of categories, without a name."""
    if isinstance(data, TaskData):
        return data
    return TaskData("", "", "categories", data, METRICS["categories"])


def task_settings(task: TaskData) -> dict[str, Any]:
    """What a key depends on of a task, beside its images; nothing of a data set that is none."""
    if not task.name:
        return {}
    return {"task": {"name": task.name, "kind": task.kind, "metrics": list(task.metrics)}}


def task_facts(task: TaskData) -> dict[str, Any]:
    """What a manifest says of a task; its title may be the name of a folder."""
    settings = task_settings(task)
    return {name: {**of, "title": task.title, "facts": dict(task.facts)} for name, of in settings.items()}


def check_task(task: TaskData, split: str) -> None:
    """Check that a split can be learned from or scored.

    Raises:
        DatasetError: as `check_labels`; of other tasks than of categories, no image in the split.
    """
    if task.kind == "categories":
        check_labels(task.dataset, split)
    elif not task.dataset.subset(split).samples:
        _ = task.dataset.evaluation_split  # says which splits are missing
        raise DatasetError(f"{task.dataset.root}: no image in the split '{split}'")


def check_labels(dataset: Dataset, split: str) -> None:
    """Check that a split can be learned from or scored.

    Raises:
        DatasetError: fewer than two categories, no such pair of splits, or an image without a label or with
            one beyond the categories.
    """
    dataset.need_categories()
    samples = dataset.subset(split).samples
    if not samples:
        _ = dataset.evaluation_split  # says which splits are missing
        raise DatasetError(f"{dataset.root}: no image in the split '{split}'")
    for sample in samples:
        if sample.label < 0:
            raise DatasetError(f"{dataset.root}: '{sample.image_id}' has no label; put it into a category")
        if sample.label >= len(dataset.categories):
            raise DatasetError(
                f"{dataset.root}: '{sample.image_id}' has label {sample.label}, but there are "
                f"{len(dataset.categories)} categories, the first with label 0; correct its table"
            )


def need_examples(task: TaskData, images: Images) -> None:
    """Check that the readable images hold an example of what is to be learned.

    Raises:
        DatasetError: they do not.
    """
    if task.objects is not None:
        if not sum(len(task.objects[image_id]) for image_id in images.image_ids):
            raise DatasetError(f"{task.dataset.root}: no object in any readable image to train on")
        return
    if task.attributes is not None:
        if not len(images):
            raise DatasetError(f"{task.dataset.root}: no readable image to train on")
        return
    present = set(images.labels.tolist())
    empty = [name for label, name in enumerate(task.dataset.categories) if label not in present]
    if empty:
        raise DatasetError(
            f"{task.dataset.root}: no readable image to train on in {len(empty)} categor"
            f"{'y' if len(empty) == 1 else 'ies'} ({', '.join(empty[:5])}); add images or remove the folder"
        )
