from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.compare import CompareSettings, Tables, Verdict, judge
from sfumato.compare.pairing import pair
from sfumato.compare.planning import TOLERANCE, outcome
from sfumato.compare.tables import SCHEMAS
from sfumato.compare.tabulate import tabulate
from sfumato.compare.verdict import SCHEMA_VERSION, points, write_verdict
from sfumato.compare.wording import at_least
from tests.compare.synthetic import BLUR, NONE, World, make_predictions

OVERLAY = "overlay(colour='black')"


def _tables(
    *differences: dict[str, Any], categories: tuple[dict[str, Any], ...] = (), excluded: int = 0
) -> Tables:
    base = {
        "model": "resnet18",
        "arm": BLUR,
        "reference": "none",
        "metric": "top1_accuracy",
        "subset": "all",
        "n_images": 1000,
        "n_seeds": 5,
        "n_rounds": 2000,
        "margin": 0.01,
        "p_value": 0.04,
        "p_equivalence": 0.3,
        "smallest_effect": 0.01,
    }
    names = {"model": "resnet18", "arm": BLUR, "n_images": 50, "n_seeds": 5}
    rows = {
        "differences": [base | row for row in differences],
        "by_category": [names | row for row in categories],
        "excluded": [{"image_id": str(number), "reason": "damaged"} for number in range(excluded)],
    }
    return Tables(
        **{name: pa.Table.from_pylist(rows.get(name, []), schema=schema) for name, schema in SCHEMAS.items()}
    )


def _difference(value: float, low: float, high: float, **other: Any) -> dict[str, Any]:
    judged = {"outcome": outcome((low, high), other.get("p_equivalence", 1.0), 0.05)}
    return {"difference": value, "ci_low": low, "ci_high": high, **judged, **other}


def _category(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {
        "top1_q_value_to_none": 0.01 if low > 0 or high < 0 else 0.5,
        "category": name,
        "top1_difference_to_none": value,
        "top1_ci_low_to_none": low,
        "top1_ci_high_to_none": high,
    }


def test_an_interval_that_holds_zero_is_undecided_never_no_cost() -> None:
    needs = {"smallest_effect": 0.0123, "seeds_needed": 7, "images_needed": 12_000}
    verdict = judge(_tables(_difference(-0.004, -0.011, 0.003, **needs)))
    (finding,) = verdict.findings
    assert finding.outcome == "undecided"
    assert finding.sentence == (
        "This study cannot tell what hiding faces with blur costs: a cost of 0.4 points of top-1 accuracy "
        "was measured (95 % interval -0.3 to 1.1; compared with the control arm none; 1,000 images, 5 "
        "seeds), which is neither told from zero nor shown to be less than the margin of 1 point. An effect "
        "of 1.2 points would have been seen in 8 of 10 such studies; if the truth is what was measured, "
        "about 7 seeds of each model, or 12,000 images, would settle it."
    )
    assert verdict.headline == finding.sentence
    assert any("does not show that hiding faces costs nothing" in caveat for caveat in verdict.caveats)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"seeds_needed": 12}, ", about 12 seeds of each model, would settle it."),
        ({"images_needed": 1500}, ", about 1,500 images, would settle it."),
        ({}, "measured, neither more seeds nor more images alone would settle it."),
    ],
)
def test_what_would_settle_it_is_said(needs: dict[str, int], words: str) -> None:
    (finding,) = judge(_tables(_difference(-0.004, -0.011, 0.003, **needs))).findings
    assert finding.sentence.endswith(words)


def test_no_meaningful_cost_is_said_with_its_size() -> None:
    (finding,) = judge(_tables(_difference(-0.001, -0.004, 0.002, p_equivalence=0.001))).findings
    assert finding.outcome == "equivalent"
    assert finding.sentence == (
        "Hiding faces with blur had no meaningful cost: top-1 accuracy fell by 0.1 points on average, shown "
        "to be less than the margin of 1 point (95 % interval of the change -0.4 to 0.2; compared with the "
        "control arm none; 1,000 images, 5 seeds)."
    )


def test_a_cost_that_is_sure_and_small_is_no_meaningful_cost() -> None:
    row = _difference(-0.003, -0.004, -0.002, p_equivalence=0.001, margin=0.005)
    (finding,) = judge(_tables(row)).findings
    assert finding.outcome == "equivalent"
    assert (
        "more than chance would do, but shown to be less than the margin of 0.5 points (" in finding.sentence
    )


def test_a_cost_is_told_as_a_positive_number_and_by_how_much_at_least() -> None:
    verdict = judge(_tables(_difference(-0.031, -0.04, -0.022)))
    assert verdict.findings[0].outcome == "cost"
    assert verdict.headline == (
        "Hiding faces with blur cost at least 2.2 points of top-1 accuracy, about 3.1 on average (95 % "
        "interval 2.2 to 4.0; compared with the control arm none; 1,000 images, 5 seeds)."
    )


