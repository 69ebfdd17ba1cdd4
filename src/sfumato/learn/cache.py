"""The packed cache: a split decoded once into one flat file of bytes, so that epochs do not decode again.

A cache is a folder with `pixels.u8` (the pictures one after another, each height x width x 3),
`index.parquet` and a manifest of kind "cache". It holds nothing that the data set does not; it may be deleted
at any time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset, Sample
from sfumato.engines import Work, clear_parts, map_parts
from sfumato.errors import BusyError, ImageError, ManifestError
from sfumato.images import Pixels, read_image
from sfumato.learn.chance import Keys, keys_of
from sfumato.learn.views import one_thread_each, shrink
from sfumato.records import (
    Manifest,
    finish,
    locked,
    make_key,
    prepare_output,
    read_manifest,
    read_table,
    versions,
    write_atomic,
    write_table,
)

PIXELS = "pixels.u8"
INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
"""One row a sample, in the order of the data set. Height and width are of the packed picture in pixels, 0
where it failed; `status` is "ok" or "failed", `error` the reason or null."""

_PARTS = ".pixels"
_SERIAL_BYTES = 32 << 20  # below this, starting worker processes takes longer than decoding here
_POLL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Packed:
    """A split in memory-mapped form; arrays run over the readable images only.

    Attributes:
        image_ids: of the readable images.
        labels: (n,) int64.
        shapes: height and width, (n, 2) int64.
        keys: what randomness depends on, (n,) uint64.
        failed: image id to reason, for the images that could not be read.
        table: the whole index, one row a sample, as `INDEX_SCHEMA`.
    """

    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    shapes: NDArray[np.int64]
    keys: Keys
    failed: dict[str, str]
    table: pa.Table
    _offsets: NDArray[np.int64]
    _pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, row: int) -> Pixels:
        """Pixels of a readable image, (height, width, 3), a view of the file."""
        height, width = self.shapes[row]
        start = self._offsets[row]
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)


def packed_side(image_size: int, resize_ratio: float) -> int:
    """Shorter side at which pictures lie in the cache, in pixels."""
    return round(image_size * resize_ratio)


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
        OSError: the disk is full, or the folder cannot be written.
    """
    settings = {"split": split, "shorter_side": shorter_side}
    key = make_key("cache", {"dataset": dataset.fingerprint}, settings)
    folder = root / f"{key}-{split}-{shorter_side}"
    with _waiting(folder):
        if not prepare_output(folder, "cache", key, overwrite=True):
            samples = dataset.subset(split).samples
            index = _decode(dataset, samples, folder, shorter_side=shorter_side, work=work)
            write_table(folder / INDEX, index)
            inputs = {"dataset": dataset.fingerprint}
            counts = {"n_images": len(index), "n_failed": _n_failed(index)}
            finish(folder, Manifest("cache", key, inputs, settings, counts, {}, versions()))
            clear_parts(folder)
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
    return open_packed(folder)


def open_packed(folder: Path) -> Packed:
    """Open a finished cache.

    Raises:
        ManifestError, TableError: it is not one, or damaged.
    """
    read_manifest(folder, kind="cache")
    table = read_table(folder / INDEX, INDEX_SCHEMA)
    rows = table.to_pydict()
    ok = np.array([status == "ok" for status in rows["status"]], dtype=bool)
    sizes = np.array([rows["height"], rows["width"]], dtype=np.int64).reshape(2, -1).T[ok]
    lengths = sizes.prod(axis=1) * 3
    ids = tuple(image_id for image_id, fine in zip(rows["image_id"], ok, strict=True) if fine)
    failed = {
        image_id: reason
        for image_id, reason, fine in zip(rows["image_id"], rows["error"], ok, strict=True)
        if not fine
    }
    return Packed(
        image_ids=ids,
        labels=np.array(rows["label"], dtype=np.int64)[ok],
        shapes=sizes,
        keys=keys_of(ids),
        failed=failed,
        table=table,
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
    if _total_bytes(dataset, samples) < _SERIAL_BYTES:
        work = replace(work, workers=1)
    slim = replace(dataset, samples=())  # what worker processes are sent
    task = partial(_decode_part, dataset=slim, folder=folder, shorter_side=shorter_side)
    if not numbered:
        index = INDEX_SCHEMA.empty_table()
    else:
        index = map_parts(task, numbered, folder, stage="decode", work=work)
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


def _total_bytes(dataset: Dataset, samples: Sequence[Sample]) -> int:
    total = 0
    for sample in samples:
        path = dataset.path(sample.image_id)
        total += path.stat().st_size if path.is_file() else 0
        if total >= _SERIAL_BYTES:
            break
    return total


def _n_failed(index: pa.Table) -> int:
    return sum(status == "failed" for status in index["status"].to_pylist())


@contextmanager
def _waiting(folder: Path) -> Iterator[None]:
    """Hold a cache; another process that fills it is waited for, since both want the same."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except BusyError:
                time.sleep(_POLL_SECONDS)
        yield
