"""Differences of average precision between arms, with intervals.

The interval takes the influence of each image on the average precision (infinitesimal jackknife, Efron 1982,
"The jackknife, the bootstrap and other resampling plans", chapter 6). Of an image i of the category, and of
another j:

    P u_i = TP_i / N_i - AP + sum over k with s_k <= s_i of (1 / N_k - TP_k / N_k^2)
    P u_j =                  - sum over k with s_k <= s_j of TP_k / N_k^2

They sum to zero, and the sum of their squares (about the mean within each category, as images are drawn
within categories) is the variance. Differences of influences, image by image, go into the two-way variance of
`sfumato.compare.components`. A bootstrap would give the same at hundreds of times the cost. With few images
of a category, or an average precision near 1, the distribution is skew and the interval only approximate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.compare.components import Changes, Variance, changes
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.precision import MEMORY, NO_SCORE, Codes, Column, Floats, Ints, Order, Scored, codes_of
from sfumato.progress import Progress, silent

PRECISION_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("category", pa.string()),
        ("label", pa.int64()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
        ("average_precision", pa.float64()),
    ]
)
"""Mean over seeds (model "all": over models) of each category's average precision; `n_images` are those of
the category; null where there are none."""

PRECISION_DIFFERENCES_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("category", pa.string()),
        ("label", pa.int64()),
        ("n_images", pa.int64()),
        ("n_seeds", pa.int64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),
        ("q_value_benjamini_hochberg", pa.float64()),
    ]
)
"""Arm minus reference; q-values are over the categories of one model, arm and reference. Interval and p-value
are null below two images of the category."""

Cell = tuple[str, str]


@dataclass(frozen=True)
class PrecisionSettings:
    """How average precision is compared.

    Attributes:
        confidence: of the intervals.
        memory: bytes for codes and sums, see `MEMORY`.
    """

    confidence: float = 0.95
    memory: int = MEMORY


@dataclass(frozen=True, eq=False)
class PrecisionComparison:
    """Average precision of every run, and differences between arms.

    Attributes:
        values: (model, arm) to (seeds, n_categories).
        differences: (model or "all", arm, reference) to the changes of each category.
        n_seeds: model (or "all": the fewest) to seeds.
        n_images: (n_categories,) images of each category.
        n_left_out: the most images that any run had no score for.
    """

    values: Mapping[Cell, Floats]
    differences: Mapping[tuple[str, str, str], Changes]
    n_seeds: Mapping[str, int]
    n_images: Ints
    n_left_out: int

    def means(self) -> dict[Cell, Floats]:
        """(model or "all", arm) to the mean over seeds (and models), (n_categories,)."""
        found = {cell: of_seeds.mean(axis=0) for cell, of_seeds in self.values.items()}
        if ALL_MODELS not in self.n_seeds:
            return found
        for arm in dict.fromkeys(arm for _, arm in self.values):
            found[ALL_MODELS, arm] = np.mean([v for (_, other), v in found.items() if other == arm], axis=0)
        return found

    def table(self, categories: Sequence[str]) -> pa.Table:
        """Rows of `PRECISION_SCHEMA`."""
        blocks = [
            {**self._names(model, categories), "arm": arm, "average_precision": values}
            for (model, arm), values in self.means().items()
        ]
        return _stack(blocks, PRECISION_SCHEMA)

    def difference_table(self, categories: Sequence[str]) -> pa.Table:
        """Rows of `PRECISION_DIFFERENCES_SCHEMA`."""
        blocks = [
            {
                **self._names(model, categories),
                "arm": arm,
                "reference": reference,
                **{name: getattr(found, name) for name in ("difference", "ci_low", "ci_high", "p_value")},
                "q_value_benjamini_hochberg": found.q_value,
            }
            for (model, arm, reference), found in self.differences.items()
        ]
        return _stack(blocks, PRECISION_DIFFERENCES_SCHEMA)

    def _names(self, model: str, categories: Sequence[str]) -> dict[str, Any]:
        return {
            "model": model,
            "category": list(categories),
            "label": np.arange(len(categories)),
            "n_images": self.n_images,
            "n_seeds": self.n_seeds[model],
        }


def _stack(blocks: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Blocks of columns (a single value stands for a whole column) as one table; NaN becomes null."""
    tables = [
        pa.table(
            [_column(block[field.name], len(block["category"]), field.type) for field in schema],
            schema=schema,
        )
        for block in blocks
    ]
    return pa.concat_tables([schema.empty_table(), *tables])


