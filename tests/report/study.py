"""A whole made-up study, small enough to write in a moment: data set, variants, faces, tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sfumato.compare import CompareSettings, compare
from sfumato.data import Dataset, read_folder
from sfumato.faces import FaceTable
from sfumato.report import ReportInputs
from tests.compare.synthetic import NONE, World, make_faces, make_predictions

FACE_COLOUR = np.array([255, 0, 255])
"""Nothing else in the pictures looks like it."""

COVER_COLOUR = np.array([20, 40, 20])


def make_study(root: Path, world: World = World(), *, title: str = "A made-up study") -> ReportInputs:
    """Every third image has a face of one colour in a box; obfuscated arms cover it with another."""
    faces = make_faces(world, world.image_ids[::3])
    original = _write(root / "original", world, faces, FACE_COLOUR)
    variants: dict[str, Dataset] = {}
    for number, arm in enumerate(world.accuracy):
        if arm != "original":
            colour = FACE_COLOUR if arm == NONE else COVER_COLOUR
            variants[arm] = replace(_write(root / f"variant{number}", world, faces, colour), arm=arm)
    predictions = make_predictions(root / "predictions", world)
    settings = CompareSettings(rounds=300, allow_single_seed=len(world.seeds) == 1)
    compare(predictions, root / "tables", faces=faces, settings=settings)
    return ReportInputs(
        title=title,
        tables=root / "tables",
        faces=faces,
        original=original,
        variants=variants,
        settings={"train": {"models": list(world.models), "seeds": list(world.seeds)}, "note": "made up"},
        command="sfumato study my-study/study.toml",
    )


def _write(root: Path, world: World, faces: FaceTable, face: NDArray[np.int64]) -> Dataset:
    for number, image_id in enumerate(world.image_ids):
        picture = _background(number)
        for x0, y0, x1, y1 in faces.of(image_id).xyxy.astype(int):
            picture[y0:y1, x0:x1] = face
        path = root / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path.with_suffix(".jpg"), quality=95)
    return read_folder(root)


def _background(number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(number)
    coarse = rng.integers(60, 200, size=(3, 4, 1)).repeat(3, axis=2)  # grey: nowhere near the face's colour
    return np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize((64, 48))).copy()
