from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sfumato.compare import read_tables
from sfumato.obfuscate import VARIANT_SCHEMA
from sfumato.records import write_table
from sfumato.report import ReportInputs
from sfumato.report.categories import categories_section, category_rows
from sfumato.report.charts import cost_charts, faces_chart
from sfumato.report.comparison import Comparison
from sfumato.report.face_facts import face_facts
from sfumato.report.numerals import change, count, interval, percent, plural, probability, signed, typeset
from sfumato.report.pictures import LONG_SIDE, examples
from sfumato.report.plots import Curve, Estimate, changes_plot, curves_plot, shown_range
from sfumato.report.privacy import privacy_section
from sfumato.report.scatter import BOTTOM, HEIGHT, TOP, Point, scatter
from tests.compare.synthetic import BLUR, NONE, World, make_faces
from tests.report.conftest import OVERLAY
from tests.report.study import make_study


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.004, "+0.4"),
        (-0.012, "−1.2"),
        (0.0, "0.0"),
        (-0.0004, "0.0"),
        (0.0004, "0.0"),
        (None, "–"),
        (-1, "−100.0"),
    ],
)
def test_changes_are_signed_points(value: float | None, text: str) -> None:
    assert change(value) == text


def test_other_numbers() -> None:
    assert percent(0.8125) == "81.2"
    assert percent(None) == "–"
    assert percent(1 / 3, decimals=0) == "33"
    assert interval(-0.5, 0.02) == "−50.0 to +2.0"
    assert interval(None, None) == "–"
    assert count(50_000) == "50,000"
    assert count(None) == "–"
    assert plural(1, "image") == "1 image"
    assert plural(1200, "image") == "1,200 images"
    assert plural(2, "category") == "2 categories"
    assert change(0.00655, decimals=2) == "+0.66"
    assert interval(-0.00655, 0.0, decimals=2) == "−0.66 to 0.00"
    assert [probability(p) for p in (None, 0.0004, 0.012, 0.346)] == ["–", "<0.001", "0.012", "0.35"]
    assert [signed(value) for value in (None, -0.001, 0.5)] == ["–", "0.00", "+0.50"]


def test_only_numbers_get_a_true_minus() -> None:
    assert typeset("from -0.3 to 1.1, (-5) of top-1 in x-2") == "from −0.3 to 1.1, (−5) of top-1 in x-2"


def test_face_facts_equal_a_plain_loop() -> None:
    world = World(categories=("a", "b", "c"), per_category=(5, 0, 4))
    ids = world.image_ids
    faces = make_faces(world, [ids[0], ids[0], ids[2], ids[5], ids[5], ids[5]], failed=[ids[8]])
    facts = face_facts(faces, world.categories)
    assert (facts.n_examined, facts.n_failed, facts.n_with_faces, facts.n_faces) == (8, 1, 3, 6)
    ok = [image_id for image_id in ids if faces.status[image_id] == "ok"]
    counted = Counter(len(faces.of(image_id)) for image_id in ok)
    assert {row["n_faces"]: row["n_images"] for row in facts.per_image.to_pylist()} == counted
    shares = facts.by_category["share_with_faces"].to_pylist()
    assert shares == [pytest.approx(0.4), None, pytest.approx(1 / 3)]


def test_examples_come_from_every_category_largest_face_first(study: ReportInputs) -> None:
    shown = {arm: study.variants[arm] for arm in (BLUR, OVERLAY)}
    found = examples(study.faces, shown)
    assert len({example.category for example in found[:3]}) == 3
    assert found == examples(study.faces, dict(shown))
    assert all(len(study.faces.of(example.image_id)) for example in found)
    big = found[-1].image_id
    column = study.faces.faces.schema.get_field_index("x1")
    field = study.faces.faces.schema.field("x1")
    right = [40.0 if name == big else 30.0 for name in study.faces.faces["image_id"].to_pylist()]
    table = study.faces.faces.set_column(column, field, [np.asarray(right, dtype=np.float32)])
    again = examples(replace(study.faces, faces=table), shown)
    assert big in {example.image_id for example in again[:3]}


