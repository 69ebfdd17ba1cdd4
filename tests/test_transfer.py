"""Downstream tasks as a person runs them: from official layouts to tables, and what a kill leaves of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from sfumato.compare import read_tables
from sfumato.data import read_folder
from sfumato.data.tasks import read_task
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import UsageError
from sfumato.learn import RunConfig, TrainingOptions, find_recipe, run_folder, train
from sfumato.learn.starts import SCRATCH, Start, find_starts, transfer_cells
from sfumato.predictions import find_predictions, read_any_predictions
from sfumato.records import read_manifest
from sfumato.report import find_transfer
from sfumato.report.downstream import read_transfers
from sfumato.report.numerals import percent
from sfumato.report.transfer import transfer_section
from sfumato.transfer import TransferOptions, transfer
from tests.conftest import Run
from tests.data import task_layouts

BLUR = "blur(strength=0.2, grow=0.1)"
MODEL = "small_resnet"
TINY = find_recipe("small").with_overrides(image_size=32, epochs=1, batch_size=8)

Write = Callable[[Path], Any]
LAYOUTS: dict[str, tuple[Write, tuple[str, ...]]] = {
    "cifar10": (task_layouts.write_cifar10, ("top1_accuracy", "top5_accuracy")),
    "sun397": (task_layouts.write_sun397, ("top1_accuracy", "top5_accuracy")),
    "celeba": (
        lambda root: task_layouts.write_celeba(root, 40, 5, 60),
        ("mean_average_precision",),
    ),
    "voc": (task_layouts.write_voc, ("voc2007_ap", "voc2010_ap", "coco_ap", "coco_ap50")),
    "coco": (task_layouts.write_coco, ("coco_ap", "coco_ap50")),
    "yolo": (task_layouts.write_yolo, ("coco_ap", "coco_ap50")),
}
"""Task to what writes its layout, and its metrics."""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one model in two arms, with seeds 0 and 1."""
    root = tmp_path_factory.mktemp("pretrained")
    rng = np.random.default_rng(0)
    for number in range(24):
        path = root / "photos" / ("train" if number < 16 else "val") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    dataset = read_folder(root / "photos")
    for arm in ("original", BLUR):
        for seed in (0, 1):
            config = RunConfig(MODEL, TINY, seed, device="cpu", arm=arm)
            train(dataset, config, run_folder(root / "runs", MODEL, arm, seed=seed), work=Work(1))
    return root / "runs"


def words(pretrained: Path, task: str, *more: object) -> list[object]:
    return [
        "transfer", pretrained, "scratch", "--task", task, "--out", "transfer", "--epochs", 2,
        "--device", "cpu", "--workers", 1, "--rounds", 100, "--quiet", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("task", LAYOUTS)
def test_a_task_goes_from_its_layout_to_the_report(
    pretrained: Path, task: str, run: Run, tmp_path: Path
) -> None:
    """Half of the runs, then the others, then nothing: tables when all are there, and what the page says."""
    write, metrics = LAYOUTS[task]
    write(tmp_path / "data")
    command = words(pretrained, task, "--data", "data", "--image-size", 48, "--set", "batch_size=4", "--json")
    code, out, err = run(*command, "--part", "1/2")
    assert (code, json.loads(out)["tables"]) == (0, None)
    assert "not every run is there yet" in err
    code, out, err = run(*command)
    assert code == 0, err
    said = json.loads(out)
    assert said["counts"] == {"n_trained": 6, "n_evaluated": 6, "n_failed": 0, "n_elsewhere": 0}
    tables = read_tables(Path(said["tables"]))
    overall = tables.overall.to_pylist()
    assert {row["metric"] for row in overall} == set(metrics)
    assert {row["arm"] for row in overall} == {"original", BLUR, SCRATCH}
    assert all(0 <= row["mean"] <= 1 and row["n_seeds"] == 2 for row in overall)
    pairs = {(row["arm"], row["reference"]) for row in tables.differences.to_pylist()}
    assert pairs == {(BLUR, "original"), (BLUR, SCRATCH), ("original", SCRATCH)}
    section = transfer_section(read_transfers(find_transfer(Path("transfer"))))
    assert section is not None
    (part,) = section["tasks"]
    (row,) = (row for row in overall if (row["metric"], row["arm"]) == (metrics[0], SCRATCH))
    assert f"'{percent(row['mean'])} " in str(part.means)
    written = {path: path.stat().st_mtime_ns for path in Path("transfer").rglob("*") if path.is_file()}
    assert run(*command)[0] == 0
    again = {path: path.stat().st_mtime_ns for path in Path("transfer").rglob("*") if path.is_file()}
    assert again == written


@pytest.mark.parametrize("task", ["cifar10", "celeba", "voc"])
def test_a_killed_run_goes_on_to_the_same_predictions(pretrained: Path, task: str, tmp_path: Path) -> None:
    """One of each kind: categories, attributes, objects; killed in the second of three epochs."""
    LAYOUTS[task][0](tmp_path / "data")
    data = read_task(task, tmp_path / "data", cache=tmp_path / "cache")
    starts = find_starts([str(run_folder(pretrained, MODEL, "original", seed=0))])
    recipe = find_recipe("transfer-voc" if task == "voc" else "transfer-cifar10")
    options = TransferOptions(recipe=recipe.with_overrides(image_size=64, epochs=3, batch_size=4))

    def made(out: Path, work: Work) -> dict[str, bytes]:
        training = TrainingOptions("cpu", work=work)
        folder = transfer(starts, data, out, options=options, training=training).folder
        (found,) = find_predictions(folder / "runs")
        return {
            path.name: path.read_bytes()
            for path in sorted(found.iterdir())
            if path.suffix in (".parquet", ".npy")
        }

    def kill(stage: str, done: int, total: int) -> None:
        if stage.endswith(" train") and total / 3 < done < total:
            raise KeyboardInterrupt

    whole = made(tmp_path / "whole", Work(1))
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "killed", Work(1, kill))
    assert not find_predictions(tmp_path / "killed")
    assert made(tmp_path / "killed", Work(1)) == whole


