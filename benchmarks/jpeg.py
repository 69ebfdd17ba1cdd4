"""CPU time of editing JPEGs block by block, beside plain OpenCV decoding and encoding of the same files.

    python benchmarks/jpeg.py [FOLDER] [--method "blur(strength=0.2)"] [--repeat 5]

FOLDER holds `images/` and `faces.json` (see the README of the development images). Only images with a face
to hide count. One thread; process time; of each image the fastest of the repeats. The hiding itself is not
timed: it is the same work on either way. Printed are milliseconds at the median, and the ratio to OpenCV, of
all images together and at the median, for the edit alone and with the decoding that a method needs before.
OpenCV writes 4:2:0 whatever it read; a file that has its chroma in full keeps it in the edit.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sfumato.faces.gold import IGNORE, read_gold
from sfumato.images import read_frame, read_image
from sfumato.obfuscate import METHODS
from sfumato.obfuscate.files.jpeg import CannotEdit, decode, edit_jpeg, read_header

ROWS = (
    "OpenCV: decode and encode",
    "edit_jpeg",
    "edit_jpeg and decode, as Sfumato does",
    "edit_jpeg and OpenCV's decoding",
    "edit_jpeg and Pillow's decoding",
)


def best(action: Callable[[], object], repeat: int) -> float:
    """Process seconds of the fastest of some calls."""
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


def opencv_decode(data: bytes) -> NDArray[np.uint8]:
    """Decode with OpenCV."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def opencv_recode(data: bytes) -> bytes:
    """Decode and encode with OpenCV and its own settings."""
    return bytes(cv2.imencode(".jpg", opencv_decode(data))[1])


def pillow_decode(data: bytes) -> NDArray[np.uint8]:
    """Decode with Pillow."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def main() -> None:
    """Read the command line, measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/imagenet-samples"))
    parser.add_argument("--method", default="blur(strength=0.2)")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    method = METHODS.build(args.method)
    rows, sizes, refused = [], [], 0
    for image_id, faces in read_gold(args.folder / "faces.json").items():
        hide = faces[np.array([kind != IGNORE for kind in faces.kind], dtype=bool)]
        if not len(hide):
            continue
        path = args.folder / "images" / image_id
        data, before = path.read_bytes(), read_image(path)
        edit = partial(
            edit_jpeg, data, before, method(before, hide), orientation=read_frame(path).orientation
        )
        try:
            sizes.append((len(data), len(edit())))
        except CannotEdit as error:
            refused += 1
            print(f"{image_id}: {error}")
            continue
        rows.append(measure(data, edit, args.repeat))
    report(np.array(rows), np.array(sizes), refused)


def measure(data: bytes, edit: Callable[[], bytes], repeat: int) -> list[float]:
    """Seconds of each of `ROWS`."""
    header = read_header(data)
    ways = (partial(decode, data, header), partial(opencv_decode, data), partial(pillow_decode, data))
    decoding = [best(way, repeat) for way in ways]
    edited = best(edit, repeat)
    return [best(partial(opencv_recode, data), repeat), edited, *(edited + seconds for seconds in decoding)]


def report(seconds: NDArray[np.float64], sizes: NDArray[np.int64], refused: int) -> None:
    """Print the table."""
    before, after = sizes.sum(axis=0).tolist()
    print(f"{len(seconds)} images with faces, {refused} more could not be edited")
    print(f"load of the machine: {os.getloadavg()[0]:.2f}; sizes of the files: x {after / before:.3f}")
    for name, column in zip(ROWS, seconds.T, strict=True):
        together, median = column.sum() / seconds[:, 0].sum(), np.median(column / seconds[:, 0])
        figures = f"x {together:.2f} together, x {median:.2f} at the median"
        print(f"{name:<38} {1000 * np.median(column):6.2f} ms   {figures}")


if __name__ == "__main__":
    main()
