"""The study's transfer numbers, and ours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.compare import CompareSettings, Tables, compare
from sfumato.compare.published_transfer import (
    TRANSFER_BESIDE_SCHEMA,
    TRANSFER_SCHEMA,
    TRANSFER_UNKNOWN,
    published_transfer,
    study_task,
    transfer_beside,
)
from sfumato.errors import UsageError
from tests.compare.downstream import CIFAR, run_facts
from tests.compare.synthetic import BLUR, NONE, World, make_predictions, write_predictions

FAST = CompareSettings(rounds=100)
WEAK = "blur(strength=0.1, grow=0.1)"


def tables_of(root: Path, protocol: str = "finetune", arms: Sequence[str] = ("original",)) -> Tables:
    world, items = World(categories=("a", "b"), per_category=(10, 10)), []
    for place, arm in enumerate(arms):
        for seed in (0, 1):
            ranks = np.where(np.arange(20) < 10 + place + seed, 0, 9)
            facts = run_facts(arm, seed, {**CIFAR, "protocol": protocol})
            items.append(write_predictions(root / "runs", world, ranks, facts))
    return compare(items, root / "out", settings=FAST)


def rows_of(tables: Tables) -> list[dict[str, Any]]:
    table = transfer_beside(tables)
    assert table.schema == TRANSFER_BESIDE_SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_the_study_is_in_fractions_with_what_is_not_sure() -> None:
    table = published_transfer()
    assert table.schema == TRANSFER_SCHEMA
    rows = {(row["task"], row["model"], row["init"]): row for row in table.to_pylist()}
    assert len(rows) == 4 * 4 + 4 * 4 + 3 == len(table)
    assert rows["cifar10", "alexnet", "blurred"]["value"] == pytest.approx(0.909)
    assert rows["voc_detection", "resnet50", "blurred"]["value"] == pytest.approx(0.7929)
    assert rows["cifar10", "alexnet", "original"]["note"] is None
    assert rows["cifar10", "alexnet", "original"]["reading_error"] is None
    assert rows["cifar10", "resnet34", "scratch"]["reading_error"] == pytest.approx(0.003)
    assert rows["cifar10", "resnet34", "scratch"]["note"] == "read to within 0.003"
    assert "not confirmed" in rows["celeba", "resnet18", "original"]["note"]
    assert all("sun" not in row["task"] for row in table.to_pylist())


def test_what_is_unknown_is_said() -> None:
    text = " ".join(TRANSFER_UNKNOWN)
    for word in ("SUN", "VOC", "CelebA", "CIFAR-10", "learning rates", "spread", "ResNet-50"):
        assert word in text


def test_ours_stand_beside_the_studys(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, arms=("original", NONE, BLUR, WEAK, "scratch"))
    rows = rows_of(tables)
    mine = [row for row in rows if row["arm"] is not None]
    assert {(row["arm"], row["condition"]) for row in mine} == {
        ("original", "original"),
        (BLUR, "blurred"),
        (WEAK, "blurred"),
        ("scratch", "scratch"),
    }
    row = next(row for row in mine if row["arm"] == BLUR)
    assert (row["model"], row["metric"], row["n_seeds"]) == ("resnet18", "top1_accuracy", 2)
    assert row["published"] == pytest.approx(0.961)
    assert (row["ours"], row["ours_standard_error"]) == pytest.approx((0.625, 0.025))
    assert len(rows) == 4 * 4 + 1  # every published one; of ResNet-18 two strengths


def test_linear_probes_and_other_tasks_stand_alone(tmp_path: Path) -> None:
    (row,) = rows_of(tables_of(tmp_path / "a", "linear"))
    assert (row["published"], row["ours"]) == (None, pytest.approx(0.525))
    tables = tables_of(tmp_path / "b")
    assert tables.manifest is not None
    manifest = replace(tables.manifest, facts={**tables.manifest.facts, "task": {**CIFAR, "name": "photos"}})
    (row,) = rows_of(replace(tables, manifest=manifest))
    assert row["published"] is None


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("cifar10", "cifar10"),
        ("celeba", "celeba"),
        ("voc2007", "voc_detection"),
        ("voc2007+2012", "voc_detection"),
        *(
            (name, None)
            for name in ("celeba-wild", "voc2012", "voc2007-val", "sun397-01", "cifar10-obfuscated")
        ),
    ],
)
def test_only_the_studys_own_tasks_stand_beside_it(name: str, study: str | None) -> None:
    assert study_task({**CIFAR, "name": name}) == study
    assert study_task({**CIFAR, "name": name, "protocol": "linear"}) is None


def test_a_study_has_no_transfer(tmp_path: Path) -> None:
    tables = compare(make_predictions(tmp_path / "runs", World()), tmp_path / "out", settings=FAST)
    with pytest.raises(UsageError, match="no downstream task"):
        transfer_beside(tables)
