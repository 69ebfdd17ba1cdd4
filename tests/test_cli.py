"""The command line as a person types it: results, messages, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from sfumato.cli import app
from tests.conftest import Run, drawn


@pytest.fixture
def boxes(tmp_path: Path, photos: Path) -> Path:
    """Known boxes for every image of `photos`: a face in each apple."""
    records = [
        {
            "url": path.relative_to(photos).as_posix(),
            "bboxes": [{"x0": 10, "y0": 10, "x1": 34, "y1": 34}] if "apple" in path.parts else [],
        }
        for path in sorted(photos.rglob("*.*g"))
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(records))
    return tmp_path / "boxes.json"


def command_names(group: typer.Typer = app, before: str = "") -> list[str]:
    """Every command as typed: "detect", "faces stats", "faces tasks export"."""
    names = [
        before + str(command.name or getattr(command.callback, "__name__", ""))
        for command in group.registered_commands
    ]
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        prefix = f"{inner.name} " if isinstance(inner.name, str) else ""
        names += command_names(inner.typer_instance, before + prefix)
    return names


def test_every_command_has_help_and_an_example(run: Run) -> None:
    names = command_names()
    stages = {"study", "demo", "detect", "obfuscate", "train", "evaluate", "compare", "report", "plugins"}
    faces = {
        "faces tasks export",
        "faces tasks import",
        "faces merge",
        "faces stats",
        "faces score",
        "faces import",
        "faces export",
    }
    assert stages | faces | {"predictions import"} <= set(names)
    for name in names:
        code, out, _ = run(*name.split(), "--help")
        assert code == 0
        assert f"Example: sfumato {name}" in " ".join(out.split())


def test_version_and_bare_call(run: Run) -> None:
    assert re.fullmatch(r"sfumato \d+\.\d+\.\d+\n", run("--version")[1])
    code, out, err = run()
    assert code == 2
    assert "obfuscate" in out + err


def test_each_stage_alone_over_the_files_of_the_stage_before(run: Run, photos: Path, boxes: Path) -> None:
    code, out, _ = run("detect", photos, "--out", "faces", "--detector", f"oracle(path={str(boxes)!r})", "-q")
    assert (code, out) == (0, "faces: 20 images, 20 ok, 0 failed, 10 faces, 10 images with faces\n")
    code, out, _ = run("obfuscate", photos, "--faces", "faces", "--method", "pixelate", "--out", "v", "-q")
    assert (code, out) == (0, "v: 20 images, 10 copied, 8 edited, 2 encoded, 0 failed, 10 faces\n")
    for seed in (0, 1):
        for data in (photos, "v"):
            arguments = ("--model", "small_resnet", "--seed", seed, "--epochs", 1, "--image-size", 32, "-q")
            assert run("train", data, *arguments, "--out", "runs")[0] == 0
    runs = sorted(Path("runs").glob("small-resnet--*"))
    assert len(runs) == 4
    for folder in runs:
        arm = json.loads((folder / "manifest.json").read_text())["facts"]["arm"]
        data = photos if arm == "original" else "v"
        code, out, err = run("evaluate", folder, "--on", data, "-q")
        assert code == 0, err
        assert "8 images, 0 failed" in out
    code, out, err = run("compare", "runs", "--faces", "faces", "--out", "tables", "-q", "--json")
    assert code == 0, err
    assert set(json.loads(out)) == {"tables", "verdict"}
    assert (Path("tables") / "overall.csv").read_text().startswith('"model","arm","metric"')


def test_finished_work_is_skipped_and_other_output_refused(run: Run, photos: Path, boxes: Path) -> None:
    oracle = f"oracle(path={str(boxes)!r})"
    assert run("detect", photos, "--out", "faces", "--detector", oracle)[0] == 0
    code, _, err = run("detect", photos, "--out", "faces", "--detector", oracle)
    assert code == 0
    assert err == ""
    (photos / "val/pear/0.jpg").unlink()
    code, _, err = run("detect", photos, "--out", "faces", "--detector", oracle)
    assert code == 2
    assert "faces exists already" in err
    assert "--overwrite" in err
    assert run("detect", photos, "--out", "faces", "--detector", oracle, "--overwrite", "-q")[0] == 0


def test_failed_images_exit_3_and_are_named(run: Run, photos: Path) -> None:
    (photos / "val/pear/0.jpg").write_bytes(b"not a picture")
    code, out, err = run("detect", photos, "--out", "faces", "--detector", "centerface", "-q", "--json")
    assert code == 3
    assert json.loads(out)["counts"]["failed"] == 1
    assert list(json.loads(out)["failed"]) == ["val/pear/0.jpg"]
    assert "1 image(s) failed and are left out; val/pear/0.jpg" in err


def test_boxes_come_and_go(run: Run, photos: Path, boxes: Path, tmp_path: Path) -> None:
    code, out, err = run("faces", "import", boxes, "--dataset", photos, "--out", "faces", "-q")
    assert code == 0, err
    assert out.startswith("faces: 20 images, 20 ok, 0 failed, 10 faces")
    code, out, _ = run("faces", "export", "faces", "--format", "coco", "--out", "coco.json")
    assert (code, out) == (0, "coco.json: 20 images, 10 faces\n")
    code, out, err = run(
        "faces", "import", "coco.json", "-f", "coco", "--dataset", photos, "--out", "again", "-q"
    )
    assert code == 0, err
    code, out, _ = run(
        "faces", "score", "again", "--truth", boxes, "--dataset", photos, "--out", "score", "--json"
    )
    assert code == 0
    assert {
        row["value"] for row in json.loads(out)["metrics"] if row["metric"] in ("recall", "precision")
    } == {1.0}
    code, out, _ = run("faces", "stats", "faces", "--out", "statistics")
    assert code == 0
    assert (tmp_path / "statistics").is_dir()
    (tmp_path / "rules.toml").write_text('[[keep]]\nimage = "train/*"\n')
    code, out, _ = run("obfuscate", photos, "--faces", "faces", "--select", "rules.toml", "--out", "v", "-q")
    assert (code, out) == (0, "v: 20 images, 16 copied, 3 edited, 1 encoded, 0 failed, 4 faces\n")


def test_known_boxes_that_cannot_be_right_are_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"url": "0.jpg", "bboxes": []}]
    (tmp_path / "boxes.json").write_text(json.dumps(records))
    code, _, err = run("detect", photos, "--out", "f", "--detector", "oracle(path='boxes.json')", "-q")
    assert code == 1
    assert "the record '0.jpg' may be of 'train/apple/0.jpg' or of 'train/pear/0.jpg'" in err
    records = [{"url": "train/apple/0.jpg", "bboxes": [{"x0": 500, "y0": 0, "x1": 520, "y1": 20}]}]
    (tmp_path / "outside.json").write_text(json.dumps(records))
    code, _, err = run("detect", photos, "--out", "g", "--detector", "oracle(path='outside.json')", "-q")
    assert code == 1
    assert "lies outside its 64 x 48 pixels" in err


def one_category(tmp_path: Path) -> Path:
    for number in range(4):
        path = tmp_path / f"one/cats/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(16, 16)).save(path)
    return tmp_path / "one"


MESSAGES = [
    ("study nowhere --out s", 1, "nowhere: no such folder"),
    ("study empty --out s", 1, "empty: no image found"),
    ("study one --out s", 1, "only one category ('cats')"),
    ("study photos", 2, "--out"),
    ("study photos --out photos/study", 2, "lie in one another"),
    ("study photos --out broken", 2, "broken exists already and is no study"),
    (
        "study photos --out s --arm smudge",
        2,
        "unknown method 'smudge'; known: blur, dp_pix, inpaint, mosaic, none, overlay",
    ),
    ("study photos --out s --arm blur(strength=-1)", 2, "strength must be in 0.02..2"),
    ("study photos --out s --model resnet19", 2, "unknown model 'resnet19'; known: "),
    (
        "study photos --out s --recipe huge",
        2,
        "unknown recipe 'huge'; known: a file FOLDER/NAME.toml, short, small, study, tiny",
    ),
    ("study photos --out s --detector oracle(path='none.json')", 1, "none.json: cannot be read"),
    (
        "study photos --out s --detector eyes",
        2,
        "unknown detector 'eyes'; known: balanced, centerface, default, fast, high-recall, oracle",
    ),
    ("study photos --out s --val-fraction 0.5", 2, "has the splits train, val already"),
    ("study none.toml", 2, "none.toml: cannot be read"),
    ("study bad.toml", 2, "bad.toml: [train] has no field 'model'; known: models, seeds, recipe, change"),
    ("study broken.toml", 2, "broken.toml: not valid TOML"),
    ("study photos --out s --epochs zero", 2, "Usage: sfumato study"),
    (
        "detect broken --out f --detector centerface -q",
        1,
        "broken: none of 3 image(s) could be examined; the first, 0.jpg: not a picture",
    ),
    ("obfuscate photos --faces photos --out v", 1, "no manifest.json"),
    ("obfuscate photos --faces photos --out photos/v", 1, "no manifest.json"),
    ("train photos --out r --model small_resnet --device warp", 2, "warp"),
    ("evaluate photos --on photos", 1, "no manifest.json"),
    ("compare photos --out t", 2, "no evaluated run"),
    ("report photos", 1, "not the folder of a study"),
    ("detect photos", 2, "--out"),
    ("paint photos", 2, "paint"),
]


@pytest.mark.parametrize(("line", "code", "message"), MESSAGES, ids=[row[0] for row in MESSAGES])
def test_what_is_wrong_is_said_in_one_line(
    run: Run, photos: Path, tmp_path: Path, line: str, code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for number in range(3):
        (tmp_path / f"broken/{number}.jpg").write_bytes(b"\xff\xd8 nothing")
    one_category(tmp_path)
    (tmp_path / "bad.toml").write_text('[data]\nphotos = "photos"\n[train]\nmodel = "resnet18"\n')
    (tmp_path / "broken.toml").write_text("[data\n")
    found, _, err = run(*line.split(" "))
    assert message in err
    assert found == code
    assert "Traceback" not in err
    said = [row for row in err.splitlines() if row.startswith("sfumato: ")]
    assert len(said) == 1 or "Usage: " in err  # Typer explains wrong options with the usage line


def test_no_face_found_is_said(run: Run, tmp_path: Path) -> None:
    root = one_category(tmp_path)
    code, out, err = run("detect", root, "--out", "faces", "--detector", "centerface", "-q")
    assert code == 0
    assert "0 faces" in out
    assert "no face found in 4 images" in err
    for number in range(4):
        path = root / f"dogs/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(drawn(16, 16)).save(path)
    code, _, err = run("study", root, "--out", "s", "--detector", "centerface", "-q")
    assert code == 1
    assert "no face found in the 8 images" in err
    assert "--detector" in err


def test_a_full_disk_is_one_line(
    run: Run, photos: Path, boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "faces/faces.parquet")

    monkeypatch.setattr("sfumato.records.write_atomic", full)
    code, _, err = run("detect", photos, "--out", "faces", "--detector", f"oracle(path={str(boxes)!r})", "-q")
    assert code == 1
    assert err.startswith("sfumato: No space left on device: faces/faces.parquet; what is finished is kept")


def test_debug_shows_the_traceback(run: Run) -> None:
    code, _, err = run("study", "nowhere", "--out", "s", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].endswith("nowhere: no such folder")


def test_plugins_lists_what_can_be_named(run: Run) -> None:
    code, out, _ = run("plugins", "--json")
    assert code == 0
    names = json.loads(out)
    assert names["methods"] == ["blur", "dp_pix", "inpaint", "mosaic", "none", "overlay", "study_blur"]
    detectors = {item["name"]: item for item in names["detectors"]}
    assert list(detectors)[:3] == ["fast", "balanced", "high-recall"]
    assert {"centerface", "retinaface", "yunet", "scrfd", "uniface", "oracle"} <= set(detectors)
    assert {item["licence"] for item in detectors["balanced"]["weights"]} == {"MIT"}
    assert detectors["yunet"]["note"] == "no weights of yunet come with Sfumato; give path='file.onnx'"
    code, text, _ = run("plugins")
    assert "weights CenterFace: MIT, RetinaFace-MobileNet0.25: MIT" in text
    assert "face recall 0." in text
    assert {"resnet18", "small_resnet", "vgg19"} <= set(names["models"])
    assert {"study", "coco", "yolo", "wider", "csv"} <= set(names["formats"])
    tasks = [f"transfer-{task}" for task in ("celeba", "cifar10", "linear", "sun397", "voc")]
    assert names["recipes"] == ["short", "small", "study", "tiny", *tasks]


def test_a_preset_is_short_for_a_detector(run: Run, photos: Path) -> None:
    assert run("detect", "photos", "--out", "a", "--preset", "fast", "-q")[0] == 0
    settings = json.loads(Path("a/manifest.json").read_text())["settings"]
    assert settings["detector"] == "second_look(effort='low', min_score=0.2)"
    code, _, err = run("detect", "photos", "--out", "b", "--preset", "slow")
    assert (code, err) == (2, "sfumato: unknown preset 'slow'; known: balanced, fast, high-recall\n")
    code, _, err = run("detect", "photos", "--out", "b", "--preset", "fast", "--detector", "fast")
    assert (code, err) == (2, "sfumato: give --detector or --preset, not both\n")
