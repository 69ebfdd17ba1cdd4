"""Groups of images treated like categories: supercategories, and subgroups that the user brings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare.by_category import contrast_changes
from sfumato.compare.groups import group_strata, read_image_groups, supercategory_strata
from sfumato.compare.layout import Contrast, Layout, accuracies, differences, lay_out
from sfumato.compare.outcomes import Outcomes
from sfumato.compare.settings import CompareSettings
from sfumato.data.groups import read_groups
from sfumato.errors import UsageError
from sfumato.records import make_key

BY_GROUP_SCHEMA = pa.schema(
    [
        ("grouping", pa.string()),
        ("group", pa.string()),
        ("model", pa.string()),
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("metric", pa.string()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
        ("mean", pa.float64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),
    ]
)
"""Arm minus reference over the images of each group. `grouping` is "supercategory" or the name of the user's
column; an image may be in several supercategories. `mean` is the arm's own; q-values are Benjamini-Hochberg's
over the groups of one grouping, model, arm, reference and metric."""


@dataclass(frozen=True)
class Grouping:
    """One way to put images into groups.

    Attributes:
        name: of the column, or "supercategory".
        images: image id to group (`sfumato.compare.groups.read_image_groups`); None is in none.
        categories: or group to the categories in it (`sfumato.data.groups.read_groups`).
    """

    name: str
    images: Mapping[str, str | None] | None = None
    categories: Mapping[str, Collection[str]] | None = None

    def strata(self, outcomes: Outcomes) -> dict[str, NDArray[np.int64]]:
        """Columns of the outcomes of each group.

        Raises:
            UsageError: images that were compared are not in it, or none of them is in a group.
        """
        if self.images is not None:
            return group_strata(outcomes.image_ids.tolist(), self.images, f"groups by {self.name}")
        return supercategory_strata(outcomes.label, outcomes.categories, self.categories or {})

    def key(self) -> str:
        """Hash of who is in which group."""
        groups = {name: sorted(members) for name, members in (self.categories or {}).items()}
        return make_key("grouping", {}, {"name": self.name, "images": self.images, "categories": groups})


SUPERCATEGORY = "supercategory"


def read_groupings(
    table: Path | None, columns: Sequence[str], supercategories: str | None = None
) -> list[Grouping]:
    """Groupings by what a person names on the command line.

    Args:
        table: parquet or CSV with the column image_id and those of the groups; None where there is none.
        columns: of the table, each a way to group its images.
        supercategories: CSV of category and supercategory, or "ilsvrc" (`sfumato.data.groups.read_groups`).

    Raises:
        UsageError: a table without columns or the other way round, or a name that two groupings would have.
        TableError, UnknownName: as `read_image_groups` and `read_groups`.
    """
    if (table is None) != (not columns):
        raise UsageError("groups of images need both a table (--groups) and its columns (--group-by)")
    names = [*columns, *([SUPERCATEGORY] if supercategories else [])]
    if len(set(names)) < len(names):
        raise UsageError(f"groupings need different names, not {', '.join(names)}; rename a column")
    found = [Grouping(column, images=read_image_groups(table, column)) for column in columns if table]
    if supercategories:
        found.append(Grouping(SUPERCATEGORY, categories=read_groups(supercategories)))
    return found


def group_table(outcomes: Outcomes, groupings: Sequence[Grouping], settings: CompareSettings) -> pa.Table:
    """Rows of `BY_GROUP_SCHEMA`.

    Raises:
        UsageError: a grouping that does not fit the images.
    """
    rows: list[dict[str, Any]] = []
    layout = lay_out(outcomes)
    for grouping in groupings:
        rows += _rows(layout, grouping.name, grouping.strata(outcomes), settings.confidence)
    return pa.Table.from_pylist(rows, schema=BY_GROUP_SCHEMA)


def _rows(
    layout: Layout, name: str, strata: Mapping[str, NDArray[np.int64]], confidence: float
) -> Iterator[dict[str, Any]]:
    means = {(item.model, item.arm, item.metric): item for item in accuracies(layout)}
    for item in differences(layout):
        own = means[item.model, item.arm, item.metric]
        found = contrast_changes(layout, item, list(strata.values()), confidence)
        for number, (group, columns) in enumerate(strata.items()):
            columns_of = ("difference", "ci_low", "ci_high", "p_value", "q_value")
            yield {
                "grouping": name,
                "group": group,
                "model": item.model,
                "arm": item.arm,
                "reference": item.reference,
                "metric": item.metric,
                "n_images": len(columns),
                "n_seeds": int(layout.n_seeds[item.weights != 0].min()),
                "mean": _mean(layout, own, columns),
                **{column: _known(getattr(found, column)[number]) for column in columns_of},
            }


def _mean(layout: Layout, item: Contrast, columns: NDArray[np.int64]) -> float | None:
    if not len(columns):
        return None
    groups = np.flatnonzero(item.weights).tolist()
    return float(
        sum(item.weights[g] * layout.correct[layout.rows(g)][:, columns].mean(dtype=float) for g in groups)
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
