"""CIFAR-10, SUN397, folders of images: what their layouts hold is what is read, and nothing of it is run."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato import records
from sfumato.data.tasks import TASKS, TaskData, TaskOptions, cifar10, read_task
from sfumato.errors import BusyError, DatasetError, TableError, UsageError
from sfumato.learn.operators import import_torchvision
from sfumato.records import STARTED, locked, read_manifest, write_atomic
from tests.data.task_layouts import (
    CIFAR10_CATEGORIES,
    SUN_CATEGORIES,
    Pixels,
    python2_pickle,
    write_cifar10,
    write_sun397,
)

Read = Callable[..., TaskData]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a task with a cache of its own."""

    def reader(name: str, root: Path | None = None, **options: Any) -> TaskData:
        return read_task(name, root, options=TaskOptions(**options), cache=tmp_path / "cache")

    return reader


def pixels_and_labels(task: TaskData, split: str) -> tuple[Pixels, list[int]]:
    """Of one split, in the order of the numbers in the file names."""
    samples = sorted(task.dataset.subset(split).samples, key=lambda sample: Path(sample.image_id).name)
    images = np.array([task.dataset.read(sample.image_id) for sample in samples])
    return images, [sample.label for sample in samples]


def assert_holds(task: TaskData, truth: dict[str, tuple[Pixels, list[int]]]) -> None:
    """Every image of every split, pixel by pixel."""
    for split, (pixels, labels) in truth.items():
        found, found_labels = pixels_and_labels(task, split)
        np.testing.assert_array_equal(found, pixels)
        assert found_labels == labels


# CIFAR-10


def test_cifar10_is_unpacked_without_loss(tmp_path: Path, read: Read) -> None:
    truth = write_cifar10(tmp_path / "data", 60, 20)
    task = read("cifar10", tmp_path / "data")
    assert (task.name, task.title, task.kind) == ("cifar10", "CIFAR-10", "categories")
    assert task.metrics == ("top1_accuracy", "top5_accuracy")
    assert task.dataset.categories == CIFAR10_CATEGORIES
    assert task.dataset.evaluation_split == "test"
    assert task.facts["n_train"] == 60
    assert task.facts["n_test"] == 20
    assert_holds(task, truth)


def test_cifar10_is_what_torchvision_reads(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, 50, 20, seed=3)
    task = read("cifar10", tmp_path / "cifar-10-batches-py")
    module = import_torchvision().datasets.cifar
    monkeypatch.setattr(module, "check_integrity", lambda *_: True)  # it knows the published files only
    for split in ("train", "test"):
        theirs = module.CIFAR10(tmp_path, train=split == "train")
        found, labels = pixels_and_labels(task, split)
        np.testing.assert_array_equal(found, theirs.data)
        assert labels == theirs.targets
        assert list(task.dataset.categories) == theirs.classes


def test_cifar10_is_unpacked_once(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path / "a", 20, 10)
    first = read("cifar10", tmp_path / "a")
    assert read_manifest(first.dataset.root, kind=cifar10.KIND).counts == {"train": 20, "test": 10}
    monkeypatch.setattr(cifar10, "read_plain_pickle", lambda path: pytest.fail(f"{path} read again"))
    again = read("cifar10", tmp_path / "a" / "cifar-10-batches-py")
    assert (again.dataset.root, again.dataset.fingerprint) == (first.dataset.root, first.dataset.fingerprint)
    monkeypatch.undo()
    write_cifar10(tmp_path / "b", 20, 10, seed=1)
    other = read("cifar10", tmp_path / "b")
    assert other.dataset.root != first.dataset.root
    assert other.dataset.fingerprint != first.dataset.fingerprint