def test_an_image_missing_or_unreadable_in_one_arm_is_passed_over(
    study: ReportInputs, tmp_path: Path
) -> None:
    shown = {arm: study.variants[arm] for arm in (BLUR, OVERLAY)}
    first, second = (example.image_id for example in examples(study.faces, shown)[:2])
    lacking = {**shown, OVERLAY: shown[OVERLAY].without([first])}
    assert first not in {example.image_id for example in examples(study.faces, lacking)}
    broken = tmp_path / second
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no picture")
    damaged = {**shown, OVERLAY: replace(shown[OVERLAY], root=tmp_path)}
    assert examples(study.faces, damaged) == []


def test_an_image_that_a_variant_only_copied_is_not_shown(study: ReportInputs, tmp_path: Path) -> None:
    variant = study.variants[BLUR]
    first, second = (example.image_id for example in examples(study.faces, {BLUR: variant})[:2])
    shutil.copytree(variant.root, tmp_path / "variant")
    rows = [
        {"image_id": sample.image_id, "written": "copied" if sample.image_id == first else "encoded"}
        for sample in variant.samples
    ]
    write_table(tmp_path / "variant" / "images.parquet", pa.Table.from_pylist(rows, schema=VARIANT_SCHEMA))
    found = examples(study.faces, {BLUR: replace(variant, root=tmp_path / "variant")})
    assert first not in {example.image_id for example in found}
    assert second in {example.image_id for example in found}


