"""A training plan as a person runs it: its command, and what five kills at random leave of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.data import read_dataset
from sfumato.data.planted import write_planted
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.learn import run_folder
from sfumato.obfuscate import METHODS, obfuscate
from sfumato.predictions import find_predictions, read_predictions
from sfumato.records import locked
from tests.conftest import Run

DRIVER = """
import os, signal, sys, threading
from pathlib import Path
from sfumato.engines import Work
from sfumato.learn import TrainingOptions, read_training_plan, train_plan

plan, out, place, delay = sys.argv[1:]
begun = []
SHARES = {"train": (0.0, 0.8), "evaluate": (0.8, 0.2)}  # of the work on a run

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(stage, done, total):
    # Kills this process a moment after the plan is at a place: 2.4 is in the third run.
    before, share = SHARES.get(stage.rpartition(": ")[2], (0.0, 0.0))
    at = int(stage.partition("/")[0]) - 1 + before + share * done / max(total, 1)
    if float(place) and at >= float(place) and not begun:
        begun.append(at)
        threading.Timer(float(delay), kill).start()

outcome, _ = train_plan(
    read_training_plan(Path(plan)), Path(out), options=TrainingOptions("cpu", work=Work(1, progress))
)
outcome.need_all()
"""

PLAN = """
[data]
photos = "photos"
variants = ["none", "overlay"]
[train]
models = ["small_resnet", "mobilenet_v2"]
seeds = [0, 1]
[train.change]
image_size = 32
epochs = 2
batch_size = 16
[evaluate]
on = [["overlay", "original"]]
keep_scores = true
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, the variants none and overlay of them, and a plan for all of it."""
    root = tmp_path_factory.mktemp("planned")
    write_planted(root / "photos", size=64, n_train=4, n_val=2)
    dataset, work = read_dataset(root / "photos"), Work(1)
    oracle = DETECTORS.build(f"oracle(path={str(root / 'photos/faces.json')!r})")
    faces = detect(dataset, oracle, root / "faces", work=work)
    for method in ("none", "overlay"):
        obfuscate(dataset, faces, METHODS.build(method), root / method, work=work)
    (root / "plan.toml").write_text(PLAN)
    return root


def drive(
    planted: Path, out: Path, place: float = 0.0, delay: float = 0.0
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(planted / "plan.toml"), str(out), str(place), str(delay)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def results(out: Path) -> dict[str, bytes]:
    """Every prediction, score and weight that a plan left."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for pattern in ("predictions.parquet", "scores.npy", "*.safetensors")
        for path in out.rglob(pattern)
    }


