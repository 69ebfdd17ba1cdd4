"""The section about transfer: its numbers are those of the tables, its words those of the verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.csv
import pytest

from sfumato.compare import CompareSettings, compare, judge, read_tables, short_names
from sfumato.compare.published_transfer import TRANSFER_BESIDE_SCHEMA, transfer_beside
from sfumato.errors import ManifestError, UsageError
from sfumato.predictions import find_predictions, read_predictions
from sfumato.report import ReportInputs, find_transfer, write_report
from tests.compare.synthetic import BLUR, NONE, World
from tests.report.downstream import STARTS, a_task, make_attributes, make_transfer, one_run
from tests.report.study import make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "../../<script>alert(1)</script> & $x"
MINUS, DASH = "−", "–"


class _Tables(HTMLParser):
    """The tables of a page by their label, rows of the text of cells; and what stands outside of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.text = ""
        self._rows: list[list[str]] = []
        self._cell = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        label = dict(attrs).get("aria-label")
        if tag == "div" and label:
            self._rows = self.found.setdefault(label, [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = True
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self._rows[-1][-1] += data


def signed(fraction: float) -> str:
    """Points as the page writes them; written a second time here."""
    points = f"{abs(100 * fraction):.1f}"
    return points if points == "0.0" else f"{'+' if fraction > 0 else MINUS}{points}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return make_study(tmp_path_factory.mktemp("study"), World(categories=("a", "b"), per_category=(8, 8)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fine-tuned and linear on CIFAR-10, and a task that somebody named to break a page."""
    root = tmp_path_factory.mktemp("study-transfer")
    linear = {start: chance - 0.1 for start, chance in STARTS.items()}
    return [
        make_transfer(root / "a", a_task()),
        make_transfer(
            root / "b",
            a_task(protocol="linear", facts={"train": {"n_images": 417}}),
            starts=linear,
            start_seed=one_run,
        ),
        make_transfer(root / "c", a_task(HOSTILE, HOSTILE), models=("resnet18",), start_seed=one_run),
    ]


@pytest.fixture(scope="module")
def page(study: ReportInputs, folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(replace(study, transfer=folders), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def shown(page: Path) -> _Tables:
    return _Tables(page)


def rows_of(folder: Path, table: str, **wanted: str) -> list[dict[str, Any]]:
    rows = read_tables(folder).named()[table].to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


MAIN = {"metric": "top1_accuracy", "subset": "all"}
SHORT = {"scratch": "scratch", "original": "original", NONE: "none", BLUR: "blur"}
NAMES = {"all": "all models", "resnet18": "resnet18", "mine": "mine"}


def test_means_are_those_of_the_tables(folders: list[Path], shown: _Tables) -> None:
    head, *rows = shown.found["CIFAR-10, fine-tuned: means"]
    assert head == ["Model", "scratch", "original", "none", "blur"]
    found = {(row[0], start): cell for row in rows for start, cell in zip(head[1:], row[1:], strict=True)}
    told = {
        (
            NAMES[row["model"]],
            SHORT[row["arm"]],
        ): f"{100 * row['mean']:.1f} ± {100 * row['standard_error']:.1f}"
        for row in rows_of(folders[0], "overall", **MAIN)
    }
    assert len(told) == 3 * 4
    assert found == told


def test_differences_and_gains_are_those_of_the_tables(folders: list[Path], shown: _Tables) -> None:
    outcomes = {"equivalent": "no meaningful cost", "cost": "a cost", "undecided": "cannot tell"}
    _, *differences = shown.found["CIFAR-10, fine-tuned: differences"]
    _, *gains = shown.found["CIFAR-10, fine-tuned: gains over scratch"]
    rows = rows_of(folders[0], "differences", **MAIN)
    told = {_start(row): row for row in rows if row["arm"] == BLUR and row["reference"] != "scratch"}
    assert {tuple(cells[:3]) for cells in differences} == told.keys()
    assert len(told) == 3 * 2
    for model, start, reference, change, interval, outcome, smallest in differences:
        row = told[model, start, reference]
        assert change == signed(row["difference"])
        assert interval == f"{signed(row['ci_low'])} to {signed(row['ci_high'])}"
        assert outcome == outcomes[row["outcome"]]
        assert smallest == f"{100 * row['smallest_effect']:.1f}"
    gained = {_start(row)[:2]: row for row in rows if row["reference"] == "scratch"}
    assert {tuple(cells[:2]) for cells in gains} == gained.keys()
    assert len(gained) == 3 * 3
    for model, start, change, interval, outcome in gains:
        row = gained[model, start]
        assert (change, outcome) == (signed(row["difference"]), "a gain")
        assert interval == f"{signed(row['ci_low'])} to {signed(row['ci_high'])}"


def _start(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return NAMES[row["model"]], SHORT[row["arm"]], row["reference"]


def test_further_metrics_are_there_folded(folders: list[Path], page: Path, shown: _Tables) -> None:
    _, *rows = shown.found["CIFAR-10, fine-tuned: further metrics"]
    told = rows_of(folders[0], "overall", metric="top5_accuracy", subset="all")
    assert [(row[0], row[1], row[3]) for row in rows] == [
        (NAMES[row["model"]], SHORT[row["arm"]], f"{100 * row['mean']:.1f}") for row in told
    ]
    assert {row[2] for row in rows} == {"top-5 accuracy"}
    changed = {(row[0], row[5], row[6]) for row in rows if row[1] == "blur"}
    differences = rows_of(folders[0], "differences", metric="top5_accuracy", arm=BLUR, reference="none")
    assert changed == {(NAMES[row["model"]], "none", signed(row["difference"])) for row in differences}
    before = page.read_text().split('aria-label="CIFAR-10, fine-tuned: further metrics"')[0]
    assert before.count("<details") > before.count("</details")


def test_what_is_said_is_what_the_verdict_says(folders: list[Path], shown: _Tables) -> None:
    text = " ".join(shown.text.split())
    for folder, title in zip(folders, ("CIFAR-10, fine-tuned", "CIFAR-10, linear probe"), strict=False):
        assert f"{title}. {judge(read_tables(folder)).headline.replace(' -', f' {MINUS}')}" in text
    assert "top-1 accuracy; 160 test images, 3 seeds" in text
    assert "own images were obfuscated" not in text
    assert re.search(r"CIFAR-10, linear probe: the data\s*train.n_images\s*417", text)


def test_the_files_are_the_tables(folders: list[Path], page: Path) -> None:
    for folder, name in zip(folders, ("cifar10--finetune", "cifar10--linear"), strict=False):
        for table_name, table in read_tables(folder).named().items():
            path = page.parent / "report-files" / f"transfer-{name}-{table_name}.csv"
            assert path.is_file() == (len(table) > 0)
            if len(table):
                types = pyarrow.csv.ConvertOptions(column_types=table.schema, strings_can_be_null=True)
                assert pyarrow.csv.read_csv(path, convert_options=types).equals(table)


def test_a_hostile_task_is_text_and_its_files_stay_in_their_folder(page: Path, shown: _Tables) -> None:
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)  # the only one is ours
    assert "<script" not in outside
    assert f"{HOSTILE}, fine-tuned: means" in shown.found
    links = set(re.findall(r'href="([^"#][^"]*)"', text))
    written = {f"report-files/{path.name}" for path in (page.parent / "report-files").iterdir()}
    assert links == written
    assert "report-files/transfer-..-..-script-alert-1-script-x--finetune-overall.csv" in links
    assert {path.name for path in page.parent.iterdir()} == {"report.html", "report-files"}


def test_one_plot_has_a_panel_for_every_task(folders: list[Path], page: Path) -> None:
    (alt,) = re.findall(r'alt="(Change of each task[^"]*)"', page.read_text(encoding="utf-8"))
    for folder in folders:
        for row in rows_of(folder, "differences", arm=BLUR, reference="none", **MAIN):
            told = (
                f"{NAMES[row['model']]}: blur {signed(row['difference'])} (interval {signed(row['ci_low'])}"
            )
            assert told in alt
    assert (page.parent / "report-files/transfer.svg").is_file()


def test_without_a_task_the_page_is_as_it_was(study: ReportInputs, tmp_path: Path) -> None:
    text = write_report(study, tmp_path).read_text(encoding="utf-8")
    assert 'id="transfer"' not in text
    assert "#transfer" not in text
    assert not list((tmp_path / "report-files").glob("transfer*"))


def test_leaving_a_task_out_takes_its_files_away(
    study: ReportInputs, folders: list[Path], tmp_path: Path
) -> None:
    write_report(replace(study, transfer=folders[:1]), tmp_path)
    assert list((tmp_path / "report-files").glob("transfer-cifar10--finetune-*.csv"))
    write_report(study, tmp_path)
    assert not list((tmp_path / "report-files").glob("transfer*"))


def test_the_same_tasks_in_another_order_give_the_same_bytes(
    study: ReportInputs, folders: list[Path], page: Path, tmp_path: Path
) -> None:
    again = write_report(replace(study, transfer=[*folders[::-1], folders[0]]), tmp_path)
    assert again.read_bytes() == page.read_bytes()


def test_tables_of_no_task_are_refused(study: ReportInputs, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="compares no downstream task"):
        write_report(replace(study, transfer=[study.tables]), tmp_path)
    with pytest.raises(ManifestError):
        write_report(replace(study, transfer=[tmp_path]), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_damaged_facts_are_one_clear_line(study: ReportInputs, tmp_path: Path) -> None:
    folder = make_transfer(tmp_path / "task", a_task(), models=("m",))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["facts"]["task"]["title"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ManifestError, match="its task needs name, title, kind, protocol, metrics"):
        write_report(replace(study, transfer=[folder]), tmp_path / "report")


def test_two_tasks_of_one_name_have_files_of_their_own(study: ReportInputs, tmp_path: Path) -> None:
    tasks = [a_task("photos", "Photos", metrics=["top1_accuracy", str(number)]) for number in range(2)]
    folders = [
        make_transfer(tmp_path / str(place), task, models=(str(place),)) for place, task in enumerate(tasks)
    ]
    write_report(replace(study, transfer=folders), tmp_path / "report")
    found = {path.name for path in (tmp_path / "report/report-files").glob("transfer-*-overall.csv")}
    assert found == {"transfer-photos--finetune-overall.csv", "transfer-photos--finetune-2-overall.csv"}


def test_only_finished_comparisons_on_tasks_are_found(study: ReportInputs, tmp_path: Path) -> None:
    task = make_transfer(tmp_path / "deep/er", a_task(), models=("m",))
    runs = [read_predictions(folder) for folder in find_predictions(study.tables.parent / "predictions")]
    compare(runs, tmp_path / "plain/tables", settings=CompareSettings(rounds=100))
    for place in ("unfinished/tables", ".hidden/tables"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "unfinished/tables/.started").write_text("key")
    (tmp_path / ".hidden/tables/manifest.json").write_text((task / "manifest.json").read_text())
    assert find_transfer(tmp_path) == [task]
    assert find_transfer(task) == [task]
    assert find_transfer(tmp_path / "nowhere") == []


PUBLISHED = {
    "CIFAR-10: alexnet": ["90.6", "90.9", "91.1", "83.2 ± 0.3"],
    "CIFAR-10: resnet18": ["96.1", "96.1", "96.1", "92.6 ± 0.3"],
    "CelebA: shufflenet_v2_x1_0": ["55.6", "52.5", "53.5", "36.1 ± 0.3"],
    "PASCAL VOC detection: resnet50": ["79.4", "79.29", "79.4", DASH],
}
"""Typed in from the poster and the slides, not taken from the package."""


def test_the_studys_numbers_are_beside_ours(folders: list[Path], shown: _Tables) -> None:
    head, *rows = shown.found["The study's transfer numbers and ours"]
    assert head[1:] == ["Whose", "original %", "blurred %", "overlaid %", "scratch %"]
    study_rows = {row[0]: row[2:] for row in rows if row[1] == "study"}
    assert len(study_rows) == 4 + 4 + 1
    assert {name: study_rows[name] for name in PUBLISHED} == PUBLISHED
    (ours,) = [row for row in rows if row[1] != "study"]  # nothing linear, and no other model or task
    means = {row["arm"]: row for row in rows_of(folders[0], "overall", model="resnet18", **MAIN)}
    cells = [
        f"{100 * means[arm]['mean']:.1f} ± {100 * means[arm]['standard_error']:.1f}"
        for arm in ("original", BLUR, "scratch")
    ]
    assert ours == ["CIFAR-10: resnet18", "ours", cells[0], cells[1], DASH, cells[2]]
    assert rows[rows.index(ours) - 1][:2] == ["CIFAR-10: resnet18", "study"]


def test_what_stands_beside_the_study_is_a_file_too(folders: list[Path], page: Path) -> None:
    (path,) = (page.parent / "report-files").glob("transfer-*-published.csv")  # nothing linear, no other task
    assert path.name == "transfer-cifar10--finetune-published.csv"
    types = pyarrow.csv.ConvertOptions(column_types=TRANSFER_BESIDE_SCHEMA, strings_can_be_null=True)
    assert pyarrow.csv.read_csv(path, convert_options=types).equals(transfer_beside(read_tables(folders[0])))


def test_several_strengths_of_one_method_stand_beside_each_other(study: ReportInputs, tmp_path: Path) -> None:
    weak = "blur(strength=0.1, grow=0.1)"
    starts = {"original": 0.8, BLUR: 0.7, weak: 0.75}
    folder = make_transfer(tmp_path / "task", a_task("voc2007"), starts=starts, models=("resnet50",))
    shown = _Tables(write_report(replace(study, transfer=[folder]), tmp_path / "report"))
    (ours,) = [row for row in shown.found["The study's transfer numbers and ours"] if row[1] == "ours"]
    names = short_names(starts)
    means = {row["arm"]: row for row in rows_of(folder, "overall", **MAIN)}
    told = {
        f"{100 * means[arm]['mean']:.1f} ± {100 * means[arm]['standard_error']:.1f} ({names[arm]})"
        for arm in (BLUR, weak)
    }
    assert ours[0] == "PASCAL VOC detection: resnet50"
    assert set(ours[3].split("; ")) == told


def test_a_task_that_nothing_was_learned_of_says_so_first(study: ReportInputs, tmp_path: Path) -> None:
    starts = dict.fromkeys(STARTS, 0.15)
    folder = make_transfer(tmp_path / "task", a_task(), starts=starts, models=("m",))
    sentence = judge(read_tables(folder)).unlearned
    assert sentence
    text = " ".join(
        _Tables(write_report(replace(study, transfer=[folder]), tmp_path / "report")).text.split()
    )
    assert text.count(sentence) == 1
    assert f"CIFAR-10, fine-tuned. {sentence} {judge(read_tables(folder)).headline[:30]}" in text


@pytest.mark.parametrize("start", ["original", BLUR])
def test_one_start_and_scratch_are_told_by_the_gain(study: ReportInputs, tmp_path: Path, start: str) -> None:
    starts = {"scratch": 0.5, start: 0.84}
    folder = make_transfer(tmp_path / "task", a_task(), starts=starts, models=("m",))
    shown = _Tables(write_report(replace(study, transfer=[folder]), tmp_path / "report"))
    (gain,) = judge(read_tables(folder)).gains
    text = " ".join(shown.text.split())
    assert f"CIFAR-10, fine-tuned. {gain.sentence}" in text
    assert "nothing to judge" not in text[text.index("CIFAR-10, fine-tuned.") :]
    assert len(shown.found["CIFAR-10, fine-tuned: gains over scratch"]) == 2
    assert "CIFAR-10, fine-tuned: differences" not in shown.found


def test_what_is_not_known_of_the_study_is_said(shown: _Tables) -> None:
    text = " ".join(shown.text.split())
    for words in (
        "blurred alexnet −4.8, shufflenet_v2_x1_0 −3.1, resnet18 +0.1, resnet34 +0.9; "
        "overlaid alexnet −3.0, shufflenet_v2_x1_0 −2.1, resnet18 +0.3, resnet34 +0.8",
        "SUN: every number.",
        "read off the authors' chart (± is the error of reading)",
        "the metric is not confirmed",
        "splits, epochs, learning rates, and any spread",
    ):
        assert words in text


def test_attributes_are_told_one_by_one_and_rare_ones_named(study: ReportInputs, tmp_path: Path) -> None:
    metrics = ["mean_average_precision"]
    task = a_task("celeba", "CelebA", kind="attributes", metrics=metrics, facts={"obfuscated": True})
    folder = make_attributes(tmp_path / "celeba", task)
    shown = _Tables(write_report(replace(study, transfer=[folder]), tmp_path / "report"))
    text = " ".join(shown.text.split())
    assert "The task’s own images were obfuscated too" in text
    assert "1 attribute has fewer than 10 images with it and is not in the mean: Bald." in text
    head, *rows = shown.found["CelebA, fine-tuned: average precision"]
    starts = ["scratch %", "original %", "none %", "blur %"]
    assert head == ["Attribute", "Images", *starts, f"blur {MINUS} none"]
    assert [row[:2] for row in rows] == [
        ["Smiling", "70"],
        ["Eyeglasses <b>", "40"],
        ["Bald", "3 (not in the mean)"],
    ]
    precision = {(row["category"], row["arm"]): row for row in rows_of(folder, "precision")}
    changes = {
        row["category"]: row for row in rows_of(folder, "precision_differences", arm=BLUR, reference="none")
    }
    for name, _, *cells, change in rows:
        means = [precision[name, arm]["average_precision"] for arm in SHORT]
        assert cells == [f"{100 * mean:.1f}" for mean in means]
        assert change == signed(changes[name]["difference"])
    (mean,) = [row["mean"] for row in rows_of(folder, "overall", arm=BLUR)]
    assert shown.found["CelebA, fine-tuned: means"][1][4].startswith(f"{100 * mean:.1f} ±")
    assert "mean average precision; 150 test images, 3 seeds" in text


def test_one_pretrained_model_a_start_is_a_caveat(
    study: ReportInputs, folders: list[Path], shown: _Tables, tmp_path: Path
) -> None:
    words = "every arm started from one pre-trained model"
    places = [
        shown.text.index(f"{name}")
        for name in (f"{HOSTILE}, fine-tuned top-1", "CIFAR-10, linear probe top-1")
    ]
    assert [found.start() > min(places) for found in re.finditer(words, shown.text)] == [True, True]
    of_all = _Tables(write_report(replace(study, transfer=folders[1:]), tmp_path / "all")).text
    assert of_all.count(words) == 1
    assert of_all.index(words) < of_all.index("CIFAR-10, linear probe top-1")
    of_none = _Tables(write_report(replace(study, transfer=folders[:1]), tmp_path / "none")).text
    assert words not in of_none


def test_the_gain_over_scratch_is_a_sentence(folders: list[Path], shown: _Tables) -> None:
    rows = rows_of(folders[0], "differences", model="all", reference="scratch", **MAIN)
    told = [
        f"{SHORT[row['arm']]} {signed(row['difference'])} "
        f"({signed(row['ci_low'])} to {signed(row['ci_high'])})"
        for row in rows
    ]
    assert len(told) == 3
    assert f"Points gained over training from scratch: {', '.join(told)}." in " ".join(shown.text.split())


def test_without_scratch_nothing_is_said_of_gains(study: ReportInputs, tmp_path: Path) -> None:
    starts = {start: chance for start, chance in STARTS.items() if start != "scratch"}
    folder = make_transfer(tmp_path / "task", a_task(), starts=starts, models=("m",))
    page = write_report(replace(study, transfer=[folder]), tmp_path / "report")
    shown = _Tables(page)
    assert "CIFAR-10, fine-tuned: differences" in shown.found
    assert "CIFAR-10, fine-tuned: gains over scratch" not in shown.found
    assert "gained over training" not in shown.text


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_a_window_and_a_phone(browser: Browser, page: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.goto(page.as_uri())
    opened.locator("#transfer details").evaluate_all("all => all.forEach(one => one.open = true)")
    wide, window = opened.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= window
    assert opened.locator("#transfer .plot img").evaluate("image => image.naturalWidth") > 100
    assert opened.locator("nav a[href='#transfer']").is_visible()
    loose = "all => all.filter(table => !table.closest('.scroll')).length"
    assert opened.locator("#transfer table").evaluate_all(loose) == 0
    assert complaints == []
    context.close()