def test_accuracy_in_the_tables_is_that_of_the_predictions(
    pretrained: Path, run: Run, tmp_path: Path
) -> None:
    task_layouts.write_cifar10(tmp_path / "data", 200, 50)
    code, out, err = run(
        *words(pretrained, "cifar10", "--data", "data", "--seed", 3, "--model", MODEL, "--json")
    )
    assert (code, "leave --seed out" in err) == (2, True)
    one = run_folder(pretrained, MODEL, "original", seed=0)
    code, out, err = run(*words(one, "cifar10", "--data", "data", "--seed", 3, "--seed", 4, "--json"))
    assert code == 0, err
    tables = read_tables(Path(json.loads(out)["tables"]))
    rows = {row["arm"]: row["mean"] for row in tables.overall.to_pylist() if row["metric"] == "top1_accuracy"}
    for arm in ("original", SCRATCH):
        found = [read_any_predictions(each) for each in find_predictions(Path("transfer"))]
        ranks = [each.table["label_rank"].to_numpy() for each in found if each.facts["train_arm"] == arm]
        assert rows[arm] == pytest.approx(np.mean([rank == 0 for rank in ranks]))
    facts = found[0].facts
    assert facts["task"]["name"] == "cifar10"
    assert facts["task"]["protocol"] == "finetune"
    assert {each.facts["start_seed"] for each in found} == {0, None}