def test_cifar10_killed_while_it_is_unpacked_is_whole_afterwards(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_cifar10(tmp_path / "data", 30, 10)
    left = 17

    def killed(path: Path, data: bytes, **how: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write_atomic(path, data, **how)

    monkeypatch.setattr(cifar10, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        read("cifar10", tmp_path / "data")
    (half,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert (half / STARTED).is_file()
    monkeypatch.undo()
    task = read("cifar10", tmp_path / "data")
    assert task.dataset.root == half
    assert not (half / STARTED).exists()
    np.testing.assert_array_equal(pixels_and_labels(task, "train")[0], truth["train"][0])
    assert len(task.dataset) == 40


@pytest.mark.parametrize("harm", ["one", "cut", "category", "all", "more"])
def test_cifar10_is_unpacked_again_where_images_are_gone(tmp_path: Path, read: Read, harm: str) -> None:
    truth = write_cifar10(tmp_path / "data", 30, 10)
    first = read("cifar10", tmp_path / "data")
    folder = first.dataset.root
    path = folder / "train" / "frog" / "00006.png"
    if harm == "one":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(b"")
    elif harm == "more":
        shutil.copy(path, path.with_name("99999.png"))
    else:
        for part in [path.parent] if harm == "category" else [folder / "train", folder / "test"]:
            shutil.rmtree(part)
    again = read("cifar10", tmp_path / "data")
    assert (again.dataset.root, again.dataset.fingerprint) == (folder, first.dataset.fingerprint)
    assert_holds(again, truth)


def test_cifar10_is_unpacked_by_one_of_two_that_want_it_at_once(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "data", 30, 10)
    refused, unpacked = Event(), []

    @contextmanager
    def told(folder: Path) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
            except BusyError:
                refused.set()
                raise
            yield

    def unpack(batches: Path, folder: Path) -> dict[str, int]:
        assert refused.wait(60), "the other one was not kept out"
        unpacked.append(folder)
        return unpack_once(batches, folder)

    unpack_once = cifar10._unpack
    monkeypatch.setattr(records, "locked", told)
    monkeypatch.setattr(cifar10, "_unpack", unpack)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(read, "cifar10", tmp_path / "data") for _ in range(2)]
        first, second = (task.result() for task in both)
    assert unpacked == [first.dataset.root]
    assert len(first.dataset) == 40
    assert (first.dataset.root, first.dataset.samples) == (second.dataset.root, second.dataset.samples)
    assert first.dataset.fingerprint == second.dataset.fingerprint


def test_cifar10_as_a_folder_of_images(tmp_path: Path, read: Read) -> None:
    write_cifar10(tmp_path / "data", 20, 10)
    unpacked = read("cifar10", tmp_path / "data").dataset.root
    task = read("cifar10", unpacked)
    assert task.dataset.categories == CIFAR10_CATEGORIES
    assert task.facts == {"source": "a folder of images", "n_train": 20, "n_test": 10}


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
def test_cifar10_says_which_file_is_missing(tmp_path: Path, read: Read, name: str) -> None:
    write_cifar10(tmp_path, 10, 10)
    (tmp_path / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(DatasetError) as caught:
        read("cifar10", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: not laid out as CIFAR-10 is"
    assert lines[1] == f"missing: cifar-10-batches-py/{name}"
    assert lines[2] == "expected:"
    assert "    data_batch_1 … data_batch_5" in lines


def test_cifar10_that_is_still_packed_is_named(tmp_path: Path, read: Read) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"to be unpacked: .*/cifar-10-python\.tar\.gz"):
        read("cifar10", tmp_path)
    with pytest.raises(DatasetError, match=r"to be unpacked: .*/cifar-10-python\.tar\.gz"):
        read("cifar10", tmp_path / "cifar-10-python.tar.gz")


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_cifar10_runs_nothing_that_a_pickle_holds(tmp_path: Path, read: Read, name: str) -> None:
    write_cifar10(tmp_path, 10, 10)
    mark, path = tmp_path / "mark", tmp_path / "cifar-10-batches-py" / name
    attack = pickle.dumps({"data": Malicious(mark), "labels": [], "label_names": Malicious(mark)})
    path.write_bytes(attack)
    with pytest.raises(TableError, match="a pickle can run code"):
        read("cifar10", tmp_path)
    assert not mark.exists()
    pickle.loads(attack)
    assert mark.exists(), "the attack is real"


ROWS = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("batches.meta", {"label_names": ["a", "../../b"]}, "cannot be the name of a category's folder"),
        ("batches.meta", {"label_names": ["a", "."]}, "cannot be the name of a category's folder"),
        ("batches.meta", {"label_names": ["a", "a"]}, "no list 'label_names' with a name for each"),
        ("batches.meta", {"label_names": "ab"}, "no list 'label_names'"),
        ("batches.meta", ["a", "b"], "no list 'label_names'"),
        ("data_batch_1", {"data": ROWS[:, :5], "labels": [0, 1]}, "'data' is no table of bytes with 3072"),
        ("data_batch_1", {"data": [1], "labels": [0]}, "'data' is no table of bytes with 3072"),
        ("data_batch_1", {"data": ROWS, "labels": [0]}, "'labels' is no list with a label for each of 2"),
        ("data_batch_1", {"data": ROWS, "labels": [0, 10]}, "a label is no whole number below 10"),
        ("data_batch_1", {"data": ROWS, "labels": [0, "x"]}, "a label is no whole number below 10"),
    ],
)
def test_cifar10_refuses_what_is_not_it(
    tmp_path: Path, read: Read, name: str, content: Any, message: str
) -> None:
    write_cifar10(tmp_path / "data", 10, 10)
    path = tmp_path / "data" / "cifar-10-batches-py" / name
    path.write_bytes(python2_pickle(content))
    with pytest.raises(DatasetError) as caught:
        read("cifar10", tmp_path / "data")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


# SUN397


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("partition", [1, 2])
def test_sun397_in_its_partitions(tmp_path: Path, read: Read, partition: int, inside: bool) -> None:
    truth = write_sun397(tmp_path, inside=inside)
    task = read("sun397", tmp_path, partition=partition)
    assert task.name == f"sun397-{partition:02d}"
    assert task.dataset.root == tmp_path / "SUN397"
    assert task.dataset.categories == ("abbey", "bathroom", "outhouse/indoor", "outhouse/outdoor")
    for split, ids in truth[partition].items():
        samples = task.dataset.subset(split).samples
        assert [sample.image_id for sample in samples] == ids
        for sample in samples:
            folder = sample.image_id.rsplit("/", 1)[0]
            assert task.dataset.categories[sample.label] == folder.split("/", 1)[1]
    assert task.facts["source"] == f"official partition {partition:02d}"
    assert (task.facts["n_train"], task.facts["n_test"]) == (16, 12)
    assert read("sun397", tmp_path / "SUN397", partition=partition).dataset == task.dataset


def test_sun397_differs_between_partitions(tmp_path: Path, read: Read) -> None:
    write_sun397(tmp_path)
    first, second = (read("sun397", tmp_path, partition=number).dataset for number in (1, 2))
    assert first.fingerprint != second.fingerprint


def test_sun397_has_torchvisions_categories(tmp_path: Path, read: Read) -> None:
    write_sun397(tmp_path)
    theirs = import_torchvision().datasets.SUN397(tmp_path)
    task = read("sun397", tmp_path)
    labels = {path.relative_to(tmp_path / "SUN397").as_posix(): theirs.classes[label]
              for path, label in zip(theirs._image_files, theirs._labels, strict=True)}  # fmt: skip
    ours = {sample.image_id: task.dataset.categories[sample.label] for sample in task.dataset.samples}
    assert ours == labels


def test_sun397_with_the_lists_directly_beside_it(tmp_path: Path, read: Read) -> None:
    truth = write_sun397(tmp_path, partitions=(7,))
    for path in (tmp_path / "Partitions").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "Partitions").rmdir()
    task = read("sun397", tmp_path, partition=7)
    assert [sample.image_id for sample in task.dataset.subset("test").samples] == truth[7]["test"]


def test_sun397_without_partitions_is_halved_and_says_so(tmp_path: Path, read: Read) -> None:
    write_sun397(tmp_path, 5, 5, partitions=())
    task = read("sun397", tmp_path)
    assert task.name == "sun397-half01"
    assert "no official partition" in task.facts["source"]
    assert task.dataset.evaluation_split == "val"
    counts = np.zeros((2, len(SUN_CATEGORIES)), dtype=int)
    for sample in task.dataset.samples:
        counts[("train", "val").index(sample.split), sample.label] += 1
    assert (counts == 5).all()
    assert read("sun397", tmp_path).dataset == task.dataset
    assert read("sun397", tmp_path, partition=2).dataset.samples != task.dataset.samples


def test_sun397_says_what_is_missing(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read("sun397", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"missing: a/(.|\n)*Training_01\.txt … Training_10\.txt"):
        read("sun397", tmp_path)
    write_sun397(tmp_path)
    with pytest.raises(DatasetError, match=r"missing: .*Training_03\.txt, .*Testing_03\.txt"):
        read("sun397", tmp_path, partition=3)
    with pytest.raises(UsageError, match="partitions 1 to 10, not 11"):
        read("sun397", tmp_path, partition=11)
    (tmp_path / "Partitions" / "Testing_01.txt").unlink()
    with pytest.raises(DatasetError, match=r"missing: (\S*/)?Testing_01\.txt\n"):
        read("sun397", tmp_path)
    for path in (tmp_path / "Partitions").glob("T*.txt"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"missing: Training_01\.txt and all others"):
        read("sun397", tmp_path)


def test_sun397_refuses_lists_that_do_not_fit(tmp_path: Path, read: Read) -> None:
    truth = write_sun397(tmp_path)
    train, test = (tmp_path / "Partitions" / f"{word}_01.txt" for word in ("Training", "Testing"))
    lines = test.read_text()

    def refused(text: str, message: str) -> None:
        test.write_text(text)
        with pytest.raises(DatasetError, match=message):
            read("sun397", tmp_path)
        test.write_text(lines)

    refused(
        train.read_text(),
        rf"16 file\(s\) that it names are listed twice \(the first: {truth[1]['train'][0]}\)",
    )
    refused("/../../x/y/secret.jpg\n", "is no path below the data set")
    refused("/secret.jpg\n", "lie in no folder of a category")
    refused("\n", "names no image")
    refused(
        "/a/abbey/sun_zz.jpg\n/a/abbey/sun_zy.jpg\n",
        r"2 file\(s\) that it names are not there \(the first: .*sun_zz",
    )
    (tmp_path / "Partitions" / "ClassName.txt").write_text("/a/abbey\n")
    with pytest.raises(
        DatasetError, match=r"21 file\(s\) that it names are of no category in ClassName\.txt"
    ):
        read("sun397", tmp_path)


# Folders of images, and the names of tasks


def write_photos(root: Path, *splits: str) -> Path:
    for split in splits:
        for number, category in enumerate(("pear", "apple")):
            path = root / split / category / "0.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), 40 * number, dtype=np.uint8)).save(path)
    return root


def test_a_folder_of_images_is_a_task(tmp_path: Path, read: Read) -> None:
    root = write_photos(tmp_path / "My Fruit", "train", "test")
    task = read(str(root))
    assert (task.name, task.title, task.kind) == ("My-Fruit", "My Fruit", "categories")
    assert task.dataset.categories == ("apple", "pear")
    assert task.dataset.evaluation_split == "test"
    assert read(str(write_photos(tmp_path / "coco", "train", "val"))).name == "coco-folder"


@pytest.mark.parametrize(
    ("splits", "missing"),
    [(("train",), "test/ (or val/)"), (("test",), "train/"), (("",), "train/, test/ (or val/)")],
)
def test_a_folder_of_images_needs_both_splits(
    tmp_path: Path, read: Read, splits: tuple[str, ...], missing: str
) -> None:
    root = write_photos(tmp_path / "fruit", *splits)
    with pytest.raises(DatasetError) as caught:
        read(str(root))
    assert f"missing: {missing}\n" in str(caught.value)
    assert "train/<category>/*.jpg" in str(caught.value)


def test_what_is_asked_for_must_be_there(tmp_path: Path, read: Read) -> None:
    for name in TASKS:
        with pytest.raises(UsageError, match=rf"the task {name} needs the folder .* --data PATH"):
            read(name)
        with pytest.raises(DatasetError, match=r"no such folder(.|\n)*expected:"):
            read(name, tmp_path / "nowhere")
        with pytest.raises(DatasetError, match=r"not laid out as .*\nmissing: (.|\n)*expected:\n"):
            read(name, tmp_path)
    with pytest.raises(DatasetError, match=r"'cifar-10' is no task .*cifar10, sun397.* and no folder"):
        read("cifar-10")
    with pytest.raises(UsageError, match="--data is for the tasks"):
        read(str(tmp_path), tmp_path)
