"""Exposure: pixels counted one by one, scikit-learn and closed forms, simulated slopes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from sfumato.compare.attention import ATTENTION_SCHEMA, FaceView, attention_table, face_view
from sfumato.compare.components import Changes
from sfumato.compare.exposure import (
    EXPOSURE_BINS_SCHEMA,
    EXPOSURE_TRENDS_SCHEMA,
    STUDY_EDGES,
    Exposure,
    PairedOutcomes,
    bins_table,
    exposure_of,
    rank_correlation,
    trends_table,
)
from sfumato.compare.logistic import area_effect
from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FACES_SCHEMA, FaceTable
from sfumato.records import Manifest

CONTRAST = ("blur", "original")


def face_table(boxes: dict[str, list[tuple[float, float, float, float]]], failed: str = "") -> FaceTable:
    faces = [
        {
            "image_id": name,
            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
            "score": 0.9,
            "kind": "face",
        }
        for name, of_name in boxes.items()
        for box in of_name
    ]
    images = [
        {"image_id": name, "width": 20, "height": 10, "status": "failed" if name == failed else "ok"}
        for name in boxes
    ]
    return FaceTable(
        pa.Table.from_pylist(faces, schema=FACES_SCHEMA),
        pa.Table.from_pylist(images, schema=IMAGES_SCHEMA),
        Manifest("faces", "0123456789abcdef", {}, {}),
    )


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(-3, 18), st.integers(-3, 9), st.integers(0, 9), st.integers(0, 9)), max_size=5
    )
)
def test_area_is_that_of_the_pixels_in_any_box(corners: list[tuple[int, int, int, int]]) -> None:
    boxes = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in corners]
    pixels = np.zeros((10, 20), dtype=bool)
    for x, y, w, h in corners:
        pixels[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = True
    found = exposure_of(face_table({"a": boxes, "b": []}), ["b", "a"], np.array([0, 1]), 2)
    assert found.area.tolist() == pytest.approx([0, pixels.mean()])
    assert found.has_faces.tolist() == [0, int(bool(boxes))]


def test_what_was_not_examined_is_not_known() -> None:
    faces = face_table({"a": [(0, 0, 10, 10)], "b": [], "c": [(0, 0, 1, 1)]}, failed="c")
    found = exposure_of(faces, ["a", "b", "c", "d"], np.array([0, 0, 1, 1]), 3)
    assert found.area[:2].tolist() == [0.5, 0]
    assert np.isnan(found.area[2:]).all()
    assert found.has_faces.tolist() == [1, 0, -1, -1]
    assert found.mean_area()[0] == 0.25
    assert found.share_with_faces()[0] == 0.5
    assert np.isnan(found.mean_area()[1:]).all()
    assert np.isnan(found.share_with_faces()[1:]).all()
    assert found.of(np.array([0, 1, 2])) == (0.5, 0.25)
    assert np.isnan(found.of(np.array([2, 3]))).all()


def changes_of(difference: NDArray[np.float64]) -> Changes:
    nothing = np.full(len(difference), np.nan)
    return Changes(difference, nothing, nothing, nothing, nothing)


def small() -> tuple[Exposure, PairedOutcomes, Changes]:
    label = np.array([0, 0, 1, 1, 2, 2, 3])
    area = np.array([0.0, 0.004, 0.03, 0.05, 0.01, 0.01, np.nan])
    exposure = Exposure(label, area, (area > 0).astype(np.int8), 4)
    reference = np.array([[1, 1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 1, 0]], dtype=bool)
    arm = np.array([[1, 1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 1, 1, 0]], dtype=bool)
    outcomes = PairedOutcomes("top1_accuracy", CONTRAST, arm, reference, (0, 0))
    mean = outcomes.differences.mean(axis=0)
    difference = np.array([mean[label == category].mean() for category in range(4)])
    return exposure, outcomes, changes_of(difference)


def test_bins_by_hand() -> None:
    table = bins_table(*small())
    assert table.schema == EXPOSURE_BINS_SCHEMA
    rows = table.to_pylist()
    categories = [row for row in rows if row["level"] == "category"]
    assert [row["area_low"] for row in categories] == list(STUDY_EDGES)
    assert [row["area_high"] for row in categories] == [*STUDY_EDGES[1:], None]
    # Mean areas: 0.2 %, 4 %, 1 %, and one that is not known.
    assert [row["n_categories"] for row in categories] == [1, 1, 0, 0, 1, 0]
    assert [row["n_images"] for row in categories] == [2, 2, 0, 0, 2, 0]
    expected = [-0.25, 0.25, None, None, -0.5, None]
    assert [row["difference"] for row in categories] == expected
    images = [row for row in rows if row["level"] == "image"]
    assert [(row["area_low"], row["area_high"]) for row in images[:2]] == [(0, 0), (0, 0.01)]
    assert [row["n_images"] for row in images] == [1, 1, 2, 0, 1, 1, 0]
    assert [row["n_categories"] for row in images] == [1, 1, 1, 0, 1, 1, 0]
    assert images[0]["difference"] == pytest.approx(-0.5)
    assert images[4]["difference"] == pytest.approx(-1)
    assert images[3]["difference"] is None
    assert images[0]["ci_low"] is None  # one image


def test_interval_of_a_bin_of_categories_is_students() -> None:
    values = np.array([-0.02, -0.05, 0.01, -0.03])
    exposure = Exposure(np.arange(4), np.full(4, 0.05), np.ones(4, dtype=np.int8), 4)
    right = np.ones((1, 4), dtype=bool)
    outcomes = PairedOutcomes("top5_accuracy", CONTRAST, right, right, (0,))
    row = bins_table(exposure, outcomes, changes_of(values)).to_pylist()[4]
    truth = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((truth.low, truth.high))
    assert row["metric"] == "top5_accuracy"


def test_rank_correlation_is_scipys_and_its_interval_covers() -> None:
    rng = np.random.default_rng(0)
    rho = 0.5
    truth = 6 / np.pi * np.arcsin(rho / 2)  # of two normal variables
    held, studies = 0, 500
    for _ in range(studies):
        x = rng.normal(size=60)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=60)
        found = rank_correlation(x, y)
        held += found["ci_low"] <= truth <= found["ci_high"]
    assert found["estimate"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["p_value"] == pytest.approx(stats.spearmanr(x, y).pvalue)
    assert 0.92 <= held / studies <= 0.98  # one standard error: 1 point


def test_rank_correlation_where_it_cannot_be_had() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan, 4.0])
    assert rank_correlation(values, values**2)["n"] == 4
    assert np.isnan(rank_correlation(values[:3], values[:3])["estimate"])
    assert np.isnan(rank_correlation(values, np.ones(5))["estimate"])
    perfect = rank_correlation(np.arange(6.0), np.arange(6.0))
    assert perfect["estimate"] == pytest.approx(1)
    assert perfect["ci_low"] == pytest.approx(1)


def paired(
    rng: np.random.Generator, *, n: int, runs: int, intercept: float, slope: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Lost and gained of images with effects of their own; the arm adds intercept + slope area / 0.1 to being
    wrong."""
    area = np.where(rng.random(n) < 0.5, 0, rng.random(n) * 0.3)
    own = rng.normal(0, 1.5, n)[:, None] + rng.normal(0, 0.5, (n, runs))
    wrong = [
        rng.random((n, runs)) < 1 / (1 + np.exp(-(own + effect)))
        for effect in (0.0, (intercept + slope * area / 0.1)[:, None])
    ]
    return (~wrong[0] & wrong[1]).sum(axis=1), (wrong[0] & ~wrong[1]).sum(axis=1), area


