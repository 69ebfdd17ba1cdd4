"""Read any data set by its folder: plain images, or a variant with its table and manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa

from sfumato.data.dataset import Dataset, Sample
from sfumato.data.folder import read_folder, split_samples
from sfumato.errors import DatasetError, TableError
from sfumato.records import MANIFEST, STARTED, read_manifest, read_table

IMAGES_TABLE = "images.parquet"
IMAGES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("label", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("sha256", pa.string()),
        ("frames", pa.int32()),
    ]
)
"""One row an image that a stage looked at. `status` is "ok" or "failed", `error` the reason or null,
width and height are of the upright image in pixels and null where it failed, sha256 is of the file, frames
the number of frames of an animation that were looked at (1 of any other picture)."""


def read_dataset(root: Path, *, val_fraction: float = 0.0, seed: int = 0) -> Dataset:
    """Read a data set: a variant by its table, any other folder by its layout.

    An image that failed when a variant was written stays a sample of it: it has no file, so whoever reads it
    gets the failure, and counts agree with those of the original.

    Args:
        root: the folder.
        val_fraction, seed: as `read_folder`.

    Raises:
        DatasetError, UsageError: as `read_folder`; a variant that is not finished.
        TableError, ManifestError: the variant is damaged.
    """
    root = Path(root)
    if (root / STARTED).exists():
        # Read as a plain folder it would pass for an original with images missing.
        raise DatasetError(f"{root}: an unfinished output of Sfumato; give the command that makes it again")
    if not (root / MANIFEST).is_file() or not (root / IMAGES_TABLE).is_file():
        return read_folder(root, val_fraction=val_fraction, seed=seed)
    manifest = read_manifest(root, kind="variant")
    table = read_table(root / IMAGES_TABLE, IMAGES_SCHEMA)
    rows = table.select(["image_id", "split", "label"]).to_pylist()
    samples = sorted((Sample(**row) for row in rows), key=lambda sample: sample.image_id)
    _check_ids(root, samples)
    key = manifest.key
    if val_fraction:
        samples = split_samples(root, samples, val_fraction=val_fraction, seed=seed)
        key = f"{key}/{val_fraction}/{seed}"
    return Dataset(root, tuple(samples), tuple(manifest.facts["categories"]), key, manifest.facts["arm"])


def _check_ids(root: Path, samples: Sequence[Sample]) -> None:
    """A table may come from anywhere: its ids must not lead out of its folder."""
    for sample in samples:
        path = PurePosixPath(sample.image_id)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise TableError(f"{root / IMAGES_TABLE}: '{sample.image_id}' is no path below the data set")
