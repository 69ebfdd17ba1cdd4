"""The readable images of a split as arrays, and an artefact about a split that is made once for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset, Sample
from sfumato.engines import Work, clear_parts
from sfumato.images import Pixels
from sfumato.learn.chance import Keys, keys_of
from sfumato.learn.views import Windows
from sfumato.records import Manifest, finish, make_key, prepare_output, versions, waiting_lock, write_table

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
"""One row a sample, in the order of the data set. Height and width are those that windows are cut from, in
pixels, 0 where the image failed; `status` is "ok" or "failed", `error` the reason or null."""

_SERIAL_BYTES = 32 << 20  # decoding less than this is done before worker processes have started


@dataclass(frozen=True, eq=False)
class Images(ABC):
    """A split as training and evaluation see it; the arrays run over its readable images only, in order.

    Attributes:
        image_ids: of the readable images.
        labels: (n,) int64.
        shapes: height and width in pixels, (n, 2) int64; windows are cut from pictures of this size.
        keys: what randomness depends on, (n,) uint64.
        failed: image id to reason, for the images that could not be read.
        table: one row a sample, as `INDEX_SCHEMA`, perhaps with more columns.
        way: in which the images are kept, "packed" or "streamed", as recorded with a run.
    """

    way: ClassVar[str]

    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    shapes: NDArray[np.int64]
    keys: Keys
    failed: dict[str, str]
    table: pa.Table

    def __len__(self) -> int:
        return len(self.image_ids)

    @abstractmethod
    def square(self, row: int, window: NDArray[np.int64], size: int) -> Pixels:
        """The part of a readable image as (size, size, 3) uint8 RGB; called in several threads at once.

        Args:
            row: which image.
            window: x0, y0, x1, y1 in pixels of a picture of its shape; may reach over the borders.
            size: side of the square in pixels.

        Raises:
            TrainingError: the image was deleted or changed since the split was prepared.
        """

    def batch(
        self,
        rows: NDArray[np.int64],
        windows: Windows,
        *,
        size: int,
        mirrored: NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> NDArray[np.uint8]:
        """Squares for n readable images, RGB; may be called in several threads at once.

        Args:
            rows: which images, (n,).
            windows: the part of each, (n, 4), in pixels of a picture of its shape.
            size: side of the squares in pixels.
            mirrored: which are turned left to right, (n,); none by default.
            threads: that share the work; they change no bit.

        Returns:
            (n, size, size, 3) uint8.

        Raises:
            TrainingError: an image was deleted or changed since the split was prepared.
        """
        batch = np.empty((len(rows), size, size, 3), dtype=np.uint8)

        def fill(first: int) -> None:
            for at in range(first, len(rows), threads):
                square = self.square(int(rows[at]), windows[at], size)
                batch[at] = square if mirrored is None or not mirrored[at] else square[:, ::-1]

        if threads == 1:
            fill(0)
            return batch
        with ThreadPoolExecutor(threads, thread_name_prefix="sfumato-views") as pool:
            for done in [pool.submit(fill, first) for first in range(threads)]:
                done.result()
        return batch


def listed(table: pa.Table) -> dict[str, Any]:
    """The fields of `Images` that a table gives."""
    fine = readable(table)
    ids, reasons = table["image_id"].to_pylist(), table["error"].to_pylist()
    kept = tuple(image_id for image_id, good in zip(ids, fine, strict=True) if good)
    shapes = np.stack([column(table, name, np.int64) for name in ("height", "width")], axis=1)
    return {
        "image_ids": kept,
        "labels": column(table, "label", np.int64),
        "shapes": shapes,
        "keys": keys_of(kept),
        "failed": {
            image_id: reason for image_id, reason, good in zip(ids, reasons, fine, strict=True) if not good
        },
        "table": table,
    }


def readable(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows of a table are of images that could be read, shape (n_rows,)."""
    return np.array([status == "ok" for status in table["status"].to_pylist()], dtype=bool)


def column(table: pa.Table, name: str, kind: type[np.generic]) -> NDArray[Any]:
    """A column of a table over the readable images, shape (n,)."""
    return np.asarray(table[name].to_numpy()[readable(table)], dtype=kind)


def make_once(
    kind: str,
    root: Path,
    label: str,
    made_from: tuple[str, dict[str, Any]],
    make: Callable[[Path], pa.Table],
) -> Path:
    """The folder of an artefact about a split below `root`: made now, gone on with, or found finished.

    Another process that makes the same is waited for, since both want the same.

    Args:
        kind: of artefact.
        root: folder that holds such artefacts; each has a name of its own.
        label: end of that name, for people.
        made_from: fingerprint of the data set, and settings.
        make: fills the folder it is given and gives the index, one row a sample.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    fingerprint, settings = made_from
    inputs = {"dataset": fingerprint}
    key = make_key(kind, inputs, settings)
    folder = root / f"{key}-{label}"
    with waiting_lock(folder):
        if not prepare_output(folder, kind, key, overwrite=True):
            index = make(folder)
            write_table(folder / INDEX, index)
            counts = {"n_images": len(index), "n_failed": int((~readable(index)).sum())}
            finish(folder, Manifest(kind, key, inputs, settings, counts, {}, versions()))
            clear_parts(folder)
    return folder


def few_workers(dataset: Dataset, samples: Sequence[Sample], work: Work) -> Work:
    """The same work, without worker processes where starting them would take longer than they save."""
    total = 0
    for sample in samples:
        path = dataset.path(sample.image_id)
        total += path.stat().st_size if path.is_file() else 0
        if total >= _SERIAL_BYTES:
            return work
    return replace(work, workers=1)
