from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.detect.candidates import Candidates, joined
from sfumato.detect.views import View, cutout, look, scaled

sides = st.integers(1, 300)


def bright_pixel(batch: Any, *, min_score: float) -> list[Candidates]:
    """A network that proposes the box around all bright pixels."""
    found = []
    for picture in batch:
        rows, columns = np.nonzero(picture[..., 0] > 127)
        if not len(rows):
            found.append(joined([]))
            continue
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float32)
        points = np.repeat(box[:, None, :2], 5, axis=1)
        found.append(Candidates(box, np.ones(1, dtype=np.float32), points))
    return found


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
        found = look(bright_pixel, shown, min_score=0.5)
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
