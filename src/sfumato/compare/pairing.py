"""Predictions of many runs, paired: the same images in the same order, the same seeds in every arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.arms import REFERENCES, arm_name, reference_of
from sfumato.errors import TableError, UsageError
from sfumato.predictions import Predictions

Strings = NDArray[np.str_]
Ranks = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What every model, trained in every arm with every seed, made of the same n images.

    Attributes:
        image_ids: (n,) sorted.
        label: (n,) index into `categories`.
        categories: names.
        ranks: (model, arm) to (seeds, n): how many categories were placed before the right one.
        seeds: model to its seeds, in the order of the rows of `ranks`.
        excluded: image id to the reason for which it is in none of these.
        rows: (model, arm) to (seeds, n): which row of a run's own table (and scores) an image is.
    """

    image_ids: Strings
    label: NDArray[np.int64]
    categories: tuple[str, ...]
    ranks: Mapping[tuple[str, str], Ranks]
    seeds: Mapping[str, tuple[int, ...]]
    excluded: Mapping[str, str]
    rows: Mapping[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(self.seeds))

    def arms(self, model: str | None = None) -> tuple[str, ...]:
        """Arms of one model or of all: original, none, the others by name."""
        found = {arm for name, arm in self.ranks if model in (None, name)}
        return tuple(sorted(found, key=_arm_order))


def _arm_order(arm: str) -> tuple[int, str]:
    reference = reference_of(arm)
    return (REFERENCES.index(reference) if reference else len(REFERENCES), arm)


@dataclass(frozen=True, eq=False)
class _Row:
    """One run's predictions in the order of sorted image ids; `order` takes its table there."""

    title: str
    image_ids: pa.ChunkedArray
    order: pa.Array
    label: NDArray[np.int64]
    rank: Ranks
    failed: Mapping[int, str]


def pair(predictions: Sequence[Predictions], *, allow_single_seed: bool = False) -> Outcomes:
    """Pair predictions by image, and within a model by seed.

    An image that failed in any of them is left out of all, so that every number is of the same images.

    Raises:
        UsageError: nothing to compare; runs with other images, categories or seeds than the rest; two runs
            that claim the same model, arm and seed; a model with one seed only, unless allowed.
        TableError: an image that occurs twice in one table, a rank that is missing, a label without category.
    """
    if not predictions:
        raise UsageError("no predictions to compare; make some with sfumato train and sfumato evaluate")
    predictions = in_order(predictions)
    rows = _unique(predictions)
    first = next(iter(rows.values()))
    _same_categories(predictions)
    _same_recipes(predictions)
    _known_labels(first, len(predictions[0].facts["categories"]))
    for row in rows.values():
        _same_images(first, row)
    seeds = _seeds(rows, allow_single_seed=allow_single_seed)
    failed = _failed(rows.values())
    ids = np.asarray(first.image_ids.to_pylist(), dtype=np.str_)
    kept = ~np.isin(np.arange(len(ids)), list(failed))
    if not kept.any():
        raise UsageError("every image failed in at least one run; nothing is left to compare")
    cells = _cells(rows, seeds)
    outcomes = Outcomes(
        image_ids=ids[kept],
        label=first.label[kept],
        categories=tuple(predictions[0].facts["categories"]),
        ranks={key: np.stack([row.rank[kept] for row in of]) for key, of in cells.items()},
        seeds=seeds,
        rows={key: np.stack([row.order.to_numpy()[kept] for row in of]) for key, of in cells.items()},
        excluded={str(ids[index]): failed[index] for index in sorted(failed)},
    )
    _one_of_each_reference(outcomes)
    return outcomes


def in_order(predictions: Iterable[Predictions]) -> list[Predictions]:
    """Predictions by model, arm and seed, so that their order decides nothing."""
    return sorted(predictions, key=lambda item: cell(item.facts))


def cell(facts: Mapping[str, Any]) -> tuple[str, str, int]:
    """Model, arm and seed of a run, from the facts of its predictions."""
    return str(facts["model"]), arm_name(facts["train_arm"], facts["eval_arm"]), int(facts["seed"])


def _unique(predictions: Iterable[Predictions]) -> dict[tuple[str, str, int], _Row]:
    rows: dict[tuple[str, str, int], _Row] = {}
    folders: dict[tuple[str, str, int], Any] = {}
    first: tuple[pa.ChunkedArray, pa.Array] | None = None
    for item in predictions:
        key = cell(item.facts)
        if key in rows:
            raise UsageError(
                f"{item.folder} and {folders[key]} both hold {_title(key)}; compare them one at a time"
            )
        ids = item.table["image_id"]
        # Runs on one data set have their images in one order: it is looked for once.
        order = first[1] if first and ids.equals(first[0]) else _order(item)
        first = first or (ids, order)
        rows[key], folders[key] = _row(_title(key), item, order), item.folder
    return rows


def _order(item: Predictions) -> pa.Array:
    ids = item.table["image_id"]
    if pc.count_distinct(ids).as_py() < len(ids):
        raise TableError(f"{item.folder}: an image occurs twice")
    return pc.sort_indices(ids)