def test_a_gain_is_a_gain() -> None:
    verdict = judge(_tables(_difference(0.02, 0.01, 0.03)))
    assert verdict.findings[0].outcome == "gain"
    assert "gained at least 1.0 points of top-1 accuracy, about 2.0 on average" in verdict.headline
    assert "interval 1.0 to 3.0" in verdict.headline


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0229, "2.2"), (0.022, "2.2"), (0.00099, "0.09"), (0.001, "0.1"), (0.00001, "0.001"), (0.0, "0.0")],
)
def test_at_least_is_never_more(fraction: float, text: str) -> None:
    assert at_least(fraction) == text


@given(st.floats(-1, 1))
def test_no_number_prints_as_zero_but_zero(fraction: float) -> None:
    """Nor with more decimals than it needs, or a value that is not the nearest."""
    text = points(fraction)
    places = len(text.partition(".")[2])
    assert abs(Decimal(text) - 100 * Decimal(fraction)) <= Decimal(10) ** -places / 2 + Decimal("1e-12")
    assert (float(text) == 0) == (abs(fraction) < TOLERANCE)
    assert places == 1 or not round(100 * fraction, places - 1)
    assert not text.startswith("-0.0") or float(text) < 0
    if fraction > TOLERANCE:
        assert 0 < float(at_least(fraction)) <= 100 * fraction + 1e-6


def test_small_differences_are_told_with_more_digits() -> None:
    row = _difference(-0.00002, -0.0003, 0.00026, smallest_effect=0.0004)
    (finding,) = judge(_tables(row)).findings
    assert "a cost of 0.002 points of" in finding.sentence
    assert "interval -0.03 to 0.03;" in finding.sentence
    assert "An effect of 0.04 points" in finding.sentence
    two = [_difference(-0.00002, -0.001, 0.001, p_equivalence=0.001, arm=arm) for arm in (BLUR, OVERLAY)]
    assert "blur (-0.002 points)" in judge(_tables(*two)).headline


@pytest.mark.parametrize("ends", [(0.0, 0.0), (-1e-17, 1e-17), (-0.02, 0.0), (0.0, 0.02)])
def test_an_interval_that_touches_zero_holds_it(ends: tuple[float, float]) -> None:
    assert judge(_tables(_difference(sum(ends) / 2, *ends))).findings[0].outcome == "undecided"


def test_the_control_arm_goes_before_the_original() -> None:
    original = _difference(-0.05, -0.06, -0.04, reference="original")
    assert judge(_tables(original, _difference(-0.01, -0.02, 0.01))).findings[0].reference == "none"
    without = judge(_tables(original))
    assert without.findings[0].reference == "original"
    assert "original images (no control arm)" in without.headline
    assert any("Without the control arm" in caveat for caveat in without.caveats)


def test_several_arms_share_a_headline() -> None:
    verdict = judge(
        _tables(
            _difference(-0.004, -0.011, 0.003),
            _difference(-0.05, -0.06, -0.04, arm=OVERLAY),
            _difference(-0.03, -0.06, -0.01, arm="mosaic(blocks=4)"),
            _difference(-0.001, -0.002, 0.001, arm="pixelate(size=3)", p_equivalence=0.001),
        )
    )
    assert verdict.headline == (
        "Hiding faces cost top-1 accuracy: about 5.0 points with overlay (at least 4.0) and about 3.0 points "
        "with mosaic (at least 1.0); hiding faces had no meaningful cost with pixelate (-0.1 points); "
        "this study cannot tell what hiding faces with blur costs."
    )


def test_controls_are_not_judged() -> None:
    none = _difference(-0.05, -0.06, -0.04, arm=NONE, reference="original")
    assert judge(_tables(none)) == Verdict(
        "No arm with hidden faces was compared, so there is nothing to judge.", (), ()
    )


def test_what_writing_anew_did_is_told_apart() -> None:
    blur = _difference(-0.03, -0.04, -0.02)
    seen = _difference(-0.05, -0.06, -0.04, arm=NONE, reference="original")
    unseen = _difference(-0.01, -0.06, 0.04, arm=NONE, reference="original")
    assert not any("Writing the images anew" in caveat for caveat in judge(_tables(blur, unseen)).caveats)
    (caveat,) = [item for item in judge(_tables(blur, seen)).caveats if "Writing the images anew" in item]
    assert "cost about 5.0 points" in caveat


def test_other_metrics_subsets_and_single_models_are_not_judged() -> None:
    verdict = judge(
        _tables(
            _difference(-0.3, -0.4, -0.2, metric="top5_accuracy"),
            _difference(-0.3, -0.4, -0.2, subset="with_faces"),
            _difference(-0.3, -0.4, -0.2),
            _difference(-0.1, -0.3, -0.05, model="vgg11"),
            _difference(-0.2, -0.3, -0.1, model="all"),
        )
    )
    (finding,) = verdict.findings
    assert (finding.model, finding.n_models, finding.difference) == ("all", 2, -0.2)
    assert "2 models, 5 seeds" in finding.sentence