@pytest.mark.slow
def test_killed_five_times_at_random_it_ends_in_the_same_predictions(planted: Path, tmp_path: Path) -> None:
    whole = drive(planted, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(7)
    for number in range(5):
        # One in each fifth of the first eleven runs of twelve, so that every kill hits a plan that is not
        # done; the delay, shorter than a run, has it anywhere in the code.
        place = chance.uniform(0.01, 1.0) * 11 / 5 + number * 11 / 5
        killed = drive(planted, tmp_path / "broken", place, chance.uniform(0.0, 0.03))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    last = drive(planted, tmp_path / "broken")
    assert last.returncode == 0, last.stderr
    expected, found = results(tmp_path / "whole"), results(tmp_path / "broken")
    assert len(expected) == 12 + 2 * (12 + 4)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []


def small_plan(planted: Path, folder: Path, *, models: str = '"small_resnet"', more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    text = PLAN.replace('"small_resnet", "mobilenet_v2"', models).replace("epochs = 2", "epochs = 1")
    text = text.replace("seeds = [0, 1]", "seeds = [0]") + more
    for name in ("photos", "none", "overlay"):
        text = text.replace(f'"{name}"', f'"{planted / name}"')
    text = text.replace(f'["{planted}/overlay", "original"]', '["overlay", "original"]')
    (folder / "plan.toml").write_text(text)
    return folder / "plan.toml"


def test_two_processes_share_the_runs_of_a_plan(planted: Path, tmp_path: Path) -> None:
    plan = small_plan(planted, tmp_path / "p")
    command = [sys.executable, "-c", DRIVER, str(plan), str(tmp_path / "both"), "0", "0"]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in both:
        _, said = process.communicate()
        # One may come to its end while the other still works on the last run: that is said, and no failure.
        assert process.returncode == 0 or "another process works on this run" in said
    assert len(find_predictions(tmp_path / "both")) == 3 + 1


def test_the_command_trains_a_plan_into_the_plans_own_folder(run: Run, planted: Path, tmp_path: Path) -> None:
    plan = small_plan(planted, tmp_path / "p")
    code, out, err = run("train", plan, "-q", "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith(
        f"{tmp_path}/p: 3 runs trained, 4 evaluated, 0 failed; the model waited for images "
    )
    assert (tmp_path / "p/training.toml").is_file()
    code, out, err = run("train", plan, "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["counts"] == {"n_trained": 3, "n_evaluated": 4, "n_failed": 0, "n_elsewhere": 0}
    assert (said["failed_runs"], said["elsewhere"], said["failed"]) == ([], [], {})
    code, out, err = run("compare", "p", "--allow-single-seed", "--rounds", 100, "--out", "tables", "-q")
    assert code == 0, err
    assert "-> original" in Path("tables/overall.csv").read_text()


def test_the_command_lists_what_failed_and_what_others_do(run: Run, planted: Path, tmp_path: Path) -> None:
    plan = small_plan(planted, tmp_path / "p", models='"alexnet", "small_resnet"')
    with locked(run_folder(tmp_path / "p", "small_resnet", "original", seed=0)):
        code, out, err = run("train", plan, "-q", "--part", "1/1")
    assert code == 1
    assert "2 runs trained, 3 evaluated, 3 failed" in out
    lines = err.splitlines()
    assert lines[0].startswith("sfumato: small_resnet original seed 0: being worked on elsewhere")
    assert [line.split(":")[1] for line in lines[1:4]] == [
        f" alexnet {arm} seed 0" for arm in ("original", "none", "overlay")
    ]
    assert "cannot take images of 32 px" in lines[1]
    assert lines[4] == "sfumato: 3 run(s) failed; what is finished is kept, the same command tries them again"
    small_plan(planted, tmp_path / "p")
    assert run("train", plan, "-q")[0] == 0


def test_a_plan_called_training_toml_stays_as_it_was_written(run: Run, planted: Path, tmp_path: Path) -> None:
    own = small_plan(planted, tmp_path / "p").rename(tmp_path / "p/training.toml")
    own.write_text("# why\n" + own.read_text())
    before = own.read_bytes()
    assert run("train", own, "-q", "--part", "1/3")[0] == 0
    assert own.read_bytes() == before
    assert (tmp_path / "p/training.ran.toml").is_file()


def test_what_a_run_says_of_itself_is_told(run: Run, planted: Path) -> None:
    """Images that failed by name, and memory that ran out, also with -q."""
    command = ["train", planted / "photos", "--model", "small_resnet", "--image-size", 32, "--epochs", 1]
    command += ["--out", "runs", "-q"]
    assert run(*command)[0] == 0
    folder = Path("runs/small-resnet--original--seed0")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps({**row, "parts": 4}) + "\n" for row in rows))
    code, _, err = run(*command)
    assert (code, err) == (
        0,
        f"sfumato: {folder}: memory ran out, so batches went through in 4 parts; "
        "batch normalisation took its statistics over each of them\n",
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["facts"]["failed"] = {"train/coins/a.png": "damaged"}
    manifest["counts"]["n_failed"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, out, err = run(*command, "--json")
    assert (code, json.loads(out)["failed"]) == (3, {"train/coins/a.png": "damaged"})
    assert "1 image(s) failed and are left out; train/coins/a.png: damaged" in err


def test_images_that_were_trained_on_are_refused_unless_allowed(run: Run, planted: Path) -> None:
    flat = Path("flat")
    for number, path in enumerate(sorted((planted / "photos").glob("*/*/*"))):
        (flat / path.parent.name).mkdir(parents=True, exist_ok=True)
        (flat / path.parent.name / f"{number:02d}{path.suffix}").write_bytes(path.read_bytes())
    share = ["--val-fraction", 0.3, "-q"]
    model = ["--model", "small_resnet", "--image-size", 32, "--epochs", 1, "--out", "runs"]
    assert run("train", flat, *model, "-q")[0] != 0
    code, _, err = run("train", flat, *model, *share, "--split-seed", 1)
    assert code == 0, err
    evaluate = ["evaluate", "runs/small-resnet--original--seed0", "--on", flat, *share]
    code, _, err = run(*evaluate)
    assert code == 2
    assert "images to evaluate on were trained on" in err
    assert len(err.splitlines()) == 1
    assert run(*evaluate, "--split-seed", 1)[0] == 0
    assert run(*evaluate, "--allow-trained", "--out", "other")[0] == 0


def test_failed_images_of_a_plan_exit_3(run: Run, planted: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_planted(photos, size=64, n_train=4, n_val=2)
    gone = next((photos / "val/coins").iterdir())
    gone.unlink()
    plan = small_plan(planted, tmp_path / "p")
    plan.write_text(plan.read_text().replace(str(planted / "photos"), str(photos)))
    code, _, err = run("train", plan, "-q")
    assert code == 3
    assert f"1 image(s) failed and are left out; val/coins/{gone.name}: not in {photos}" in err
    for folder in find_predictions(tmp_path / "p"):
        assert len(read_predictions(folder).table) == 15


def test_fields_of_a_recipe_are_set_by_name(run: Run, planted: Path, tmp_path: Path) -> None:
    options = [
        "--set",
        "epochs=1",
        "--set",
        "schedule=cosine",
        "--set",
        "crop_scale=[0.25, 1]",
        "--set",
        "flip=false",
    ]
    command = [
        "train",
        planted / "photos",
        "--model",
        "small_resnet",
        "--image-size",
        32,
        "--out",
        "runs",
        "-q",
    ]
    code, out, err = run(*command, *options)
    assert code == 0, err
    assert "32 images, 0 failed, 1 epochs; the model waited for images" in out
    recipe = json.loads(Path("runs/small-resnet--original--seed0/config.json").read_text())["recipe"]
    assert (recipe["epochs"], recipe["schedule"], recipe["crop_scale"]) == (1, "cosine", [0.25, 1.0])
    assert recipe["flip"] is False
    for wrong in ("epochs", "=3", "epochs=", "a=1\nb=2"):
        code, _, err = run(*command, "--set", wrong)
        assert code == 2
        assert "write it like --set epochs=3" in err
    code, _, err = run(*command, "--set", "epoch=3")
    assert code == 2
    assert "has no field 'epoch'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["plan.toml", "--model", "resnet18"],
            "--model is not for this: what is trained stands in plan.toml",
        ),
        (["plan.toml", "--set", "epochs=3"], "--set is not for this"),
        (["plan.toml", "--cache-budget", "1GB"], "--cache-budget is not for this"),
        (["plan.toml", "--part", "9"], "--part '9': write it like 3/8"),
        (["plan.toml", "--part", "9/8"], "there are parts 1/8 to 8/8"),
        (["plan.toml"], "plan.toml: [train] has no field 'epochs'; known: models, seeds, recipe"),
        (["none.toml"], "none.toml: cannot be read"),
        (["photos", "--part", "1/2", "--out", "o"], "--part is not for this: a part is of a plan"),
        (["photos", "--model", "small_resnet"], "name a folder for the run with --out"),
        (["photos", "--out", "o", "--cache-budget", "lots"], "'lots' is no number of bytes"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(
    run: Run, planted: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "plan.toml").write_text('[data]\nphotos = "photos"\n[train]\nepochs = 3\n')
    (tmp_path / "photos").symlink_to(planted / "photos")
    code, _, err = run("train", *arguments, "-q")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
