"""`sfumato compare` as a person gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfumato.cli import main
from sfumato.compare import read_tables
from sfumato.compare.published import BESIDE_SCHEMA, SUMMARY_SCHEMA
from sfumato.compare.published_transfer import TRANSFER_BESIDE_SCHEMA
from tests.compare.downstream import make_attributes
from tests.compare.synthetic import World, make_predictions

WORLD = World(models=("a", "resnet18"))
DROPS = (
    "Mean drop over the study's 15 ConvNets, in points of top-1 and of top-5 accuracy: 0.655 and 0.418 with "
    "blurring, 0.897 and 0.692 with overlaying."
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_predictions(tmp_path / "runs", WORLD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(*options: str) -> int:
    return main(["compare", "runs", "--out", "tables", "--rounds", "200", "-q", *options])


def settings() -> dict[str, object]:
    manifest = read_tables(Path("tables")).manifest
    assert manifest is not None
    return dict(manifest.settings)


def test_a_margin_is_in_points(folder: Path) -> None:
    assert compared("--margin", "0.5", "--confidence", "0.9", "--sem", "study") == 0
    assert settings() == {
        "rounds": 200,
        "confidence": 0.9,
        "seed": 0,
        "allow_single_seed": False,
        "margin": 0.005,
        "sem": "study",
    }
    overall = read_tables(Path("tables")).overall
    assert overall["standard_error"].null_count == len(
        overall
    )  # the study's needs three seeds, these are two


def test_groups_of_images_and_of_categories(folder: Path) -> None:
    rows = {
        "image_id": WORLD.image_ids,
        "region": ["north" if number % 2 else "south" for number in range(len(WORLD.labels))],
        "camera": [str(number % 3) for number in range(len(WORLD.labels))],
    }
    pq.write_table(pa.table(rows), folder / "images.parquet")
    (folder / "groups.csv").write_text("category,supercategory\napron,worn\nmask,worn\ndrum,played\n")
    options = ("--groups", "images.parquet", "--group-by", "region", "--group-by", "camera")
    assert compared(*options, "--supercategories", "groups.csv") == 0
    found = read_tables(Path("tables")).by_group.to_pylist()
    assert {(row["grouping"], row["group"]) for row in found} == {
        ("region", "north"),
        ("region", "south"),
        ("camera", "0"),
        ("camera", "1"),
        ("camera", "2"),
        ("supercategory", "worn"),
        ("supercategory", "played"),
    }


def test_the_published_study_beside_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared("--published") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("blur: In ")
    assert "largest drops of any of its models in top-5 accuracy: 0.682 (mobilenet_v2) and 0.969" in lines[2]
    assert lines[3] == DROPS
    assert lines[4] == "2 of our differences stand beside the study's in tables/published.csv."
    beside = pq.read_table("tables/published.parquet")
    assert beside.schema.equals(BESIDE_SCHEMA)
    both = [row for row in beside.to_pylist() if row["arm"] and row["published"]]
    assert {(row["model"], row["condition"]) for row in both} == {("resnet18", "blurred")}
    assert pq.read_table("tables/published_summary.parquet").schema.equals(SUMMARY_SCHEMA)
    assert Path("tables/published.csv").read_text().startswith('"model","arm","condition","metric"')


def test_the_published_study_as_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared("--published", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"tables", "verdict", "published"}
    assert found["published"]["sentences"][1] == DROPS
    means = {
        (row["contrast"], row["metric"]): row["mean_difference"] for row in found["published"]["summary"]
    }
    assert round(means["blurred - original", "top1_accuracy"], 5) == -0.00655


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--margin", "0"], "a margin lies between 0 and 100 points, 0 does not"),
        (["--confidence", "95"], "a confidence lies between 0 and 1, 95.0 does not"),
        (["--sem", "usual"], "sem is one of sample, study, not 'usual'"),
        (
            ["--group-by", "region"],
            "groups of images need both a table (--groups) and its columns (--group-by)",
        ),
        (["--groups", "images.csv"], "groups of images need both"),
        (
            ["--groups", "images.csv", "--group-by", "side"],
            "images.csv: no column 'side'; it has: image_id, hue",
        ),
        (
            ["--groups", "images.csv", "--group-by", "hue", "--group-by", "hue"],
            "groupings need different names, not hue, hue; rename a column",
        ),
        (
            ["--groups", "images.csv", "--group-by", "hue"],
            "groups by hue: lacks 119 of the 120 images compared",
        ),
        (["--supercategories", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--supercategories", "ilsvrc"], "categories that are grouped is in the data set"),
    ],
)
def test_what_cannot_be_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (folder / "images.csv").write_text(f"image_id,hue\n{WORLD.image_ids[0]},red\n")
    assert compared(*options) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (folder / "tables/manifest.json").exists()


def test_runs_of_a_task_are_compared_and_stand_beside_the_studys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_attributes(tmp_path / "runs", 60)
    monkeypatch.chdir(tmp_path)
    assert compared("--published") == 0
    said = capsys.readouterr().out
    assert "points of mean average precision on CELEBA over training from scratch" in said
    assert "3 of our means stand beside the study's" in said  # none is no condition of the study
    assert "Not known of the study's transfer experiments:" in said
    assert pq.read_table("tables/published_transfer.parquet").schema == TRANSFER_BESIDE_SCHEMA
    assert not Path("tables/published.csv").exists()  # those are of ImageNet


def test_two_tasks_in_a_folder_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_attributes(tmp_path / "runs" / "a", 60)
    make_predictions(tmp_path / "runs" / "b", WORLD)
    monkeypatch.chdir(tmp_path)
    assert compared() == 2
    assert "compare one task at a time: name the folder of one task" in capsys.readouterr().err
