from __future__ import annotations

import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfumato.data import Dataset, read_folder
from sfumato.errors import TrainingError, UsageError
from sfumato.learn import Recipe, RunConfig, evaluate, train
from sfumato.learn.cache import Packed, pack, packed_bytes
from sfumato.learn.index import Images
from sfumato.learn.inputs import (
    DEFAULT_BUDGET,
    Loading,
    ahead,
    loading_for,
    parse_bytes,
    prepare_images,
)
from sfumato.learn.stream import Streamed
from sfumato.records import read_manifest

Make = Callable[..., Dataset]
LOADINGS = [Loading(0, 1, 1), Loading(1, 1, 1), Loading(3, 2, 1), Loading(9, 4, 3)]


@pytest.mark.parametrize("loading", LOADINGS)
@pytest.mark.parametrize(("first", "count"), [(0, 5), (3, 5), (5, 5), (0, 0), (0, 1)])
def test_what_is_made_ahead_comes_in_order(loading: Loading, first: int, count: int) -> None:
    def make(number: int) -> int:
        time.sleep(0.002 * (number % 2))  # the later one is often ready before
        return number * number

    made = [made for made, _ in ahead(make, count, first=first, loading=loading)]
    assert made == [number * number for number in range(first, count)]


@pytest.mark.parametrize("loading", LOADINGS)
def test_what_cannot_be_made_fails_in_its_turn(loading: Loading) -> None:
    def failing(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    coming = ahead(failing, 5, loading=loading)
    assert [next(coming)[0], next(coming)[0]] == [0, 1]
    with pytest.raises(KeyError):
        next(coming)


@pytest.mark.parametrize("loading", LOADINGS)
def test_no_more_is_made_ahead_than_memory_was_promised_for(loading: Loading) -> None:
    lock, begun = threading.Lock(), []

    def make(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    for number, _ in ahead(make, 40, loading=loading):
        with lock:
            assert max(begun) <= number + loading.depth
    assert begun[0] == 0
    assert sorted(begun) == list(range(40))


def test_the_time_waited_is_that_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that moves by 5 while something is made, and at no other time."""
    clock, done = [0.0], [threading.Event() for _ in range(6)]
    monkeypatch.setattr("sfumato.learn.inputs.time.perf_counter", lambda: clock[0])

    def make(number: int) -> int:
        clock[0] += 5
        done[number].set()
        return number

    assert list(ahead(make, 3, loading=Loading(0, 1, 1))) == [(0, 5.0), (1, 5.0), (2, 5.0)]
    for event in done:
        event.clear()
    for number, waited in ahead(make, 6):
        assert waited == 0 or number == 0  # the others were made while the caller did something else
        assert done[min(number + 1, 5)].wait(60)


def test_left_early_nothing_more_is_made() -> None:
    begun: list[int] = []
    coming = ahead(begun.append, 1000, loading=Loading(4, 1, 1))
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    n_begun = len(begun)
    assert n_begun <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sfumato-batches")]


def test_a_model_on_the_cpu_has_its_cores_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading_for("cpu") == Loading(0, 1, torch.get_num_threads())
    monkeypatch.setattr("sfumato.learn.inputs.default_workers", lambda: 16)
    assert loading_for("cuda") == Loading(3, 2, 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert loading_for("cuda") == Loading(3, 2, 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert loading_for("cuda") == Loading(2, 1, 1)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("20GiB", 20 << 30),
        (" 1.5 TB ", 1_500_000_000_000),
        ("3k", 3000),
        ("7 mib", 7 << 20),
        ("10b", 10),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1", "20 Gb/s", "1e9", "5 PiB", "20GiBs"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="is no number of bytes; write 20GiB"):
        parse_bytes(text)


@given(st.integers(0, 1 << 60))
def test_plain_numbers_are_exact(n_bytes: int) -> None:
    assert parse_bytes(str(n_bytes)) == n_bytes


def prepared(dataset: Dataset, root: Path, budget: int) -> Images:
    return prepare_images(dataset, "train", image_size=16, resize_ratio=1.25, root=root, budget=budget)


def test_what_fits_the_budget_is_packed_and_the_rest_is_streamed(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    packed = pack(dataset, "train", shorter_side=20, root=tmp_path / "a")
    size = int(packed.shapes.prod(axis=1).sum()) * 3
    assert packed_bytes(dataset, "train", shorter_side=20) == size
    assert isinstance(prepared(dataset, tmp_path / "b", size), Packed)
    assert isinstance(prepared(dataset, tmp_path / "b", size - 1), Streamed)
    assert isinstance(prepared(dataset, tmp_path / "b", 0), Streamed)
    assert isinstance(prepared(dataset, tmp_path / "b", DEFAULT_BUDGET), Packed)


def test_the_size_of_a_large_split_is_estimated_alike_in_every_arm(
    colours: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = colours(train=30)
    whole = packed_bytes(dataset, "train", shorter_side=16)
    monkeypatch.setattr("sfumato.learn.cache._SAMPLED", 40)
    estimate = packed_bytes(dataset, "train", shorter_side=16)
    assert abs(estimate / whole - 1) < 0.1
    moved = tmp_path / "blurred"
    shutil.copytree(dataset.root, moved)
    assert packed_bytes(read_folder(moved), "train", shorter_side=16) == estimate


def test_a_full_disk_is_said_before_anything_is_decoded(
    colours: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("sfumato.learn.cache.shutil.disk_usage", lambda path: usage(9, 9, 100))
    with pytest.raises(
        TrainingError, match=r"the disk has 0.0 GiB left; make room, or give a smaller budget"
    ):
        pack(colours(), "train", shorter_side=16, root=tmp_path / "cache")


def test_training_and_evaluation_stream_when_told(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset, config = colours(), RunConfig("small_resnet", replace(tiny, epochs=6), device="cpu")
    run = train(dataset, config, tmp_path / "run", cache=tmp_path / "cache", budget=0)
    assert read_manifest(run).facts["images"] == "streamed"
    out = evaluate(run, dataset, tmp_path / "out", cache=tmp_path / "cache", budget=0)
    assert read_manifest(out).counts["n_images"] == 10
    assert sorted(path.name.split("-", 1)[1] for path in (tmp_path / "cache").iterdir()) == [
        "train-index",
        "val-index",
    ]
    other = train(dataset, config, tmp_path / "other", cache=tmp_path / "cache")
    assert read_manifest(other).facts["images"] == "packed"


def test_pictures_that_need_no_reduction_train_to_the_same_bits_either_way(
    tiny: Recipe, tmp_path: Path
) -> None:
    """Lossless pictures no larger than the cache keeps them: both ways show the same views."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for category in "ab":
            for number in range(6):
                path = tmp_path / "set" / split / category / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (14, 16 + number, 3), dtype=np.uint8)).save(path)
    dataset, config = read_folder(tmp_path / "set"), RunConfig("small_resnet", replace(tiny, epochs=2))
    weights = [
        (train(dataset, config, tmp_path / f"{budget}", budget=budget) / "model.safetensors").read_bytes()
        for budget in (0, 1 << 30)
    ]
    assert weights[0] == weights[1]
