"""Folders of predictions of every kind are found and read by what their manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sfumato.errors import ManifestError
from sfumato.predictions import (
    AttributePredictions,
    Evaluated,
    ObjectPredictions,
    Predictions,
    find_predictions,
    read_any_predictions,
    read_attribute_predictions,
    read_object_predictions,
    read_predictions,
)
from sfumato.records import Manifest, write_manifest
from tests.compare.downstream import CELEBA, VOC, Scene, run_facts, write_attributes, write_objects
from tests.compare.synthetic import World, make_predictions


def test_every_kind_is_found_and_read(tmp_path: Path) -> None:
    world = World(categories=("a",), per_category=(2,), accuracy={"original": 1.0}, seeds=(0,))
    (categories,) = make_predictions(tmp_path / "a", world)
    truth, scores = np.eye(2, dtype=np.int8), np.array([[0.5, -1], [2, 3]])
    attributes = write_attributes(tmp_path / "b", truth, scores, run_facts("original", 0, CELEBA))
    scene = Scene([(1, (1, 2, 3, 4), "crowd")], [(0, (0, 0, 9, 9), 0.5)])
    objects = write_objects(tmp_path / "c", [scene], run_facts("original", 0, VOC))
    write_manifest(tmp_path / "d", Manifest("tables", "0" * 16, {}, {}))
    folders = find_predictions(tmp_path)
    assert folders == [categories.folder, attributes.folder, objects.folder]
    read = [read_any_predictions(folder) for folder in folders]
    assert [type(item) for item in read] == [Predictions, AttributePredictions, ObjectPredictions]
    assert isinstance(read[1], AttributePredictions)
    assert read[1].scores().tolist() == scores.tolist()
    assert isinstance(read[2], ObjectPredictions)
    assert read[2].objects().to_pylist() == [
        {
            "image_id": "test/00000.jpg",
            "label": 1,
            "x0": 1,
            "y0": 2,
            "x1": 3,
            "y1": 4,
            "difficult": False,
            "crowd": True,
        }
    ]
    assert read[2].detections()["score"].to_pylist() == [0.5]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    item = write_objects(tmp_path / "c", [Scene()], run_facts("original", 0, VOC))
    others: list[Callable[[Path], Evaluated]] = [read_predictions, read_attribute_predictions]
    for reader in others:
        with pytest.raises(ManifestError, match="object_predictions"):
            reader(item.folder)
    write_manifest(tmp_path / "d", Manifest("tables", "0" * 16, {}, {}))
    none: list[Callable[[Path], Evaluated]] = [read_object_predictions, read_any_predictions]
    for reader in none:
        with pytest.raises(ManifestError, match="tables"):
            reader(tmp_path / "d")
