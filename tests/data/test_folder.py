"""Image folders: layouts, splits, stable ids, refusals."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from sfumato.data import read_dataset, read_folder
from sfumato.errors import DatasetError, ImageError, UsageError
from tests.conftest import drawn


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(8, 8)).save(root / name)
    return root


def rows(root: Path) -> list[tuple[str, str, int]]:
    return [(sample.image_id, sample.split, sample.label) for sample in read_folder(root).samples]


def test_split_category_image(tmp_path: Path) -> None:
    put(tmp_path, "train/b/2.png", "train/a/1.jpg", "Validation/b/deep/er/3.png", "test/a/1.png")
    assert rows(tmp_path) == [
        ("Validation/b/deep/er/3.png", "val", 1),
        ("test/a/1.png", "test", 0),
        ("train/a/1.jpg", "train", 0),
        ("train/b/2.png", "train", 1),
    ]
    assert read_folder(tmp_path).categories == ("a", "b")
    assert read_folder(tmp_path).evaluation_split == "val"


def test_category_image(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "zebra/1.png")  # one folder that is no split: "train" is a category
    assert rows(tmp_path) == [("train/1.png", "all", 0), ("zebra/1.png", "all", 1)]


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a.png")
    dataset = read_folder(tmp_path)
    assert rows(tmp_path) == [("a.png", "all", -1), ("b.png", "all", -1)]
    assert dataset.categories == ()
    with pytest.raises(DatasetError, match="no categories"):
        dataset.need_categories()


def test_splits_may_have_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "test/2.png")
    with pytest.raises(DatasetError, match="beside the category folders"):
        read_folder(tmp_path)


def test_what_is_no_image_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", ".thumbnails/2.png", "a/.3.png")
    (tmp_path / "a/notes.txt").write_text("x")
    (tmp_path / "faces.json").write_text("[]")
    (tmp_path / "manifest.json").write_text('{"owner": "somebody else"}')
    assert [row[0] for row in rows(tmp_path)] == ["a/1.png"]
    assert read_dataset(tmp_path) == read_folder(tmp_path)


def test_names_of_any_kind(tmp_path: Path) -> None:
    names = ["a/with space.png", "a/línea\nnueva.png", "ß/雪.png", "a/x.jpg", "a/x.png"]
    put(tmp_path, *names)
    assert sorted(row[0] for row in rows(tmp_path)) == sorted(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "no image found"), (("a/1.png", "2.png"), "1 image.s. lie beside the category folders .'2.png'")],
)
def test_impossible_folders_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_folder(put(tmp_path, *names))


def test_links_are_followed_and_end(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a/1.png", "b/1.png")
    put(tmp_path / "elsewhere", "1.png", "2.png")
    (tmp_path / "photos/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/a/again").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/b/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [row[0] for row in rows(tmp_path / "photos")] == [
        "a/1.png",
        "b/1.png",
        "b/gone.png",
        "c/1.png",
        "c/2.png",
    ]


def test_split_folders_beside_others_are_asked_about(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "val/a/1.png", "extra/a/1.png")
    with pytest.raises(DatasetError, match="'train' looks like a split, 'extra' beside it does not"):
        read_folder(tmp_path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a/1.png").rename(tmp_path / "a" / os.fsdecode(b"\xff.png"))
    with pytest.raises(DatasetError, match="not valid UTF-8; rename the file"):
        read_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")


def test_a_split_is_made_within_categories_and_stays(tmp_path: Path) -> None:
    put(tmp_path, *[f"{category}/{number}.png" for category in "abc" for number in range(20)], "d/only.png")
    dataset = read_folder(tmp_path, val_fraction=0.25, seed=3)
    held = Counter(sample.label for sample in dataset.samples if sample.split == "val")
    assert held == {0: 5, 1: 5, 2: 5}  # the only image of a category stays to be trained on
    assert read_folder(tmp_path, val_fraction=0.25, seed=3).samples == dataset.samples
    assert read_folder(tmp_path, val_fraction=0.25, seed=4).samples != dataset.samples
    put(tmp_path, "a/new.png")
    before = {sample.image_id for sample in dataset.samples if sample.split == "val"}
    after = {sample.image_id for sample in read_folder(tmp_path, val_fraction=0.25, seed=3).samples}
    now = {s.image_id for s in read_folder(tmp_path, val_fraction=0.25, seed=3).samples if s.split == "val"}
    assert len(after) == 62
    assert len(before - now) <= 1


def test_a_train_split_alone_is_divided(tmp_path: Path) -> None:
    put(tmp_path, *[f"train/{category}/{number}.png" for category in "ab" for number in range(4)])
    assert read_folder(tmp_path, val_fraction=0.5).evaluation_split == "val"
    with pytest.raises(DatasetError, match="--val-fraction"):
        _ = read_folder(tmp_path).evaluation_split


def test_splits_that_are_there_are_not_replaced(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "val/a/2.png")
    with pytest.raises(UsageError, match="has the splits train, val already"):
        read_folder(tmp_path, val_fraction=0.2)
    with pytest.raises(UsageError, match="--val-fraction must be"):
        read_folder(tmp_path, val_fraction=1.0)


def test_the_fingerprint_follows_images_labels_and_splits(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    first = read_folder(tmp_path).fingerprint
    assert read_folder(tmp_path).fingerprint == first
    prints = {first, read_folder(tmp_path, val_fraction=0.5).fingerprint}
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-copy")
    assert read_folder(tmp_path.parent / f"{tmp_path.name}-copy").fingerprint == first
    os.utime(tmp_path / "a/1.png", ns=(1, 1))
    assert read_folder(tmp_path).fingerprint == first
    Image.fromarray(drawn(8, 8, seed=9)).save(tmp_path / "a/1.png")
    prints.add(read_folder(tmp_path).fingerprint)
    (tmp_path / "b/1.png").rename(tmp_path / "a/3.png")
    prints.add(read_folder(tmp_path).fingerprint)
    dataset = read_folder(tmp_path)
    prints |= {dataset.without(["a/2.png"]).fingerprint, dataset.without(["b/2.png"]).fingerprint}
    assert len(prints) == 6
    assert dataset.without([]) == dataset
    assert len(dataset.without(["a/2.png"])) == 3


def test_one_category_cannot_be_learned(tmp_path: Path) -> None:
    put(tmp_path, "cats/1.png")
    with pytest.raises(DatasetError, match=r"only one category \('cats'\)"):
        read_folder(tmp_path).need_categories()


def test_pixels_are_read_on_demand(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a/2.png").write_bytes(b"")
    dataset = read_dataset(tmp_path)
    assert dataset.read("a/1.png").shape == (8, 8, 3)
    with pytest.raises(ImageError, match=r"2\.png"):
        dataset.read("a/2.png")
