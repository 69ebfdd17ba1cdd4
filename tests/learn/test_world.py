"""Several processes train one model together, over gloo on this machine's CPU."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from sfumato.data import read_folder
from sfumato.errors import MissingExtra, UsageError
from sfumato.learn import RunConfig, find_recipe, train, training, world
from sfumato.learn.cache import Packed
from sfumato.learn.device import choose_runtime
from sfumato.learn.objective import OneCategory
from sfumato.learn.run import read_rows
from sfumato.learn.steps import Steps
from sfumato.learn.world import World, join_world
from sfumato.progress import is_alone, is_main_process
from sfumato.records import locked, read_manifest
from tests.learn import plain_models

Job = dict[str, Any]
ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, os, sys
from pathlib import Path
import pytest
import torch
from sfumato.data import read_folder
from sfumato.engines import Work
from sfumato.errors import SfumatoError
from sfumato.learn import train
from tests.learn import plain_models
from tests.learn.test_world import config_of, exchanged, spied

folder, jobs, said = Path(sys.argv[1]), json.loads(sys.argv[2]), {}
torch.set_num_threads(1)
patch = pytest.MonkeyPatch()
plain_models.register(patch)

for job in jobs:
    name, stages = job["out"], set()

    def progress(stage, done, total):
        stages.add(stage)
        if stage == "train" and done > job.get("kill", 1e9):
            os._exit(9)

    with spied() as seen:
        try:
            work = Work(progress=progress)
            train(read_folder(folder / "colours"), config_of(job), folder / name, work=work)
            message = ""
        except SfumatoError as error:
            message = f"{type(error).__name__}: {error}"
    said[name] = {"seen": seen, "stages": sorted(stages), "message": message}
said["exchanged"] = exchanged()
(folder / f"said-{os.environ['RANK']}.json").write_text(json.dumps(said))
torch.distributed.destroy_process_group()
"""


class spied:
    """Take down which images are asked for, a list for each batch."""

    def __enter__(self) -> list[list[int]]:
        seen: list[list[int]] = []
        self.patch, batch = pytest.MonkeyPatch(), Packed.batch

        def spy(images: Packed, rows: NDArray[np.int64], *given: Any, **options: Any) -> NDArray[np.uint8]:
            seen.append(rows.tolist())
            return batch(images, rows, *given, **options)

        self.patch.setattr(Packed, "batch", spy)
        return seen

    def __exit__(self, *problem: object) -> None:
        self.patch.undo()


def config_of(job: Job) -> RunConfig:
    changes = {"image_size": 16, "epochs": 2, "batch_size": 8, **job.get("recipe", {})}
    recipe = find_recipe("small").with_overrides(**changes)
    return RunConfig(job["model"], recipe, device="cpu", precision="fp32", checkpoint_seconds=0.0)