def test_a_linear_probe_changes_the_head_only(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_cifar10(tmp_path / "data")
    one = run_folder(pretrained, MODEL, "original", seed=0)
    code, _, err = run(*words(one, "cifar10", "--data", "data", "--protocol", "linear"))
    assert code == 0, err
    before = load_file(one / "model.safetensors")
    after = load_file(
        run_folder(Path("transfer/cifar10--linear/runs"), MODEL, "original", seed=0) / "model.safetensors"
    )
    changed = [name for name in after if not np.array_equal(after[name], before[name])]
    assert sorted(changed) == ["head.bias", "head.weight"]
    scratch = read_manifest(run_folder(Path("transfer/cifar10--linear/runs"), MODEL, SCRATCH, seed=0))
    assert scratch.facts["protocol"] == "linear"
    facts = read_tables(Path("transfer/cifar10--linear/tables")).task
    assert facts is not None
    assert facts["protocol"] == "linear"


def test_from_scratch_everything_is_trained_in_either_protocol() -> None:
    probe = RunConfig(MODEL, TINY, weights="somewhere", protocol="linear")
    assert (probe.freeze, probe.fresh_head) == (True, True)
    assert not replace(probe, weights=None).freeze
    assert not replace(probe, protocol="finetune").freeze
    assert not RunConfig(MODEL, TINY, weights="somewhere").fresh_head


def test_what_can_be_learned_is_learned(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_cifar10(tmp_path / "data", 200, 60)
    one = run_folder(pretrained, MODEL, "original", seed=0)
    command = words(one, "cifar10", "--data", "data", "--image-size", 16, "--json")
    command[command.index("--epochs") + 1] = 6
    _, out, _ = run(*command)
    tables = read_tables(Path(json.loads(out)["tables"]))
    top1 = {row["arm"]: row["mean"] for row in tables.overall.to_pylist() if row["metric"] == "top1_accuracy"}
    assert min(top1.values()) > 0.3  # three times chance


def test_downstream_faces_are_hidden_as_the_arm_says(pretrained: Path, run: Run, tmp_path: Path) -> None:
    """An image that nobody looked at is not in the obfuscated arm, and so in no other either."""
    task_layouts.write_cifar10(tmp_path / "data", 40, 20)
    task = read_task("cifar10", tmp_path / "data", cache=tmp_path / "transfer" / "cache")
    names = [sample.image_id for sample in task.dataset.samples]
    box = {"x0": 4, "y0": 4, "x1": 20, "y1": 20}
    known = [{"url": name, "bboxes": [box]} for name in names]
    (tmp_path / "boxes.json").write_text(json.dumps(known))
    seen = task.without([names[0], names[-1]]).dataset
    oracle = DETECTORS.build(f"oracle(path={str(tmp_path / 'boxes.json')!r})")
    detect(seen, oracle, tmp_path / "faces", work=Work(1))
    code, out, err = run(*words(pretrained, "cifar10", "--data", "data", "--task-faces", "faces", "--json"))
    assert code == 3, err
    assert set(json.loads(out)["failed"]) == {names[0], names[-1]}
    (blurred,) = Path("transfer/data").rglob(f"*/blur*/{names[1]}")
    assert not np.array_equal(np.asarray(Image.open(blurred)), task.dataset.read(names[1]))
    runs = [
        read_manifest(each)
        for each in Path("transfer/cifar10-obfuscated--finetune/runs").iterdir()
        if each.name.endswith("seed0")
    ]
    prints = {made.facts["arm"]: made.inputs["dataset"] for made in runs}
    assert prints["original"] == prints[SCRATCH] == seen.fingerprint
    assert prints[BLUR] != seen.fingerprint
    assert {made.counts["n_images"] for made in runs} == {len(seen.subset("train"))}


def test_an_image_that_cannot_be_read_is_said(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_celeba(tmp_path / "data", 40, 5, 60)
    images = sorted((tmp_path / "data").rglob("*.jpg"))
    for broken in (images[0], images[-1]):
        broken.write_bytes(broken.read_bytes()[:-600])
    one = run_folder(pretrained, MODEL, "original", seed=0)
    code, out, _ = run(*words(one, "celeba", "--data", "data", "--image-size", 32, "--json"))
    said = json.loads(out)
    assert code == 3
    assert {Path(name).name for name in said["failed"]} == {images[0].name, images[-1].name}
    assert read_tables(Path(said["tables"])).overall.to_pylist()[0]["n_images"] == 59


def test_other_settings_are_never_told_as_these(pretrained: Path, run: Run, tmp_path: Path) -> None:
    """Neither as the verdict of runs that failed, nor mixed with them."""
    task_layouts.write_cifar10(tmp_path / "data")
    one = run_folder(pretrained, MODEL, "original", seed=0)
    command = words(one, "cifar10", "--data", "data", "--json")
    assert run(*command)[0] == 0
    others = [*command, "--set", "batch_size=10"]
    code, out, err = run(*others)
    assert (code, json.loads(out)["tables"]) == (1, None)
    assert "made from something else" in err
    assert "verdict" not in json.loads(out)
    code, out, err = run(*others, "--overwrite", "--part", "1/2")
    assert (code, json.loads(out)["tables"]) == (0, None), err
    code, out, err = run(*others, "--overwrite")
    assert code == 0, err
    assert json.loads(out)["tables"] is not None


def test_a_run_is_the_same_wherever_it_lies(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_yolo(tmp_path / "data", 6, 4)
    one = run_folder(pretrained, MODEL, "original", seed=0)
    command = words(one, "yolo", "--data", "data", "--image-size", 48, "--json")
    assert run(*command)[0] == 0
    made = {path: path.stat().st_mtime_ns for path in Path("transfer").rglob("model.safetensors")}
    shutil.copytree(one, tmp_path / "renamed")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    command[command.index(one)], command[command.index("data")] = tmp_path / "renamed", "elsewhere"
    code, _, err = run(*command)
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in Path("transfer").rglob("model.safetensors")} == made


def test_the_head_is_new_even_where_the_old_one_would_fit(pretrained: Path, tmp_path: Path) -> None:
    """Two categories of another task are other categories."""
    rng = np.random.default_rng(1)
    for number in range(16):
        path = tmp_path / "xy" / ("train" if number < 8 else "test") / "xy"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    task = read_task(str(tmp_path / "xy"), None, cache=tmp_path / "cache")
    starts = find_starts([str(run_folder(pretrained, MODEL, "original", seed=0))])
    recipe = find_recipe("transfer-cifar10").with_overrides(epochs=1)
    made = transfer(
        starts,
        task,
        tmp_path / "out",
        options=TransferOptions(recipe=recipe),
        training=TrainingOptions("cpu"),
    )
    (trained,) = made.outcome.trained
    assert read_manifest(trained).facts["start"]["replaced"] == ["head.weight", "head.bias"]


def test_starts(pretrained: Path, tmp_path: Path) -> None:
    both = find_starts([str(pretrained), SCRATCH])
    assert [(each.model, each.arm, each.seed) for each in both] == [
        (MODEL, BLUR, 0),
        (MODEL, BLUR, 1),
        (MODEL, "original", 0),
        (MODEL, "original", 1),
        (MODEL, SCRATCH, None),
    ]
    cells = transfer_cells(both, None)
    assert [(cell.arm, cell.seed) for cell in cells] == [
        *((arm, 0) for arm in (BLUR, "original", SCRATCH)),
        *((arm, 1) for arm in (BLUR, "original", SCRATCH)),
    ]
    weights = run_folder(pretrained, MODEL, "original", seed=0) / "model.safetensors"
    assert find_starts([f"mine={weights}"], [MODEL]) == [Start(MODEL, "mine", str(weights))]
    for sources, models, message in (
        ([str(tmp_path)], (), "no finished run in it"),
        ([str(pretrained)], ("resnet18",), "no finished run of resnet18"),
        ([SCRATCH], (), "name it with --model"),
        (["nowhere"], (), "neither a run folder"),
        ([f"scratch={weights}"], (MODEL,), "cannot count as the arm 'scratch'"),
        ([f"mine={weights}"], (), "name the model"),
        ([], (), "nothing to start from"),
    ):
        with pytest.raises(UsageError, match=message):
            find_starts(sources, models)
    with pytest.raises(UsageError, match="name one of them"):
        transfer_cells([both[0], replace(both[0], weights="other")], None)
    with pytest.raises(UsageError, match="with the seeds 0, 1, of original with 0; finish"):
        transfer_cells(both[:3], None)
    with pytest.raises(UsageError, match="once"):
        transfer_cells(both[:1], [0, 0])
    other = Start("resnet18", "original", "somewhere", 7)
    seeds = {(cell.model, cell.arm): cell.seed for cell in transfer_cells([*both[::2], other], None)}
    assert seeds["resnet18", "original"] == 7


def test_a_run_of_a_task_is_no_start(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_cifar10(tmp_path / "data")
    one = run_folder(pretrained, MODEL, "original", seed=0)
    assert run(*words(one, "cifar10", "--data", "data"))[0] == 0
    code, _, err = run(*words(Path("transfer/cifar10--finetune/runs"), "cifar10", "--data", "data"))
    assert code == 2
    assert "was trained on CIFAR-10 already" in err


def test_errors_are_one_line_and_say_what_to_do(pretrained: Path, run: Run, tmp_path: Path) -> None:
    task_layouts.write_cifar10(tmp_path / "data")
    for more, message in (
        (("cifar10",), "--data"),
        (("nothing-here",), "nothing-here"),
        (("cifar10", "--data", "data", "--protocol", "guess"), "unknown protocol 'guess'"),
        (("cifar10", "--data", "data", "--recipe", "none-such"), "none-such"),
    ):
        code, _, err = run(*words(pretrained, *map(str, more)))
        assert code in (1, 2)
        assert message in err
        assert "Traceback" not in err
