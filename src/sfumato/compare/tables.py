"""The tables of a comparison: schemas, and how they lie on disk.

A metric is top-1 or top-5 accuracy; or, of a downstream task of attributes or objects, one of those that
its predictions name (`sfumato.compare.measured`). Metrics and differences are fractions (a difference of
-0.01 is one point lost); a difference is the arm minus its reference. `n_images` counts images once, however
many seeds and models saw them; `n_seeds` is the number of seeds a model (for "all" models: the fewest of
any). What cannot be known is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.compare.arms import NONE, ORIGINAL
from sfumato.compare.further import FURTHER_SCHEMAS
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
"""The metrics by model and arm. `metric` is "top1_accuracy", "top5_accuracy" or a task's; `subset` is "all",
"with_faces" or "without_faces"; `mean` is over seeds; `standard_error` is the standard deviation over seeds
(ddof 1; with the setting `sem` "study" ddof 2) by the root of their number, null for one seed (two). Model
"all" is the mean over models, which are taken as given."""

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
        ("standard_error", pa.float64()),
        ("degrees_of_freedom", pa.float64()),
        ("p_value", pa.float64()),
        ("margin", pa.float64()),
        ("p_equivalence", pa.float64()),
        ("outcome", pa.string()),
        ("smallest_effect", pa.float64()),
        ("seeds_needed", pa.int64()),
        ("images_needed", pa.int64()),
    ]
)
"""Arm minus reference ("scratch", "original" or "none"), with the interval of the paired bootstrap over
images and seeds. `standard_error` and `degrees_of_freedom` (Satterthwaite) are of the difference, over
images and seeds (`sfumato.compare.variance`); `p_value` is two-sided, of no difference; `p_equivalence` of
two one-sided tests that the difference is `margin` or more either way. `outcome`: "equivalent" (that test
passes at 1 - confidence: no meaningful cost, which may differ from zero all the same), else "cost" or "gain"
(the interval leaves zero out), else "undecided". `smallest_effect` is the true difference that the study
would have seen in 80 % of repetitions. Where it is undecided, `seeds_needed` and `images_needed` are the
fewest seeds of each model (on the same images) and images (with the same seeds), each alone, with which it
would be decided in 80 % of repetitions, were the measured difference the truth; null where no number would
do, or nothing is known of seeds. Below two images, and where five or fewer all changed alike, the interval
and all that follows from it is null."""

SPLIT_PARTS = ("total", "recompression", "obfuscation")

SPLIT_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("metric", pa.string()),
        ("subset", pa.string()),
        *(
            (f"{part}{column}", pa.float64())
            for part in SPLIT_PARTS
            for column in ("", "_ci_low", "_ci_high", "_p_value")
        ),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
    ]
)
"""What writing anew did and what hiding did: `total` (arm minus original) = `recompression` (none minus
original) + `obfuscation` (arm minus none). One row for each obfuscated arm of a model that has both
references."""

ARCHITECTURES_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("metric", pa.string()),
        ("subset", pa.string()),
        ("n_models", pa.int64()),
        ("difference", pa.float64()),
        ("standard_error", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
        ("n_images", pa.int64()),
    ]
)
"""Paired t over models, of their differences: what to expect of another architecture of the same sort, on
these images. Model "all" of the differences takes the models as given instead. Only with two models or
more."""

_OF_CATEGORY = ("difference", "ci_low", "ci_high", "p_value", "q_value")

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
        *(
            (f"{metric}_{column}_to_{reference}", pa.float64())
            for reference in (ORIGINAL, NONE)
            for metric in ("top1", "top5")
            for column in _OF_CATEGORY
        ),
    ]
)
"""One row for each model, arm and category, also for a category without images (n_images 0, values null).
`share_with_faces` is of the images whose faces are known. Intervals and p-values
(`sfumato.compare.components`) are for each category alone; q-values are Benjamini-Hochberg's over the
categories of a model, arm, reference and metric. Differences to "scratch" are not taken by category. Empty
for attributes and objects: theirs are in `precision_differences`. Null below two images, which know nothing
of how images vary, and where every image changed in the same way."""


def seeds_schema(metrics: Sequence[str] = ("top1_accuracy", "top5_accuracy")) -> pa.Schema:
    """Of the table of single runs: one column a metric."""
    return pa.schema(
        [
            ("model", pa.string()),
            ("arm", pa.string()),
            ("seed", pa.int64()),
            ("subset", pa.string()),
            ("n_images", pa.int64()),
            *((metric, pa.float64()) for metric in metrics),
        ]
    )


SEEDS_SCHEMA = seeds_schema()
"""Accuracy of every single run; of a downstream task its own metrics in their place (`seeds_schema`)."""

EXCLUDED_SCHEMA = pa.schema([("image_id", pa.string()), ("reason", pa.string())])
"""Images that failed in at least one run, and were left out of every number."""

SCHEMAS = {
    "overall": OVERALL_SCHEMA,
    "differences": DIFFERENCES_SCHEMA,
    "split": SPLIT_SCHEMA,
    "architectures": ARCHITECTURES_SCHEMA,
    "by_category": BY_CATEGORY_SCHEMA,
    "seeds": SEEDS_SCHEMA,
    "excluded": EXCLUDED_SCHEMA,
    **FURTHER_SCHEMAS,
}
"""Name of a table to its schema."""


@dataclass(frozen=True)
class Tables:
    """What a comparison found; each table as its schema of the same name says, empty where nothing is known.

    Attributes:
        manifest: None before the tables are on disk.
    """

    overall: pa.Table
    differences: pa.Table
    split: pa.Table
    architectures: pa.Table
    by_category: pa.Table
    seeds: pa.Table
    excluded: pa.Table
    precision: pa.Table = field(default_factory=FURTHER_SCHEMAS["precision"].empty_table)
    precision_differences: pa.Table = field(
        default_factory=FURTHER_SCHEMAS["precision_differences"].empty_table
    )
    swaps: pa.Table = field(default_factory=FURTHER_SCHEMAS["swaps"].empty_table)
    losses: pa.Table = field(default_factory=FURTHER_SCHEMAS["losses"].empty_table)
    exposure_bins: pa.Table = field(default_factory=FURTHER_SCHEMAS["exposure_bins"].empty_table)
    exposure_trends: pa.Table = field(default_factory=FURTHER_SCHEMAS["exposure_trends"].empty_table)
    attention: pa.Table = field(default_factory=FURTHER_SCHEMAS["attention"].empty_table)
    by_group: pa.Table = field(default_factory=FURTHER_SCHEMAS["by_group"].empty_table)
    manifest: Manifest | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was compared, the main one first."""
        return metrics_of(self.manifest)

    @property
    def task(self) -> Mapping[str, Any] | None:
        """The downstream task (name, title, kind, protocol, metrics), or None."""
        return self.manifest.facts.get("task") if self.manifest else None

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
    schemas = SCHEMAS | {"seeds": seeds_schema(metrics_of(manifest))}
    found = {name: read_table(folder / f"{name}.parquet", schema) for name, schema in schemas.items()}
    return Tables(**found, manifest=manifest)


def metrics_of(manifest: Manifest | None) -> tuple[str, ...]:
    """The metrics of a comparison, the main one first; accuracies where its facts name none."""
    return tuple((manifest.facts if manifest else {}).get("metrics", ("top1_accuracy", "top5_accuracy")))


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table as parquet and as CSV; the manifest is the caller's, who writes it last."""
    for name, table in tables.named().items():
        write_table(folder / f"{name}.parquet", table)
        write_csv(folder / f"{name}.csv", table)
