"""CelebA: faces with forty attributes each, and the official partition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sfumato.data.dataset import UNLABELLED, Sample
from sfumato.data.tasks.layout import Layout, annotated, below, need_all, need_once, refuse_any
from sfumato.data.tasks.task import METRICS, TaskData, TaskOptions
from sfumato.errors import TableError
from sfumato.text_files import read_text

_ATTRIBUTES, _PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
_ALIGNED, _WILD = "img_align_celeba", "img_celeba"
_SPLITS = {"0": "train", "2": "test"}
_LEFT_OUT = "1"
_FLAGS = {"1": 1, "-1": 0}


def _layout(images: str) -> Layout:
    return Layout(
        "CelebA",
        "celeba/\n"
        f"  {images}/000001.jpg …\n"
        f"  {_ATTRIBUTES}               count, names, then -1 or 1 for each image\n"
        f"  {_PARTITION}            0 (train), 1 (valid) or 2 (test) for each image",
        (f"{images}.zip",),
    )


def read_celeba(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """CelebA: trains on partition 0, evaluates on partition 2, as its publishers ask.

    Images of partition 1 (validation) are left out, and counted in the facts: nothing is chosen by them.

    Args:
        root: the folder `celeba`, or the one that it lies in.
        options: `wild` takes the images as they were found (`img_celeba`), not the aligned ones.
        cache: not used.

    Raises:
        DatasetError: the layout is another, images are missing, or the two lists do not agree.
        TableError: a list is not of CelebA's format; the message names the line.
    """
    images = _WILD if options.wild else _ALIGNED
    layout = _layout(images)
    folder = layout.find(root, (root, root / "celeba"), (_ATTRIBUTES, _PARTITION, f"{images}/"))
    names, rows = _read_attributes(folder / _ATTRIBUTES)
    partition = _read_partition(folder / _PARTITION)
    refuse_any(folder / _PARTITION, [name for name in partition if name not in rows], "have no attributes")
    refuse_any(folder / _ATTRIBUTES, [name for name in rows if name not in partition], "have no partition")
    kept = sorted(name for name, part in partition.items() if part != _LEFT_OUT)
    need_all(folder / _PARTITION, (folder / images / name for name in kept))
    samples = [Sample(f"{images}/{name}", _SPLITS[partition[name]], UNLABELLED) for name in kept]
    order = sorted(range(len(names)), key=lambda at: names[at])
    attributes = np.frombuffer(b"".join(rows[name] for name in kept), np.int8).reshape(-1, len(names))[
        :, order
    ]
    dataset = annotated(folder, samples, [names[at] for at in order], attributes.tobytes())
    return TaskData(
        "celeba-wild" if options.wild else "celeba",
        "CelebA, images as found" if options.wild else "CelebA",
        "attributes",
        dataset,
        METRICS["attributes"],
        attributes=attributes,
        facts=_facts(partition, images),
    )


def _facts(partition: Mapping[str, str], images: str) -> dict[str, object]:
    parts = list(partition.values())
    return {
        "images": images,
        "n_train": parts.count("0"),
        "n_test": parts.count("2"),
        "n_valid_left_out": parts.count(_LEFT_OUT),
    }


def _read_attributes(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """Names of the attributes, and for each image a byte, 1 or 0, for each of them."""
    lines = read_text(path).splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise TableError(
            f"{path}: expected a count, a line with the names of the attributes, and a line an image"
        )
    names = lines[1].split()
    if len(set(names)) < len(names) or not names:
        raise TableError(f"{path}: line 2 does not name each attribute once")
    listed = []
    for number, line in enumerate(lines[2:], start=3):
        name, *words = line.split() or [""]
        if len(words) != len(names) or not _FLAGS.keys() >= set(words):
            raise TableError(f"{path}: line {number} is no image with -1 or 1 for {len(names)} attributes")
        listed.append((below(path, name), bytes(map(_FLAGS.__getitem__, words))))
    need_once(path, (name for name, _ in listed))
    rows = dict(listed)
    if len(rows) != int(lines[0]):
        raise TableError(
            f"{path}: holds {len(rows)} images, and {lines[0].strip()} by its first line: cut off?"
        )
    return names, rows


def _read_partition(path: Path) -> dict[str, str]:
    """Name of an image to "0", "1" or "2"."""
    listed = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if len(words) != 2 or words[1] not in (*_SPLITS, _LEFT_OUT):
            raise TableError(f"{path}: line {number} is no image with 0, 1 or 2")
        listed.append((below(path, words[0]), words[1]))
    need_once(path, (name for name, _ in listed))
    return dict(listed)