def test_categories_with_an_established_change_are_named_in_order() -> None:
    categories = (
        _category("apron", -0.10, -0.2, -0.01),
        _category("kite", -0.30, -0.5, 0.1),
        _category("mask", -0.40, -0.6, -0.2),
        _category("oboe", 0.12, 0.05, 0.2),
    )
    verdict = judge(_tables(_difference(-0.1, -0.2, -0.05), categories=categories))
    (finding,) = verdict.findings
    assert [item.category for item in finding.harmed] == ["mask", "apron"]
    assert finding.categories_sentence == (
        "In 3 of 4 categories a change is established; "
        "most harmed: mask (-40.0 points), apron (-10.0 points); most helped: oboe (+12.0 points)."
    )
    assert any("Benjamini-Hochberg" in caveat and "up to 5 in 100" in caveat for caveat in verdict.caveats)
    assert [item.category for item in finding.most_harmed] == ["mask", "kite", "apron"]


def test_categories_that_gained_are_named_alone() -> None:
    categories = (_category("apron", 0.1, 0.05, 0.2), _category("kite", 0.0, 0.0, 0.0))
    (finding,) = judge(_tables(_difference(0.01, -0.1, 0.1), categories=categories)).findings
    assert finding.harmed == ()
    assert finding.categories_sentence.endswith("most helped: apron (+10.0 points).")


def test_where_no_change_is_established_the_greatest_losses_are_named_all_the_same() -> None:
    row = _difference(-0.1, -0.2, 0.05)
    verdict = judge(_tables(row, categories=(_category("kite", 0.0, -0.1, 0.1),)))
    assert verdict.findings[0].categories_sentence == "In none of 1 category is a change established."
    lost = (_category("kite", -0.05, -0.2, 0.1), _category("mask", -0.3, -0.7, 0.1))
    (finding,) = judge(_tables(row, categories=lost)).findings
    assert finding.harmed == ()
    assert finding.categories_sentence == (
        "In none of 2 categories is a change established; the largest losses, which may be chance: mask "
        "(-30.0 points), kite (-5.0 points)."
    )


def test_few_seeds_and_failures_are_caveats() -> None:
    one = judge(_tables(_difference(-0.1, -0.2, -0.05, n_seeds=1), excluded=3))
    assert any("one seed only" in caveat for caveat in one.caveats)
    assert any("3 images failed" in caveat for caveat in one.caveats)
    assert "1 seed)" in one.headline
    assert any("few seeds" in caveat for caveat in judge(_tables(_difference(0, -1, 1, n_seeds=2))).caveats)


def test_an_arm_evaluated_elsewhere_is_a_finding_but_no_headline() -> None:
    crossed = _difference(-0.3, -0.4, -0.2, arm=f"original -> {BLUR}")
    verdict = judge(_tables(_difference(-0.1, -0.2, -0.05), crossed))
    assert len(verdict.findings) == 2
    assert verdict.findings[1].sentence.startswith(
        "Training on original and evaluating on blur cost at least 20.0"
    )
    assert verdict.headline == verdict.findings[0].sentence


def test_the_planted_category_is_named(tmp_path: Path) -> None:
    world = World(per_category=(60,) * 4, harmed={(BLUR, "mask"): 0.1}, seeds=range(5))
    tables = tabulate(pair(make_predictions(tmp_path, world)), None, settings=CompareSettings(rounds=500))
    (finding,) = judge(tables).findings
    assert finding.outcome == "cost"
    assert [item.category for item in finding.harmed] == ["mask"]


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0314, "3.1"), (-0.0001, "-0.01"), (-1e-17, "0.0"), (0.0, "0.0"), (-0.02, "-2.0")],
)
def test_points_have_no_negative_zero(fraction: float, text: str) -> None:
    assert points(fraction) == text


def test_across_architectures_is_said_beside_the_mean() -> None:
    tables = _tables(_difference(-0.02, -0.03, -0.01), _difference(-0.02, -0.03, -0.01, model="all"))
    across = {
        "arm": BLUR,
        "reference": "none",
        "metric": "top1_accuracy",
        "subset": "all",
        "n_models": 7,
        "difference": -0.02,
        "ci_low": -0.05,
        "ci_high": 0.01,
    }
    table = pa.Table.from_pylist([across], schema=SCHEMAS["architectures"])
    (finding,) = judge(replace(tables, architectures=table)).findings
    assert finding.architectures == (
        "On average over architectures like these, top-1 accuracy changes by -2.0 points (95 % interval "
        "-5.0 to 1.0; paired t over 7 models); the interval above is of these models alone."
    )
    assert judge(_tables(_difference(-0.02, -0.03, -0.01))).findings[0].architectures == ""


def test_the_verdict_is_written_for_machines(tmp_path: Path) -> None:
    verdict = judge(_tables(_difference(-0.004, -0.011, 0.003, seeds_needed=7)))
    write_verdict(tmp_path, verdict)
    read = json.loads((tmp_path / "verdict.json").read_text())
    assert read.pop("schema_version") == SCHEMA_VERSION
    assert set(read) == {"headline", "findings", "caveats", "gains", "metric", "unlearned"}
    assert (read["gains"], read["unlearned"]) == ([], "")
    (finding,) = read["findings"]
    assert (finding["outcome"], finding["seeds_needed"], finding["images_needed"]) == ("undecided", 7, None)
    assert (finding["margin"], finding["p_equivalence"], finding["difference"]) == (0.01, 0.3, -0.004)