def _column(value: Any, n: int, kind: pa.DataType) -> pa.Array:
    if isinstance(value, str | int):
        value = [value] * n
    return pa.array(value, type=kind, from_pandas=True)


def compare_precision(
    runs: Mapping[Cell, Sequence[Scored]],
    label: Ints,
    contrasts: Sequence[tuple[str, str]],
    *,
    settings: PrecisionSettings = PrecisionSettings(),
    progress: Progress = silent,
) -> PrecisionComparison:
    """Average precision of every run, and its differences with intervals, p- and q-values.

    Each run is read once (once for each block of categories, where they do not fit into the memory set).

    Args:
        runs: (model, arm) to runs, one a seed, in the same order of seeds in every arm of a model.
        label: (n,) category of each image.
        contrasts: (arm, reference) pairs; a model that lacks one of the two is passed over.
        settings: confidence and memory.
        progress: called as ("average precision", done, total) after each set of runs of one model and seed.
    """
    order = Order(label, next(iter(runs.values()))[0].scores.shape[1])
    plan = _Plan(runs, contrasts)
    blocks = _column_blocks(order, len(label), plan.arrays, settings.memory)
    done, total = 0, len(blocks) * sum(plan.n_seeds[model] for model in plan.models)
    parts = []
    for columns in blocks:
        part = _Block(plan, order, columns)
        for model in plan.models:
            for seed in range(plan.n_seeds[model]):
                part.add(model, seed)
                done += 1
                progress("average precision", done, total)
            part.finish(model)
        parts.append(part)
    return _gathered(plan, order, parts, settings.confidence)


class _Plan:
    """Which runs there are, and which are compared."""

    def __init__(self, runs: Mapping[Cell, Sequence[Scored]], contrasts: Sequence[tuple[str, str]]) -> None:
        self.runs = runs
        self.models = tuple(dict.fromkeys(model for model, _ in runs))
        self.n_seeds = {
            model: len(next(v for (m, _), v in runs.items() if m == model)) for model in self.models
        }
        self.contrasts = {
            model: [pair for pair in contrasts if self._has(model, pair)] for model in self.models
        }
        self.pairs = [pair for pair in contrasts if any(self._has(model, pair) for model in self.models)]
        most_arms = max(len(self.arms(model)) for model in self.models)
        # Bytes an image and category: codes of every arm, and two float32 sums for each contrast.
        self.arrays = 2 * most_arms + 8 * len(self.pairs)

    def _has(self, model: str, pair: tuple[str, str]) -> bool:
        return all((model, arm) in self.runs for arm in pair)

    def arms(self, model: str) -> list[str]:
        return [arm for name, arm in self.runs if name == model]

    def having(self, pair: tuple[str, str]) -> list[str]:
        return [model for model in self.models if pair in self.contrasts[model]]


