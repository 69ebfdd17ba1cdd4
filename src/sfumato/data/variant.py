"""Read any data set by its folder: plain images, or a variant with its table and manifest."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from sfumato.data.dataset import Dataset, Sample
from sfumato.data.folder import read_folder
from sfumato.errors import DatasetError, UsageError
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
    ]
)
"""One row an image that a stage looked at. `status` is "ok" or "failed", `error` the reason or null,
width and height are of the upright image in pixels and null where it failed, sha256 is of the file."""


def read_dataset(root: Path, *, val_fraction: float = 0.0, seed: int = 0) -> Dataset:
    """Read a data set: a variant by its table, any other folder by its layout.

    Images that failed when a variant was written are not in it; they stay rows of its table.

    Args:
        root: the folder.
        val_fraction, seed: as `read_folder`; a variant has the splits of its original.

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
    if val_fraction:
        raise UsageError(f"{root} is a variant and has the splits of its original; leave --val-fraction out")
    manifest = read_manifest(root, kind="variant")
    table = read_table(root / IMAGES_TABLE, IMAGES_SCHEMA)
    rows = table.select(["image_id", "split", "label", "status"]).to_pylist()
    samples = [Sample(row["image_id"], row["split"], row["label"]) for row in rows if row["status"] == "ok"]
    samples.sort(key=lambda sample: sample.image_id)
    return Dataset(
        root, tuple(samples), tuple(manifest.facts["categories"]), manifest.key, manifest.facts["arm"]
    )
