"""Fetch the data sets of downstream tasks with torchvision's own downloaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from sfumato.data.tasks import TASKS, TaskOptions
from sfumato.errors import DatasetError, UsageError
from sfumato.learn.operators import import_torchvision

Fetch = Callable[[ModuleType, Path, TaskOptions], object]
"""From torchvision's data sets, a folder and options: lays the data set out below the folder."""


def _cifar10(datasets: ModuleType, root: Path, options: TaskOptions) -> object:  # noqa: ARG001
    return datasets.CIFAR10(root, download=True)


def _sun397(datasets: ModuleType, root: Path, options: TaskOptions) -> object:  # noqa: ARG001
    return datasets.SUN397(root, download=True)


def _celeba(datasets: ModuleType, root: Path, options: TaskOptions) -> object:
    if options.wild:
        raise UsageError(
            "torchvision has no downloader for CelebA's images as they were found; get img_celeba.7z from "
            "its publishers and unpack it to celeba/img_celeba/"
        )
    return datasets.CelebA(root, download=True)


def _voc(datasets: ModuleType, root: Path, options: TaskOptions) -> None:
    for year in options.years:
        # Its downloader fetches again what is there already.
        for name in ("trainval", "test") if year == "2007" else ("trainval",):
            if not (root / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main" / f"{name}.txt").is_file():
                datasets.VOCDetection(root, year=year, image_set=name, download=True)


_FETCH: Mapping[str, Fetch] = {"cifar10": _cifar10, "sun397": _sun397, "celeba": _celeba, "voc": _voc}


def download_task(name: str, root: Path | None, options: TaskOptions) -> None:
    """Fetch the data set of a task to where `read_task` finds it; what is there already stays.

    SUN397 comes without its partitions.

    Args:
        name: of the task.
        root: folder to put it in; made where it is not there.
        options: which of several versions is meant.

    Raises:
        UsageError: torchvision has no downloader for it, or no folder is named.
        DatasetError: it could not be fetched: no network, another file than expected, or a missing package.
        MissingExtra: torchvision is not installed.
    """
    if name not in _FETCH:
        what = f"the task {name}" if name in TASKS else f"'{name}'"
        raise UsageError(
            f"torchvision has no downloader for {what} (only for {', '.join(_FETCH)}); "
            "get the files yourself, and leave --download out"
        )
    if root is None:
        raise UsageError("--download needs a folder to put the data set in; name it with --data PATH")
    datasets = import_torchvision().datasets
    root.mkdir(parents=True, exist_ok=True)
    try:
        _FETCH[name](datasets, root, options)
    # URLError is an OSError; RuntimeError is torchvision's for a wrong checksum, ImportError for gdown.
    except (OSError, RuntimeError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{root}: the data set of the task {name} could not be downloaded ({reason}); "
            "get it from its publishers, unpack it there, and leave --download out"
        ) from error
