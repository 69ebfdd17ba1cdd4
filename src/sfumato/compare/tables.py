"""The tables of a comparison: schemas, and how they lie on disk.

Accuracies and differences are fractions (a difference of -0.01 is one point lost); a difference is the
arm minus its reference. `n_images` counts images once, however many seeds and models saw them; `n_seeds` is
the number of seeds a model (for "all" models: the fewest of any). What cannot be known is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sfumato.records import Manifest, read_manifest, read_table, write_csv, write_table

KIND = "tables"

OVERALL_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("metric", pa.string()),
        ("subset", pa.string()),
        ("mean", pa.float64()),
        ("standard_error", pa.float64()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
    ]
)
"""Accuracy by model and arm. `metric` is "top1_accuracy" or "top5_accuracy"; `subset` is "all", "with_faces"
or "without_faces"; `mean` is over seeds; `standard_error` is the standard deviation over seeds (ddof 1) by
the root of their number, null for one seed. Model "all" is the mean over models, which are taken as given."""

DIFFERENCES_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("metric", pa.string()),
        ("subset", pa.string()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
        ("n_rounds", pa.int64()),
    ]
)
"""Arm minus reference ("original" or "none"), with the interval of the paired bootstrap."""

BY_CATEGORY_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("category", pa.string()),
        ("label", pa.int64()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
        ("share_with_faces", pa.float64()),
        ("top1_accuracy", pa.float64()),
        ("top5_accuracy", pa.float64()),
        ("top1_difference_to_original", pa.float64()),
        ("top1_ci_low_to_original", pa.float64()),
        ("top1_ci_high_to_original", pa.float64()),
        ("top5_difference_to_original", pa.float64()),
        ("top5_ci_low_to_original", pa.float64()),
        ("top5_ci_high_to_original", pa.float64()),
        ("top1_difference_to_none", pa.float64()),
        ("top1_ci_low_to_none", pa.float64()),
        ("top1_ci_high_to_none", pa.float64()),
        ("top5_difference_to_none", pa.float64()),
        ("top5_ci_low_to_none", pa.float64()),
        ("top5_ci_high_to_none", pa.float64()),
    ]
)
"""One row for each model, arm and category, also for a category without images (n_images 0, values null).
`share_with_faces` is of the images whose faces are known. Intervals are for each category alone, not
corrected for looking at many; null below two images, where a bootstrap knows nothing."""

SEEDS_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("subset", pa.string()),
        ("n_images", pa.int64()),
        ("top1_accuracy", pa.float64()),
        ("top5_accuracy", pa.float64()),
    ]
)
"""Accuracy of every single run."""

EXCLUDED_SCHEMA = pa.schema([("image_id", pa.string()), ("reason", pa.string())])
"""Images that failed in at least one run, and were left out of every number."""

SCHEMAS = {
    "overall": OVERALL_SCHEMA,
    "differences": DIFFERENCES_SCHEMA,
    "by_category": BY_CATEGORY_SCHEMA,
    "seeds": SEEDS_SCHEMA,
    "excluded": EXCLUDED_SCHEMA,
}
"""Name of a table to its schema."""


@dataclass(frozen=True)
class Tables:
    """What a comparison found; each table as its schema of the same name says.

    Attributes:
        manifest: None before the tables are on disk.
    """

    overall: pa.Table
    differences: pa.Table
    by_category: pa.Table
    seeds: pa.Table
    excluded: pa.Table
    manifest: Manifest | None = None

    def named(self) -> dict[str, pa.Table]:
        """The tables by name, in the order of `SCHEMAS`."""
        return {name: getattr(self, name) for name in SCHEMAS}


def read_tables(folder: Path) -> Tables:
    """Read the folder that `sfumato compare` wrote.

    Raises:
        ManifestError: no finished comparison there.
        TableError: a table is missing or lacks a column.
    """
    manifest = read_manifest(folder, kind=KIND)
    found = {name: read_table(folder / f"{name}.parquet", schema) for name, schema in SCHEMAS.items()}
    return Tables(**found, manifest=manifest)


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table as parquet and as CSV; the manifest is the caller's, who writes it last."""
    for name, table in tables.named().items():
        write_table(folder / f"{name}.parquet", table)
        write_csv(folder / f"{name}.csv", table)
