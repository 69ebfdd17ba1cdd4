"""What else a comparison tells: average precision, swaps, real losses, exposure, attention and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.arms import reference_of
from sfumato.compare.attention import ATTENTION_SCHEMA, attention_table, face_view
from sfumato.compare.by_group import BY_GROUP_SCHEMA, Grouping, group_table
from sfumato.compare.components import Changes, group_changes
from sfumato.compare.exposure import (
    EXPOSURE_BINS_SCHEMA,
    EXPOSURE_TRENDS_SCHEMA,
    Exposure,
    PairedOutcomes,
    bins_table,
    exposure_of,
    trends_table,
)
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.losses import LOSSES_SCHEMA, Measures, losses_table
from sfumato.compare.measured import Measured, class_precision
from sfumato.compare.outcomes import Outcomes
from sfumato.compare.pairing import by_run, runs_of
from sfumato.compare.precision import Scored
from sfumato.compare.precision_comparison import (
    PRECISION_DIFFERENCES_SCHEMA,
    PRECISION_SCHEMA,
    PrecisionComparison,
    PrecisionSettings,
    compare_precision,
)
from sfumato.compare.settings import CompareSettings
from sfumato.compare.swaps import (
    SWAPS_SCHEMA,
    PairedRuns,
    SwapSettings,
    best_categories,
    find_swaps,
    swaps_table,
)
from sfumato.faces import FaceTable
from sfumato.predictions import SCORES, Predictions
from sfumato.progress import Progress, silent


def _flat(schema: pa.Schema) -> pa.Schema:
    """Lists as text, since a CSV has none."""
    return pa.schema([(f.name, pa.string() if pa.types.is_list(f.type) else f.type) for f in schema])


FURTHER_SCHEMAS = {
    "precision": PRECISION_SCHEMA,
    "precision_differences": PRECISION_DIFFERENCES_SCHEMA,
    "swaps": SWAPS_SCHEMA,
    "losses": _flat(LOSSES_SCHEMA),
    "exposure_bins": EXPOSURE_BINS_SCHEMA,
    "exposure_trends": EXPOSURE_TRENDS_SCHEMA,
    "attention": ATTENTION_SCHEMA,
    "by_group": BY_GROUP_SCHEMA,
}
"""The tables made here, as the modules they come from describe them, but for lists (joined with "; ") and
empty text (null); a reference is "scratch", "original" or "none" as in every table. Each is empty where
nothing is known of its matter: no scores, no faces, no attention, no groups."""

_Pair = tuple[str, str]
_Found = dict[str, list[pa.Table]]


@dataclass(frozen=True)
class Beside:
    """What is looked at beside the outcomes.

    Attributes:
        predictions: that the outcomes are of.
        faces: of the original data set; None leaves exposure out.
        groups: ways to group the images.
    """

    predictions: Sequence[Predictions]
    faces: FaceTable | None = None
    groups: Sequence[Grouping] = ()


def further_tables(
    outcomes: Outcomes,
    beside: Beside,
    *,
    settings: CompareSettings = CompareSettings(),
    progress: Progress = silent,
) -> dict[str, pa.Table]:
    """The tables of `FURTHER_SCHEMAS`; swaps, losses and exposure are over all models that have both arms.

    Raises:
        UsageError: a grouping that does not fit the images.
    """
    found = _nothing()
    found["by_group"].append(group_table(outcomes, beside.groups, settings))
    runs = runs_of(beside.predictions)
    pairs = list(outcomes.pairs())
    precision = _precision(outcomes, runs, pairs, (settings, progress))
    if precision is not None:
        found |= _precision_tables(precision, outcomes.categories)
    by_pair = _ByPair(outcomes, runs, settings)
    exposure = _exposure(outcomes, beside.faces)
    for pair in pairs:
        for name, table in by_pair.tables(pair, precision, exposure):
            found[name].append(table)
    views = by_run(outcomes, runs, lambda item, rows: face_view(item.table, rows))
    known = {key: [view for view in of_seeds if view is not None] for key, of_seeds in views.items()}
    if all(len(known[key]) == len(views[key]) for key in views):
        found["attention"].append(attention_table(known, outcomes.label, outcomes.categories))
    return _all_joined(found)


def tables_of_measured(
    measured: Measured, *, settings: CompareSettings = CompareSettings()
) -> dict[str, pa.Table]:
    """The tables of `FURTHER_SCHEMAS` for attributes and objects: average precision of each, its changes."""
    precision = class_precision(measured, settings.confidence)
    return _all_joined(_nothing() | _precision_tables(precision, measured.categories))


def _nothing() -> _Found:
    return {name: [] for name in FURTHER_SCHEMAS}


def _precision_tables(precision: PrecisionComparison, categories: Sequence[str]) -> _Found:
    return {
        "precision": [precision.table(categories)],
        "precision_differences": [precision.difference_table(categories)],
    }


def _all_joined(found: _Found) -> dict[str, pa.Table]:
    return {name: _joined(tables, FURTHER_SCHEMAS[name]) for name, tables in found.items()}


class _ByPair:
    """Tables of one arm and its reference."""

    def __init__(
        self,
        outcomes: Outcomes,
        runs: Mapping[tuple[str, str, int], Predictions],
        settings: CompareSettings,
    ) -> None:
        self._outcomes, self._settings = outcomes, settings
        best = by_run(outcomes, runs, lambda item, rows: best_categories(item.table, rows))
        self._predicted = {key: np.stack(of_seeds) for key, of_seeds in best.items()}

    def tables(
        self, pair: _Pair, precision: PrecisionComparison | None, exposure: Exposure | None
    ) -> Iterator[tuple[str, pa.Table]]:
        """Name and table, one after the other."""
        paired = [_paired(self._outcomes, pair, metric) for metric in self._outcomes.metrics]
        changes = [self._changes(item) for item in paired]
        measures = Measures(changes[0], changes[1], _of_pair(precision, pair))
        yield from self._swaps(pair, measures)
        confidence = self._settings.confidence
        for item, change in zip(paired, changes, strict=True):
            if exposure is not None:
                yield "exposure_bins", bins_table(exposure, item, change, confidence=confidence)
                yield "exposure_trends", trends_table(exposure, item, change, confidence=confidence)

    def _changes(self, item: PairedOutcomes) -> Changes:
        return group_changes(
            item.differences,
            self._outcomes.label,
            len(self._outcomes.categories),
            models=item.models,
            confidence=self._settings.confidence,
        )

    def _swaps(self, pair: _Pair, measures: Measures) -> Iterator[tuple[str, pa.Table]]:
        categories, label = self._outcomes.categories, self._outcomes.label
        runs = PairedRuns.of(self._predicted, label, categories, pair)
        settings = SwapSettings(level=1 - self._settings.confidence, confidence=self._settings.confidence)
        swaps = find_swaps(runs, top1=measures.top1, others=measures.others, settings=settings)
        counts = np.bincount(label, minlength=len(categories))
        yield (
            "swaps",
            swaps_table(swaps, measures.top1, categories=categories, counts=counts, contrast=pair),
        )
        losses = losses_table(measures, swaps, categories=categories, contrast=pair, level=settings.level)
        yield "losses", losses


def _paired(outcomes: Outcomes, pair: _Pair, metric: str) -> PairedOutcomes:
    models = [m for m in outcomes.models if all((m, arm) in outcomes.ranks for arm in pair)]
    arm, base = (np.concatenate([outcomes.values((model, one), metric) for model in models]) for one in pair)
    number = [place for place, model in enumerate(models) for _ in outcomes.seeds[model]]
    return PairedOutcomes(metric, pair, arm, base, tuple(number))


def _precision(
    outcomes: Outcomes,
    runs: Mapping[tuple[str, str, int], Predictions],
    pairs: Sequence[_Pair],
    how: tuple[CompareSettings, Progress],
) -> PrecisionComparison | None:
    """None where a run kept no scores."""
    if not all((item.folder / SCORES).is_file() for item in runs.values()):
        return None
    scored = {
        (model, arm): _ScoresOnDisk([runs[model, arm, seed] for seed in outcomes.seeds[model]], rows)
        for (model, arm), rows in outcomes.rows.items()
    }
    settings = PrecisionSettings(confidence=how[0].confidence)
    return compare_precision(scored, outcomes.label, pairs, settings=settings, progress=how[1])


class _ScoresOnDisk(Sequence[Scored]):
    """Scores of one run after the other, mapped anew each time: held open, the pages of all would stay."""

    def __init__(self, items: Sequence[Predictions], rows: NDArray[np.int64]) -> None:
        self._items, self._rows = items, rows

    @overload
    def __getitem__(self, place: int) -> Scored: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Scored]: ...

    def __getitem__(self, place: int | slice) -> Scored | Sequence[Scored]:
        if isinstance(place, slice):
            return _ScoresOnDisk(self._items[place], self._rows[place])
        return Scored(self._items[place].scores(), self._rows[place])

    def __len__(self) -> int:
        return len(self._items)


def _of_pair(precision: PrecisionComparison | None, pair: _Pair) -> Changes | None:
    if precision is None:
        return None
    over_all = precision.differences.get((ALL_MODELS, *pair))
    one = (found for (_, *other), found in precision.differences.items() if tuple(other) == pair)
    return over_all if over_all is not None else next(one)


def _exposure(outcomes: Outcomes, faces: FaceTable | None) -> Exposure | None:
    if faces is None:
        return None
    return exposure_of(faces, outcomes.image_ids.tolist(), outcomes.label, len(outcomes.categories))


def _joined(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of a schema: references by their short name, lists as text, no empty text."""
    if not tables:
        return schema.empty_table()
    whole = pa.concat_tables(tables).combine_chunks()
    columns = [_text(whole[field.name], field) for field in schema]
    return pa.table(columns, schema=schema)


def _text(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, "; ")
    if field.name == "reference":
        return pa.chunked_array([[reference_of(arm) or arm for arm in column.to_pylist()]], pa.string())
    if pa.types.is_string(field.type):
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    return column