def test_pictures_are_small(study: ReportInputs, tmp_path: Path) -> None:
    dataset = study.variants[BLUR]
    sample = next(s for s in dataset.samples if len(study.faces.of(s.image_id)))
    path = tmp_path / sample.image_id
    path.parent.mkdir(parents=True)
    Image.new("RGB", (4000, 1000)).save(path)
    big = replace(dataset, root=tmp_path, samples=(sample,))
    ((picture,),) = [example.pictures for example in examples(study.faces, {BLUR: big})]
    assert (picture.width, picture.height) == (LONG_SIDE, LONG_SIDE // 4)


def test_pictures_of_many_arms_are_bounded(study: ReportInputs) -> None:
    shown = {f"blur(strength=0.{number:02d})": study.variants[BLUR] for number in range(1, 21)}
    assert sum(len(example.pictures) for example in examples(study.faces, shown)) <= 48


def test_charts_tell_their_numbers_in_words(study: ReportInputs) -> None:
    comparison = Comparison.of(read_tables(study.tables))
    charts = {chart.name: chart.alt for chart in cost_charts(comparison)}
    assert "overlay −" in charts["differences"]
    assert "blur: writing anew" in charts["split"]
    assert "images without faces" in charts["differences-by-faces"]
    assert "resnet18" in charts["models-1"]
    assert "all models" in charts["models-2"]
    worst = [arm.alt for arm in categories_section(comparison, {})][1]
    assert "The greatest loss is mask (−" in worst
    facts = face_facts(study.faces, study.original.categories)
    (shares,) = faces_chart(facts)
    assert "apron 33 %" in shares.alt


def test_a_plot_shows_without_colour_what_excludes_zero() -> None:
    excluded, held = Estimate("a", -0.1, -0.2, -0.05), Estimate("a", -0.1, -0.2, 0.05)
    assert excluded.excludes_zero
    assert not held.excludes_zero
    assert not Estimate("a", -0.1, None, None).excludes_zero
    told = replace(held, established=True)
    fills = [changes_plot([row], "x").count(b"fill: #a3341f") for row in (excluded, held, told)]
    assert fills[0] > 0
    assert fills[1] == 0
    assert fills[2] > 0
    assert changes_plot([held], "x") == changes_plot([held], "x")


def test_a_control_arm_is_no_obfuscated_arm(study: ReportInputs) -> None:
    comparison = Comparison.of(read_tables(study.tables))
    assert comparison.obfuscated() == [BLUR, OVERLAY]
    assert comparison.reference(BLUR) == "none"
    assert comparison.reference(NONE) == "original"
    assert comparison.reference("original") is None


def test_a_scatter_is_well_formed_and_names_what_is_established() -> None:
    points = [
        Point("<b> & 'co'", 10.0, -12.0, "real loss", "−12.0 points (real loss)"),
        Point("quiet", 60.0, 0.5, "", "+0.5 points"),
        Point("winner" * 9, 100.0, 3.0, "gain", "+3.0 points (gain)"),
    ]
    root = ElementTree.fromstring(scatter(points, title='a "title"', xlabel="share, %"))
    marks = {item.get("data-name"): item for item in root if item.get("data-name")}
    assert list(marks) == ["quiet", "<b> & 'co'", "winner" * 9]  # what is established lies on top
    assert marks["quiet"][0].text == "quiet: +0.5 points"
    shapes = {(mark.tag, re.sub(r"^M[^m]*", "", mark.get("d", ""))) for mark in marks.values()}
    assert len(shapes) == 3
    written = [item.text or "" for item in root if item.get("font-weight") == "600"]
    assert written == ["<b> & 'co'", f"{('winner' * 9)[:25]}…"]


@pytest.mark.parametrize("values", [(0.0,), (-0.04, 0.02), (-100.0, 100.0), (3.0, 7.0), (-1e-9,)])
def test_a_scatter_holds_all_its_points(values: tuple[float, ...]) -> None:
    points = [Point(f"c{value}", 50.0, value, "", "") for value in values]
    root = ElementTree.fromstring(scatter(points, title="t", xlabel="x"))
    heights = [float(item.get("cy", "nan")) for item in root if item.get("data-name")]
    assert len(heights) == len(values)
    assert all(TOP <= height <= HEIGHT - BOTTOM for height in heights)
    assert sorted(heights, reverse=True) == heights


def test_categories_come_with_the_greatest_loss_first_and_empty_ones_last(tmp_path: Path) -> None:
    world = World(categories=("empty", "a", "b"), per_category=(0, 9, 9), harmed={(BLUR, "b"): 0.1})
    comparison = Comparison.of(read_tables(make_study(tmp_path, world).tables))
    rows = category_rows(comparison, BLUR, "none")
    assert [row.row["category"] for row in rows] == ["b", "a", "empty"]
    before = {row["label"]: row["top1_accuracy"] for row in comparison.categories(NONE)}
    assert [row.before for row in rows] == [before[2], before[1], None]


def test_an_interval_of_next_to_nothing_does_not_flatten_a_curve() -> None:
    values = [Estimate(str(n), -0.01 * n, -0.01 * n - 0.02, -0.01 * n + 0.02) for n in range(4)]
    low, high = shown_range([*values, Estimate("4", -0.05, -1.0, 1.0)])
    assert -7 < low < -5
    assert 2 < high < 3
    assert shown_range([Estimate("0", 0.0, None, None)]) == pytest.approx((-0.006, 0.006))
    steps = [*values[:2], None, values[3]]
    assert curves_plot([Curve("$a", steps), Curve("b", steps)], "0123", ("x", "y")).startswith(b"<?xml")


def test_methods_tell_of_themselves_and_unknown_ones_are_named_only() -> None:
    known, unknown = privacy_section(["original", "none()", "blur(strength=0.2)", "theirs(x=1) -> none()"])
    assert (known.name, known.spec) == ("blur", "blur(strength=0.2)")
    assert "blur" in known.summary.lower()
    assert known.invertible.startswith("partly")
    assert (unknown.name, unknown.summary, unknown.invertible) == ("theirs", "", "")
