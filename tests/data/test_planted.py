"""The embedded data set: what it says about itself is true of its pixels."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from sfumato.boxes import as_boxes, grow, intersection, longer_side
from sfumato.data import read_folder
from sfumato.data.drawing import N_FACES, Head, face_crops, stripes
from sfumato.data.planted import (
    CATEGORIES,
    FACES_FILE,
    FACTS_FILE,
    SWINGS,
    PlantedCategory,
    PlantedTruth,
    arrange,
    draw_image,
    read_planted,
    write_planted,
)
from sfumato.errors import DatasetError, OutputExists, UsageError
from sfumato.faces import read_known_boxes
from sfumato.records import read_json

BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of ITU-R BT.601, as JPEG has it
SIZES = (64, 96, 160)
BESIDE = [category for category in CATEGORIES if category.role != "pair"]
TWINS = [category for category in CATEGORIES if category.role == "pair"]


def chance(*words: int) -> np.random.Generator:
    return np.random.default_rng(words)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PlantedTruth:
    return write_planted(tmp_path_factory.mktemp("planted") / "set", size=96, n_train=6, n_val=3)


def test_same_seed_same_bytes_also_in_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sfumato.data.planted import write_planted; "
        "write_planted(Path(sys.argv[1]), size=64, n_train=2, n_val=1, seed=5)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)
    write_planted(tmp_path / "here", size=64, n_train=2, n_val=1, seed=5)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")


def test_an_image_does_not_depend_on_how_many_there_are_but_on_the_seed(tmp_path: Path) -> None:
    few = hashes(write_planted(tmp_path / "few", size=64, n_train=1, n_val=1).folder)
    many = hashes(write_planted(tmp_path / "many", size=64, n_train=3, n_val=2).folder)
    other = hashes(write_planted(tmp_path / "other", size=64, n_train=1, n_val=1, seed=1).folder)
    images = [name for name in few if name.startswith(("train/", "val/"))]
    assert len(images) == 2 * len(CATEGORIES)
    assert all(few[name] == many[name] for name in images)
    assert all(few[name] != other[name] for name in images)


def test_written_once_and_left_alone(truth: PlantedTruth) -> None:
    before = {path: path.stat().st_mtime_ns for path in truth.folder.rglob("*")}
    write_planted(truth.folder, size=96, n_train=6, n_val=3)
    assert before == {path: path.stat().st_mtime_ns for path in truth.folder.rglob("*")}


@pytest.mark.parametrize("arguments", [{"seed": 1}, {"n_train": 7}, {"size": 128}])
def test_another_set_is_never_written_over(truth: PlantedTruth, arguments: dict[str, int]) -> None:
    with pytest.raises(OutputExists, match="another folder"):
        write_planted(truth.folder, **{"size": 96, "n_train": 6, "n_val": 3, **arguments})


def test_a_folder_of_somebody_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputExists):
        write_planted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_run_left_is_replaced(tmp_path: Path, truth: PlantedTruth) -> None:
    left = tmp_path / ".set.unfinished" / "train" / "old"
    left.mkdir(parents=True)
    (left / "old.jpg").write_bytes(b"half a picture")
    (tmp_path / "set").mkdir()  # empty is as good as new
    write_planted(tmp_path / "set", size=96, n_train=6, n_val=3)
    assert hashes(tmp_path / "set") == hashes(truth.folder)
    assert not (tmp_path / ".set.unfinished").exists()


@pytest.mark.parametrize("arguments", [{"size": 63}, {"n_train": 0}, {"n_val": 0}])
def test_too_small_is_refused(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        write_planted(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_only_a_finished_set_is_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=FACTS_FILE):
        read_planted(tmp_path)


def test_it_reads_as_an_image_folder(truth: PlantedTruth) -> None:
    dataset = read_folder(truth.folder)
    assert dataset.categories == tuple(category.name for category in truth.categories)
    assert dataset.splits == ("train", "val")
    assert len(dataset.subset("train")) == 6 * 8
    assert len(dataset.subset("val")) == 3 * 8
    assert {dataset.read(sample.image_id).shape for sample in dataset.samples} == {(96, 96, 3)}
    assert {Path(sample.image_id).suffix for sample in dataset.samples} == {".jpg", ".png"}


def test_every_image_has_an_entry_that_sfumato_reads(truth: PlantedTruth) -> None:
    known = read_known_boxes(truth.folder / FACES_FILE)
    assert set(known) == {sample.image_id for sample in read_folder(truth.folder).samples}
    assert set(known) == set(truth.faces)
    for image_id, boxes in truth.faces.items():
        np.testing.assert_array_equal(known[image_id].xyxy, boxes)


def test_truth_survives_the_disk(truth: PlantedTruth) -> None:
    again = read_planted(truth.folder)
    assert (
        (again.categories, again.pair)
        == (truth.categories, truth.pair)
        == (CATEGORIES, ("harmonica", "mask"))
    )
    assert read_json(truth.folder / FACTS_FILE)["seed"] == 0


def test_one_category_never_has_a_face_and_three_always(truth: PlantedTruth) -> None:
    rates = {
        category.name: {
            bool(len(boxes)) for name, boxes in truth.faces.items() if name.split("/")[1] == category.name
        }
        for category in truth.categories
    }
    assert rates["brick_wall"] == {False}
    assert rates["motorcycle"] == rates["harmonica"] == rates["mask"] == {True}


@pytest.mark.parametrize("category", BESIDE, ids=lambda category: category.name)
def test_face_rates_are_as_declared(category: PlantedCategory) -> None:
    n = 400
    counts = np.array([len(arrange(category, 96, chance(1, number))[0]) for number in range(n)])
    spread = np.sqrt(category.face_rate * (1 - category.face_rate) / n)
    assert (counts > 0).mean() == pytest.approx(category.face_rate, abs=4 * spread)
    assert counts.max() == {"never": 0, "crowd": 3}.get(category.role, 1)


@pytest.mark.parametrize("size", SIZES)
def test_objects_beside_faces_stay_clear_of_them(size: int) -> None:
    for category in BESIDE:
        for number in range(150):
            heads, room = arrange(category, size, chance(2, number))
            if not heads:
                continue
            boxes = np.stack([head.box for head in heads])
            place = as_boxes([room]) * np.float32(size)
            assert boxes.min() >= 0
            assert boxes.max() <= size
            assert intersection(grow(boxes, 0.14), place).max() == 0
            overlaps = intersection(boxes, boxes) - np.diag(np.diag(intersection(boxes, boxes)))
            assert overlaps.max() == 0


def test_most_faces_can_be_seen_and_all_are_used() -> None:
    heads = [
        head
        for row, category in enumerate(BESIDE)
        for number in range(300)
        for head in arrange(category, 96, chance(3, row, number))[0]
    ]
    sizes = longer_side(np.stack([head.box for head in heads]))
    assert 0.8 < (sizes >= 24).mean() < 1
    assert sizes.min() > 14
    assert {head.face for head in heads} == set(range(N_FACES))
    assert face_crops().shape == (N_FACES, 25, 25)
    assert 0 <= face_crops().min() < face_crops().max() <= 255


@pytest.mark.parametrize("size", SIZES)
def test_twins_differ_inside_the_face_and_nowhere_else(size: int) -> None:
    first, second = TWINS
    for number in range(20):
        one, boxes = draw_image(first, size, chance(4, number))
        two, same = draw_image(second, size, chance(4, number))
        np.testing.assert_array_equal(boxes, same)
        assert len(boxes) == 1
        assert longer_side(boxes)[0] >= 0.45 * size
        rows, columns = np.nonzero((one != two).any(axis=2))
        assert len(rows) > 20
        x0, y0, x1, y1 = boxes[0]
        assert x0 <= columns.min() <= columns.max() < x1
        assert y0 <= rows.min() <= rows.max() < y1


def test_a_face_wide_blur_makes_twins_alike() -> None:
    first, second = TWINS
    before, after = [], []
    for number in range(20):
        one, boxes = draw_image(first, 96, chance(5, number))
        two, _ = draw_image(second, 96, chance(5, number))
        difference = one.astype(np.float32) - two.astype(np.float32)
        sigma = 0.2 * float(longer_side(boxes)[0])
        before.append(np.abs(difference).max())
        after.append(np.abs(cv2.GaussianBlur(difference, (0, 0), sigma)).max())
    assert min(before) > 60
    assert max(after) < 6
    assert np.mean(after) < 3


@pytest.mark.parametrize("height", [10, 13, 20])
def test_plates_have_the_same_mean_colour_outline_and_brightness(height: int) -> None:
    for number in range(20):
        one, outline = stripes(chance(6, number), (height, 2 * height), SWINGS["mask"])
        two, same = stripes(chance(6, number), (height, 2 * height), SWINGS["harmonica"])
        np.testing.assert_array_equal(outline, same)
        weights = outline[:, :, None] / outline.sum()
        np.testing.assert_allclose((one * weights).sum((0, 1)), (two * weights).sum((0, 1)), atol=1e-2)
        np.testing.assert_allclose(one @ BRIGHTNESS, two @ BRIGHTNESS, atol=1)
        assert min(one.min(), two.min()) >= 0
        assert max(one.max(), two.max()) <= 255
        assert np.abs(one - two).max() > 80


def test_a_mirrored_head_has_a_mirrored_box() -> None:
    plain, mirrored = Head(0, 50, 10, 10, False).box, Head(0, 50, 10, 10, True).box
    np.testing.assert_allclose(mirrored[[0, 2]], 70 - plain[[2, 0]], atol=1e-4)
    np.testing.assert_array_equal(mirrored[[1, 3]], plain[[1, 3]])


def test_every_category_is_drawn() -> None:
    for category in CATEGORIES:
        pixels, _ = draw_image(category, 96, chance(7, 0))
        assert pixels.dtype == np.uint8
        assert pixels.shape == (96, 96, 3)
        assert pixels.std() > 8
