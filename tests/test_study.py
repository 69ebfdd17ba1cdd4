"""The whole flow on a small planted set: once unbroken, once killed in the middle of every stage."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.compare import read_tables
from sfumato.data.planted import write_planted
from sfumato.errors import OutputExists, UsageError
from sfumato.plan import Plan, read_plan, write_plan
from sfumato.predictions import find_predictions, read_predictions
from sfumato.records import read_json, read_manifest, write_json
from sfumato.study import plan_of

STAGES = ("detect", "obfuscate none", "obfuscate blur", "decode", "train", "evaluate", "compare", "report")

DRIVER = """
import os, signal, sys
from pathlib import Path
from sfumato.engines import Work
from sfumato.plan import Plan
from sfumato.study import StudyOptions, study

photos, out, kill_in = sys.argv[1:]

def progress(stage, done, total):
    if kill_in and stage.endswith(kill_in) and (0 < done or stage == "report"):
        os.kill(os.getpid(), signal.SIGKILL)

plan = Plan(
    photos, detector=f"oracle(path={photos + '/faces.json'!r})", arms=("blur",), models=("small_resnet",),
    seeds=(0, 1), change={"epochs": 2, "image_size": 32}, rounds=200, margin=2,
)
study(plan, Path(out), options=StudyOptions(Work(2, progress), device="cpu"))
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "photos"
    write_planted(folder, size=64, n_train=6, n_val=4)
    return folder


def drive(photos: Path, out: Path, kill_in: str = "") -> int:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(photos), str(out), kill_in], capture_output=True, text=True
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def unbroken(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "whole"
    assert drive(planted, out) == 0
    return out


def results(out: Path) -> dict[str, bytes]:
    """Everything that a study found: tables, verdict, faces, variants, predictions, weights."""
    kept = ("*.csv", "*.parquet", "verdict.json", "model.safetensors", "*.jpg", "*.png")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for pattern in kept
        for path in sorted(out.rglob(pattern))
        if "cache" not in path.parts
    }


def test_a_study_leaves_everything_in_its_place(unbroken: Path) -> None:
    assert {path.name for path in unbroken.iterdir()} >= {
        "study.toml", "faces", "variants", "runs", "tables", "report.html", "report-files"
    }  # fmt: skip
    assert len(find_predictions(unbroken)) == 3 * 2
    for folder in find_predictions(unbroken):
        predictions = read_predictions(folder)
        assert len(predictions.table) == 8 * 4
        assert predictions.facts["train_arm"] == predictions.facts["eval_arm"]
        assert predictions.table["face_area"].null_count == 0
    assert set(read_tables(unbroken / "tables").differences["margin"].to_pylist()) == {0.02}
    verdict = read_json(unbroken / "tables/verdict.json")
    assert "blur" in verdict["headline"]
    assert not list(unbroken.parent.glob(".*.lock"))


