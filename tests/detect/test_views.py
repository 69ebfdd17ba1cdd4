from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.detect.networks.candidates import Candidates, joined
from sfumato.detect.networks.views import View, cutout, look, look_at_all, scaled, tiles
from sfumato.detect.second_look import levels

sides = st.integers(1, 300)


class BrightPixels:
    """A network that proposes the box around all bright pixels of each picture."""

    sides = None

    def __init__(self, most: int = 1) -> None:
        self.most = most
        self.batches: list[int] = []

    def __call__(self, batch: Any, *, min_score: float) -> list[Candidates]:
        assert min_score <= 1
        self.batches.append(len(batch))
        return [self._one(picture) for picture in batch]

    def _one(self, picture: Any) -> Candidates:
        rows, columns = np.nonzero(picture[..., 0] > 127)
        if not len(rows):
            return joined([])
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float32)
        points = np.repeat(box[:, None, :2], 5, axis=1)
        return Candidates(box, np.ones(1, dtype=np.float32), points)


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.integers(32, 200))
def test_a_scaled_view_keeps_the_shape_and_fills_up_to_multiples_of_32(
    height: int, width: int, long_side: int
) -> None:
    view = scaled(np.full((height, width, 3), 255, dtype=np.uint8), long_side)
    assert view.pixels.shape[0] % 32 == view.pixels.shape[1] % 32 == 0
    rows, columns = np.nonzero(view.pixels[:, :, 0])
    assert len(set(rows)) == max(1, round(height * view.scale))
    assert len(set(columns)) == max(1, round(width * view.scale))
    assert len(rows) == len(set(rows)) * len(set(columns))
    assert max(len(set(rows)), len(set(columns))) == long_side


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_a_cutout_shows_is_brought_back_to_its_place(data: Any) -> None:
    height, width = data.draw(st.integers(40, 200)), data.draw(st.integers(40, 200))
    x0, y0 = data.draw(st.integers(0, width - 20)), data.draw(st.integers(0, height - 20))
    x1 = data.draw(st.integers(x0 + 10, min(width, x0 + 60)))
    y1 = data.draw(st.integers(y0 + 10, min(height, y0 + 60)))
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[y0:y1, x0:x1] = 255
    view = cutout(image, np.array([x0, y0, x1, y1], dtype=np.float32), size=64, context=3.0)
    assert view.pixels.shape == (192, 192, 3)
    for shown in (view, view.mirrored(), view.mirrored().mirrored()):
        found = look(BrightPixels(), shown, min_score=0.5)
        # Two pixels of the view: rounding of its scale, and of the place of its black border.
        np.testing.assert_allclose(found.xyxy[0], [x0, y0, x1, y1], atol=max(2.0, 2 / view.scale))


def test_mirrored_candidates_swap_eyes_and_corners() -> None:
    points = np.array([[[1, 0], [3, 0], [2, 1], [1, 2], [3, 2]]], dtype=np.float32)
    once = Candidates(np.array([[0, 0, 4, 4]], dtype=np.float32), np.ones(1, dtype=np.float32), points)
    turned = once.mirrored(10)
    np.testing.assert_array_equal(turned.xyxy, [[6, 0, 10, 4]])
    np.testing.assert_array_equal(turned.points[0], [[7, 0], [9, 0], [8, 1], [7, 2], [9, 2]])
    np.testing.assert_array_equal(turned.mirrored(10).points, points)


@pytest.mark.parametrize("box", [(0, 0, 300, 200), (290, 190, 300, 200), (0, 0, 0.5, 0.4)])
def test_a_cutout_of_any_box_in_the_image_has_its_size(box: Any) -> None:
    view = cutout(
        np.zeros((200, 300, 3), dtype=np.uint8), np.array(box, dtype=np.float32), size=32, context=3
    )
    assert isinstance(view, View)
    assert view.pixels.shape == (96, 96, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(64, 160), st.integers(8, 48), st.booleans())
def test_every_small_square_lies_whole_in_a_tile(
    height: int, width: int, side: int, overlap: int, mirrored: bool
) -> None:
    views = list(tiles(np.zeros((height, width, 3), np.uint8), 1.0, side=side, overlap=overlap))
    assert all(max(view.shown or (0, 0)) <= side for view in views)
    rng = np.random.default_rng(height * 401 + width)
    size = min(overlap - 4, height, width)
    if size < 1:
        return
    x, y = rng.integers(0, width - size + 1), rng.integers(0, height - size + 1)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[y : y + size, x : x + size] = 255
    shown = list(tiles(image, 1.0, side=side, overlap=overlap))
    shown = [view.mirrored() for view in shown] if mirrored else shown
    found = joined(look_at_all(BrightPixels(), shown, min_score=0.5))
    whole = [[x, y, x + size, y + size]]
    assert len(found) >= 1
    # What a tile's side cuts in two is not proposed by that tile.
    np.testing.assert_array_equal(np.unique(found.xyxy, axis=0), whole)


def test_views_of_one_size_go_through_together_and_come_back_in_order() -> None:
    pictures = []
    for number, shape in enumerate([(64, 96), (32, 32), (64, 96), (64, 96), (32, 32)]):
        picture = np.zeros((*shape, 3), dtype=np.uint8)
        picture[number : number + 5, 3:9] = 255
        pictures.append(View(picture, 1.0))
    one, two = BrightPixels(1), BrightPixels(2)
    singly = look_at_all(one, pictures, min_score=0.5)
    in_pairs = look_at_all(two, pictures, min_score=0.5)
    assert one.batches == [1] * 5
    assert two.batches == [2, 1, 2]
    for number, (first, second) in enumerate(zip(singly, in_pairs, strict=True)):
        np.testing.assert_array_equal(first.xyxy, second.xyxy)
        assert first.xyxy[0, 1] == number


def test_a_fixed_view_shows_the_whole_image_as_large_as_fits() -> None:
    view = scaled(np.full((100, 300, 3), 255, np.uint8), 640, (64, 96))
    assert view.pixels.shape == (64, 96, 3)
    assert view.scale == pytest.approx(0.32)
    assert (view.pixels[:32] == 255).all()
    assert (view.pixels[32:] == 0).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8000), st.integers(1, 8000), st.sampled_from([1_000_000, 2_000_000, 50_000_000]))
def test_levels_go_from_coarse_to_fine(height: int, width: int, finest: int) -> None:
    scales = levels(height, width, finest)
    assert scales == sorted(scales)
    assert scales[0] == min(640 / max(height, width), 4)
    assert all(second / first <= 2.65 for first, second in pairwise(scales))
    if len(scales) > 1:
        assert scales[-1] <= 1
        assert scales[-1] ** 2 * height * width <= finest * 1.001
    # A large image is seen as fine as the budget allows.
    if finest >= height * width and max(height, width) > 800:
        assert scales[-1] == 1


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [(375, 500, [640]), (64, 64, [256]), (750, 1000, [640, 1000]), (3000, 4000, [640, 1633])],
)
def test_levels_of_common_sizes(height: int, width: int, sides: list[int]) -> None:
    assert [round(scale * max(height, width)) for scale in levels(height, width, 2_000_000)] == sides
