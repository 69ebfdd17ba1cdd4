"""A folder of images as a downstream task."""

from __future__ import annotations

import re
from pathlib import Path

from sfumato.data.tasks.layout import Layout
from sfumato.data.tasks.task import METRICS, TaskData
from sfumato.data.variant import read_dataset

LAYOUT = Layout(
    "a folder of images",
    "train/<category>/*.jpg\ntest/<category>/*.jpg                (or val/)",
)


def read_photos(root: Path, *, reserved: tuple[str, ...] = ()) -> TaskData:
    """A labelled folder of images, or a variant, with a split to train on and one to evaluate on.

    Args:
        root: the folder.
        reserved: names that mean other tasks; a folder so called is "<name>-folder".

    Raises:
        DatasetError: no such folder, a split is missing, or there are no categories.
        TableError, ManifestError: a damaged variant.
    """
    if not root.is_dir():
        raise LAYOUT.error(root, [])
    dataset = read_dataset(root)
    splits = dataset.splits
    lacking = [] if "train" in splits else ["train/"]
    lacking += [] if {"val", "test"} & set(splits) else ["test/ (or val/)"]
    if lacking:
        raise LAYOUT.error(root, lacking, why=f"found {', '.join(splits)}")
    dataset.need_categories()
    name = re.sub(r"[^\w.+-]+", "-", root.resolve().name).strip("-.") or "photos"
    name = f"{name}-folder" if name in reserved else name
    counts = {f"n_{split}": sum(sample.split == split for sample in dataset.samples) for split in splits}
    return TaskData(
        name,
        root.resolve().name,
        "categories",
        dataset,
        METRICS["categories"],
        facts={"source": "a folder", **counts},
    )
