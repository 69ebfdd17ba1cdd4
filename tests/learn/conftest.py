"""Tiny data sets that a model learns at once, and a recipe that takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data import Dataset, read_folder
from sfumato.learn import Recipe, find_recipe

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny() -> Recipe:
    return find_recipe("small").with_overrides(image_size=16, epochs=3, batch_size=8)


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
