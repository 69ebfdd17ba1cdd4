from __future__ import annotations

import base64
import hashlib
import html
import importlib
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from PIL import Image

from sfumato.compare import CompareSettings, compare, judge, read_tables
from sfumato.data import Dataset
from sfumato.errors import ManifestError, MissingExtra
from sfumato.report import ReportInputs, write_report
from tests.compare.synthetic import BLUR, NONE, World, make_faces, make_predictions, write_predictions
from tests.report.conftest import HOSTILE, OVERLAY
from tests.report.study import FACE_COLOUR, make_study


class _Page(HTMLParser):
    """Tags with their attributes, and the text, as a browser's parser sees them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for name, attrs in self.tags if name == tag and attribute in attrs]


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    parsed = _Page(page)
    tags = [name for name, _ in parsed.tags]
    assert set(tags).isdisjoint({"link", "iframe", "object", "form", "base"})
    assert tags.count("script") == 1
    assert parsed.values("script", "src") == []
    sources = parsed.values("img", "src")
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    text = re.sub(r"data:[^\"]+", "", page.read_text()).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(", text)
    assert not any("style" in attrs or any(key.startswith("on") for key in attrs) for _, attrs in parsed.tags)


def test_links_lead_to_files_beside_the_page(page: Path) -> None:
    parsed = _Page(page)
    links = parsed.values("a", "href")
    anchors = {f"#{value}" for value in parsed.values("section", "id")}
    files = {link for link in links if not link.startswith("#")}
    assert {link for link in links if link.startswith("#")} <= anchors
    assert all((page.parent / link).is_file() for link in files)
    written = {f"report-files/{path.name}" for path in (page.parent / "report-files").iterdir()}
    assert written == files


def test_the_policy_allows_only_our_style_and_script(page: Path) -> None:
    text = page.read_text()
    (policy,) = [
        attrs["content"] or ""
        for name, attrs in _Page(page).tags
        if name == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_names_are_text_never_markup(page: Path) -> None:
    parsed = _Page(page)
    assert HOSTILE in parsed.text
    assert "<apron> was not expected" in parsed.text
    assert 'A "study" of <faces>' in parsed.text
    assert {"faces", "apron"}.isdisjoint({name for name, _ in parsed.tags})
    assert html.escape(HOSTILE) in page.read_text()


def test_the_verdict_comes_first(study: ReportInputs, page: Path) -> None:
    verdict = judge(read_tables(study.tables))
    text = _Page(page).text
    assert text.index(verdict.headline) < text.index("This is a self-check") < text.index("Accuracy")
    assert [finding.arm for finding in verdict.findings] == [BLUR, OVERLAY]
    assert "It is no evidence about your data" in text
    assert "FAILED" in text


def test_a_real_study_has_no_self_check(study: ReportInputs, tmp_path: Path) -> None:
    text = _Page(write_report(replace(study, selfcheck=None), tmp_path)).text
    assert "self-check" not in text
    assert "FAILED" not in text


def test_limits_are_said(page: Path) -> None:
    text = " ".join(_Page(page).text.split())
    for sentence in (
        "Obfuscated is not anonymous.",
        "A face that the detector missed is visible in them",
        "An interval that holds zero is not evidence that hiding faces costs nothing.",
        "where many categories are compared at once some change by chance",
        "Privacy was not measured.",
    ):
        assert sentence in text


def test_every_table_is_a_csv_and_every_plot_an_svg(study: ReportInputs, page: Path) -> None:
    folder = page.parent / "report-files"
    tables = read_tables(study.tables)
    for name, table in tables.named().items():
        read = pyarrow.csv.read_csv(
            folder / f"{name}.csv",
            convert_options=pyarrow.csv.ConvertOptions(column_types=table.schema, strings_can_be_null=True),
        )
        assert read.equals(table)
    embedded = {
        base64.b64decode(source.split(",")[1])
        for source in _Page(page).values("img", "src")
        if source.startswith("data:image/svg+xml")
    }
    embedded |= {svg.encode() for svg in re.findall(r"<svg.*?</svg>", page.read_text(), re.DOTALL)}
    assert embedded == {path.read_bytes() for path in folder.glob("*.svg")}
    assert {path.stem for path in folder.glob("*.svg")} == {
        "differences",
        "differences-by-faces",
        "split",
        "models-1",
        "models-2",
        "exposure-category",
        "exposure-image",
        "categories-1",
        "categories-2",
        "faces-by-category",
    }


def test_files_of_an_earlier_report_do_not_stay(study: ReportInputs, tmp_path: Path) -> None:
    (tmp_path / "report-files").mkdir()
    (tmp_path / "report-files/categories-9.svg").write_text("of an arm that is no more")
    write_report(study, tmp_path)
    assert not (tmp_path / "report-files/categories-9.svg").exists()
    assert (tmp_path / "report-files/overall.csv").exists()


def test_every_picture_has_words(page: Path) -> None:
    images = [attrs for name, attrs in _Page(page).tags if name == "img"]
    assert all(len(attrs.get("alt") or "") > 5 for attrs in images)


def test_numbers_of_the_page_are_those_of_the_tables(study: ReportInputs, page: Path) -> None:
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page.read_text())
    for row in read_tables(study.tables).overall.to_pylist():
        if row["subset"] == "all":
            assert f"{100 * row['mean']:.1f}" in cells


def test_settings_and_keys_are_printed(study: ReportInputs, page: Path) -> None:
    text = _Page(page).text
    assert study.command in text
    assert "train.models" in text
    assert '["resnet18", "vgg11"]' in text
    assert study.faces.manifest.key in text


def test_the_same_study_gives_the_same_bytes(study: ReportInputs, page: Path, tmp_path: Path) -> None:
    again = write_report(study, tmp_path)
    assert again.read_bytes() == page.read_bytes()
    for path in (page.parent / "report-files").iterdir():
        assert (tmp_path / "report-files" / path.name).read_bytes() == path.read_bytes()


def _pictures(page: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
        for source in _Page(page).values("img", "src")
        if source.startswith("data:image/jpeg")
    ]


def _shows_a_face(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bool:
    return bool((np.abs(picture.astype(int) - FACE_COLOUR).max(axis=2) < 60).any())


def test_the_page_does_not_show_what_the_study_hides(study: ReportInputs, page: Path, tmp_path: Path) -> None:
    hidden = _pictures(page)
    assert len(hidden) == 2 * 6
    assert not any(map(_shows_a_face, hidden))
    # The same test on a page that was asked to show them: were it blind, this would be empty.
    shown = _pictures(write_report(study, tmp_path, show_originals=True))
    assert len(shown) == 4 * 6
    assert sum(map(_shows_a_face, shown)) == 2 * 6
    assert "untouched pictures" in _Page(tmp_path / "report.html").text


def test_without_an_obfuscated_arm_there_is_no_picture(tmp_path: Path) -> None:
    world = World(categories=("a", "b"), per_category=(4, 4), accuracy={"original": 0.9, NONE: 0.9})
    page = write_report(make_study(tmp_path, world), tmp_path / "report")
    assert _pictures(page) == []
    assert "nothing to judge" in _Page(page).text


@pytest.mark.parametrize(
    "world",
    [
        World(categories=("a", "b"), per_category=(5, 4), seeds=(0,)),
        World(categories=("a", "b"), per_category=(5, 4), accuracy={"original": 0.9, BLUR: 0.5}),
        World(categories=("a", "b"), per_category=(5, 0)),
        World(categories=("猫", "b" * 90), per_category=(3, 3)),
        World(categories=("a", "b"), per_category=(5, 4), accuracy={BLUR: 0.5}),
    ],
    ids=["one seed", "no control arm", "empty category", "odd names", "no reference"],
)
def test_smaller_studies_have_a_page_too(world: World, tmp_path: Path) -> None:
    text = _Page(write_report(make_study(tmp_path, world), tmp_path / "report")).text
    assert "Methods and limits" in text
    assert "None" not in re.sub("None: every image|None of", "", text)
    assert "nan" not in text.split()


def test_no_face_anywhere_is_a_page_too(tmp_path: Path) -> None:
    world = World(categories=("a", "b"), per_category=(4, 4))
    study = replace(make_study(tmp_path, world), faces=make_faces(world, []))
    text = " ".join(_Page(write_report(study, tmp_path / "report")).text.split())
    assert "0 with faces (0.0 %)" in text
    assert "there is none to show" in text


def test_failed_images_are_listed_with_their_stage(tmp_path: Path) -> None:
    world = World(categories=("a", "b"), per_category=(20, 20), seeds=(0, 1))
    made = make_study(tmp_path, world)
    failed = make_faces(world, world.image_ids[:3], failed=world.image_ids[10:34])
    predictions = make_predictions(tmp_path / "again", world)[:-1]
    facts = {"model": "resnet18", "seed": 1, "train_arm": BLUR, "eval_arm": BLUR}
    predictions.append(write_predictions(tmp_path / "again", world, [None, *[0] * 39], facts))
    compare(predictions, tmp_path / "tables2", settings=CompareSettings(rounds=100))
    study = replace(made, faces=failed, tables=tmp_path / "tables2")
    text = " ".join(_Page(write_report(study, tmp_path / "report")).text.split())
    assert "25 failures; the first 20 are listed here" in text
    assert "1 image failed in some run and was left out" in text
    listed = pyarrow.csv.read_csv(tmp_path / "report" / "report-files" / "failed.csv").to_pylist()
    assert [row["stage"] for row in listed] == ["detect"] * 24 + ["evaluate"]
    assert listed[-1]["image_id"] == world.image_ids[0]
    assert "truncated file" in listed[-1]["reason"]


def test_a_thousand_categories_stay_below_five_megabytes(tmp_path: Path) -> None:
    names = tuple(f"category number {number:04d}" for number in range(1000))
    world = World(
        categories=names,
        per_category=(2,) * 1000,
        accuracy={"original": 0.8, NONE: 0.8, BLUR: 0.8, OVERLAY: 0.7},
        models=("a", "b"),
    )
    faces = make_faces(world, world.image_ids[::3])
    predictions = make_predictions(tmp_path / "predictions", world)
    compare(predictions, tmp_path / "tables", settings=CompareSettings(rounds=100))
    original = Dataset(tmp_path, (), names, "0")
    page = write_report(ReportInputs("Many", tmp_path / "tables", faces, original, {}), tmp_path / "report")
    assert page.stat().st_size < 5_000_000
    svg = (page.parent / "report-files/categories-1.svg").read_text()
    assert svg.count("data-name=") == 1000
    assert len(re.findall(r"<tr>", page.read_text())) > 2000


def test_tables_of_another_kind_are_refused(study: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        write_report(replace(study, tables=tmp_path), tmp_path / "report")


@pytest.mark.parametrize(("library", "module"), [("jinja2", "page"), ("matplotlib", "plots")])
def test_a_missing_extra_is_one_clear_line(
    library: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sfumato.report.{module}", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'sfumato\[report\]'"):
        importlib.import_module(f"sfumato.report.{module}")


def test_comparing_and_reporting_never_load_torch() -> None:
    code = (
        "import sys, sfumato.compare, sfumato.report; early = set(sys.modules); import sfumato.report.page; "
        "assert 'torch' not in sys.modules; assert early.isdisjoint({'matplotlib', 'jinja2'}), early"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
