"""The packed cache: a split decoded once into one flat file of bytes, so that epochs do not decode again.

A cache is a folder with `pixels.u8` (the pictures one after another, each height x width x 3),
`index.parquet` and a manifest of kind "cache". It holds nothing that the data set does not; it may be deleted
at any time.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset, Sample
from sfumato.engines import Work, map_parts
from sfumato.errors import ImageError, ManifestError, TrainingError
from sfumato.images import Pixels, read_frame, read_image
from sfumato.learn.chance import keys_of
from sfumato.learn.index import INDEX, INDEX_SCHEMA, Images, few_workers, listed, make_once
from sfumato.learn.views import cut, one_thread_each, shrink, shrunk_size
from sfumato.records import read_manifest, read_table, write_atomic

KIND = "cache"
PIXELS = "pixels.u8"

_PARTS = ".pixels"
_SAMPLED = 2048
_GIB = 1 << 30


@dataclass(frozen=True, eq=False)
class Packed(Images):
    """A split in memory-mapped form; see `Images`. Its shapes are those of the packed pictures."""

    way: ClassVar[str] = "packed"

    _offsets: NDArray[np.int64]
    _pixels: NDArray[np.uint8]

    def image(self, row: int) -> Pixels:
        """Pixels of a readable image, (height, width, 3), a view of the file."""
        height, width = self.shapes[row]
        start = self._offsets[row]
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def square(self, row: int, window: NDArray[np.int64], size: int) -> Pixels:
        """See `Images`."""
        return cut(self.image(row), window, size)


def packed_side(image_size: int, resize_ratio: float) -> int:
    """Shorter side at which pictures lie in the cache, in pixels."""
    return round(image_size * resize_ratio)


def packed_bytes(dataset: Dataset, split: str, *, shorter_side: int) -> int:
    """Size that the cache of a split has or would have, estimated where the split is large.

    Read from the headers of the images; of more than 2,048, from those of as many, chosen by their ids. An
    image without a readable header counts nothing.
    """
    samples = dataset.subset(split).samples
    chosen = samples
    if len(samples) > _SAMPLED:
        hashes = keys_of(sample.image_id for sample in samples)
        chosen = tuple(samples[at] for at in np.sort(np.argsort(hashes, kind="stable")[:_SAMPLED]))
    total = sum(_packed_length(dataset.path(sample.image_id), shorter_side) for sample in chosen)
    return total if len(chosen) == len(samples) else round(total / len(chosen) * len(samples))


def _packed_length(path: Path, shorter_side: int) -> int:
    try:
        frame = read_frame(path)
    except ImageError:
        return 0
    height, width = shrunk_size(frame.height, frame.width, shorter_side)
    return 3 * height * width


def pack(dataset: Dataset, split: str, *, shorter_side: int, root: Path, work: Work = Work()) -> Packed:
    """Decode a split into a cache below `root`, or open the one that is there.

    A killed call resumes. Takes twice the size of the cache on disk while it is put together.

    Args:
        dataset: where images and labels come from.
        split: name of the split; all of it is packed.
        shorter_side: larger pictures are reduced to this, smaller ones kept, in pixels.
        root: folder that holds caches; each has a name of its own.
        work: workers and progress.

    Raises:
        TrainingError: the disk has no room for it.
        OSError: the folder cannot be written.
    """
    samples = dataset.subset(split).samples

    def make(folder: Path) -> pa.Table:
        if not (folder / _PARTS).exists():  # what was begun has its room already, or a part of it
            _need_room(folder, 2 * packed_bytes(dataset, split, shorter_side=shorter_side))
        return _decode(dataset, samples, folder, shorter_side=shorter_side, work=work)

    settings = {"split": split, "shorter_side": shorter_side}
    made_from = (dataset.fingerprint, settings)
    folder = make_once(KIND, root, f"{split}-{shorter_side}", made_from, make)
    shutil.rmtree(folder / _PARTS, ignore_errors=True)  # not before: a call that resumes joins them again
    return open_packed(folder)


def _need_room(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise TrainingError(
            f"{folder}: the cache of decoded images takes {n_bytes / _GIB:.1f} GiB while it is put together, "
            f"and the disk has {free / _GIB:.1f} GiB left; make room, or give a smaller budget for caches, "
            "so that images are decoded while models train"
        )


def open_packed(folder: Path) -> Packed:
    """Open a finished cache.

    Raises:
        ManifestError, TableError: it is not one, or damaged.
    """
    read_manifest(folder, kind=KIND)
    table = read_table(folder / INDEX, INDEX_SCHEMA)
    fields = listed(table)
    lengths = fields["shapes"].prod(axis=1) * 3
    return Packed(
        **fields,
        _offsets=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        _pixels=_map(folder / PIXELS, int(lengths.sum())),
    )


def _map(path: Path, n_bytes: int) -> NDArray[np.uint8]:
    found = path.stat().st_size if path.is_file() else -1
    if found != n_bytes:
        raise ManifestError(f"{path}: damaged cache ({found} bytes, not {n_bytes}); delete {path.parent}")
    if n_bytes == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r")


def _decode(
    dataset: Dataset, samples: Sequence[Sample], folder: Path, *, shorter_side: int, work: Work
) -> pa.Table:
    numbered = list(enumerate(samples))
    slim = replace(dataset, samples=())  # what worker processes are sent
    task = partial(_decode_part, dataset=slim, folder=folder, shorter_side=shorter_side)
    if not numbered:
        index = INDEX_SCHEMA.empty_table()
    else:
        index = map_parts(task, numbered, folder, stage="decode", work=few_workers(dataset, samples, work))
    _join(sorted((folder / _PARTS).glob("*.u8")), folder / PIXELS)
    return index


def _decode_part(
    items: Sequence[tuple[int, Sample]], *, dataset: Dataset, folder: Path, shorter_side: int
) -> pa.Table:
    """Decode one part; its pixels go to a file named after its first row."""
    rows, pixels = [], []
    with one_thread_each():
        for _, sample in items:
            row = {"image_id": sample.image_id, "label": sample.label, "height": 0, "width": 0}
            try:
                image = shrink(read_image(dataset.path(sample.image_id), at_least=shorter_side), shorter_side)
            except ImageError as error:
                rows.append({**row, "status": "failed", "error": str(error)})
                continue
            height, width = image.shape[:2]
            rows.append({**row, "height": height, "width": width, "status": "ok", "error": None})
            pixels.append(image.tobytes())
    write_atomic(folder / _PARTS / f"{items[0][0]:09d}.u8", b"".join(pixels))
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def _join(parts: Sequence[Path], target: Path) -> None:
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as whole:
        for path in parts:
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole, 1 << 20)
    temporary.replace(target)
