"""Categories that lose top-1 accuracy: explained by a swap, or a real loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sfumato.compare.components import Changes
from sfumato.compare.swaps import SWAP, SWAP_AND_LOSS, Swaps, falls

LOSSES_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("category", pa.string()),
        ("label", pa.int64()),
        ("top1_difference", pa.float64()),
        ("top1_q_value_benjamini_hochberg", pa.float64()),
        ("top5_difference", pa.float64()),
        ("top5_p_value", pa.float64()),
        ("average_precision_difference", pa.float64()),
        ("average_precision_p_value", pa.float64()),
        ("partners", pa.list_(pa.string())),
        ("share_explained_by_swaps", pa.float64()),
        ("kind", pa.string()),
    ]
)
"""One row a category whose top-1 accuracy falls (q-value within the level), the greatest loss first. `kind`:
"swap" where named swaps take at least half of the loss and the rest holds; "real loss" where they do not, and
top-5 accuracy or average precision falls too; "swap and loss" where both; "top-1 only" where neither."""

REAL_LOSS, TOP1_ONLY = "real loss", "top-1 only"

EXPLAINED = 0.5
"""Swaps explain a loss from this share of it on."""


@dataclass(frozen=True, eq=False)
class Measures:
    """Changes of each category under every measure that is known.

    Attributes:
        top1, top5: of the accuracies.
        precision: of average precision; None where no scores were kept.
    """

    top1: Changes
    top5: Changes
    precision: Changes | None = None

    @property
    def others(self) -> tuple[Changes, ...]:
        """All but top-1."""
        return (self.top5,) if self.precision is None else (self.top5, self.precision)


def losses_table(
    measures: Measures,
    swaps: Swaps,
    *,
    categories: Sequence[str],
    contrast: tuple[str, str],
    level: float = 0.05,
) -> pa.Table:
    """Rows of `LOSSES_SCHEMA`: what became of every category that surely lost top-1 accuracy.

    Args:
        measures: changes by category.
        swaps: of the same runs.
        categories: names.
        contrast: arm and reference.
        level: false discovery rate for losses, and level of the tests of falls.
    """
    rows = [
        {"arm": contrast[0], "reference": contrast[1], **row}
        for row in _rows(measures, swaps, categories, level)
    ]
    rows.sort(key=lambda row: row["top1_difference"])
    return pa.Table.from_pylist(rows, schema=LOSSES_SCHEMA)


def _rows(
    measures: Measures, swaps: Swaps, categories: Sequence[str], level: float
) -> Iterator[dict[str, Any]]:
    top1 = measures.top1
    for label in np.flatnonzero((top1.q_value <= level) & (top1.difference < 0)).tolist():
        loss = -float(top1.difference[label])
        pairs = [pair for pair in swaps.named().tolist() if swaps.loser[pair] == label]
        explained = float((swaps.after - swaps.before)[pairs, 0].sum()) / loss
        yield {
            "category": categories[label],
            "label": label,
            "top1_difference": -loss,
            "top1_q_value_benjamini_hochberg": float(top1.q_value[label]),
            "top5_difference": _known(measures.top5.difference[label]),
            "top5_p_value": _known(measures.top5.p_value[label]),
            **_of_precision(measures.precision, label),
            "partners": [categories[swaps.winner[pair]] for pair in pairs],
            "share_explained_by_swaps": explained,
            "kind": _kind(explained >= EXPLAINED, falls(label, loss, measures.others, level)),
        }


def _kind(swapped: bool, fell: bool) -> str:
    if swapped:
        return SWAP_AND_LOSS if fell else SWAP
    return REAL_LOSS if fell else TOP1_ONLY


def _of_precision(precision: Changes | None, label: int) -> dict[str, float | None]:
    if precision is None:
        return {}
    return {
        "average_precision_difference": _known(precision.difference[label]),
        "average_precision_p_value": _known(precision.p_value[label]),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
