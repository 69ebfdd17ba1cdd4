"""Tiny data sets that a model learns at once, and a recipe that takes a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data import Dataset, read_dataset, read_folder
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.learn import Recipe, find_recipe
from sfumato.obfuscate import METHODS, obfuscate

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> Recipe:
    # Of the steps of 20 images, 3 an epoch, the first two are in float32: the change is in an epoch's middle.
    return find_recipe("small").with_overrides(image_size=16, epochs=3, batch_size=8, fp32_steps=2)


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Dataset]:
    """Makes a folder of noisy one-coloured pictures of different shapes, a category a colour."""

    def make(name: str = "colours", *, train: int = 10, val: int = 5, n_categories: int = 2) -> Dataset:
        rng = np.random.default_rng(7)
        for category, colour in list(COLOURS.items())[:n_categories]:
            for split, count in (("train", train), ("val", val)):
                for number in range(count):
                    path = tmp_path / name / split / category / f"{number:02d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shape = (20 + number % 3, 24 - number % 5, 3)
                    noise = rng.normal(0, 20, shape)
                    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)
        return read_folder(tmp_path / name)

    return make


@pytest.fixture
def variant(tmp_path: Path) -> Callable[..., Path]:
    """Hides a known box in every picture of a folder, by a method; gives the variant's folder."""

    def make(photos: Path, method: str, name: str, *, val_fraction: float = 0.0) -> Path:
        dataset, work = read_dataset(photos, val_fraction=val_fraction), Work(workers=1)
        box = {"x0": 4, "y0": 4, "x1": 14, "y1": 14}
        records = [{"url": sample.image_id, "bboxes": [box]} for sample in dataset.samples]
        boxes = tmp_path / f"{name}.json"
        boxes.write_text(json.dumps(records))
        faces = detect(
            dataset, DETECTORS.build(f"oracle(path={str(boxes)!r})"), tmp_path / f"{name}-faces", work=work
        )
        obfuscate(dataset, faces, METHODS.build(method), tmp_path / name, work=work)
        return tmp_path / name

    return make
