"""Equal inputs give equal bytes: with another number of threads, another order of runs, another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sfumato.compare.bootstrap import resampled_means
from sfumato.compare.settings import CompareSettings
from sfumato.compare.sums import STEP, in_steps, weighted_sum
from tests.compare.synthetic import BLUR, NONE, World, make_faces, make_predictions

WORLD = World(
    categories=tuple(f"c{number:02d}" for number in range(24)),
    per_category=(60,) * 24,
    harmed={(BLUR, "c03"): 0.3, (NONE, "c05"): 0.6},
    seeds=(0, 1, 2),
    models=("alexnet", "resnet18", "vgg11"),
)

DRIVER = """
import sys
from pathlib import Path
from sfumato.compare import CompareSettings, Grouping, compare
from sfumato.faces import read_faces
from sfumato.predictions import find_predictions, read_predictions

runs, faces, out, backwards = sys.argv[1:]
folders = find_predictions(Path(runs))
if backwards == "yes":
    folders.reverse()
items = [read_predictions(folder) for folder in folders]
sides = {name: name[-5] for name in items[0].table["image_id"].to_pylist()}
compare(items, Path(out), faces=read_faces(Path(faces)), groups=[Grouping("side", images=sides)],
        settings=CompareSettings(rounds=300))
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with scores, and faces, on disk."""
    root = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    for item in make_predictions(root / "runs", WORLD):
        scores = rng.normal(size=(len(item.table), len(WORLD.categories)))
        np.save(item.folder / "scores.npy", scores.astype(np.float16))
    write_faces(root / "faces")
    return root


def write_faces(folder: Path) -> None:
    from sfumato.records import write_manifest, write_table

    table = make_faces(WORLD, WORLD.image_ids[::3])
    write_table(folder / "faces.parquet", table.faces)
    write_table(folder / "images.parquet", table.images)
    write_manifest(folder, table.manifest)


def compared(inputs: Path, out: Path, threads: int, backwards: str) -> dict[str, bytes]:
    own = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    own |= {"PYTHONHASHSEED": str(threads)}
    command = [sys.executable, "-c", DRIVER, *map(str, (inputs / "runs", inputs / "faces", out)), backwards]
    subprocess.run(command, check=True, env=os.environ | own)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}


def test_threads_and_the_order_of_runs_change_no_byte(inputs: Path, tmp_path: Path) -> None:
    one = compared(inputs, tmp_path / "one", 1, "no")
    two = compared(inputs, tmp_path / "two", 2, "yes")
    assert {"differences.parquet", "by_category.csv", "swaps.csv", "verdict.json"} <= one.keys()
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_the_order_of_images_within_a_category_changes_no_sum() -> None:
    """Sums of steps are exact, so that any order of adding gives the same."""
    values = in_steps(np.random.default_rng(1).uniform(-1, 1, size=50_000))
    assert values.sum() == values[::-1].sum() == float(sum(values.tolist()))
    assert (values / STEP == np.rint(values / STEP)).all()


def test_sums_are_what_they_should_be() -> None:
    rng = np.random.default_rng(2)
    weights, rows = rng.normal(size=(3, 5)), rng.normal(size=(5, 70))
    np.testing.assert_allclose(weighted_sum(weights, rows), weights @ rows, atol=1e-12)
    np.testing.assert_allclose(weighted_sum(weights[0], rows), weights[0] @ rows, atol=1e-12)


def test_resampled_means_are_exact_to_a_step() -> None:
    values = np.random.default_rng(3).uniform(-1, 1, size=(2, 40))
    found = resampled_means(values, [np.arange(40)], CompareSettings(rounds=100))
    assert (np.rint(found * 40 / STEP) == found * 40 / STEP).mean() > 0.99  # but for the division by 40
    assert np.abs(found.mean(axis=0) - values.mean(axis=1)).max() < 0.1
