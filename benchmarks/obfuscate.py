"""Time to write an obfuscated data set: ours, the published arithmetic as a script, deface, and plain OpenCV.

    python benchmarks/obfuscate.py [FOLDER] [--images 3000] [--share 0.17] [--workers 2]
    python benchmarks/obfuscate.py [FOLDER] --fuzz 5000

FOLDER holds `images/` and `faces.json` (see the README of the development images). Its images are repeated
under other names until `--share` of them have faces, as in ImageNet. All ways have the same files, boxes and
number of processes. The script decodes every image, blurs by the published formula where there are faces, and
saves at quality 75; deface's function gets the boxes; OpenCV decodes and encodes and hides nothing. With
`--fuzz` JPEGs are damaged at random, and each must come out hidden or be reported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sfumato.data import read_dataset
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import ImageError
from sfumato.faces import Faces, FaceTable
from sfumato.faces.gold import IGNORE, read_gold
from sfumato.images import Pixels, read_image
from sfumato.obfuscate import METHODS, FileOptions, obfuscate
from sfumato.obfuscate.files.metadata import Policy
from sfumato.obfuscate.files.rewrite import rewrite

Boxes = Mapping[str, Sequence[Sequence[float]]]
Way = Callable[[Path, Path, Boxes, str], None]


def script(source: Path, target: Path, boxes: Boxes, name: str) -> None:
    """The published arithmetic, whole image, Pillow's default quality of 75."""
    image = Image.open(source / name).convert("RGB")
    if boxes[name]:
        mask = Image.new("L", image.size, 255)
        draw, sides = ImageDraw.Draw(mask), []
        for x0, y0, x1, y1 in boxes[name]:
            side = max(x1 - x0, y1 - y0)
            sides.append(side)
            draw.rectangle((x0 - 0.1 * side, y0 - 0.1 * side, x1 + 0.1 * side, y1 + 0.1 * side), fill=0)
        blur = ImageFilter.GaussianBlur(0.1 * max(sides))
        image = Image.composite(image, image.filter(blur), mask.filter(blur))
    image.save(target / name, "JPEG")


def deface(source: Path, target: Path, boxes: Boxes, name: str) -> None:
    """The function of the deface package with its defaults, and the boxes given."""
    from deface.deface import anonymize_frame  # type: ignore[import-untyped]

    frame = np.array(imageio.imread(source / name))
    frame = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
    found = [np.array([*box, 1.0]) for box in boxes[name]]
    options = {"replacewith": "blur", "ellipse": True, "draw_scores": False, "replaceimg": None}
    anonymize_frame(found, frame, mask_scale=1.3, mosaicsize=20, **options)
    imageio.imsave(target / name, frame, format="JPEG")


def opencv(source: Path, target: Path, boxes: Boxes, name: str) -> None:  # noqa: ARG001  hides nothing
    """Decode and encode."""
    cv2.imwrite(str(target / name), cv2.imread(str(source / name)))


def _each(way: Way, source: Path, target: Path, boxes: Boxes, names: Sequence[str]) -> float:
    cv2.setNumThreads(1)
    for name in names:
        way(source, target, boxes, name)
    return time.process_time()


def run_way(way: Way, source: Path, boxes: Boxes, workers: int) -> tuple[float, float]:
    """Wall and processor seconds over all images, workers started before the clock."""
    names = list(boxes)
    with tempfile.TemporaryDirectory() as target, _pool(workers) as pool:
        task = partial(_each, way, source, Path(target), boxes)
        list(pool.map(task, [names[:1]] * workers))
        before, start = _children(), time.perf_counter()
        parts = [names[at : at + 32] for at in range(0, len(names), 32)]
        list(pool.map(task, parts))
        wall = time.perf_counter() - start
        pool.shutdown()
        return wall, _children() - before


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_ours(
    source: Path, table: FaceTable, method: str, files: FileOptions, workers: int
) -> tuple[float, float, Any]:
    """Wall and processor seconds of `sfumato obfuscate`, start of its workers included; and its counts."""
    with tempfile.TemporaryDirectory() as target:
        before, start = _children(), time.perf_counter()
        out = Path(target) / "variant"
        work = Work(workers)
        manifest = obfuscate(read_dataset(source), table, METHODS.build(method), out, files=files, work=work)
        return time.perf_counter() - start, _children() - before, dict(manifest.counts)


def repeated(folder: Path, target: Path, n_images: int, share: float) -> Boxes:
    """Images under new names, `share` of them with faces; gives the boxes of each."""
    gold = read_gold(folder / "faces.json")
    kept = {
        name: faces[np.array([kind != IGNORE for kind in faces.kind], bool)] for name, faces in gold.items()
    }
    groups = {True: [n for n, f in kept.items() if len(f)], False: [n for n, f in gold.items() if not len(f)]}
    boxes = {}
    for number in range(n_images):
        # Spread evenly: every part of the work has its share of faces.
        has_faces = int((number + 1) * share) > int(number * share)
        names = groups[has_faces]
        name = names[int(number * (share if has_faces else 1 - share)) % len(names)]
        target_name = f"{number:06d}-{name}"
        (target / target_name).write_bytes((folder / "images" / name).read_bytes())
        boxes[target_name] = kept[name].xyxy.tolist()
    return boxes


