"""On runs with a planted swap, a planted loss and an exposure slope, the page names exactly those."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pytest

from sfumato.compare import CompareSettings, compare, read_tables
from sfumato.predictions import find_predictions, read_predictions
from sfumato.report import ReportInputs, write_report
from sfumato.report.changes import changes_section, kinds
from sfumato.report.comparison import Comparison
from sfumato.report.cost import split_rows
from sfumato.report.exposure import bin_name, exposure_section
from sfumato.report.reference import beside_table, reference_section
from tests.compare.synthetic import BLUR, NONE
from tests.report.planted import LOSER, LOST, WINNER, Planted, make_planted


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return make_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def comparison(source: ReportInputs) -> Comparison:
    return Comparison.of(read_tables(source.tables))


@pytest.fixture(scope="module")
def text(source: ReportInputs, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(source, tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


def test_exactly_the_planted_swap_and_loss_are_named(comparison: Comparison, text: str) -> None:
    found = changes_section(comparison)[BLUR]
    assert [item.name for item in found.swaps] == [f"{LOSER} → {WINNER}"]
    assert [item.name for item in found.losses] == [LOST]
    assert found.top1_only == ()
    assert found.sentence == f"Swapped: {LOSER} → {WINNER}; really lost: {LOST}."
    listed = re.findall(r'<li class="(?:swap|loss|top1)"><b>(.*?)</b>', text)
    assert listed == [f"{LOSER} → {WINNER}", "&lt;script&gt;alert(1)&lt;/script&gt;"]
    assert kinds(comparison, BLUR, "none") == {LOSER: "swap", WINNER: "gain by swap", LOST: "real loss"}


def test_the_planted_slope_is_told_and_nothing_where_nothing_is_hidden(comparison: Comparison) -> None:
    (arm,) = exposure_section(comparison)["arms"]
    assert arm.name == "blur"
    assert arm.trends[-1].kind == "loss"
    assert "images that faces cover more are lost more often" in arm.trends[-1].sentence


def test_a_study_in_which_nothing_happens_names_nothing(tmp_path: Path) -> None:
    calm = Planted(n_categories=12, hurt={"original": (0, 0, 0), NONE: (0, 0, 0), BLUR: (0, 0, 0)})
    source = make_planted(tmp_path, calm)
    text = write_report(source, tmp_path / "report").read_text()
    assert re.findall(r'<li class="(?:swap|loss|top1)">', text) == []
    assert re.findall(r'<li class="trend (?:loss|gain)">', text) == []
    assert "No swap was found." in text
    assert "No real loss is established." in text


def test_parts_of_the_change_add_up(comparison: Comparison) -> None:
    rows = split_rows(comparison)
    assert {row["arm"] for row in rows} == {BLUR}
    for row in rows:
        assert row["total"] == pytest.approx(row["recompression"] + row["obfuscation"])


def test_a_hostile_category_is_text_in_page_and_plot(text: str) -> None:
    outside = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)  # the only one is ours
    assert "<script" not in outside
    assert outside.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 5


def test_the_verdict_for_programs_lies_beside_the_page(source: ReportInputs, tmp_path: Path) -> None:
    page = write_report(source, tmp_path)
    written = json.loads((tmp_path / "report-files/verdict.json").read_text())
    assert written == json.loads((source.tables / "verdict.json").read_text())
    assert 'href="report-files/verdict.json"' in page.read_text()


def test_numbers_of_the_verdict_are_in_the_table_of_cost(comparison: Comparison, text: str) -> None:
    (row,) = comparison.differences(
        model="all", arm=BLUR, reference="none", metric="top1_accuracy", subset="all"
    )
    table = text[text.index('aria-label="Cost by method"') :].split("</table>")[0]
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", table.split("<tbody>")[1])
    assert cells[:2] == ["blur", "a cost"]
    assert cells[2] == f"−{abs(100 * row['difference']):.1f}"
    assert cells[6] == f"{100 * row['smallest_effect']:.1f}"


def test_the_published_study_is_beside_models_of_its_names(comparison: Comparison) -> None:
    table = beside_table(comparison)
    section = reference_section(comparison, table)
    models = {(row[0].text, row[1].text) for row in section["beside"].rows}
    assert models == {("resnet18", "blurred"), ("vgg11", "blurred")}
    summary = {(row[0].text, row[1].text): row for row in section["summary"].rows}
    assert summary["blurred", "top-1"][2].text == "−0.66"
    assert summary["overlaid", "top-5"][2].text == "−0.69"
    assert summary["overlaid", "top-1"][5].text == "–"  # no such arm here
    assert summary["blurred", "top-1"][5].text.startswith("−")


def test_other_models_see_the_study_for_orientation(tmp_path: Path) -> None:
    source = make_planted(tmp_path, Planted(n_categories=4, models=("mine",)))
    text = write_report(source, tmp_path / "report").read_text()
    assert "for orientation only" in text
    table = pyarrow.csv.read_csv(tmp_path / "report/report-files/published.csv")
    assert "mine" in table["model"].to_pylist()


def test_groups_and_attention_have_their_tables(text: str) -> None:
    assert 'aria-label="Change by region"' in text
    assert 'aria-label="Attention on faces by arm"' in text
    assert "groups-1-1.svg" in text


def test_what_is_not_known_has_no_section(source: ReportInputs, tmp_path: Path) -> None:
    runs = [read_predictions(folder) for folder in find_predictions(source.tables.parent / "runs")]
    compare(runs, tmp_path / "tables", settings=CompareSettings(rounds=100))
    text = write_report(replace(source, tables=tmp_path / "tables"), tmp_path / "report").read_text()
    for name in ("exposure", "groups"):
        assert (f'id="{name}"' in text) == (name == "exposure")  # attention is known all the same
        assert (f'href="#{name}"' in text) == (name == "exposure")
    assert "accuracy before, %" in text
    assert "exposure-image.svg" not in text


@pytest.mark.parametrize(
    ("low", "high", "name"), [(0.0, 0.0, "0 %"), (0.01, 0.02, "1–2 %"), (0.08, None, "8 % or more")]
)
def test_bins_have_names(low: float, high: float | None, name: str) -> None:
    assert bin_name({"area_low": low, "area_high": high}) == name
