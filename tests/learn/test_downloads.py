"""Downloads: torchvision's own, asked for what is not there; every failure says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest

from sfumato.data.tasks import TaskOptions, read_task
from sfumato.errors import DatasetError, UsageError
from sfumato.learn import downloads
from sfumato.learn.downloads import download_task
from sfumato.learn.operators import import_torchvision
from tests.data.task_layouts import write_celeba, write_cifar10, write_sun397, write_voc

WRITERS: dict[str, Callable[[Path], object]] = {
    "CIFAR10": write_cifar10,
    "SUN397": write_sun397,
    "CelebA": write_celeba,
}


class Datasets:
    """Stands for torchvision's data sets: writes a tiny one where theirs would be fetched."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def fetch(root: Path, **options: Any) -> None:
            self.asked.append((name, options))
            if name == "VOCDetection" and options["image_set"] == "trainval":
                write_voc(root, options["year"], 6, 3 if options["year"] == "2007" else 0)
            elif name in WRITERS:
                WRITERS[name](root)

        return fetch


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Datasets:
    found = Datasets()
    monkeypatch.setattr(downloads, "import_torchvision", lambda: SimpleNamespace(datasets=found))
    return found


@pytest.mark.parametrize(
    ("name", "theirs"), [("cifar10", "CIFAR10"), ("sun397", "SUN397"), ("celeba", "CelebA")]
)
def test_what_was_fetched_is_read(tmp_path: Path, datasets: Datasets, name: str, theirs: str) -> None:
    download_task(name, tmp_path / "new" / "folder", TaskOptions())
    assert datasets.asked == [(theirs, {"download": True})]
    task = read_task(name, tmp_path / "new" / "folder", cache=tmp_path / "cache")
    assert len(task.dataset) > 10


def test_voc_is_fetched_by_year_and_only_where_it_is_missing(tmp_path: Path, datasets: Datasets) -> None:
    options = TaskOptions(years=("2007", "2012"))
    write_voc(tmp_path, "2007", 6, 3)
    (tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt").rename(tmp_path / "test.txt")
    download_task("voc", tmp_path, options)
    assert [(asked["year"], asked["image_set"]) for _, asked in datasets.asked] == [
        ("2007", "test"),
        ("2012", "trainval"),
    ]
    (tmp_path / "test.txt").rename(tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt")
    datasets.asked.clear()
    download_task("voc", tmp_path, options)
    assert not datasets.asked
    assert read_task("voc", tmp_path, options=options, cache=tmp_path).name == "voc2007+2012"


@pytest.mark.parametrize(
    ("name", "wild", "message"),
    [
        ("coco", False, "no downloader for the task coco .*only for cifar10, sun397, celeba, voc"),
        ("yolo", False, "no downloader for the task yolo .*leave --download out"),
        ("photos", False, "no downloader for 'photos'"),
        ("celeba", True, r"no downloader for CelebA's images as they were found; get img_celeba\.7z"),
    ],
)
def test_where_there_is_no_downloader_it_says_so(
    tmp_path: Path, datasets: Datasets, name: str, wild: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        download_task(name, tmp_path, TaskOptions(wild=wild))
    assert not datasets.asked


def test_a_folder_must_be_named(datasets: Datasets) -> None:
    with pytest.raises(UsageError, match=r"--download needs a folder .* --data PATH"):
        download_task("voc", None, TaskOptions())


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        OSError("Network is unreachable"),
        RuntimeError("File not found or corrupted."),
        RuntimeError("'gdown' is required.\nYou can install it with 'pip install gdown'."),
        ModuleNotFoundError("No module named 'gdown'"),
    ],
    ids=str,
)
def test_what_goes_wrong_is_one_line_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(
        downloads, "import_torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(CelebA=fail))
    )
    with pytest.raises(DatasetError) as caught:
        download_task("celeba", tmp_path, TaskOptions())
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: the data set of the task celeba could not be downloaded (")
    assert " ".join(str(error).split()) in message
    assert message.endswith("get it from its publishers, unpack it there, and leave --download out")
    assert "\n" not in message


def test_torchvision_has_what_is_asked_of_it() -> None:
    """The names and parameters that the stand-in answers to."""
    theirs = import_torchvision().datasets
    for name in (*WRITERS, "VOCDetection"):
        assert "download" in getattr(theirs, name).__init__.__code__.co_varnames
    assert {"year", "image_set"} <= set(theirs.VOCDetection.__init__.__code__.co_varnames)
