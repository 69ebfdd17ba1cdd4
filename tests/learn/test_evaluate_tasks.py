"""What is written of attributes and objects belongs to the image in its row, in that image's own pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from sfumato.data import read_folder
from sfumato.data.tasks import Objects, TaskData
from sfumato.engines import Work
from sfumato.errors import TrainingError
from sfumato.images import to_stored
from sfumato.learn import Preprocessing, evaluate_tasks, scoring
from sfumato.learn.device import Normalise, Runtime
from sfumato.learn.evaluate_tasks import Finder, Found, write_attributes, write_objects
from sfumato.learn.index import Images
from sfumato.learn.inputs import DEFAULT_BUDGET, prepare_images
from sfumato.learn.scoring import Scorer
from sfumato.predictions import ATTRIBUTES_SCHEMA, DETECTIONS_SCHEMA, OBJECT_IMAGES_SCHEMA, OBJECTS_SCHEMA

CPU = Runtime("cpu", bf16=False, channels_last=False)
BUDGETS = pytest.mark.parametrize("budget", [0, DEFAULT_BUDGET], ids=["streamed", "packed"])
BROKEN = "test/04.png"
"""Cannot be read; in the middle of a batch, with others on either side."""


def prepared(task: TaskData, given: Preprocessing, root: Path, budget: int = DEFAULT_BUDGET) -> Images:
    return prepare_images(
        task.dataset,
        "test",
        image_size=given.image_size,
        resize_ratio=given.resize_ratio,
        root=root,
        budget=budget,
        work=Work(workers=1),
    )


# Attributes


class MeanColour(nn.Module):
    """The mean of each channel as three scores; says how many images it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(images))
        return images.mean(dim=(2, 3))


def colour_of(image_id: str) -> tuple[int, int, int]:
    """Another for each image."""
    number = int(Path(image_id).stem)
    return 5 + 20 * number, 250 - 17 * number, (90 * number) % 256


def coloured(root: Path, n: int = 11) -> TaskData:
    """One-coloured images with attributes of their own; some to train on stand in rows behind."""
    for image_id in (f"{split}/{number:02d}.png" for split in ("test", "train") for number in range(n)):
        path = root / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 20 + 3 * (int(path.stem) % 4), 24
        Image.new("RGB", size, colour_of(image_id)).save(path)
    (root / BROKEN).write_bytes(b"no picture")
    dataset = replace(read_folder(root), categories=("red", "green", "blue"))
    truth = np.random.default_rng(0).integers(0, 2, (len(dataset), 3)).astype(np.int8)
    return TaskData("celeba", "CelebA", "attributes", dataset, ("mean_average_precision",), truth)


@BUDGETS
def test_scores_and_truth_are_those_of_the_image_in_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(scoring, "_BATCH", 4)
    given = Preprocessing(16, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0), resize_ratio=1.0)
    task, model, seen = coloured(tmp_path / "data"), MeanColour(), []
    images = prepared(task, given, tmp_path / "cache", budget)
    work = Work(progress=lambda stage, done, total: seen.append((stage, done, total)))
    write_attributes(tmp_path, Scorer(model, given, CPU, name="run"), images, task, work=work)
    assert model.seen == [4, 4, 2]
    assert seen == [("evaluate", 4, 10), ("evaluate", 8, 10), ("evaluate", 10, 10)]
    table, scores = pq.read_table(tmp_path / "predictions.parquet"), np.load(tmp_path / "scores.npy")
    assert table.schema.equals(ATTRIBUTES_SCHEMA)
    assert (scores.shape, scores.dtype) == ((11, 3), np.float16)
    assert task.attributes is not None
    own = dict(zip((s.image_id for s in task.dataset.samples), task.attributes.tolist(), strict=True))
    assert table["image_id"].to_pylist() == [f"test/{number:02d}.png" for number in range(11)]
    for row, kept in zip(table.to_pylist(), scores, strict=True):
        assert row["truth"] == own[row["image_id"]]
        if row["image_id"] == BROKEN:
            assert np.isnan(kept).all()
            assert row["status"] == "failed"
            assert "not a picture" in row["error"]
            continue
        assert (row["status"], row["error"]) == ("ok", None)
        shown = (np.divide(colour_of(row["image_id"]), 255) - given.mean) / given.std
        np.testing.assert_allclose(kept, shown, atol=2e-3)


# Objects

