"""Box geometry against slow pixel loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from sfumato import boxes as geometry
from sfumato.errors import BoxError

SIDE = 24


@st.composite
def whole_boxes(draw: st.DrawFn, max_size: int = 6) -> geometry.Boxes:
    """Boxes with whole-pixel corners, some empty, some reaching out of a 24 px picture."""
    rows = draw(
        st.lists(st.tuples(*[st.integers(-6, SIDE + 6)] * 2, *[st.integers(0, 18)] * 2), max_size=max_size)
    )
    return geometry.as_boxes([[x, y, x + w, y + h] for x, y, w, h in rows])


def pixels(box: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> set[tuple[int, int]]:
    x0, y0, x1, y1 = box.astype(int)
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


@given(whole_boxes(), whole_boxes())
def test_overlaps_count_pixels(first: geometry.Boxes, second: geometry.Boxes) -> None:
    shared, overlap = geometry.intersection(first, second), geometry.iou(first, second)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            both, either = pixels(one) & pixels(other), pixels(one) | pixels(other)
            assert shared[i, j] == len(both)
            assert overlap[i, j] == pytest.approx(len(both) / len(either) if either else 0)


@given(whole_boxes())
def test_areas_count_pixels(boxes: geometry.Boxes) -> None:
    assert geometry.area(boxes).tolist() == [len(pixels(box)) for box in boxes]
    assert geometry.union_area(boxes) == len(set().union(*[pixels(box) for box in boxes]))


@given(whole_boxes())
def test_clip_twice_is_clip_once_and_stays_inside(boxes: geometry.Boxes) -> None:
    once = geometry.clip(boxes, SIDE, SIDE)
    assert np.array_equal(geometry.clip(once, SIDE, SIDE), once)
    inside = {(x, y) for x in range(SIDE) for y in range(SIDE)}
    for before, after in zip(boxes, once, strict=True):
        assert pixels(after) == pixels(before) & inside


@given(whole_boxes(), whole_boxes())
def test_matches_are_one_to_one_and_good_enough(found: geometry.Boxes, truth: geometry.Boxes) -> None:
    matched = geometry.match(found, truth, min_iou=0.4)
    used = [index for index in matched.tolist() if index >= 0]
    assert len(used) == len(set(used))
    overlap = geometry.iou(found, truth)
    for row, index in enumerate(matched.tolist()):
        taken = [other for other in matched[:row].tolist() if other >= 0]
        free = [overlap[row, j] for j in range(len(truth)) if j not in taken]
        assert (index >= 0) == (bool(free) and max(free) >= 0.4)


@given(whole_boxes(), st.integers(0, 2**32 - 1))
def test_suppression_keeps_the_best_of_what_overlaps(boxes: geometry.Boxes, seed: int) -> None:
    score = np.random.default_rng(seed).permutation(len(boxes)).astype(np.float32)
    keep = geometry.nms(boxes, score, max_iou=0.5)
    assert (np.diff(score[keep]) < 0).all()
    overlap = geometry.iou(boxes, boxes)
    for index in range(len(boxes)):
        beaten = [best for best in keep.tolist() if score[best] > score[index] and overlap[best, index] > 0.5]
        assert (index in keep) == (not beaten)


def test_grow_and_round() -> None:
    boxes = geometry.as_boxes([[10, 20, 30, 60]])
    assert geometry.grow(boxes, 0.1).tolist() == [[6, 16, 34, 64]]
    assert geometry.round_out(geometry.as_boxes([[0.2, 1.0, 2.5, 3.01]])).tolist() == [[0, 1, 3, 4]]
    assert geometry.as_boxes([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 3], "shape"),
        ([[1, 2, 3]], "shape"),
        ([[0, 0, np.nan, 1]], "finite"),
        ([[0, 0, np.inf, 1]], "finite"),
        ([[5, 0, 4, 1]], "ends before it starts"),
    ],
)
def test_what_is_no_box_is_refused(values: ArrayLike, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        geometry.as_boxes(values)
