"""The queue: columns against the face table, the order against what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.boxes import iou
from sfumato.data import Dataset, Sample
from sfumato.errors import TableError
from sfumato.faces import FaceTable
from sfumato.review import ReviewSettings, dataset_of
from sfumato.review.columns import Columns
from sfumato.review.queue import audit_order, people_needed, queue_order, risk
from tests.review.small import table

SETTINGS = ReviewSettings()


def dataset(n: int, labels: list[int] | None = None) -> Dataset:
    labels = labels or [0] * n
    samples = tuple(Sample(f"{number:03d}.jpg", "all", label) for number, label in enumerate(labels))
    return Dataset(Path("nowhere"), samples, tuple(f"c{label}" for label in range(max(labels) + 1)), "")


def box(x: float, side: float = 50) -> tuple[float, float, float, float]:
    return x, 0, x + side, side


CORNER = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
IMAGES = st.lists(
    st.lists(CORNER.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=4), min_size=1, max_size=6
)


def tabled(images: list[Any], rng: Any = None) -> tuple[FaceTable, Dataset]:
    data = dataset(len(images))
    boxes = {sample.image_id: faces for sample, faces in zip(data.samples, images, strict=True) if faces}
    shuffled = dict(sorted(boxes.items(), reverse=True))
    return table(data, shuffled), data


@given(IMAGES)
def test_columns_hold_what_the_table_holds(images: list[Any]) -> None:
    faces, data = tabled(images)
    for owned in (data, dataset_of(faces, Path("nowhere"))):
        columns = Columns.of(faces, owned)
        for number, sample in enumerate(data.samples):
            assert columns.number(sample.image_id) == number
            assert owned.samples[number] == sample
            found, known = columns.faces(number), faces.of(sample.image_id)
            assert found.xyxy.tolist() == known.xyxy.tolist()
            assert (found.kind, found.source) == (known.kind, known.source)
        assert columns.numbers(["000.jpg", "x", ""]).tolist() == [0, -1, -1]
        assert columns.find("zzz") is None


@given(IMAGES, st.data())
def test_disagreement_is_that_of_a_plain_loop(images: list[Any], data: Any) -> None:
    others = data.draw(st.lists(st.sampled_from(images), min_size=len(images), max_size=len(images)))
    (first, owned), (second, _) = tabled(images), tabled(others)
    one, two = Columns.of(first, owned), Columns.of(second, owned)
    plain, with_second = risk(one, SETTINGS), risk(one, SETTINGS, two)
    for number in range(len(images)):
        overlap = iou(one.faces(number).xyxy, two.faces(number).xyxy)
        alone = (overlap.max(axis=1, initial=0) < SETTINGS.match_iou).any()
        alone |= (overlap.max(axis=0, initial=0) < SETTINGS.match_iou).any()
        expected = 1 - (1 - plain[number]) * (0.2 if alone else 1)
        assert with_second[number] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("riskier", "safer"),
    [
        (([box(0)], [0.5]), ([box(0)], [0.9])),
        (([box(0)], [0.55]), ([box(0)], [0.1])),
        (([box(0, 10)], [0.9]), ([box(0, 40)], [0.9])),
        (([box(0)], [0.9]), ([], [])),
        (([box(0), box(50)], [0.9, 0.6]), ([box(0), box(50)], [0.9, 0.9])),
    ],
)
def test_doubtful_images_come_first(riskier: Any, safer: Any) -> None:
    data = dataset(2)
    both = {"000.jpg": safer, "001.jpg": riskier}
    faces = table(
        data, {name: b for name, (b, _) in both.items() if b}, {name: s for name, (_, s) in both.items()}
    )
    columns = Columns.of(faces, data)
    risks = risk(columns, SETTINGS)
    assert risks[1] > risks[0]
    assert queue_order(risks, columns.ok, 0).tolist() == [1, 0]


def test_a_face_where_none_is_usual_comes_first_and_then_a_usual_face_that_is_not_there() -> None:
    data = dataset(60, [0] * 30 + [1] * 30)
    usual = {f"{number:03d}.jpg": [box(0)] for number in range(30, 59)}
    faces = table(data, {"007.jpg": [box(0)], **usual}, {name: [0.99] for name in ("007.jpg", *usual)})
    columns = Columns.of(faces, data)
    order = queue_order(risk(columns, SETTINGS), columns.ok, 0)
    without = [number for number in order.tolist() if columns.counts[number] == 0]
    assert order[0] == 7
    assert without[0] == 59


@given(st.integers(0, 50), st.integers(0, 5))
def test_orders_are_permutations_fixed_by_the_seed(n: int, seed: int) -> None:
    candidates = np.arange(n) % 3 != 1
    risks = np.zeros(n, dtype=np.float32)
    ok = np.ones(n, dtype=bool)
    for order in (queue_order(risks, candidates, seed), audit_order(ok, candidates, seed)):
        assert sorted(order.tolist()) == np.flatnonzero(candidates).tolist()
    whole = audit_order(ok, ok, seed)
    assert [number for number in whole.tolist() if candidates[number]] == audit_order(
        ok, candidates, seed
    ).tolist()


def test_the_sample_is_uniform_whatever_the_risk() -> None:
    candidates = np.ones(40, dtype=bool)
    drawn = np.bincount(
        np.concatenate([audit_order(candidates, candidates, seed)[:10] for seed in range(2000)]), minlength=40
    )
    assert abs(drawn - 500).max() < 5.5 * np.sqrt(2000 * 0.25 * 0.75)  # five and a half standard deviations


def test_overlap_is_for_a_share_of_images() -> None:
    settings = replace(SETTINGS, overlap=3, overlap_share=0.25)
    need = people_needed(np.ones(4000, dtype=bool), settings)
    assert set(need.tolist()) == {1, 3}
    assert abs((need == 3).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


def test_faces_of_another_data_set_are_refused() -> None:
    data = dataset(3)
    faces = table(data, {"002.jpg": [box(0)]})
    with pytest.raises(TableError, match="right data set"):
        Columns.of(faces, dataset(2))
    unsorted = replace(data, samples=data.samples[::-1])
    with pytest.raises(TableError, match="not sorted"):
        Columns.of(faces, unsorted)