def test_killed_in_the_middle_of_every_stage_it_ends_the_same(
    planted: Path, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "broken"
    for stage in STAGES:
        assert drive(planted, out, stage) == -signal.SIGKILL, f"{stage} was never reached"
        assert not (out / "report.html").exists()
    assert drive(planted, out) == 0
    whole, broken = results(unbroken), results(out)
    assert whole.keys() == broken.keys()
    assert [name for name in whole if whole[name] != broken[name]] == []


def test_a_finished_study_is_skipped_and_a_changed_one_goes_on(unbroken: Path) -> None:
    manifests = {path: path.stat().st_mtime_ns for path in unbroken.rglob("manifest.json")}
    assert main(["study", str(unbroken / "study.toml"), "-q"]) == 0
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("manifest.json")} == manifests
    text = (unbroken / "study.toml").read_text()
    (unbroken / "study.toml").write_text(text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    assert main(["study", str(unbroken / "study.toml"), "-q", "--arm", "blur"]) == 0
    kept = {path: when for path, when in manifests.items() if "tables" not in path.parts}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(find_predictions(unbroken)) == 3 * 3
    assert len(read_manifest(unbroken / "tables").inputs) == 9 + 1


def test_an_image_that_fails_is_left_out_of_every_arm(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_planted(tmp_path / "photos", size=64, n_train=4, n_val=2)
    broken = next((tmp_path / "photos/val/coins").iterdir())
    broken.write_bytes(broken.read_bytes()[:200])
    oracle = f"oracle(path='{tmp_path}/photos/faces.json')"
    options = [
        "--arm",
        "overlay",
        "--model",
        "small_resnet",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--image-size",
        "32",
    ]
    # The oracle does not look at pixels, but the file must be readable all the same.
    code = main(
        [
            "study",
            str(tmp_path / "photos"),
            "--out",
            str(tmp_path / "s"),
            "--detector",
            oracle,
            "-q",
            "--json",
            *options,
        ]
    )
    out = json.loads(capsys.readouterr().out)
    assert code == 3
    assert list(out["failed"]) == [broken.relative_to(tmp_path / "photos").as_posix()]
    for folder in find_predictions(tmp_path / "s"):
        assert len(read_predictions(folder).table) == 15  # of 16: the same ones in every arm
    assert broken.name in (tmp_path / "s/report.html").read_text()


def test_a_plan_is_written_and_read(tmp_path: Path) -> None:
    plan = Plan(
        tmp_path / "photos",
        val_fraction=0.25,
        arms=("pixelate", "overlay(color='mean')"),
        seeds=(3, 5),
        margin=0.5,
    )
    write_plan(tmp_path / "study.toml", plan)
    assert read_plan(tmp_path / "study.toml") == plan
    assert plan.arms == (
        "original",
        "none",
        "mosaic(blocks=4, grow=0.1, shape='rectangle')",
        "overlay(color='mean', grow=0.1, shape='rectangle')",
    )
    (tmp_path / "study.toml").write_text('[data]\nphotos = "photos"\n')
    assert read_plan(tmp_path / "study.toml") == Plan(tmp_path / "photos")


def test_photos_and_folder_mean_the_study_that_is_there(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "photos", seeds=(7,))
    write_plan(tmp_path / "s/study.toml", plan)
    assert plan_of(tmp_path / "photos", tmp_path / "s") == (plan, tmp_path / "s")
    assert plan_of(tmp_path / "s/study.toml", None) == (plan, tmp_path / "s")
    assert plan_of(tmp_path / "photos", tmp_path / "new")[0] == Plan(tmp_path / "photos")
    with pytest.raises(OutputExists, match="has a study of"):
        plan_of(tmp_path / "others", tmp_path / "s")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": ("none",)}, "at least one method"),
        ({"seeds": ()}, "seeds"),
        ({"models": ("a", "a")}, "each named once"),
    ],
)
def test_impossible_plans_are_refused(options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(Path("photos")).with_changes(**options)


def test_what_was_transferred_is_in_the_report(
    unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"name": "photos", "title": "My photos", "kind": "categories", "protocol": "linear", "metrics": []}
    for folder, title in (
        (unbroken / "transfer/photos--linear/tables", "My photos"),
        (tmp_path / "deep/tables", "Others"),
    ):
        shutil.copytree(unbroken / "tables", folder)
        manifest = read_json(folder / "manifest.json")
        manifest["facts"]["task"] = task | {"title": title}
        write_json(folder / "manifest.json", manifest | {"key": title})
    assert main(["report", str(unbroken)]) == 0
    text = (unbroken / "report.html").read_text()
    assert "<h3>My photos, linear probe" in text
    assert "<h3>Others" not in text
    assert main(["report", str(unbroken), "--transfer", str(tmp_path)]) == 0
    assert "<h3>Others, linear probe" in (unbroken / "report.html").read_text()
    capsys.readouterr()
    assert main(["report", str(unbroken), "--transfer", str(tmp_path / "nowhere")]) == 2
    assert "no finished comparison on a downstream task" in capsys.readouterr().err
