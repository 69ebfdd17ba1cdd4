"""What a model is told: boxes where the pixels are, attributes and categories of the right rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sfumato.data.tasks import Objects
from sfumato.learn.chance import keys_of
from sfumato.learn.objective import Attributes, Boxes, OneCategory, Views, clear_outside, valid_size
from sfumato.learn.recipes import find_recipe
from sfumato.learn.views import cut, whole_windows

RECIPE = find_recipe("transfer-voc")
SIZE = 64


def objects(boxes: Sequence[tuple[float, ...]], height: int, width: int, **flags: list[bool]) -> Objects:
    n = len(boxes)
    none = [False] * n
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(n),
        np.array(flags.get("difficult", none)),
        np.array(flags.get("crowd", none)),
        height,
        width,
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(20, 200),
    st.integers(20, 200),
    st.booleans(),
    st.sampled_from([1, 2, 3]),
    st.integers(0, 10**6),
)
def test_a_box_in_the_square_holds_what_it_held(
    height: int, width: int, mirrored: bool, shrunk: int, seed: int
) -> None:
    """A bright rectangle is where its box says, whatever the shape, the cache's size, and mirroring."""
    rng = np.random.default_rng(seed)
    x0, y0 = int(rng.integers(0, width - 12)), int(rng.integers(0, height - 12))
    x1, y1 = int(rng.integers(x0 + 10, width + 1)), int(rng.integers(y0 + 10, height + 1))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y0:y1, x0:x1] = 255
    shape = np.array([[max(8, height // shrunk), max(8, width // shrunk)]])
    packed = cut_to(picture, shape[0])
    objective = Boxes([objects([(x0, y0, x1, y1)], height, width)], shape)
    flags = np.array([mirrored])
    windows = whole_windows(shape, flags)
    square = cut(packed, windows[0], SIZE)
    square = square[:, ::-1] if mirrored else square
    (target,) = objective.targets(Views(np.array([0]), windows, flags, SIZE))
    valid_height, valid_width = target["size"]
    inside = torch.zeros(SIZE, SIZE)
    left, top, right, bottom = target["boxes"][0].round().int().tolist()
    inside[top:bottom, left:right] = 1
    seen = torch.from_numpy(square[:valid_height, :valid_width, 0].copy()) > 127
    told = inside[:valid_height, :valid_width] > 0
    overlap = (seen & told).sum() / (seen | told).sum()
    # A pixel on each side may be rounded away, which weighs most in the smallest boxes.
    slack = 2 * (right - left + bottom - top) / max(1, (right - left) * (bottom - top))
    assert overlap > 1 - slack - 0.1


def cut_to(picture: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The picture as a cache keeps it, in another size."""
    import cv2

    return np.asarray(cv2.resize(picture, (int(shape[1]), int(shape[0])), interpolation=cv2.INTER_AREA))


def test_what_is_difficult_crowded_or_empty_is_not_learned() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0), (5.0, 5.0, 20.0, 20.0), (1.0, 1.0, 9.0, 9.0), (3.0, 3.0, 3.0, 8.0)]
    shown = objects(boxes, 32, 32, difficult=[False, True, False, False], crowd=[False, False, True, False])
    shapes = np.array([[32, 32]])
    views = Views(np.array([0]), whole_windows(shapes), np.array([False]), 32)
    (target,) = Boxes([shown], shapes).targets(views)
    assert target["labels"].tolist() == [0]
    assert target["boxes"].tolist() == [[0.0, 0.0, 10.0, 10.0]]


def test_windows_hold_the_whole_image_at_the_left_after_mirroring() -> None:
    shapes = np.array([[40, 100], [100, 40]])
    windows, mirrored = Boxes([], shapes).windows(shapes, RECIPE, keys_of(("a", "b")), seed=0, epoch=0)
    for (height, width), (x0, y0, x1, y1), turned in zip(shapes, windows, mirrored, strict=True):
        assert x1 - x0 == y1 - y0 == max(height, width)
        assert (x0, y0) == (width - max(height, width) if turned else 0, 0)


def test_outside_is_zero() -> None:
    images = clear_outside(torch.ones(1, 3, 8, 8), [(8, 5)])
    assert images[..., :5].eq(1).all()
    assert images[..., 5:].eq(0).all()
    assert valid_size(np.array([30, 60]), 32) == (16, 32)


def test_judgement_is_that_of_the_formulas() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32))
    rows = np.array([4, 1, 0, 5, 2, 3])
    views = Views(rows, np.zeros((6, 4), int), np.zeros(6, bool), 8)
    labels = rng.integers(0, 4, 6)
    one = OneCategory(labels, 0.1)
    loss, right = one.judge(scores, one.targets(views))
    told = torch.from_numpy(labels[rows])
    assert loss == functional.cross_entropy(scores, told, label_smoothing=0.1)
    assert right == (scores.argmax(1) == told).sum()
    truth = rng.integers(0, 2, (6, 4)).astype(np.int8)
    several = Attributes(truth, 0.0)
    loss, right = several.judge(scores, several.targets(views))
    chances = 1 / (1 + np.exp(-scores.double().numpy()))
    said = np.where(truth[rows] == 1, chances, 1 - chances)
    assert float(loss) == pytest.approx(-np.log(said).mean(), abs=1e-6)
    assert float(right) == pytest.approx(((chances > 0.5) == truth[rows]).mean(axis=1).sum())
