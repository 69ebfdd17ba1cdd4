"""A split that stays in its files: each view is decoded when it is wanted, and only as finely as it needs.

An index is made first, by decoding every image once: a picture that cannot be read is a failed row before
training begins, as in the packed cache. The index also holds what an image is recognised by again, so that
one that is deleted or changed later stops a run instead of slipping into it.

The index is a folder with `index.parquet` and a manifest of kind "index"; it may be deleted at any time.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset, Sample
from sfumato.engines import Work, map_parts
from sfumato.errors import ImageError, TrainingError
from sfumato.images import Pixels, read_frame, read_image, turned
from sfumato.learn.index import INDEX, INDEX_SCHEMA, Images, column, few_workers, listed, make_once
from sfumato.learn.views import cut, one_thread_each
from sfumato.records import read_manifest, read_table

KIND = "index"
STREAM_SCHEMA = pa.schema(
    [
        *INDEX_SCHEMA,
        ("orientation", pa.int8()),
        ("scalable", pa.bool_()),
        ("n_bytes", pa.int64()),
        ("crc32", pa.int64()),
    ]
)
"""Height and width are of the upright picture in its full size. `orientation` is the EXIF orientation of its
stored pixels, 1 to 8; `scalable` says whether it is a JPEG that the fast decoder shows as `read_image` does;
`n_bytes` and `crc32` are of the file. All null where the image failed."""

_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""Scale of a decoded picture, as 1 / key, to how OpenCV calls it."""
_SAME = 2
"""Levels by which two decoders may differ and still show the same picture."""


@dataclass(frozen=True, eq=False)
class Streamed(Images):
    """A split whose pixels stay in its files; see `Images`. Its shapes are those of the upright pictures."""

    way: ClassVar[str] = "streamed"

    _root: Path
    _orientations: NDArray[np.int64]
    _scalable: NDArray[np.bool_]
    _n_bytes: NDArray[np.int64]
    _crc32: NDArray[np.int64]

    def square(self, row: int, window: NDArray[np.int64], size: int) -> Pixels:
        """See `Images`.

        A JPEG is decoded at 1/2, 1/4 or 1/8 where its window then still has twice the pixels that the square
        has each way. The window is rounded to pixels of the reduced picture, so its borders move by at most a
        quarter of a pixel of the square.
        """
        path = self._root / self.image_ids[row]
        data = self._read(row, path)
        if not self._scalable[row]:
            try:
                return cut(read_image(path), window, size)
            except ImageError as error:
                raise TrainingError(_changed(str(error))) from error
        scale = reduction(window, size)
        orientation = int(self._orientations[row])
        stored = (stored_window(window, self.shapes[row], orientation) + scale // 2) // scale
        square = cut(_decoded(data, scale), stored, size)
        return turned(square[:, :, ::-1], orientation)

    def _read(self, row: int, path: Path) -> bytes:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TrainingError(_changed(f"{path}: {error.strerror or error}")) from error
        if len(data) != self._n_bytes[row] or zlib.crc32(data) != self._crc32[row]:
            raise TrainingError(_changed(f"{path}: another file than before"))
        return data


def stream(dataset: Dataset, split: str, *, root: Path, work: Work = Work()) -> Streamed:
    """Examine a split, or open the index that is there; a killed call resumes.

    Args:
        dataset: where images and labels come from.
        split: name of the split.
        root: folder that holds indices and caches; each has a name of its own.
        work: workers and progress.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    samples = dataset.subset(split).samples

    def make(folder: Path) -> pa.Table:
        if not samples:
            return STREAM_SCHEMA.empty_table()
        task = partial(_examine_part, dataset=replace(dataset, samples=()))
        return map_parts(task, samples, folder, stage="examine", work=few_workers(dataset, samples, work))

    folder = make_once(KIND, root, f"{split}-index", (dataset.fingerprint, {"split": split}), make)
    return open_streamed(folder, dataset.root)


def open_streamed(folder: Path, root: Path) -> Streamed:
    """Open a finished index of images below `root`.

    Raises:
        ManifestError, TableError: it is not one, or damaged.
    """
    read_manifest(folder, kind=KIND)
    table = read_table(folder / INDEX, STREAM_SCHEMA)
    return Streamed(
        **listed(table),
        _root=root,
        _orientations=column(table, "orientation", np.int64),
        _scalable=column(table, "scalable", np.bool_),
        _n_bytes=column(table, "n_bytes", np.int64),
        _crc32=column(table, "crc32", np.int64),
    )


def reduction(window: Sequence[int] | NDArray[np.int64], size: int) -> int:
    """Largest divisor of 1, 2, 4 and 8 by which a window still has twice `size` pixels each way, or 1."""
    x0, y0, x1, y1 = (int(value) for value in window)
    return max(scale for scale in _FLAGS if scale == 1 or min(x1 - x0, y1 - y0) >= 2 * scale * size)


def stored_window(window: NDArray[np.int64], shape: NDArray[np.int64], orientation: int) -> NDArray[np.int64]:
    """Where a window of the upright picture lies among stored pixels.

    Args:
        window: x0, y0, x1, y1 of the upright picture.
        shape: its height and width.
        orientation: EXIF orientation of the stored pixels, 1 to 8.
    """
    (height, width), (x0, y0, x1, y1) = shape, window
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    return np.array([y0, x0, y1, x1] if orientation >= 5 else [x0, y0, x1, y1], dtype=np.int64)


def _decoded(data: bytes, scale: int) -> Pixels:
    """Stored pixels at 1 / scale, BGR."""
    flags = _FLAGS[scale] | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), dtype=np.uint8)


def _examine_part(samples: Sequence[Sample], *, dataset: Dataset) -> pa.Table:
    with one_thread_each():
        rows = [_examine(sample, dataset.path(sample.image_id)) for sample in samples]
    return pa.Table.from_pylist(rows, schema=STREAM_SCHEMA)


def _examine(sample: Sample, path: Path) -> dict[str, object]:
    row: dict[str, object] = {"image_id": sample.image_id, "label": sample.label, "height": 0, "width": 0}
    try:
        pixels, orientation = read_image(path), read_frame(path).orientation
        data = path.read_bytes()
    except (ImageError, OSError) as error:
        return {**row, "status": "failed", "error": str(error)}
    height, width = pixels.shape[:2]
    return {
        **row,
        "height": height,
        "width": width,
        "status": "ok",
        "orientation": orientation,
        "scalable": _is_scalable(data, pixels, orientation),
        "n_bytes": len(data),
        "crc32": zlib.crc32(data),
    }


def _is_scalable(data: bytes, pixels: Pixels, orientation: int) -> bool:
    """Whether a file is a JPEG of which OpenCV makes the same picture; it does not for CMYK, for example."""
    if not data.startswith(b"\xff\xd8"):
        return False
    try:
        found = turned(_decoded(data, 1)[:, :, ::-1], orientation)
    except (cv2.error, TypeError, IndexError):  # it gives None where it cannot decode
        return False
    if found.shape != pixels.shape:
        return False
    return int(cv2.absdiff(np.ascontiguousarray(found), np.ascontiguousarray(pixels)).max()) <= _SAME


def _changed(what: str) -> str:
    return (
        f"{what}; the image was deleted or changed while models train on it: restore it and give the command "
        "again, or give the changed images a folder of their own"
    )
