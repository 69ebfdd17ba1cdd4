"""CelebA: attributes, the official partition, and what happens where its files do not agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sfumato.data.tasks import TaskData, TaskOptions, read_task
from sfumato.errors import DatasetError, TableError
from sfumato.learn.operators import import_torchvision
from tests.data.task_layouts import CELEBA_ATTRIBUTES, write_celeba


def read(root: Path, *, wild: bool = False) -> TaskData:
    return read_task("celeba", root, options=TaskOptions(wild=wild), cache=root / "cache")


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a file."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_celeba_is_read_as_it_was_written(tmp_path: Path, wild: bool, inside: bool) -> None:
    truth = write_celeba(tmp_path, 12, 4, 6, wild=wild)
    task = read(tmp_path / "celeba" if inside else tmp_path, wild=wild)
    assert task.name == ("celeba-wild" if wild else "celeba")
    assert task.kind == "attributes"
    assert task.metrics == ("mean_average_precision",)
    assert task.dataset.categories == CELEBA_ATTRIBUTES
    assert task.dataset.evaluation_split == "test"
    assert task.attributes is not None
    assert task.attributes.dtype == np.int8
    found = {
        sample.image_id: (sample.split, tuple(row))
        for sample, row in zip(task.dataset.samples, task.attributes.tolist(), strict=True)
    }
    assert found == {name: known for name, known in truth.items() if known[0] != "valid"}
    assert (task.facts["n_train"], task.facts["n_valid_left_out"], task.facts["n_test"]) == (12, 4, 6)
    assert all(task.dataset.read(sample.image_id).shape == (64, 56, 3) for sample in task.dataset.samples)
    assert {sample.label for sample in task.dataset.samples} == {-1}


@pytest.mark.parametrize("split", ["train", "test"])
def test_celeba_is_what_torchvision_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    write_celeba(tmp_path, 10, 2, 5)
    names = [f"{number:06d}.jpg" for number in range(1, 18)]
    folder = tmp_path / "celeba"  # torchvision asks for all of the published lists
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in names))
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).write_text("17\nimage_id x y\n" + "".join(f"{name} 1 2\n" for name in names))
    reader = import_torchvision().datasets.CelebA
    monkeypatch.setattr(reader, "_check_integrity", lambda self: True)
    theirs = reader(tmp_path, split=split)
    task = read(tmp_path)
    assert task.attributes is not None
    rows = [at for at, sample in enumerate(task.dataset.samples) if sample.split == split]
    assert [task.dataset.samples[at].image_id for at in rows] == [
        f"img_align_celeba/{name}" for name in theirs.filename
    ]
    np.testing.assert_array_equal(task.attributes[rows], theirs.attr.numpy())
    assert list(task.dataset.categories) == [name for name in theirs.attr_names if name]


def test_columns_follow_the_names_of_the_attributes(tmp_path: Path) -> None:
    write_celeba(tmp_path, 6, 0, 4)
    before = read(tmp_path)
    order = [2, 0, 3, 1]

    def mix(lines: list[str]) -> list[str]:
        rows = [line.split() for line in lines[1:]]
        head = " ".join(rows[0][at] for at in order)
        return [lines[0], head, *(" ".join([row[0], *(row[1 + at] for at in order)]) for row in rows[1:])]

    edit(tmp_path / "celeba" / "list_attr_celeba.txt", mix)
    after = read(tmp_path)
    assert before.attributes is not None
    np.testing.assert_array_equal(after.attributes, before.attributes)
    assert after.dataset == before.dataset


def test_the_fingerprint_knows_attributes_and_partition(tmp_path: Path) -> None:
    write_celeba(tmp_path, 6, 1, 4)
    found = [read(tmp_path).dataset.fingerprint]
    edit(
        tmp_path / "celeba" / "list_attr_celeba.txt",
        lambda lines: [line.replace(" -1", " 1") if line.startswith("000002") else line for line in lines],
    )
    found.append(read(tmp_path).dataset.fingerprint)
    edit(
        tmp_path / "celeba" / "list_eval_partition.txt",
        lambda lines: [line.replace("000001.jpg 0", "000001.jpg 2") for line in lines],
    )
    found.append(read(tmp_path).dataset.fingerprint)
    edit(
        tmp_path / "celeba" / "list_attr_celeba.txt",
        lambda lines: [line.replace("Smiling", "Sad") for line in lines],
    )
    found.append(read(tmp_path).dataset.fingerprint)
    assert len(set(found)) == 4


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"])
def test_celeba_says_what_is_missing(tmp_path: Path, name: str) -> None:
    write_celeba(tmp_path, 3, 1, 2)
    path = tmp_path / "celeba" / name
    path.rename(tmp_path / "away")
    (tmp_path / "celeba" / "img_align_celeba.zip").write_bytes(b"x")
    with pytest.raises(DatasetError) as caught:
        read(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: not laid out as CelebA is"
    assert lines[1].removesuffix("/") == f"missing: celeba/{name}"
    assert lines[2].endswith("celeba/img_align_celeba.zip")
    assert "  celeba/" in lines


def test_images_as_they_were_found_are_another_folder(tmp_path: Path) -> None:
    write_celeba(tmp_path, 3, 1, 2)
    with pytest.raises(DatasetError, match="missing: celeba/img_celeba/"):
        read(tmp_path, wild=True)


def test_only_images_that_are_used_must_be_there(tmp_path: Path) -> None:
    write_celeba(tmp_path, 3, 1, 2)
    images = tmp_path / "celeba" / "img_align_celeba"
    (images / "000004.jpg").unlink()  # of the validation part
    assert len(read(tmp_path).dataset) == 5
    for number in (2, 5):
        (images / f"{number:06d}.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2 file\(s\) that it names are not there \(the first: .*000002"):
        read(tmp_path)


ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (ATTRIBUTES, lambda lines: lines[:-1], r"holds 5 images, and 6 by its first line"),
        (ATTRIBUTES, lambda lines: ["5", *lines[1:-1]], r"1 file\(s\) .* have no attributes .*000006"),
        (ATTRIBUTES, lambda lines: lines[1:], "expected a count"),
        (ATTRIBUTES, lambda lines: [lines[0], "", *lines[2:]], "line 2 does not name each attribute once"),
        (ATTRIBUTES, lambda lines: [lines[0], "A A B C", *lines[2:]], "line 2 does not name each"),
        (ATTRIBUTES, lambda lines: [*lines[:-1], lines[-1] + " 1"], "line 8 is no image with -1 or 1 for 4"),
        (ATTRIBUTES, lambda lines: [*lines[:-1], "000006.jpg 1 0 1 1"], "line 8 is no image with -1 or 1"),
        (ATTRIBUTES, lambda lines: [*lines[:-1], "../x.jpg 1 1 1 1"], "is no path below the data set"),
        (ATTRIBUTES, lambda lines: [*lines[:-1], lines[2]], r"1 file\(s\) that it names are listed twice"),
        (PARTITION, lambda lines: lines[1:], r"1 file\(s\) that it names have no partition .*000001"),
        (PARTITION, lambda lines: ["000001.jpg 3", *lines[1:]], "line 1 is no image with 0, 1 or 2"),
        (PARTITION, lambda lines: ["000001.jpg", *lines[1:]], "line 1 is no image with 0, 1 or 2"),
        (PARTITION, lambda lines: [*lines, lines[0]], r"1 file\(s\) that it names are listed twice"),
        (PARTITION, lambda lines: [line[:-1] + "0" for line in lines], "no image to evaluate on"),
    ],
)  # fmt: skip
def test_celeba_refuses_lists_that_are_damaged(
    tmp_path: Path, name: str, change: Callable[[list[str]], list[str]], message: str
) -> None:
    write_celeba(tmp_path, 3, 1, 2)
    edit(tmp_path / "celeba" / name, change)
    with pytest.raises((DatasetError, TableError), match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "celeba") in str(caught.value)