SQUARE = Preprocessing(96, (0.25, 0.25, 0.25), (0.5, 0.5, 0.5), resize_ratio=1.0)
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
"""Of the classes: each is alone in one channel."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """A dark picture with at most one rectangle of each class; size and boxes are of the upright one."""

    width: int
    height: int
    boxes: dict[int, Box]
    orientation: int = 1

    def write(self, path: Path) -> None:
        pixels = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        for label, (x0, y0, x1, y1) in self.boxes.items():
            pixels[y0:y1, x0:x1] += np.array(COLOURS[label], dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = self.orientation
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.ascontiguousarray(to_stored(pixels, self.orientation))
        Image.fromarray(stored).save(path, exif=exif, quality=97)

    def objects(self) -> Objects:
        n = len(self.boxes)
        boxes = np.array(list(self.boxes.values()), dtype=np.float32).reshape(n, 4)
        labels = np.array(list(self.boxes), dtype=np.int64)
        return Objects(boxes, labels, labels == 1, labels == 2, self.height, self.width)


PICTURES = {
    "test/00.png": Picture(120, 90, {0: (10, 8, 50, 70), 2: (70, 30, 119, 88)}),
    "test/01.png": Picture(60, 150, {1: (5, 90, 55, 149)}),
    "test/02.jpg": Picture(140, 70, {0: (90, 5, 140, 35), 1: (3, 30, 40, 69)}, orientation=6),
    "test/03.png": Picture(64, 48, {0: (40, 20, 64, 48), 1: (2, 2, 22, 17), 2: (0, 30, 19, 48)}),
    BROKEN: Picture(80, 80, {0: (10, 10, 40, 40), 1: (50, 50, 70, 70)}),
    "test/05.png": Picture(100, 100, {}),
    "test/06.png": Picture(40, 130, {2: (4, 6, 30, 66)}),
    "test/07.jpg": Picture(72, 110, {2: (30, 60, 72, 110)}, orientation=3),
    "test/08.png": Picture(96, 33, {1: (60, 3, 95, 30)}),
    "test/09.png": Picture(150, 120, {0: (100, 90, 148, 119)}),
}


class BrightBoxes(nn.Module):
    """Finds, in each channel of the square, the box around what is bright; at most `most` images fit."""

    def __init__(self, most: int = 99, message: str = "can't allocate memory: you tried 9 bytes") -> None:
        super().__init__()
        self.most, self.message, self.seen = most, message, list[int]()

    def forward(self, squares: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        self.seen.append(len(squares))
        if len(squares) > self.most:
            raise RuntimeError(f"[enforce fail at alloc_cpu.cpp] {self.message}")
        assert len(sizes) == len(squares)
        return [self.found(square, *size) for square, size in zip(squares, sizes, strict=True)]

    @staticmethod
    def found(square: torch.Tensor, height: int, width: int) -> dict[str, Any]:
        assert max(height, width) == SQUARE.image_size
        boxes, labels = [], []
        for label, channel in enumerate(square):
            ys, xs = torch.nonzero(channel > 0.5, as_tuple=True)  # half of white, as it is normalised here
            if len(ys):
                boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                labels.append(label)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "scores": torch.tensor([0.5 + 0.125 * label for label in labels], dtype=torch.float32),
        }


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskData:
    """`PICTURES` as a task, seen in batches of four."""
    monkeypatch.setattr(evaluate_tasks, "_BATCH", 4)
    pictures = PICTURES | {"train/00.png": Picture(50, 40, {0: (1, 1, 9, 9)})}
    for image_id, picture in pictures.items():
        picture.write(tmp_path / "data" / image_id)
    (tmp_path / "data" / BROKEN).write_bytes(b"no picture")
    objects = {image_id: picture.objects() for image_id, picture in pictures.items()}
    dataset = read_folder(tmp_path / "data")
    return TaskData("yolo", "YOLO", "objects", dataset, ("coco_ap",), objects=objects)


def detector(model: nn.Module) -> Finder:
    return Finder(model, Normalise(SQUARE, CPU), SQUARE.image_size, CPU, name="run")


def written(task: TaskData, model: nn.Module, out: Path, budget: int = DEFAULT_BUDGET) -> dict[str, Any]:
    """The tables that are written, by the names of their files."""
    out.mkdir()
    write_objects(out, detector(model), prepared(task, SQUARE, out / "cache", budget), task, work=Work())
    return {path.stem: pq.read_table(path) for path in out.glob("*.parquet")}


@BUDGETS
def test_boxes_lie_where_they_are_in_each_image(tmp_path: Path, drawn: TaskData, budget: int) -> None:
    model = BrightBoxes()
    detections = written(drawn, model, tmp_path / "out", budget)["detections"]
    assert model.seen == [4, 4, 1]
    assert detections.schema.equals(DETECTIONS_SCHEMA)
    expected = [
        (image_id, label, *box)
        for image_id, picture in PICTURES.items()
        for label, box in sorted(picture.boxes.items())
        if image_id != BROKEN
    ]
    rows = [tuple(row.values()) for row in detections.to_pylist()]
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2:6] for row in rows], [row[2:] for row in expected], atol=1.5)
    assert [row[6] for row in rows] == [0.5 + 0.125 * row[1] for row in expected]


def test_sizes_and_truth_are_those_of_the_images(tmp_path: Path, drawn: TaskData) -> None:
    tables = written(drawn, BrightBoxes(), tmp_path / "out")
    images, truth = tables["predictions"], tables["objects"]
    assert images.schema.equals(OBJECT_IMAGES_SCHEMA)
    assert images["image_id"].to_pylist() == list(PICTURES)
    for row, (image_id, picture) in zip(images.to_pylist(), PICTURES.items(), strict=True):
        if image_id == BROKEN:
            assert (row["height"], row["width"], row["status"]) == (0, 0, "failed")
            assert "not a picture" in row["error"]
        else:
            assert (row["height"], row["width"]) == (picture.height, picture.width)
            assert (row["status"], row["error"]) == ("ok", None)
    assert truth.schema.equals(OBJECTS_SCHEMA)
    assert [tuple(row.values()) for row in truth.to_pylist()] == [
        (image_id, label, *box, label == 1, label == 2)
        for image_id, picture in PICTURES.items()
        for label, box in picture.boxes.items()
    ]


def test_a_detector_that_runs_out_of_memory_finds_the_same_in_halves(tmp_path: Path, drawn: TaskData) -> None:
    whole = written(drawn, BrightBoxes(), tmp_path / "whole")
    model = BrightBoxes(most=2)
    assert written(drawn, model, tmp_path / "halves") == whole
    assert model.seen == [4, 2, 2, 4, 2, 2, 1]


def test_a_detector_says_when_one_image_does_not_fit(tmp_path: Path, drawn: TaskData) -> None:
    with pytest.raises(TrainingError, match=r"run: one image of 96 px does not fit .* of cpu; use --device"):
        written(drawn, BrightBoxes(most=0), tmp_path / "out")


def test_other_errors_of_a_detector_are_not_taken_for_memory(tmp_path: Path, drawn: TaskData) -> None:
    model = BrightBoxes(most=0, message="shapes do not fit")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        written(drawn, model, tmp_path / "out")
    assert model.seen == [4]


def _far(found: Found) -> Found:
    return found | {"boxes": found["boxes"] * 9 - 50}


def _endless(found: Found) -> Found:
    return found | {"boxes": found["boxes"] / 0}


def _uncertain(found: Found) -> Found:
    return found | {"scores": found["scores"] * float("nan")}


class Changed(BrightBoxes):
    """What `BrightBoxes` finds, changed by a function."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, squares: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        return [self.change(found) for found in super().forward(squares, sizes)]


def test_boxes_that_reach_out_of_an_image_end_at_its_borders(tmp_path: Path, drawn: TaskData) -> None:
    rows = written(drawn, Changed(_far), tmp_path / "out")["detections"].to_pylist()
    for row in rows:
        picture = PICTURES[row["image_id"]]
        assert 0 <= row["x0"] <= row["x1"] <= picture.width
        assert 0 <= row["y0"] <= row["y1"] <= picture.height
    ends = {(row["image_id"], row["x1"], row["y1"]) for row in rows}
    assert ("test/03.png", 64, 48) in ends


@pytest.mark.parametrize("change", [_endless, _uncertain])
def test_boxes_that_are_not_finite_are_refused(
    tmp_path: Path, drawn: TaskData, change: Callable[[Any], Any]
) -> None:
    with pytest.raises(TrainingError, match="run: the model gives boxes that are not finite"):
        written(drawn, Changed(change), tmp_path / "out")
    assert list((tmp_path / "out").glob("*.parquet")) == []
