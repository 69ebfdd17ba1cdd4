"""How long a comparison of ImageNet's size takes: 90 runs of 50,000 images and 1,000 categories, scores kept.

    python benchmarks/compare.py [--folder FOLDER] [--models 15] [--images 50000] [--categories 1000]

Writes made-up predictions of 15 models, 2 arms and 3 seeds with float16 scores (9 GB; FOLDER keeps them for
the next time, otherwise they go to a temporary folder), then prints the seconds and the peak memory of all
tables, the seconds of 2,000 bootstrap rounds of the overall table, and those of average precision beside
scikit-learn's per-category loop on the same values of one run. Memory is the process's own (RssAnon) and with
the pages of the mapped files (the highest of each); the operating system takes those back when it needs them.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.metrics import average_precision_score

from sfumato.compare import CompareSettings, compare
from sfumato.compare.layout import lay_out
from sfumato.compare.pairing import pair
from sfumato.compare.precision import Scored, average_precision
from sfumato.compare.tabulate import Subset, difference_rows
from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FACES_SCHEMA, FaceTable
from sfumato.predictions import PREDICTIONS_SCHEMA, SCORES, Predictions, find_predictions, read_predictions
from sfumato.records import Manifest, make_key, write_manifest, write_table

ARMS = ("original", "blur(strength=0.2, grow=0.1)")
SEEDS = (0, 1, 2)
COST = 0.05
"""How much lower the right score is under the second arm, in standard deviations of the others."""
TILE = 4096
CHUNK = 5000
CATEGORIES_OF_SKLEARN = 100


@dataclass(frozen=True)
class Size:
    """How much is made up."""

    models: int
    images: int
    categories: int

    @property
    def labels(self) -> np.ndarray:
        """Category of each image."""
        return np.arange(self.images) % self.categories

    @property
    def ids(self) -> list[str]:
        """As in ILSVRC."""
        return [f"val/n{label:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i, label in enumerate(self.labels)]


def write_runs(folder: Path, size: Size) -> None:
    """Write every run: rows of one tile of noise in a new order, and the right score put into each."""
    rng = np.random.default_rng(0)
    tile = rng.normal(size=(TILE, size.categories)).astype(np.float16)
    best = np.argsort(-tile.astype(np.float32), axis=1)[:, :6]
    ease = rng.normal(3.8, 1.2, size=size.images)
    ids = pa.array(size.ids)
    for model in range(size.models):
        for arm in ARMS:
            for seed in SEEDS:
                facts = {
                    "model": f"model{model:02d}",
                    "seed": seed,
                    "train_arm": arm,
                    "eval_arm": arm,
                    "recipe": "made up",
                    "split": "val",
                    "categories": [f"n{label:08d}" for label in range(size.categories)],
                    "n_images": size.images,
                    "n_failed": 0,
                }
                own = ease + rng.normal(0, 0.6, size=size.images) - COST * (arm != ARMS[0])
                rows = rng.integers(0, TILE, size=size.images)
                write_run(
                    folder / f"{model:02d}-{ARMS.index(arm)}-{seed}", ids, (tile, best, rows, own), facts
                )


def write_run(folder: Path, ids: pa.Array, made: tuple[np.ndarray, ...], facts: dict[str, object]) -> None:
    """Scores in chunks, then the table."""
    tile, best, rows, own = made
    n = len(rows)
    label = np.arange(n) % tile.shape[1]
    rank = np.zeros(n, dtype=np.int32)
    folder.mkdir(parents=True, exist_ok=True)
    scores = np.lib.format.open_memmap(folder / SCORES, mode="w+", dtype=np.float16, shape=(n, tile.shape[1]))
    wide = tile.astype(np.float32)
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        value = own[part].astype(np.float16).astype(np.float32)
        others = wide[rows[part]]
        others[np.arange(len(others)), label[part]] = value
        rank[part] = (others > value[:, None]).sum(axis=1)
        scores[part] = others
    scores.flush()
    top = np.where((rank == 0)[:, None], np.column_stack([label, best[rows, :4]]), best[rows, :5])
    columns = [
        ids,
        pa.array(label, pa.int32()),
        pa.array(rank),
        pa.FixedSizeListArray.from_arrays(pa.array(top.ravel(), pa.int32()), 5).cast(pa.list_(pa.int32())),
        pa.nulls(n, pa.list_(pa.float32())),
        pa.array(np.full(n, "ok")),
        pa.nulls(n, pa.string()),
    ]
    write_table(folder / "predictions.parquet", pa.table(columns, schema=PREDICTIONS_SCHEMA))
    write_manifest(folder, Manifest("predictions", make_key("predictions", {}, facts), {}, {}, facts=facts))


def make_faces(size: Size) -> FaceTable:
    """A face in every fifth image, of 1 to 20 % of it."""
    rng = np.random.default_rng(1)
    ids = np.array(size.ids)
    seen = rng.random(size.images) < 0.2
    side = 500 * np.sqrt(rng.uniform(0.01, 0.2, size=int(seen.sum())))
    n = int(seen.sum())
    zero = np.zeros(n)
    faces = [ids[seen], zero, zero, side, side, np.ones(n), ["face"] * n, ["oracle"] * n]
    images = {
        "image_id": ids,
        "split": ["val"] * size.images,
        "label": size.labels,
        "width": [500] * size.images,
        "height": [500] * size.images,
        "status": ["ok"] * size.images,
        "error": [None] * size.images,
        "sha256": ["0" * 64] * size.images,
        "frames": [1] * size.images,
    }
    return FaceTable(
        pa.table(
            [pa.array(c, f.type) for c, f in zip(faces, FACES_SCHEMA, strict=True)], schema=FACES_SCHEMA
        ),
        pa.table([pa.array(images[f.name], f.type) for f in IMAGES_SCHEMA], schema=IMAGES_SCHEMA),
        Manifest("faces", "0123456789abcdef", {}, {}),
    )


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds, and the highest memory on the way, sampled ten times a second."""
    done = threading.Event()
    peak = {"RssAnon": 0, "VmRSS": 0}

    def watch() -> None:
        while not done.wait(0.1):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in peak:
                    peak[name] = max(peak[name], int(value.split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    own, mapped = (value / 2**20 for value in peak.values())
    print(f"{what}: {seconds:.1f} s, {own:.2f} GiB (with mapped files {mapped:.2f})", flush=True)


def time_precision(run: Predictions) -> None:
    """One run's average precision, and scikit-learn's on some categories."""
    label = run.table["label"].to_numpy().astype(np.int64)
    scored = Scored(np.load(run.folder / SCORES), np.arange(len(label)))
    start = time.perf_counter()
    ours = average_precision(scored, label).values
    seconds = time.perf_counter() - start
    n_categories = scored.scores.shape[1]
    some = range(0, n_categories, max(1, n_categories // CATEGORIES_OF_SKLEARN))
    start = time.perf_counter()
    theirs = [average_precision_score(label == c, scored.scores[:, c]) for c in some]
    loop = (time.perf_counter() - start) * n_categories / len(some)
    print(
        f"average precision of one run: {seconds:.2f} s; scikit-learn's loop {loop:.1f} s (from {len(some)} "
        f"categories), {loop / seconds:.1f} times as long; "
        f"largest difference {np.abs(ours[list(some)] - theirs).max():.1e}",
        flush=True,
    )


def main() -> None:
    """Make what is not there, then time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--models", type=int, default=15)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--categories", type=int, default=1_000)
    arguments = parser.parse_args()
    size = Size(arguments.models, arguments.images, arguments.categories)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "runs"
        if not find_predictions(folder):
            with timed("writing the runs"):
                write_runs(folder, size)
        time_all(folder, Path(temporary) / "tables", make_faces(size))


def time_all(folder: Path, out: Path, faces: FaceTable) -> None:
    """Print every figure."""
    with timed("reading predictions"):
        runs = [read_predictions(found) for found in find_predictions(folder)]
    with timed(f"pairing {len(runs)} runs"):
        outcomes = pair(runs)
    with timed("2,000 bootstrap rounds of the overall table"):
        label = outcomes.label
        strata = tuple(np.flatnonzero(label == c) for c in range(len(outcomes.categories)))
        rows = list(difference_rows(lay_out(outcomes), Subset("all", strata), CompareSettings()))
    print(f"  {len(rows)} differences; of all models: {rows[-2]['difference']:+.4f} {rows[-2]['outcome']}")
    with timed("all tables"):
        compare(runs, out, faces=faces)
    time_precision(runs[0])


if __name__ == "__main__":
    main()
