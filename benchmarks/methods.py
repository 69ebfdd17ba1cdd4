"""How much faster `study_blur` is on the needed region than the published arithmetic on the whole picture.

    python benchmarks/methods.py [FOLDER] [--repeats 5]

FOLDER holds `images/` and the gold standard `faces.json`. For every picture with faces both are timed (best
of the repeats, one thread, decoding not counted) and compared pixel for pixel; printed are the median over
the pictures and the total, then the milliseconds of every method on the same pictures.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sfumato.faces import Faces
from sfumato.images import Pixels, read_image
from sfumato.obfuscate.catalogue import METHODS

Boxes = list[list[float]]


def published(image: Pixels, boxes: Boxes) -> Pixels:
    """The released arithmetic over the whole picture: one mask, one sigma, one composite."""
    photo = Image.fromarray(image)
    mask = Image.new("L", photo.size, 255)
    longest = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    for x0, y0, x1, y1 in boxes:
        margin = 0.1 * max(x1 - x0, y1 - y0)
        ImageDraw.Draw(mask).rectangle((x0 - margin, y0 - margin, x1 + margin, y1 + margin), fill=0)
    blur = ImageFilter.GaussianBlur(radius=0.1 * longest)
    return np.asarray(Image.composite(photo, photo.filter(blur), mask.filter(blur)))


def read_gold(folder: Path) -> list[tuple[Pixels, Boxes]]:
    """Pictures that have faces with area, and their boxes."""
    gold = json.loads((folder / "faces.json").read_text())["images"]
    found = []
    for name, record in sorted(gold.items()):
        boxes = [[face[key] for key in ("x0", "y0", "x1", "y1")] for face in record["faces"]]
        boxes = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
        if boxes:
            found.append((read_image(folder / "images" / name), boxes))
    return found


def seconds(task: Callable[[], Any], repeats: int) -> float:
    """Shortest time of a call."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        best = min(best, time.perf_counter() - start)
    return best


def compare(pictures: list[tuple[Pixels, Boxes]], repeats: int) -> None:
    """Print the ratio of whole to regional, and whether the pixels agree."""
    regional = METHODS.build("study_blur")
    rows = []
    for image, boxes in pictures:
        faces = Faces.of(boxes)
        assert np.array_equal(regional(image, faces), published(image, boxes)), "pixels differ"
        whole = seconds(partial(published, image, boxes), repeats)
        part = seconds(partial(regional, image, faces), repeats)
        rows.append((whole, part))
    times = np.array(rows)
    ratio = times[:, 0] / times[:, 1]
    print(f"study_blur, {len(rows)} pictures with faces, pixels equal in all of them")
    print(f"  whole picture: median {1e3 * np.median(times[:, 0]):.2f} ms; regional: {_ms(times[:, 1])}")
    print(f"  ratio: median {np.median(ratio):.1f}, quartiles {np.quantile(ratio, [0.25, 0.75]).round(1)}")
    print(f"  total: {times[:, 0].sum() / times[:, 1].sum():.1f} times")


def _ms(times: Any) -> str:
    return f"median {1e3 * np.median(times):.2f} ms"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/imagenet-samples"))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pictures = read_gold(args.folder)
    compare(pictures, args.repeats)
    for name in METHODS.names():
        method = METHODS.build(name)
        times = [seconds(partial(method, image, Faces.of(boxes)), args.repeats) for image, boxes in pictures]
        print(f"{name}: {_ms(times)}, total {sum(times):.2f} s")


if __name__ == "__main__":
    main()
