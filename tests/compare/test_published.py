"""The published numbers: recomputed from the table by model, and beside ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sfumato.compare.published import (
    BESIDE_SCHEMA,
    SUMMARY_SCHEMA,
    beside,
    headline,
    published_accuracies,
    published_summary,
    read_published,
)

BLUR = "blur(strength=0.1, grow=0.1)"


def summary() -> dict[tuple[str, str], dict[str, Any]]:
    table = published_summary()
    assert table.schema == SUMMARY_SCHEMA
    return {(row["contrast"], row["metric"]): row for row in table.to_pylist()}


@pytest.mark.parametrize(
    ("contrast", "metric", "drop", "ends"),
    [
        ("blurred - original", "top1_accuracy", 0.655, (0.547, 0.764)),
        ("overlaid - original", "top1_accuracy", 0.897, (0.781, 1.014)),
        ("blurred - original", "top5_accuracy", 0.418, (0.334, 0.502)),
        ("overlaid - original", "top5_accuracy", 0.692, (0.597, 0.788)),
        ("overlaid - blurred", "top1_accuracy", 0.242, (0.146, 0.338)),
    ],
)
def test_mean_drops_and_intervals_over_fifteen_models(
    contrast: str, metric: str, drop: float, ends: tuple[float, float]
) -> None:
    row = summary()[contrast, metric]
    assert row["n_models"] == 15
    assert -100 * row["mean_difference"] == pytest.approx(drop, abs=0.0006)
    assert (-100 * row["ci_high"], -100 * row["ci_low"]) == pytest.approx(ends, abs=0.0006)


def test_p_values_and_spread() -> None:
    found = summary()
    blurred = found["blurred - original", "top1_accuracy"]
    assert 100 * blurred["standard_deviation"] == pytest.approx(0.196, abs=0.0006)
    assert blurred["p_value"] == pytest.approx(4e-9, rel=0.15)
    assert found["overlaid - blurred", "top1_accuracy"]["p_value"] == pytest.approx(9e-5, rel=0.05)


def test_headline_figures_are_the_largest_top5_drops() -> None:
    found = summary()
    blurred, overlaid = (found[f"{name} - original", "top5_accuracy"] for name in ("blurred", "overlaid"))
    assert (round(100 * blurred["largest_drop"], 3), blurred["largest_drop_model"]) == (0.682, "mobilenet_v2")
    assert (round(100 * overlaid["largest_drop"], 3), overlaid["largest_drop_model"]) == (
        0.969,
        "squeezenet1_0",
    )
    # In top-1 both figures are exceeded, so they cannot be of top-1.
    assert found["blurred - original", "top1_accuracy"]["largest_drop"] > 0.0068
    assert found["overlaid - original", "top1_accuracy"]["largest_drop"] > 0.0100
    sentence = headline()
    assert "top-5" in sentence
    for figure in ("0.68 %", "1.0 %", "0.682 (mobilenet_v2)", "0.969 (squeezenet1_0)", "1.011", "1.176"):
        assert figure in sentence


def test_standard_errors_are_converted_to_the_usual_ones() -> None:
    values = np.array([55.9, 56.0, 56.3])
    study = np.sqrt(((values - values.mean()) ** 2).sum() / 1) / np.sqrt(3)
    assert study * read_published()["sem_to_usual_factor"] == pytest.approx(values.std(ddof=1) / np.sqrt(3))
    found = published_accuracies()["alexnet", "original", "top1_accuracy"]
    assert found.mean == pytest.approx(0.56043)
    assert found.standard_error == pytest.approx(0.00258 / np.sqrt(2), rel=1e-5)


def test_a_model_without_spread_has_none_and_no_top5() -> None:
    found = published_accuracies()
    assert np.isnan(found["swin_b", "blurred", "top1_accuracy"].standard_error)
    assert ("swin_b", "blurred", "top5_accuracy") not in found


def ours(model: str, arms: list[str]) -> tuple[pa.Table, pa.Table]:
    overall, differences = [], []
    for metric, base in (("top1_accuracy", 0.7), ("top5_accuracy", 0.9)):
        for subset in ("all", "with_faces"):
            for number, arm in enumerate(["original", *arms]):
                names = {"model": model, "arm": arm, "metric": metric, "subset": subset}
                overall.append({**names, "mean": base - number / 100})
                difference = {"difference": -number / 100, "ci_low": -0.05, "ci_high": 0.05, "n_seeds": 3}
                differences += [{**names, "reference": to, **difference} for to in ("original", "none()")]
    return pa.Table.from_pylist(overall), pa.Table.from_pylist(differences)


def test_ours_stand_beside_the_studys() -> None:
    table = beside(
        *ours("resnet18", ["none()", BLUR, "overlay()", "mosaic(blocks=4)", f"original -> {BLUR}"])
    )
    assert table.schema == BESIDE_SCHEMA
    rows = table.to_pylist()
    assert len(rows) == 2 * (15 * 2 + 1)  # every published row, Swin-B in top-1 only
    mine = [row for row in rows if row["arm"] is not None]
    assert {(row["arm"], row["condition"]) for row in mine} == {(BLUR, "blurred"), ("overlay()", "overlaid")}
    row = next(row for row in mine if (row["condition"], row["metric"]) == ("blurred", "top1_accuracy"))
    assert row["published_difference"] == pytest.approx(-0.00755)
    assert row["published_difference_standard_error"] == pytest.approx(
        np.hypot(0.00171, 0.00174) / np.sqrt(2), rel=1e-5
    )
    assert (row["original"], row["accuracy"], row["difference"]) == pytest.approx((0.7, 0.68, -0.02))
    assert row["n_seeds"] == 3


def test_models_that_the_study_lacks_come_after_its_own() -> None:
    rows = beside(*ours("small", [BLUR, "blur(strength=0.4, grow=0.1)"])).to_pylist()
    assert [row["model"] for row in rows[-4:]] == ["small"] * 4
    assert all(row["published"] is None for row in rows[-4:])
    assert len({row["arm"] for row in rows[-4:]}) == 2