def known(source: Path, boxes: Boxes, scratch: Path) -> FaceTable:
    """The boxes as a face table."""
    keys = ("x0", "y0", "x1", "y1")
    records = [
        {"url": name, "bboxes": [dict(zip(keys, box, strict=True)) for box in faces]}
        for name, faces in boxes.items()
    ]
    (scratch / "boxes.json").write_text(json.dumps(records))
    oracle = DETECTORS.build(f"oracle(path={str(scratch / 'boxes.json')!r})")
    return detect(read_dataset(source), oracle, scratch / "faces", work=Work(2))


def speed(args: argparse.Namespace, scratch: Path) -> None:
    """Print a row for each way."""
    source = scratch / "photos"
    source.mkdir()
    boxes = repeated(args.folder, source, args.images, args.share)
    with_faces = sum(bool(faces) for faces in boxes.values())
    print(f"{len(boxes)} images, {with_faces} with faces, {args.workers} processes")
    print(f"load of the machine when it began: {os.getloadavg()[0]:.2f}")
    table = known(source, boxes, scratch)
    reference = 0.0
    for name, way in (
        ("published arithmetic, script", script),
        ("deface", deface),
        ("OpenCV, nothing hidden", opencv),
    ):
        wall, cpu = run_way(way, source, boxes, args.workers)
        reference = reference or wall
        print(f"{name:<32} {wall:7.2f} s wall  {cpu:7.2f} s CPU  {reference / wall:5.1f} times the script")
    linked = FileOptions(link="hard")
    for method, files in (
        ("study_blur", FileOptions()),
        ("blur", FileOptions()),
        ("mosaic", FileOptions()),
        ("overlay", FileOptions()),
        ("blur", linked),
        ("overlay", linked),
    ):
        wall, cpu, counts = run_ours(source, table, method, files, args.workers)
        label = f"sfumato {method}{' --link hard' if files == linked else ''}"
        print(f"{label:<32} {wall:7.2f} s wall  {cpu:7.2f} s CPU  {reference / wall:5.1f} times the script")
        print(f"{'':<32} {counts}", flush=True)


def memory(args: argparse.Namespace, scratch: Path) -> None:
    """Print the peak memory of one process for a number of images, and for four times as many."""
    for factor in (1, 4):
        folder = scratch / f"memory-{factor}"
        (folder / "photos").mkdir(parents=True)
        boxes = repeated(args.folder, folder / "photos", factor * args.images // 10, args.share)
        known(folder / "photos", boxes, folder)
        code = (
            "import resource, sys; from sfumato.cli import main; main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        )
        options = ["--faces", str(folder / "faces"), "--out", str(folder / "v"), "--workers", "1", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-c", code, "obfuscate", str(folder / "photos"), *options],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{len(boxes)} images, one process: peak {done.stdout.split()[-1]} MiB", flush=True)


def mutant(rng: np.random.Generator, base: bytes) -> bytes:
    """A JPEG with a few bytes changed, and perhaps its end cut off."""
    data = np.frombuffer(base, dtype=np.uint8).copy()
    for _ in range(rng.integers(1, 12)):
        data[rng.integers(2, len(data))] = rng.integers(0, 256)
    end = len(data) if rng.random() < 0.8 else int(rng.integers(4, len(data)))
    return data[:end].tobytes()


def fuzz(args: argparse.Namespace, scratch: Path) -> None:
    """Print what became of damaged JPEGs; raise if one was written with anything to be seen."""
    rng = np.random.default_rng(args.seed)
    method, ways = METHODS.build("overlay"), Counter[str]()

    def cover(image: Pixels) -> Pixels:
        hidden: Pixels = method(image, Faces.of([[0, 0, image.shape[1], image.shape[0]]]))
        return hidden

    sources = [path.read_bytes() for path in sorted((args.folder / "images").iterdir())[:40]]
    path, new = scratch / "mutant.jpg", scratch / "new.jpg"
    for number in range(args.fuzz):
        path.write_bytes(mutant(rng, sources[number % len(sources)]))
        try:
            made = rewrite(path, cover, policy=Policy.SAFE)
        except ImageError:
            ways["reported"] += 1
            continue
        new.write_bytes(made.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = int(np.abs(read_image(new).astype(int) - 127).max())
        if seen > 24:
            raise SystemExit(
                f"mutant {number} of seed {args.seed} shows something ({seen} levels), {made.written}"
            )
        ways[made.written] += 1
    print(f"{args.fuzz} damaged JPEGs, none shows anything: {dict(ways)}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/imagenet-samples"))
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--share", type=float, default=0.17, help="of images with faces")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fuzz", type=int, default=0, help="only damage this many JPEGs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.fuzz:
            fuzz(args, Path(scratch))
            return
        speed(args, Path(scratch))
        memory(args, Path(scratch))


if __name__ == "__main__":
    main()