class Odd(nn.Module):
    """Begins with other numbers in each process, and has a buffer that is no running statistic."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        self.register_buffer("table", torch.full((3,), 0.1 + rank))
        self.register_buffer("mask", torch.tensor([rank == 0, rank == 1]))
        with torch.no_grad():
            for value in self.parameters():
                value.add_(rank)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.norm(self.conv(x)).mean(dim=(2, 3)))
        return scores


def exchanged() -> dict[str, Any]:
    """Numbers of a model before its first step, after it, and after its buffers were made to differ."""
    rank = int(os.environ["RANK"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_model", lambda *_, **__: Odd(rank))
        run = training.start(config_of({"model": "plain"}), 2, runtime=choose_runtime("cpu", "fp32"))
    before = {name: value.tolist() for name, value in run.model.state_dict().items()}
    run.model.get_buffer("table").fill_(0.1 + rank)
    pixels = torch.full((4, 16, 16, 3), 50 + 100 * rank, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    Steps(run, OneCategory(labels.numpy(), 0.0)).take(pixels, labels, rate=0.1, n_batch=8, pause=False)
    return {
        "before": before,
        "after": {name: value.tolist() for name, value in run.model.state_dict().items()},
    }


def start_two(folder: Path, jobs: list[Job]) -> list[subprocess.Popen[str]]:
    """Start two processes with what `torchrun` puts into their surroundings."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    common = {**os.environ, **common, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(folder), json.dumps(jobs)]
    ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]
    return [subprocess.Popen(command, env=common | rank, stderr=subprocess.PIPE, text=True) for rank in ranks]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Runs of two processes, and what each of them saw and said."""
    folder = tmp_path_factory.mktemp("together")
    _draw(folder / "colours")
    jobs: list[Job] = [
        {"out": "plain", "model": "plain", "recipe": {"clip_norm": 0.5, "ema_decay": 0.5}},
        {"out": "whole", "model": "restless"},
        {"out": "busy", "model": "plain"},
        {"out": "small", "model": "plain", "recipe": {"batch_size": 3}},
        {"out": "wild", "model": "plain", "recipe": {"learning_rate": 1e38, "schedule": "step"}},
        {"out": "killed", "model": "restless", "kill": 27},
    ]
    with locked(folder / "busy"):
        both = start_two(folder, jobs[:-1])
        for process in both:
            errors = process.communicate(timeout=200)[1]
            assert process.returncode == 0, errors
    said = [json.loads((folder / f"said-{rank}.json").read_text()) for rank in (0, 1)]
    both = start_two(folder, jobs[-1:])
    both[0].communicate(timeout=200)
    both[1].kill()
    both[1].communicate()
    assert both[0].returncode == 9
    shutil.copytree(folder / "killed", folder / "begun")
    return folder, said


def _draw(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(7)
    for category, level in (("dark", 60), ("light", 180)):
        for split, count in (("train", 11), ("val", 1)):
            for number in range(count):
                path = folder / split / category / f"{number:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = rng.normal(level, 20, (20 + number % 3, 24 - number % 5, 3))
                Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)


Together = tuple[Path, list[dict[str, Any]]]


@pytest.mark.slow
def test_two_processes_do_the_steps_of_one(
    together: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batches, each split in two; without batch normalisation also the same weights."""
    folder, said = together
    plain_models.register(monkeypatch)
    config = config_of({"model": "plain", "recipe": {"clip_norm": 0.5, "ema_decay": 0.5}})
    with spied() as batches:
        alone = train(read_folder(folder / "colours"), config, tmp_path / "alone")
    left, right = (process["plain"]["seen"] for process in said)
    assert left.pop() == batches.pop() == list(range(8))  # looked at by process 0 after the end
    assert [one + two for one, two in zip(left, right, strict=True)] == batches
    for start in (0, 3):  # three batches an epoch
        epoch = [*left[start : start + 3], *right[start : start + 3]]
        assert sorted(chain.from_iterable(epoch)) == list(range(22))
    one, two = (load_file(run / "model.safetensors") for run in (alone, folder / "plain"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    for mine, theirs in zip(read_rows(alone), read_rows(folder / "plain"), strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert (mine["train_accuracy"], mine["n_images"]) == (theirs["train_accuracy"], theirs["n_images"])


@pytest.mark.slow
def test_all_begin_with_the_numbers_of_process_0(together: Together) -> None:
    first, second = (process["exchanged"]["before"] for process in together[1])
    assert first == second
    assert first["mask"] == [True, False]
    assert first["table"] == pytest.approx([0.1] * 3)


@pytest.mark.slow
def test_of_the_buffers_only_running_statistics_are_averaged(together: Together) -> None:
    first, second = (process["exchanged"]["after"] for process in together[1])
    assert first.pop("table") == pytest.approx([0.1] * 3)
    assert second.pop("table") == pytest.approx([1.1] * 3)
    assert first == second
    assert first["norm.running_mean"] != [0.0] * 4


@pytest.mark.slow
def test_a_run_of_two_processes_does_not_go_on_in_one(
    together: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_models.register(monkeypatch)
    run = shutil.copytree(together[0] / "begun", tmp_path / "begun")
    with pytest.raises(UsageError, match=r"begun in 2 process\(es\), which now are 1"):
        train(read_folder(together[0] / "colours"), config_of({"model": "restless"}), run)


@pytest.mark.slow
def test_process_0_alone_writes_and_reports(together: Together) -> None:
    folder, said = together
    assert said[0]["plain"]["stages"] == ["decode", "train"]
    assert said[1]["plain"]["stages"] == []
    manifest = read_manifest(folder / "plain")
    assert manifest.facts["processes"] == 2
    config = config_of({"model": "plain", "recipe": {"clip_norm": 0.5, "ema_decay": 0.5}})
    assert dict(manifest.settings) == json.loads(json.dumps(config.settings("original")))


@pytest.mark.slow
def test_two_processes_go_on_from_where_they_were_killed(together: Together) -> None:
    """With dropout, whose random numbers are each process's own, and with batch normalisation."""
    folder, _ = together
    assert not (folder / "killed" / "manifest.json").exists()
    for process in start_two(folder, [{"out": "killed", "model": "restless"}]):
        errors = process.communicate(timeout=200)[1]
        assert process.returncode == 0, errors
    assert (folder / "killed/model.safetensors").read_bytes() == (
        folder / "whole/model.safetensors"
    ).read_bytes()
    assert read_manifest(folder / "killed") == read_manifest(folder / "whole")


@pytest.mark.slow
def test_what_stops_one_process_stops_all(together: Together) -> None:
    first, second = (
        {name: each["message"] for name, each in said.items() if name != "exchanged"} for said in together[1]
    )
    assert (first["plain"], second["plain"]) == ("", "")
    assert first["busy"].startswith("BusyError: ")
    assert second["busy"].startswith("SfumatoError: process 0 gave up: ")
    assert "batches of 2 images are too small for 2 processes" in first["small"]
    assert "the loss is not a finite number in epoch 1" in first["wild"]
    assert (first["small"], first["wild"]) == (second["small"], second["wild"])


def test_alone_nothing_is_exchanged() -> None:
    alone = World()
    value = torch.arange(3.0)
    alone.add_up([value])
    assert value.tolist() == [0, 1, 2]
    alone.spread([value])
    assert value.tolist() == [0, 1, 2]
    assert alone.gather("x") == ["x"]
    assert alone.share(lambda: np.pi) == np.pi
    assert alone.main


def test_processes_that_cannot_work_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
    assert not is_alone()
    with pytest.raises(UsageError, match="can train on cpu or cuda, not on mps"):
        join_world("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"2 processes for 1 GPU\(s\)"):
        join_world("cuda")
    monkeypatch.setattr(world, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="training in several processes"):
        join_world("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_world("mps") == World()
    assert is_main_process()
