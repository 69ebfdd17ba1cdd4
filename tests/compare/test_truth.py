"""Studies of which everything is known: the comparison names what was planted, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sfumato.compare import CompareSettings, Tables, compare, judge
from sfumato.compare.further import Beside, further_tables
from sfumato.compare.pairing import pair
from sfumato.compare.tabulate import tabulate
from tests.compare.simulated import Planted, Simulation
from tests.compare.synthetic import BLUR, NONE

PLANTED = Planted(swap=1.0, loss=2.5, slope=2.5)
LOSER, WINNER, HARMED = "category04", "category05", "category11"
N_STUDIES = 80
Share = Callable[[Tables, set[str]], float]
"""Share of what a comparison names that is not among these names."""


@pytest.fixture(scope="module", params=[0, 1, 2])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A whole comparison from folders with scores, of one of three studies."""
    root = tmp_path_factory.mktemp("study")
    study = Simulation.of(PLANTED, request.param)
    runs = study.written(root / "runs")
    return compare(runs, root / "tables", faces=study.faces(), settings=CompareSettings(rounds=500))


def test_the_verdict_names_what_was_planted(tables: Tables) -> None:
    verdict = judge(tables)
    (finding,) = verdict.findings
    assert finding.outcome == "cost"
    assert {item.category for item in finding.harmed} == {LOSER, HARMED}
    assert {item.category for item in finding.helped} == {WINNER}
    assert finding.swaps == ((LOSER, WINNER),)
    assert finding.real_losses == (HARMED,)
    assert finding.categories_sentence.startswith(
        f"In 3 of 24 categories a change is established; most harmed: {HARMED} ("
    )


@pytest.mark.parametrize("reference", ["original", "none"])
def test_the_swap_is_named_and_no_other(tables: Tables, reference: str) -> None:
    named = [row for row in tables.swaps.to_pylist() if row["kind"] and row["reference"] == reference]
    found = [(row["arm"], row["loser"], row["winner"], row["kind"]) for row in named]
    assert found == [(BLUR, LOSER, WINNER, "swap")]


@pytest.mark.parametrize("reference", ["original", "none"])
def test_the_real_loss_is_told_from_the_swap(tables: Tables, reference: str) -> None:
    rows = [row for row in tables.losses.to_pylist() if row["reference"] == reference]
    found = [(row["arm"], row["category"], row["kind"], row["partners"]) for row in rows]
    assert found == [(BLUR, HARMED, "real loss", None), (BLUR, LOSER, "swap", WINNER)]


def test_the_slope_with_covered_area_is_found_and_only_there(tables: Tables) -> None:
    slopes = {
        (row["arm"], row["reference"]): row
        for row in tables.exposure_trends.to_pylist()
        if row["trend"] == "logistic_area_slope" and row["metric"] == "top1_accuracy"
    }
    assert set(slopes) == {(BLUR, "original"), (BLUR, "none"), (NONE, "original")}
    for reference in ("original", "none"):
        assert slopes[BLUR, reference]["ci_low"] > 0
        assert slopes[BLUR, reference]["p_value"] < 1e-6
    nothing = slopes[NONE, "original"]
    assert nothing["ci_low"] < 0 < nothing["ci_high"]
    bins = {
        (row["area_low"], row["area_high"]): row["difference"]
        for row in tables.exposure_bins.to_pylist()
        if (row["arm"], row["reference"], row["level"]) == (BLUR, "none", "image")
        if row["metric"] == "top1_accuracy"
    }
    assert bins[0.08, None] < bins[0.0, 0.0] - 0.03


def test_where_nothing_is_planted_nothing_is_named(tmp_path: Path) -> None:
    study = Simulation.of(Planted(), 0)
    made = compare(
        study.written(tmp_path / "runs"), tmp_path / "tables", faces=study.faces(),
        settings=CompareSettings(rounds=500, margin=0.03),
    )  # fmt: skip
    (finding,) = judge(made).findings
    assert finding.outcome == "equivalent"
    assert (finding.harmed, finding.helped) == ((), ())
    assert not any(made.swaps["kind"].to_pylist())
    assert len(made.losses) == 0


def _false(tables: Tables, true: set[str]) -> float:
    """Share of the categories named (top-1, blur against none) that were not planted."""
    rows = [row for row in tables.by_category.to_pylist() if (row["model"], row["arm"]) == ("m", BLUR)]
    named = {row["category"] for row in rows if (row["top1_q_value_to_none"] or 1) <= 0.05}
    return len(named - true) / max(1, len(named))


def _false_losses(tables: Tables, true: set[str]) -> float:
    named = {row["category"] for row in tables.losses.to_pylist() if row["reference"] == "none"}
    return len(named - true) / max(1, len(named))


def _false_swaps(tables: Tables, true: set[str]) -> float:
    rows = [row for row in tables.swaps.to_pylist() if row["kind"] and row["reference"] == "none"]
    return sum(row["loser"] not in true for row in rows) / max(1, len(rows))


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("planted", [False, True])
def test_false_discoveries_stay_under_q(planted: bool, seeds: int) -> None:
    """The false discovery rate is the mean share of what is named that is not true: at most 5 % within 3
    standard errors of so many studies."""
    truth = Planted(
        swap=1.5 * planted, loss=2.5 * planted, n_categories=14, per_category=30, seeds=seeds, models=("m",)
    )
    true: dict[Share, set[str]] = {
        _false: {LOSER, WINNER, HARMED},
        _false_losses: {LOSER, HARMED},
        _false_swaps: {LOSER},
    }
    shares: dict[Share, list[float]] = {share: [] for share in true}
    for number in range(N_STUDIES):
        runs = Simulation.of(truth, 1000 * seeds + number).predictions()
        outcomes = pair(runs)
        by_outcome = tabulate(outcomes, None, settings=CompareSettings(rounds=100)).named()
        tables = Tables(**by_outcome | further_tables(outcomes, Beside(runs)))
        for share, names in true.items():
            shares[share].append(share(tables, names if planted else set()))
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / N_STUDIES)
    assert all(np.mean(values) <= most for values in shares.values()), shares
