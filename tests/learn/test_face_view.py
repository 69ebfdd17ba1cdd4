from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfumato.boxes import as_boxes, union_area
from sfumato.learn.face_view import boxes_in_square, coverage, mass_in_boxes
from sfumato.learn.views import centre_windows, cut, shrink

SIZE = 24
corners = st.tuples(*[st.integers(0, SIZE)] * 4)
boxes_strategy = st.lists(corners, max_size=4).map(
    lambda found: as_boxes([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in found])
)
grids = st.tuples(st.sampled_from([1, 2, 3, 5, 7]), st.sampled_from([1, 2, 3, 5, 7]))


def drawn(boxes: np.ndarray, scale: int = 1) -> np.ndarray:
    """Boxes of whole pixels as a mask, each pixel repeated."""
    mask = np.zeros((SIZE, SIZE))
    for x0, y0, x1, y1 in boxes.astype(int):
        mask[y0:y1, x0:x1] = 1
    return mask.repeat(scale, axis=0).repeat(scale, axis=1)


@settings(deadline=None)
@given(boxes_strategy, grids)
def test_coverage_agrees_with_counting_pixels(boxes: np.ndarray, grid: tuple[int, int]) -> None:
    rows, columns = grid
    # 24 pixels of 35 parts each, so that edges of cells fall between parts for every grid above.
    mask = drawn(boxes, scale=35 if SIZE % rows or SIZE % columns else 1)
    cells = mask.reshape(rows, mask.shape[0] // rows, columns, mask.shape[1] // columns).mean(axis=(1, 3))
    assert np.allclose(coverage(boxes, SIZE, rows=rows, columns=columns), cells, atol=1e-9)


@given(boxes_strategy, grids)
def test_coverage_adds_up_to_the_area_of_the_union(boxes: np.ndarray, grid: tuple[int, int]) -> None:
    shares = coverage(boxes, SIZE, rows=grid[0], columns=grid[1])
    assert shares.min() >= 0
    assert shares.max() <= 1 + 1e-12
    assert shares.mean() == pytest.approx(union_area(boxes) / SIZE**2)


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 10, width=16)),
    boxes_strategy,
    st.floats(0.01, 100),
)
def test_mass_is_a_share_of_any_scale_and_of_parts(
    maps: np.ndarray, boxes: np.ndarray, factor: float
) -> None:
    assume((maps.sum(axis=(1, 2)) > 0.1).all())
    inside = mass_in_boxes(maps, boxes, SIZE)
    assert inside.shape == (2,)
    assert (inside >= 0).all()
    assert (inside <= 1 + 1e-9).all()
    assert np.allclose(mass_in_boxes((maps * factor).astype(np.float32), boxes, SIZE), inside, atol=1e-4)
    half = SIZE / 2
    sides = [as_boxes([[0, 0, half, SIZE]]), as_boxes([[half, 0, SIZE, SIZE]])]
    assert sum(mass_in_boxes(maps[0], side, SIZE) for side in sides) == pytest.approx(1)


def test_a_cell_half_in_a_box_counts_half() -> None:
    grid = np.array([[1, 0], [0, 3]], dtype=np.float32)
    box = as_boxes(
        [[0, 0, 6, 12], [18, 12, 24, 24], [18, 12, 24, 24]]
    )  # half of each cell with mass, one twice
    assert mass_in_boxes(grid, box, 24) == pytest.approx(0.5)
    assert mass_in_boxes(grid, as_boxes([[12, 12, 24, 24]]), 24) == pytest.approx(0.75)
    assert mass_in_boxes(grid, as_boxes([]), 24) == 0
    assert np.isnan(mass_in_boxes(np.zeros((2, 2), np.float32), box, 24))


def test_the_studys_view_of_an_image() -> None:
    """500 x 375 px, resized to 341 x 256, of which the central 224."""
    shape = np.array([[256, 341]])
    (window,) = centre_windows(shape, 256 / 224)
    scale = np.array([341 / 500, 256 / 375])
    faces = as_boxes([[200, 100, 300, 200], [0, 0, 80, 80], [400, 0, 500, 375]])
    seen = boxes_in_square(faces, scale, window, 224)
    assert len(seen) == 2  # the second lies left of the crop, the third reaches beyond it
    x0, y0 = 200 * 341 / 500 - 58, 100 * 256 / 375 - 16
    assert seen[0] == pytest.approx([x0, y0, 300 * 341 / 500 - 58, 200 * 256 / 375 - 16], abs=1e-3)
    assert seen[1] == pytest.approx([400 * 341 / 500 - 58, 0, 224, 224], abs=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(30, 90), st.integers(30, 90), st.sampled_from([1.0, 8 / 7]), st.integers(0, 10**6))
def test_a_box_lands_where_the_picture_does(height: int, width: int, ratio: float, seed: int) -> None:
    """The independent truth: paint the box, send the picture through the same steps, look where it ended."""
    rng = np.random.default_rng(seed)
    x0, y0 = rng.integers(0, width - 12), rng.integers(0, height - 12)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[y0 : y0 + 12, x0 : x0 + 12] = 255
    packed = shrink(image, round(21 * ratio))
    (window,) = centre_windows(np.array([packed.shape[:2]]), ratio)
    square = cut(packed, window, 21)[:, :, 0] / 255
    scale = np.array([packed.shape[1] / width, packed.shape[0] / height])
    boxes = boxes_in_square(as_boxes([[x0, y0, x0 + 12, y0 + 12]]), scale, window, 21)
    expected = coverage(boxes, 21, rows=21, columns=21) if len(boxes) else np.zeros((21, 21))
    # Resizing spreads the border over neighbouring pixels; the middle stays where it was.
    assert abs(square.sum() - expected.sum()) < 12
    whole = len(boxes) and boxes.min() > 1 and boxes.max() < 20
    if whole:
        places = np.arange(21) + 0.5
        for axis in (0, 1):
            middles = [(each.sum(axis=axis) @ places) / each.sum() for each in (square, expected)]
            assert middles[0] == pytest.approx(middles[1], abs=0.3)