def test_logistic_regression_is_scikit_learns_on_discordant_pairs() -> None:
    lost, gained, area = paired(np.random.default_rng(1), n=800, runs=4, intercept=0.2, slope=0.7)
    found = area_effect(lost, gained, area)
    x = np.concatenate([np.repeat(area, lost), np.repeat(area, gained)])[:, None] / 0.1
    y = np.concatenate([np.ones(lost.sum()), np.zeros(gained.sum())])
    truth = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x, y)
    assert found.slope.estimate == pytest.approx(truth.coef_[0, 0], abs=1e-5)
    assert found.intercept.estimate == pytest.approx(truth.intercept_[0], abs=1e-5)
    assert found.n_pairs == len(y)
    assert found.n_images == int((lost + gained > 0).sum())


def test_logistic_regression_of_two_areas_is_a_table_of_four() -> None:
    # 0 %: lost 30, gained 20; 10 %: lost 45, gained 15. One pair an image: the sandwich is nearly Woolf's.
    lost = np.repeat([1, 0, 1, 0], [30, 20, 45, 15])
    area = np.repeat([0.0, 0.1], [50, 60])
    found = area_effect(lost, 1 - lost, area)
    assert found.intercept.estimate == pytest.approx(np.log(30 / 20))
    assert found.slope.estimate == pytest.approx(np.log(45 / 15) - np.log(30 / 20))
    woolf = np.sqrt(1 / 30 + 1 / 20 + 1 / 45 + 1 / 15)
    assert (found.slope.ci_high - found.slope.ci_low) / 2 / 1.959964 == pytest.approx(woolf, rel=0.01)


def test_variance_is_by_image_not_by_run() -> None:
    lost = np.repeat([1, 0, 1, 0], [30, 20, 45, 15])
    area = np.repeat([0.0, 0.1], [50, 60])
    once, thrice = area_effect(lost, 1 - lost, area), area_effect(3 * lost, 3 - 3 * lost, area)
    assert thrice.n_pairs == 3 * once.n_pairs
    assert thrice.slope.ci_low == pytest.approx(once.slope.ci_low)


