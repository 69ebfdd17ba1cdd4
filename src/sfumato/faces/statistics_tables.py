"""The tables of face statistics: schemas, and how they lie on disk.

Shares are fractions of 1; `ci_low` and `ci_high` are the ends of their 95 % Wilson intervals. Images are
those that were examined: images that failed are counted in `totals` and nowhere else. What cannot be known
is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.records import (
    Manifest,
    finish,
    locked,
    prepare_output,
    read_manifest,
    read_table,
    write_atomic,
    write_csv,
    write_table,
)

KIND = "face-statistics"

TOTALS_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("n_images", pa.int64()),
        ("n_examined", pa.int64()),
        ("n_failed", pa.int64()),
        ("n_with_faces", pa.int64()),
        ("share_with_faces", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_faces", pa.int64()),
        ("faces_per_face_image", pa.float64()),
        ("n_of_known_size", pa.int64()),
        ("mean_area_share", pa.float64()),
        ("mean_area_share_with_faces", pa.float64()),
        ("n_categories", pa.int64()),
        ("n_categories_above_25_percent", pa.int64()),
        ("n_categories_above_50_percent", pa.int64()),
    ]
)
"""One row. `split` is null for all splits. The area share of an image is the area that its boxes cover
together, cut to the image, by the image's area; its mean is over the examined images of known size, and over
those of them that have a face. Categories are counted where an image of theirs was examined, and lie above a
mark where more than that share of their images has a face."""

BY_CATEGORY_SCHEMA = pa.schema(
    [
        ("category", pa.string()),
        ("label", pa.int64()),
        ("n_images", pa.int64()),
        ("n_with_faces", pa.int64()),
        ("share_with_faces", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_faces", pa.int64()),
        ("mean_area_share", pa.float64()),
    ]
)
"""One row a category, also for one without images (n_images 0, shares null)."""

BY_SUPERCATEGORY_SCHEMA = pa.schema(
    [
        ("supercategory", pa.string()),
        ("n_categories", pa.int64()),
        ("n_images", pa.int64()),
        ("n_with_faces", pa.int64()),
        ("share_with_faces", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
"""One row a supercategory, in the order given. `n_categories` counts those of its categories that the data
set has; the share is over all their images together, so that a large category weighs more."""

HISTOGRAM_SCHEMA = pa.schema(
    [("n_faces_low", pa.int64()), ("n_faces_high", pa.int64()), ("n_images", pa.int64())]
)
"""Images with `n_faces_low` to `n_faces_high` faces, both included: 0, 1, ... 10, and more than 10, where
the high end is null."""

SCHEMAS = {
    "totals": TOTALS_SCHEMA,
    "by_category": BY_CATEGORY_SCHEMA,
    "by_supercategory": BY_SUPERCATEGORY_SCHEMA,
    "histogram": HISTOGRAM_SCHEMA,
}
"""Name of a table to its schema."""


@dataclass(frozen=True)
class FaceStatistics:
    """What the faces of a data set come to; each table as its schema of the same name says.

    Attributes:
        by_supercategory: without rows where no groups were given.
        manifest: what they were counted from.
    """

    totals: pa.Table
    by_category: pa.Table
    by_supercategory: pa.Table
    histogram: pa.Table
    manifest: Manifest

    def named(self) -> dict[str, pa.Table]:
        """The tables by name, in the order of `SCHEMAS`."""
        return {name: getattr(self, name) for name in SCHEMAS}


def write_statistics(
    out: Path,
    found: FaceStatistics,
    *,
    figures: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write every table as parquet and as CSV, the figures, and the manifest.

    Args:
        out: folder to write; where it holds the same statistics already, nothing is done.
        found: the statistics.
        figures: file name to content, such as `sfumato.report.face_figures.face_figures` makes them.
        overwrite: replace statistics of something else.

    Raises:
        OutputExists: the folder was made from something else.
        BusyError: another process works in it.
    """
    with locked(out):
        if prepare_output(out, KIND, found.manifest.key, overwrite=overwrite):
            return
        for name, table in found.named().items():
            write_table(out / f"{name}.parquet", table)
            write_csv(out / f"{name}.csv", table)
        for name, content in (figures or {}).items():
            write_atomic(out / name, content)
        finish(out, found.manifest)


def read_statistics(folder: Path) -> FaceStatistics:
    """Read the folder that `write_statistics` wrote.

    Raises:
        ManifestError: no finished statistics there.
        TableError: a table is missing or lacks a column.
    """
    manifest = read_manifest(folder, kind=KIND)
    tables = {name: read_table(folder / f"{name}.parquet", schema) for name, schema in SCHEMAS.items()}
    return FaceStatistics(**tables, manifest=manifest)


def summary(found: FaceStatistics) -> str:
    """The totals and the supercategories as lines for a terminal; percentages as the study prints them."""
    (total,) = found.totals.to_pylist()
    area = [_percent_of_area(total[f"mean_area_share{of}"]) for of in ("", "_with_faces")]
    above = {mark: total[f"n_categories_above_{mark}_percent"] for mark in (25, 50)}
    each = total["faces_per_face_image"]
    lines = [
        f"images examined: {total['n_examined']:,} ({total['n_failed']:,} failed)",
        f"with faces: {total['n_with_faces']:,} = {_percent(total)}",
        f"faces: {total['n_faces']:,}" + (f", {each:.3f} a face image" if each else ""),
        f"area covered: {area[0]} of an image, {area[1]} of one with faces",
        f"categories: {total['n_categories']:,}, images with faces above 25 % in {above[25]:,} "
        f"and above 50 % in {above[50]:,}",
    ]
    rows = found.by_supercategory.to_pylist()
    if rows:
        width = max(len("supercategory"), *(len(row["supercategory"]) for row in rows))
        lines.append(f"{'supercategory':{width}}  categories     images  with faces")
        lines += [_group_line(row, width) for row in rows]
    return "\n".join(lines)


def _group_line(row: Mapping[str, Any], width: int) -> str:
    counts = f"{row['n_categories']:>10,}  {row['n_images']:>9,}"
    return f"{row['supercategory']:{width}}  {counts}  {_percent(row)}"


def _percent(row: Mapping[str, Any]) -> str:
    if row["share_with_faces"] is None:
        return "unknown"
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    return f"{100 * row['share_with_faces']:.6g} % [{low:.2f}, {high:.2f}]"


def _percent_of_area(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.2f} %"
