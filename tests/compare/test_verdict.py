from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sfumato.compare import CompareSettings, Tables, Verdict, judge
from sfumato.compare.pairing import pair
from sfumato.compare.tables import SCHEMAS
from sfumato.compare.tabulate import tabulate
from sfumato.compare.verdict import points
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
    return {"difference": value, "ci_low": low, "ci_high": high, **other}


def _category(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {
        "category": name,
        "top1_difference_to_none": value,
        "top1_ci_low_to_none": low,
        "top1_ci_high_to_none": high,
    }


def test_an_interval_that_holds_zero_is_undecided_never_no_cost() -> None:
    verdict = judge(_tables(_difference(-0.004, -0.011, 0.003)))
    (finding,) = verdict.findings
    assert finding.outcome == "undecided"
    assert finding.sentence == (
        "Hiding faces with blur cost 0.4 points of top-1 accuracy on average (95 % interval -0.3 to 1.1; "
        "against the control arm none; 1,000 images, 5 seeds): this study cannot tell it from zero."
    )
    assert verdict.headline == finding.sentence
    assert any("does not show that hiding faces costs nothing" in caveat for caveat in verdict.caveats)


def test_a_cost_is_told_as_a_positive_number() -> None:
    verdict = judge(_tables(_difference(-0.031, -0.04, -0.022)))
    assert verdict.findings[0].outcome == "cost"
    assert verdict.headline == (
        "Hiding faces with blur cost about 3.1 points of top-1 accuracy on average (95 % interval 2.2 to "
        "4.0; against the control arm none; 1,000 images, 5 seeds)."
    )


def test_a_gain_is_a_gain() -> None:
    verdict = judge(_tables(_difference(0.02, 0.01, 0.03)))
    assert verdict.findings[0].outcome == "gain"
    assert "gained about 2.0 points" in verdict.headline
    assert "interval 1.0 to 3.0" in verdict.headline


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
        )
    )
    assert verdict.headline == (
        "Hiding faces cost top-1 accuracy with overlay (about 5.0 points) and mosaic (about 3.0 points); "
        "with blur this study cannot tell the effect on top-1 accuracy from zero."
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


def test_categories_whose_interval_excludes_zero_are_named_in_order() -> None:
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
        "In 3 of 4 categories the interval excludes zero; "
        "most harmed: mask (-40.0 points), apron (-10.0 points); most helped: oboe (+12.0 points)."
    )
    assert any("without correction" in caveat and "about 5 in 100" in caveat for caveat in verdict.caveats)


def test_categories_that_gained_are_named_alone() -> None:
    categories = (_category("apron", 0.1, 0.05, 0.2), _category("kite", 0.0, 0.0, 0.0))
    (finding,) = judge(_tables(_difference(0.01, -0.1, 0.1), categories=categories)).findings
    assert finding.harmed == ()
    assert finding.categories_sentence.endswith("most helped: apron (+10.0 points).")


def test_no_affected_category_is_said() -> None:
    verdict = judge(_tables(_difference(-0.1, -0.2, 0.05), categories=(_category("kite", 0.0, -0.1, 0.1),)))
    assert verdict.findings[0].categories_sentence == (
        "In none of 1 category does the interval exclude zero."
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
        "Training on original and evaluating on blur cost about 30.0"
    )
    assert verdict.headline == verdict.findings[0].sentence


def test_the_planted_category_is_named(tmp_path: Path) -> None:
    world = World(per_category=(60,) * 4, harmed={(BLUR, "mask"): 0.1})
    tables = tabulate(pair(make_predictions(tmp_path, world)), None, settings=CompareSettings(rounds=500))
    (finding,) = judge(tables).findings
    assert finding.outcome == "cost"
    assert [item.category for item in finding.harmed] == ["mask"]


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.0314, "3.1"), (-0.0001, "0.0"), (0.0, "0.0"), (-0.02, "-2.0")]
)
def test_points_have_no_negative_zero(fraction: float, text: str) -> None:
    assert points(fraction) == text