@pytest.mark.parametrize("slope", [0.0, 0.6])
def test_intervals_of_the_slope_cover_though_images_differ_widely(slope: float) -> None:
    rng = np.random.default_rng(2)
    held, studies = 0, 300
    for _ in range(studies):
        found = area_effect(*paired(rng, n=500, runs=3, intercept=0.1, slope=slope)).slope
        held += found.ci_low <= slope <= found.ci_high
    assert 0.91 <= held / studies <= 0.985  # one standard error: 1.3 points


def test_nothing_is_claimed_where_there_is_no_maximum() -> None:
    one, zero = np.ones(6, dtype=np.int64), np.zeros(6, dtype=np.int64)
    area = np.linspace(0, 0.5, 6)
    for lost, gained, x in (
        (one, zero, area),  # every pair lost
        (one, one, np.full(6, 0.2)),  # one area
        (zero, zero, area),  # no pair
        (np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 1, 0, 0, 0]), area),  # separated
        (one, one, np.full(6, np.nan)),
    ):
        found = area_effect(lost, gained, x)
        assert np.isnan(found.slope.estimate)
        assert np.isnan(found.intercept.p_value)


def test_a_planted_slope_is_in_the_table_of_trends_and_none_where_none_is() -> None:
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(40), 50)
    area = np.clip(np.repeat(rng.random(40) * 0.2, 50) + rng.normal(0, 0.03, 2000), 0, 1)
    exposure = Exposure(label, area, (area > 0).astype(np.int8), 40)
    own = rng.normal(1, 1.5, 2000)
    for slope, sure in ((1.0, True), (0.0, False)):
        reference, arm = (
            rng.random((3, 2000)) < 1 / (1 + np.exp(-(own - effect))) for effect in (0.0, slope * area / 0.1)
        )
        outcomes = PairedOutcomes("top1_accuracy", CONTRAST, arm, reference, (0, 0, 0))
        mean = outcomes.differences.mean(axis=0)
        by_category = changes_of(np.bincount(label, weights=mean) / 50)
        table = trends_table(exposure, outcomes, by_category)
        assert table.schema == EXPOSURE_TRENDS_SCHEMA
        rows = {row["trend"]: row for row in table.to_pylist()}
        assert list(rows) == [
            "spearman_share_with_faces",
            "spearman_area",
            "logistic_intercept",
            "logistic_area_slope",
        ]
        for trend, sign in (("logistic_area_slope", 1), ("spearman_area", -1)):
            assert (rows[trend]["p_value"] < 0.001 and sign * rows[trend]["estimate"] > 0) is sure
        assert rows["logistic_area_slope"]["ci_low"] <= slope <= rows["logistic_area_slope"]["ci_high"]
        assert rows["spearman_area"]["n"] == 40
        assert rows["logistic_area_slope"]["n_pairs"] == int((arm != reference).sum())


def view(area: list[float], true: list[float], predicted: list[float]) -> FaceView:
    return FaceView(*(np.array(column, dtype=np.float64) for column in (area, true, predicted)))


def test_attention_by_category_over_images_with_a_face() -> None:
    nan = float("nan")
    views = {
        ("net", "original"): [
            view([0.1, 0.2, 0.0, nan], [0.3, 0.2, nan, nan], [0.2, 0.2, nan, nan]),
            view([0.1, 0.2, 0.0, nan], [0.5, nan, nan, nan], [0.4, nan, nan, nan]),
        ]
    }
    table = attention_table(views, np.array([0, 0, 1, 1]), ["mask", "kite"])
    assert table.schema == ATTENTION_SCHEMA
    whole, mask, kite = table.to_pylist()
    assert (whole["category"], whole["label"], whole["n_images"]) == (None, None, 2)
    assert {**mask, "category": None, "label": None} == whole
    assert mask["face_area"] == pytest.approx(0.15)
    assert mask["attention_true"] == pytest.approx((0.4 + 0.2) / 2)
    assert mask["attention_predicted"] == pytest.approx((0.3 + 0.2) / 2)
    assert mask["attention_per_area"] == pytest.approx(2)
    assert (kite["category"], kite["n_images"], kite["attention_true"]) == ("kite", 0, None)


def test_columns_of_a_table_that_may_lack_them() -> None:
    table = pa.table({"face_area": pa.array([0.5, None, 0.25], pa.float32())})
    assert face_view(table, np.arange(3)) is None
    for name in ("attention_true", "attention_predicted"):
        table = table.append_column(name, pa.array([None, None, 1.0], pa.float32()))
    found = face_view(table, np.array([2, 0]))
    assert found is not None
    assert found.face_area.tolist() == [0.25, 0.5]
    assert found.attention_true[0] == 1
    assert np.isnan(found.attention_true[1])