def _column_blocks(order: Order, n: int, width: int, memory: int) -> list[slice]:
    step = max(1, memory // max(1, n * width))
    starts = range(0, order.n_categories, step)
    return [slice(start, min(start + step, order.n_categories)) for start in starts]


class _Block:
    """Sums over runs for some categories, from which their variances are made."""

    def __init__(self, plan: _Plan, order: Order, columns: slice) -> None:
        self.plan, self.order, self.columns = plan, order, columns
        self._shape = (columns.stop - columns.start, len(order.images))
        self.values: dict[tuple[str, str, int], Floats] = {}
        self.image: dict[tuple[str, str, str], Floats] = {}
        self.rest: dict[tuple[str, str, str], Floats] = {}
        self.left_out = 0
        self._own: dict[tuple[str, str], NDArray[np.float32]] = {}
        self._all: dict[tuple[str, str], NDArray[np.float32]] = {}
        self._squares: dict[tuple[str, str], Floats] = {}

    def add(self, model: str, seed: int) -> None:
        """Take in one seed of a model, in every arm."""
        codes = {}
        for arm in self.plan.arms(model):
            codes[arm] = codes_of(self.plan.runs[model, arm][seed], self.order.images, self.columns)
            self.left_out = max(self.left_out, int((codes[arm] == NO_SCORE).any(axis=0).sum()))
            self.values[model, arm, seed] = np.empty(self._shape[0])
        if seed == 0:
            for pair in self.plan.contrasts[model]:
                self._own[pair] = np.zeros(self._shape, dtype=np.float32)
                self._squares[pair] = np.zeros(self._shape[0])
        for row in range(self._shape[0]):
            self._add_category(model, seed, row, codes)

    def _add_category(self, model: str, seed: int, row: int, codes: Mapping[str, Codes]) -> None:
        own = self.order.of(self.columns.start + row)
        influence = {}
        for arm, of_arm in codes.items():
            column = Column(of_arm[row], own)
            self.values[model, arm, seed][row] = column.value
            if any(arm in pair for pair in self.plan.contrasts[model]):
                influence[arm] = column.influence()
        for pair in self.plan.contrasts[model]:
            difference = influence[pair[0]] - influence[pair[1]]
            self._own[pair][row] += difference
            self._squares[pair][row] += self.order.squares(difference[None])[0]

    def finish(self, model: str) -> None:
        """After the last seed of a model: its variances, and its part in those over all models."""
        seeds = self.plan.n_seeds[model]
        for pair in self.plan.contrasts[model]:
            mean = self._own.pop(pair)
            mean /= seeds
            image = self._within(mean)
            self.image[model, *pair] = image
            squares = self._squares[pair] - seeds * image
            self.rest[model, *pair] = np.maximum(0, squares) / (seeds - 1) if seeds > 1 else 0 * squares
            if len(self.plan.models) > 1:
                mean /= len(self.plan.having(pair))
                if pair in self._all:
                    self._all[pair] += mean
                else:
                    self._all[pair] = mean
            if model == self.plan.having(pair)[-1] and pair in self._all:
                self.image[ALL_MODELS, *pair] = self._within(self._all.pop(pair))

    def _within(self, values: NDArray[np.float32]) -> Floats:
        return np.concatenate([self.order.squares(row[None]) for row in values])


def _gathered(plan: _Plan, order: Order, parts: Sequence[_Block], confidence: float) -> PrecisionComparison:
    values = {
        (model, arm): np.stack(
            [
                np.concatenate([part.values[model, arm, seed] for part in parts])
                for seed in range(plan.n_seeds[model])
            ]
        )
        for model, arm in plan.runs
    }
    n_seeds = dict(plan.n_seeds)
    if len(plan.models) > 1:
        n_seeds[ALL_MODELS] = min(n_seeds.values())
    return PrecisionComparison(
        values=values,
        differences=dict(_differences(plan, order, parts, values, confidence)),
        n_seeds=n_seeds,
        n_images=order.counts,
        n_left_out=max(part.left_out for part in parts),
    )


def _differences(
    plan: _Plan, order: Order, parts: Sequence[_Block], values: Mapping[Cell, Floats], confidence: float
) -> Iterator[tuple[tuple[str, str, str], Changes]]:
    """Changes of each model, and over all models where there are more than one."""
    image_df = (order.counts - 1).astype(np.float64)
    for pair in plan.pairs:
        models = plan.having(pair)
        found = []
        for model in models:
            each = values[model, pair[0]] - values[model, pair[1]]
            seed = each.var(axis=0, ddof=1) / len(each) if len(each) > 1 else np.zeros(each.shape[1])
            rest = _joined(parts, "rest", (model, *pair)) / len(each)
            found.append((each.mean(axis=0), seed, rest))
            image = _joined(parts, "image", (model, *pair))
            variance = Variance(image, image_df, seed, rest, len(each) - 1)
            yield (model, *pair), changes(found[-1][0], variance, confidence)
        if len(plan.models) > 1:
            means, seeds, rests = (np.mean(column, axis=0) for column in zip(*found, strict=True))
            image = _joined(parts, "image", (ALL_MODELS, *pair))
            seed_df = sum(plan.n_seeds[model] - 1 for model in models)
            variance = Variance(image, image_df, seeds / len(models), rests / len(models), seed_df)
            yield (ALL_MODELS, *pair), changes(means, variance, confidence)


def _joined(parts: Sequence[_Block], name: str, key: tuple[str, str, str]) -> Floats:
    return np.concatenate([getattr(part, name)[key] for part in parts])
