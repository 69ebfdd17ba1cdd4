"""Seconds and memory that reading the study's JSON takes, at the study's size.

    python benchmarks/exchange.py [--records 1431093] [--with-faces 243198] [--boxes 562626]

A file with the published counts is drawn into a temporary folder; each task runs in a process of its own:
reading it into columns, matching its records with as many image ids, and `read_known_boxes`. Memory is the
peak resident size of that process, Python and its libraries included. No image file is touched.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sfumato.faces import read_known_boxes
from sfumato.faces.exchange import FORMATS, match_images


def draw(path: Path, args: argparse.Namespace) -> None:
    """Write the study's JSON with these counts: names as in ILSVRC, boxes at random."""
    rng = np.random.default_rng(0)
    owners = rng.permutation(args.records)[: args.with_faces]
    counts = np.zeros(args.records, dtype=np.int64)
    counts[owners] = 1 + np.bincount(
        rng.integers(0, args.with_faces, args.boxes - args.with_faces), minlength=args.with_faces
    )
    starts = rng.uniform(0, 300, (args.boxes, 2))
    boxes = np.hstack([starts, starts + rng.uniform(5, 200, (args.boxes, 2))]).tolist()
    at = 0
    with path.open("w") as file:
        for row, count in enumerate(counts.tolist()):
            faces = ", ".join(
                f'{{"x0": {x0!r}, "y0": {y0!r}, "x1": {x1!r}, "y1": {y1!r}}}'
                for x0, y0, x1, y1 in boxes[at : at + count]
            )
            file.write(f'{", " if row else "["}{{"url": "{name_of(row)}", "bboxes": [{faces}]}}')
            at += count
        file.write("]")


def name_of(row: int) -> str:
    """Name of an image, about as long as those of ILSVRC."""
    category = row % 1000
    return f"train/n{2000000 + 1234 * category:08d}/n{2000000 + 1234 * category:08d}_{row}.JPEG"


def read_columns(path: Path) -> str:
    """Read the file into columns."""
    read = FORMATS.build("study").read(path)
    with_faces = len(np.unique(read.owner))
    return f"{len(read):,} records, {len(read.xyxy):,} boxes in {with_faces:,} images"


def read_and_match(path: Path) -> str:
    """Read, and find the image of each record, as an import does."""
    read = FORMATS.build("study").read(path)
    rows = match_images(read, [name_of(row) for row in range(len(read))])
    return f"{int((rows >= 0).sum()):,} records matched with {len(rows):,} image ids"


def read_known(path: Path) -> str:
    """Read with `read_known_boxes`, and ask for the faces of each image once."""
    known = read_known_boxes(path)
    return f"{sum(len(faces) for faces in known.values()):,} faces of {len(known):,} images"


def measure(task: Callable[[Path], str], path: Path) -> None:
    """Print what a task says, its seconds, and the peak memory of this process."""
    start = time.perf_counter()
    what = task(path)
    seconds = time.perf_counter() - start
    # Kilobytes, but bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{task.__name__:<15} {seconds:6.1f} s  {peak / 2**30:5.2f} GiB peak  {what}", flush=True)


def main() -> None:
    """Draw the file and measure each way of reading it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1_431_093)
    parser.add_argument("--with-faces", type=int, default=243_198)
    parser.add_argument("--boxes", type=int, default=562_626)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "face_annotations.json")
        draw(path, args)
        print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")
        for task in (read_columns, read_and_match, read_known):
            # A fresh process, so that the peak is of this task alone.
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(task, path))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{task.__name__} failed")


if __name__ == "__main__":
    main()
