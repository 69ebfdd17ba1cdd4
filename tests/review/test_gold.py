"""Gold images: the study's rule against pixels, and questions that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sfumato.faces import Faces
from sfumato.review.gold import GoldRule, answer_of, disguised, starting_boxes, union_iou, wrong_boxes

SIDE = 24
BOX = st.tuples(*[st.integers(0, SIDE)] * 4).map(
    lambda ends: (min(ends[0], ends[2]), min(ends[1], ends[3]), max(ends[0], ends[2]), max(ends[1], ends[3]))
)
BOXES = st.lists(BOX, max_size=5)
Boxes = list[tuple[int, int, int, int]]


def mask(boxes: Boxes) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    covered = np.zeros((SIDE, SIDE), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] = True
    return covered


@given(BOXES, BOXES, BOXES)
def test_union_iou_is_that_of_the_pixels(first: Boxes, second: Boxes, ignored: Boxes) -> None:
    a, b, gone = mask(first), mask(second), mask(ignored)
    either, both = ((a | b) & ~gone).sum(), (a & b & ~gone).sum()
    expected = both / either if either else 1.0
    boxes = (Faces.of(value).xyxy for value in (first, second, ignored))
    assert union_iou(*boxes) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("width", "passes"), [(72, True), (71, False)])
def test_the_study_asks_for_0_72_of_the_union(width: int, passes: bool) -> None:
    answer = Faces.of([[0, 0, width, 10]]).xyxy
    value, right = GoldRule().check(answer, Faces.of([[0, 0, 100, 10]]))
    assert value == pytest.approx(width / 100)
    assert right == passes


def test_union_does_not_count_boxes_and_the_other_rule_does() -> None:
    truth, one = Faces.of([[0, 0, 10, 10], [10, 0, 20, 10]]), Faces.of([[0, 0, 20, 10]]).xyxy
    assert GoldRule().check(one, truth) == (1.0, True)
    assert GoldRule(rule="boxes", min_iou=0.5).check(one, truth) == (1.0, False)
    assert GoldRule(rule="boxes").check(truth.xyxy[::-1], truth) == (1.0, True)


def test_with_no_face_no_box_may_be_left() -> None:
    none = Faces.of()
    for rule in ("union", "boxes"):
        assert GoldRule(rule=rule).check(none.xyxy, none) == (1.0, True)
        assert not GoldRule(rule=rule, min_iou=0).check(Faces.of([[1, 1, 2, 2]]).xyxy, none)[1]
    ignored = Faces.of([[0, 0, 9, 9]], kind="ignore")
    assert GoldRule().check(Faces.of([[1, 1, 2, 2]]).xyxy, ignored)[1]
    assert not GoldRule().check(Faces.of([[8, 8, 12, 12]]).xyxy, ignored)[1]


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), max_size=3), st.text(max_size=5))
def test_wrong_boxes_are_wrong_and_the_same_for_the_same_seed(
    corners: list[tuple[float, float]], seed: str
) -> None:
    truth = Faces.of([[x, y, x + 20, y + 20] for x, y in corners])
    assume(all(abs(a[0] - b[0]) > 22 for at, a in enumerate(corners) for b in corners[:at]))
    shown = wrong_boxes(truth, (100, 80), seed)
    assert not GoldRule(rule="boxes").check(shown.xyxy, truth)[1]
    assert (shown.xyxy >= 0).all()
    assert (shown.xyxy[:, 2:] <= (100, 80)).all()
    assert np.array_equal(shown.xyxy, wrong_boxes(truth, (100, 80), seed).xyxy)


def test_the_truth_can_say_what_the_question_is_asked_with() -> None:
    truth = Faces.of([[0, 0, 9, 9], [5, 5, 8, 8], [1, 1, 2, 2]], kind=["face", "start", "ignore"])
    start = starting_boxes(truth)
    assert start is not None
    assert start.xyxy.tolist() == [[5, 5, 8, 8]]
    assert start.kind == ("face",)
    assert answer_of(truth).xyxy.tolist() == [[0, 0, 9, 9]]
    empty = starting_boxes(Faces.of([[0, 0, 9, 9], [0, 0, 0, 0]], kind=["face", "start"]))
    assert empty is not None
    assert len(empty) == 0
    assert starting_boxes(answer_of(truth)) is None


def test_a_question_looks_like_a_detection() -> None:
    shown = disguised(Faces.of([[0, 0, 9, 9]] * 3, source="gold.json"), "net", "seed")
    assert shown.source == ("net",) * 3
    assert len(set(shown.score.tolist())) == 3
