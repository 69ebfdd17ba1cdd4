"""CIFAR-10: pickles of pixels, unpacked once as lossless images; or a folder of its images."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sfumato.data.folder import image_ids, read_folder
from sfumato.data.tasks.layout import Layout
from sfumato.data.tasks.task import METRICS, TaskData, TaskOptions
from sfumato.data.variant import read_dataset
from sfumato.errors import DatasetError
from sfumato.images import Pixels
from sfumato.plain_pickle import read_plain_pickle
from sfumato.records import (
    Manifest,
    file_sha256,
    finish,
    is_done,
    make_key,
    prepare_output,
    read_manifest,
    versions,
    waiting_lock,
    write_atomic,
)

KIND = "unpacked_images"
"""Of the artefact in the cache."""

_FOLDER = "cifar-10-batches-py"
_META = "batches.meta"
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_FILES = (*_BATCHES["train"], *_BATCHES["test"], _META)
_SIDE = 32

LAYOUT = Layout(
    "CIFAR-10",
    "cifar-10-batches-py/                 from cifar-10-python.tar.gz, unpacked\n"
    "  data_batch_1 … data_batch_5\n"
    "  test_batch\n"
    "  batches.meta\n"
    "or a folder of images: train/<category>/*.png, test/<category>/*.png",
    ("cifar-10-python.tar.gz",),
)


def read_cifar10(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """CIFAR-10 from the pickles of its "python version", or from a folder of images.

    Pickles are read without running what they hold. Their images become PNG files once, in a folder of the
    cache that is named by a hash of the files; where some of them are gone, they are unpacked again. Another
    process that unpacks the same files is waited for.

    Args:
        root: `cifar-10-batches-py`, the folder that it lies in, or a folder (or variant) with
            `train/<category>/` and `test/<category>/`.
        options: not used.
        cache: folder for the unpacked images.

    Raises:
        DatasetError: the layout is another, or the arrays do not have the size of CIFAR-10's.
        TableError: a pickle is damaged, or holds more than plain data.
        OSError: the disk is full, or the cache cannot be written.
    """
    is_folder = (root / "train").is_dir() and (root / "test").is_dir()
    if is_folder:
        dataset = read_dataset(root)
        if len(dataset.categories) < 2:
            raise LAYOUT.error(root, [], why="its folders train and test hold no categories")
    else:
        batches = LAYOUT.find(root, (root, root / _FOLDER), _FILES)
        dataset = read_folder(_unpacked(batches, cache))
    counts = {f"n_{split}": sum(sample.split == split for sample in dataset.samples) for split in _BATCHES}
    source = "a folder of images" if is_folder else "the python version's pickles"
    return TaskData(
        "cifar10",
        "CIFAR-10",
        "categories",
        dataset,
        METRICS["categories"],
        facts={"source": source, **counts},
    )


def _unpacked(batches: Path, cache: Path) -> Path:
    """The folder of the cache that holds these pickles' images; made where it is not there."""
    inputs = {name: file_sha256(batches / name) for name in _FILES}
    key = make_key(KIND, inputs, {"format": "png"})
    folder = cache / f"cifar10-{key}"
    with waiting_lock(folder):
        if is_done(folder, key) and read_manifest(folder).facts.get("images") != _held(folder):
            shutil.rmtree(folder)
        # What a killed process left is written over: a file takes less time to write than to check.
        if not prepare_output(folder, KIND, key):
            counts = _unpack(batches, folder)
            facts = {"images": _held(folder)}
            finish(folder, Manifest(KIND, key, inputs, {"format": "png"}, counts, facts, versions()))
    return folder


def _held(folder: Path) -> dict[str, list[int]]:
    """Number and bytes of the images in each folder, "train/airplane"; the bytes tell of files cut short."""
    held: dict[str, list[int]] = {}
    for image_id in image_ids(folder):
        of = held.setdefault(image_id.rpartition("/")[0], [0, 0])
        of[0] += 1
        of[1] += (folder / image_id).stat().st_size
    return held


def _unpack(batches: Path, folder: Path) -> dict[str, int]:
    categories = _categories(batches / _META)
    counts: dict[str, int] = {}
    for split, names in _BATCHES.items():
        counts[split] = 0
        for name in names:
            pixels, labels = _batch(batches / name, len(categories))
            for image, label in zip(pixels, labels, strict=True):
                path = folder / split / categories[label] / f"{counts[split]:05d}.png"
                write_atomic(path, _png(image), durable=False)
                counts[split] += 1
    return counts


def _categories(path: Path) -> list[str]:
    """Names of the categories, which become names of folders."""
    content = read_plain_pickle(path)
    names = content.get("label_names") if isinstance(content, dict) else None
    if not isinstance(names, list) or len(names) < 2 or len(set(map(str, names))) < len(names):
        raise DatasetError(f"{path}: no list 'label_names' with a name for each category")
    for name in names:
        if not isinstance(name, str) or not name.replace("_", "").replace(" ", "").isalnum():
            raise DatasetError(f"{path}: {name!r} cannot be the name of a category's folder")
    return names


def _batch(path: Path, n_categories: int) -> tuple[Pixels, list[int]]:
    """Pixels (n, 32, 32, 3) and labels of one file."""
    content = read_plain_pickle(path)
    data, labels = (content.get(name) if isinstance(content, dict) else None for name in ("data", "labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3 * _SIDE**2,):
        raise DatasetError(f"{path}: 'data' is no table of bytes with 3072 columns, as CIFAR-10's is")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DatasetError(f"{path}: 'labels' is no list with a label for each of {len(data)} images")
    if not all(_is_label(label, n_categories) for label in labels):
        raise DatasetError(f"{path}: a label is no whole number below {n_categories}")
    # Rows are three planes of 32 x 32: red, green, blue.
    return np.ascontiguousarray(data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)), labels


def _is_label(label: Any, n_categories: int) -> bool:
    return type(label) is int and 0 <= label < n_categories


def _png(image: Pixels) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()
