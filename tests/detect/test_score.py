from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.detect import score
from sfumato.faces import Faces


def slow_iou(a: Any, b: Any) -> tuple[float, float]:
    """Overlap by counting the pixels of whole-numbered boxes."""
    first = {(x, y) for x in range(int(a[0]), int(a[2])) for y in range(int(a[1]), int(a[3]))}
    second = {(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))}
    return len(first & second) / len(first | second), len(first & second) / len(first)


def slow_counts(found: Faces, truth: Faces, min_iou: float, min_size: float) -> tuple[int, int, int]:
    """Known, counted and matched faces of one image, box by box."""
    counting: list[Any] = []
    ignored: list[Any] = []
    for box, kind in zip(truth.xyxy, truth.kind, strict=True):
        small = max(box[2] - box[0], box[3] - box[1]) < min_size
        (ignored if kind == "ignore" or small else counting).append(box)
    free, n_found, n_matched = list(range(len(counting))), 0, 0
    for row in sorted(range(len(found)), key=lambda row: -found.score[row]):
        box = found.xyxy[row]
        best = max(free, key=lambda one: slow_iou(box, counting[one])[0], default=None)
        if best is not None and slow_iou(box, counting[best])[0] >= min_iou:
            free.remove(best)
            n_found, n_matched = n_found + 1, n_matched + 1
        elif not any(
            slow_iou(box, other)[0] >= min_iou or slow_iou(box, other)[1] >= 0.5 for other in ignored
        ):
            n_found += 1
    return len(counting), n_found, n_matched


@st.composite
def faces(draw: Any, kinds: list[str]) -> Faces:
    n = draw(st.integers(0, 4))
    start = draw(st.lists(st.tuples(*[st.integers(0, 12)] * 2), min_size=n, max_size=n))
    size = draw(st.lists(st.tuples(*[st.integers(2, 9)] * 2), min_size=n, max_size=n))
    boxes = [[x, y, x + w, y + h] for (x, y), (w, h) in zip(start, size, strict=True)]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=n, max_size=n))
    scores = draw(st.permutations([k / 10 for k in range(1, n + 1)]))
    return Faces.of(boxes, scores, kind=chosen)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 3), st.sampled_from([0.0, 5.0]))
def test_counts_equal_a_box_by_box_count(data: Any, n_images: int, min_size: float) -> None:
    ids = [str(number) for number in range(n_images)]
    truth = {image_id: data.draw(faces(["face", "ignore", "photo"])) for image_id in ids}
    found = {image_id: data.draw(faces(["face"])) for image_id in ids}
    counts = [slow_counts(found[name], truth[name], 0.4, min_size) for name in ids]
    figures = score(found, truth, min_iou=0.4, min_size=min_size)
    known, counted, matched = np.array(counts).sum(axis=0)
    assert (figures.n_truth, figures.n_found, figures.n_matched) == (known, counted, matched)
    agree = [(row[0] > 0) == (row[1] > 0) for row in counts]
    assert figures.image_accuracy == pytest.approx(np.mean(agree))
    assert figures.false_positive_images == sum(row[0] == 0 and row[1] > 0 for row in counts)
    if known:
        assert figures.recall == pytest.approx(matched / known)


@given(faces(["face", "photo"]))
def test_the_truth_itself_scores_one(truth: Faces) -> None:
    figures = score({"a": truth}, {"a": truth})
    if len(truth):
        assert figures.n_found == len(truth)
        assert figures.image_accuracy == 1
    else:
        assert math.isnan(figures.recall)


def test_an_image_that_nobody_looked_at_has_no_found_face() -> None:
    figures = score({}, {"a": Faces.of([[0, 0, 9, 9]]), "b": Faces.of()})
    assert (figures.recall, figures.image_recall, figures.image_accuracy) == (0, 0, 0.5)
    assert math.isnan(figures.precision)


def test_a_box_inside_an_ignored_one_is_dropped_but_a_match_is_kept() -> None:
    truth = Faces.of([[0, 0, 100, 100], [10, 10, 20, 20]], kind=["ignore", "face"])
    found = Faces.of([[10, 10, 20, 20], [50, 50, 60, 60], [95, 95, 115, 115]], [0.9, 0.8, 0.7])
    figures = score({"a": found}, {"a": truth})
    assert (figures.n_found, figures.n_matched) == (2, 1)