def _title(key: tuple[str, str, int]) -> str:
    model, arm, seed = key
    return f"model {model}, arm {arm}, seed {seed}"


def _row(title: str, item: Predictions, order: pa.Array) -> _Row:
    table = item.table.select(["image_id", "label", "label_rank", "status", "error"]).take(order)
    ranks = table["label_rank"].fill_null(-1).to_numpy().astype(np.int32)
    ok = pc.equal(table["status"], "ok").to_numpy()
    if (ok & (ranks < 0)).any():
        raise TableError(f"{item.folder}: an image with status ok has no label_rank")
    failed = {int(index): f"{title}: {table['error'][index].as_py()}" for index in np.flatnonzero(~ok)}
    return _Row(title, table["image_id"], order, table["label"].to_numpy().astype(np.int64), ranks, failed)


def _same_categories(predictions: Sequence[Predictions]) -> None:
    first = predictions[0]
    for item in predictions[1:]:
        if tuple(item.facts["categories"]) != tuple(first.facts["categories"]):
            raise UsageError(
                f"{item.folder} and {first.folder} have different categories; "
                "compare runs on one data set and its variants"
            )


_CONDITIONS = {"images": "images", "precision": "precision", "processes": "number of processes"}
"""Facts of training beside the recipe that change results a little, and what messages call them."""


def _same_recipes(predictions: Sequence[Predictions]) -> None:
    """Arms of a model must differ by their images only."""
    first: dict[str, Predictions] = {}
    for item in predictions:
        other = first.setdefault(str(item.facts["model"]), item)
        if item.facts.get("recipe") != other.facts.get("recipe"):
            raise UsageError(
                f"{item.folder} was trained with {item.facts.get('recipe')}, {other.folder} with "
                f"{other.facts.get('recipe')}; compare runs of one recipe"
            )
        for fact, words in _CONDITIONS.items():
            values = [facts[fact] for facts in (item.facts, other.facts) if facts.get(fact) is not None]
            if len(set(values)) > 1:
                raise UsageError(
                    f"{item.folder} was trained with {words} {values[0]}, {other.folder} with {values[1]}; "
                    "arms of a model must differ by their images only: train one of them again"
                )


def _known_labels(row: _Row, n_categories: int) -> None:
    odd = np.flatnonzero((row.label < 0) | (row.label >= n_categories))
    if len(odd):
        raise TableError(
            f"{row.title}: '{row.image_ids[int(odd[0])]}' has label {row.label[odd[0]]}, "
            f"which is none of its {n_categories} categories"
        )


def _same_images(first: _Row, row: _Row) -> None:
    if not first.image_ids.equals(row.image_ids):
        odd = sorted(set(first.image_ids.to_pylist()) ^ set(row.image_ids.to_pylist()))
        raise UsageError(
            f"{first.title} and {row.title} were evaluated on different images "
            f"({len(odd)} in only one of them, '{odd[0]}' first); evaluate both on the same images"
        )
    if not np.array_equal(first.label, row.label):
        odd_id = first.image_ids[int(np.flatnonzero(first.label != row.label)[0])]
        raise UsageError(f"{first.title} and {row.title} give '{odd_id}' different labels")


def _seeds(rows: Iterable[tuple[str, str, int]], *, allow_single_seed: bool) -> dict[str, tuple[int, ...]]:
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for model, arm, seed in rows:
        found[model][arm].add(seed)
    seeds: dict[str, tuple[int, ...]] = {}
    for model, by_arm in found.items():
        if len({frozenset(of_arm) for of_arm in by_arm.values()}) > 1:
            listed = "; ".join(f"{arm}: {', '.join(map(str, sorted(s)))}" for arm, s in by_arm.items())
            raise UsageError(f"model {model} needs the same seeds in every arm, but has {listed}")
        seeds[model] = tuple(sorted(next(iter(by_arm.values()))))
        if len(seeds[model]) == 1 and not allow_single_seed:
            raise UsageError(
                f"model {model} was trained with one seed only, so chance and effect cannot be told apart; "
                "train with more seeds, or give --allow-single-seed"
            )
    return seeds


def _failed(rows: Iterable[_Row]) -> dict[int, str]:
    failed: dict[int, str] = {}
    for row in rows:
        for index, reason in row.failed.items():
            failed.setdefault(index, reason)
    return failed


def _cells(
    rows: Mapping[tuple[str, str, int], _Row], seeds: Mapping[str, tuple[int, ...]]
) -> dict[tuple[str, str], list[_Row]]:
    found = sorted({(model, arm) for model, arm, _ in rows}, key=lambda cell: (cell[0], _arm_order(cell[1])))
    return {(model, arm): [rows[model, arm, seed] for seed in seeds[model]] for model, arm in found}


def _one_of_each_reference(outcomes: Outcomes) -> None:
    for model in outcomes.models:
        for reference in REFERENCES:
            same = [arm for arm in outcomes.arms(model) if reference_of(arm) == reference]
            if len(same) > 1:
                raise UsageError(
                    f"model {model} has {len(same)} arms that could be the reference '{reference}' "
                    f"({', '.join(same)}); compare with one of them at a time"
                )
