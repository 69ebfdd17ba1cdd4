"""Predictions of many runs, paired: the same images in the same order, the same seeds in every arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.arms import REFERENCES, arm_name, reference_of
from sfumato.compare.outcomes import Cell, Indices, Outcomes, Paired, Ranks, arm_order
from sfumato.errors import TableError, UsageError
from sfumato.predictions import Evaluated
from sfumato.progress import Progress, silent

Run = tuple[str, str, int]
"""Model, arm and seed."""

_E = TypeVar("_E", bound=Evaluated)
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class _Row:
    """One run's predictions in the order of sorted image ids; `order` takes its table there."""

    title: str
    image_ids: pa.ChunkedArray
    order: pa.Array
    failed: Mapping[int, str]


def pair(predictions: Sequence[Evaluated], *, allow_single_seed: bool = False) -> Outcomes:
    """Pair predictions of categories by image, and within a model by seed.

    Raises:
        UsageError: as `align`; runs that give an image different labels.
        TableError: as `align`; a rank that is missing, a label without category.
    """
    return outcomes_of(align(predictions, allow_single_seed=allow_single_seed), predictions)


def outcomes_of(paired: Paired, predictions: Sequence[Evaluated]) -> Outcomes:
    """Right and wrong of the runs of a pairing; errors as of `pair`, but for those of `align`."""
    runs = runs_of(predictions)
    label = one_truth(paired, runs, _label, "labels")
    _known_labels(label, paired)
    ranks = {key: np.stack(of_seeds) for key, of_seeds in by_run(paired, runs, _rank).items()}
    return Outcomes(**vars(paired), label=label, ranks=ranks)


def _label(item: Evaluated, rows: Indices) -> Indices:
    return np.asarray(item.table["label"].take(pa.array(rows)).to_numpy(), dtype=np.int64)


def _rank(item: Evaluated, rows: Indices) -> Ranks:
    rank = np.asarray(item.table["label_rank"].take(pa.array(rows)).fill_null(-1).to_numpy(), dtype=np.int32)
    if (rank < 0).any():
        raise TableError(f"{item.folder}: an image with status ok has no label_rank")
    return rank


def runs_of(predictions: Iterable[_E]) -> dict[Run, _E]:
    """Predictions by model, arm and seed."""
    return {cell(item.facts): item for item in predictions}


def by_run(
    paired: Paired,
    runs: Mapping[Run, _E],
    read: Callable[[_E, Indices], _T],
    *,
    progress: Progress = silent,
) -> dict[Cell, list[_T]]:
    """Something of every run, for the images compared: (model, arm) to one for each seed.

    Args:
        paired: the runs and images.
        runs: their predictions.
        read: it from one run, given the rows of the images.
        progress: called as ("runs", done, total) after each.
    """
    found: dict[Cell, list[_T]] = {key: [] for key in paired.rows}
    done = 0
    for (model, arm), of_seeds in paired.rows.items():
        for seed, rows in zip(paired.seeds[model], of_seeds, strict=True):
            found[model, arm].append(read(runs[model, arm, seed], rows))
            done += 1
            progress("runs", done, len(runs))
    return found


def one_truth(
    paired: Paired, runs: Mapping[Run, _E], read: Callable[[_E, Indices], NDArray[Any]], words: str
) -> NDArray[Any]:
    """What is true of each image, (n, ...), on which all runs must agree.

    Args:
        paired: the runs and images.
        runs: their predictions.
        read: it from one run, given the rows of the images.
        words: what it is called.

    Raises:
        UsageError: two runs differ in it.
    """
    known: list[tuple[str, NDArray[Any]]] = []

    def check(item: _E, rows: Indices) -> None:
        title, found = _title(cell(item.facts)), read(item, rows)
        known[:] = known or [(title, found)]
        odd = np.flatnonzero((found != known[0][1]).reshape(len(found), -1).any(axis=1))
        if len(odd):
            image_id = paired.image_ids[odd[0]]
            raise UsageError(f"{known[0][0]} and {title} give '{image_id}' different {words}")

    by_run(paired, runs, check)
    return known[0][1]


def align(predictions: Sequence[Evaluated], *, allow_single_seed: bool = False) -> Paired:
    """Find the images that all runs have in common, whatever was predicted of them.

    An image that failed in any of them is left out of all, so that every number is of the same images.

    Raises:
        UsageError: nothing to compare; runs of different tasks, or with other images, categories or seeds
            than the rest; two runs that claim the same model, arm and seed; a model with one seed only,
            unless allowed.
        TableError: an image that occurs twice in one table.
    """
    if not predictions:
        raise UsageError("no predictions to compare; make some with sfumato train and sfumato evaluate")
    predictions = in_order(predictions)
    _same_task(predictions)
    rows = _unique(predictions)
    first = next(iter(rows.values()))
    _same_categories(predictions)
    _same_recipes(predictions)
    for row in rows.values():
        _same_images(first, row)
    seeds = _seeds(rows, allow_single_seed=allow_single_seed)
    failed = _failed(rows.values())
    ids = np.asarray(first.image_ids.to_pylist(), dtype=np.str_)
    kept = ~np.isin(np.arange(len(ids)), list(failed))
    if not kept.any():
        raise UsageError("every image failed in at least one run; nothing is left to compare")
    paired = Paired(
        image_ids=ids[kept],
        categories=tuple(predictions[0].facts["categories"]),
        seeds=seeds,
        excluded={str(ids[index]): failed[index] for index in sorted(failed)},
        rows={
            key: np.stack([row.order.to_numpy()[kept] for row in of])
            for key, of in _cells(rows, seeds).items()
        },
        task=predictions[0].facts.get("task"),
    )
    _one_of_each_reference(paired)
    return paired


def in_order(predictions: Iterable[Evaluated]) -> list[Evaluated]:
    """Predictions by model, arm and seed, so that their order decides nothing."""
    return sorted(predictions, key=lambda item: cell(item.facts))


def cell(facts: Mapping[str, Any]) -> Run:
    """Model, arm and seed of a run, from the facts of its predictions."""
    return str(facts["model"]), arm_name(facts["train_arm"], facts["eval_arm"]), int(facts["seed"])


def _unique(predictions: Iterable[Evaluated]) -> dict[Run, _Row]:
    rows: dict[Run, _Row] = {}
    folders: dict[Run, Any] = {}
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


def _order(item: Evaluated) -> pa.Array:
    ids = item.table["image_id"]
    if pc.count_distinct(ids).as_py() < len(ids):
        raise TableError(f"{item.folder}: an image occurs twice")
    return pc.sort_indices(ids)


def _title(key: Run) -> str:
    model, arm, seed = key
    return f"model {model}, arm {arm}, seed {seed}"


def _row(title: str, item: Evaluated, order: pa.Array) -> _Row:
    table = item.table.select(["image_id", "status", "error"]).take(order)
    ok = pc.equal(table["status"], "ok").to_numpy()
    failed = {int(index): f"{title}: {table['error'][index].as_py()}" for index in np.flatnonzero(~ok)}
    return _Row(title, table["image_id"], order, failed)


def _same_task(predictions: Sequence[Evaluated]) -> None:
    first = predictions[0]
    for item in predictions[1:]:
        if _task(item) != _task(first):
            raise UsageError(
                f"{item.folder} is of {' '.join(_task(item))}, {first.folder} of {' '.join(_task(first))}; "
                "compare one task at a time: name the folder of one task and protocol"
            )


def _task(item: Evaluated) -> tuple[str, ...]:
    task = item.facts.get("task")
    if task is None:
        return ("no", "downstream", "task")
    return "task", str(task["name"]), f"({task['kind']}, {task['protocol']})"


def _same_categories(predictions: Sequence[Evaluated]) -> None:
    first = predictions[0]
    for item in predictions[1:]:
        if tuple(item.facts["categories"]) != tuple(first.facts["categories"]):
            raise UsageError(
                f"{item.folder} and {first.folder} have different categories; "
                "compare runs on one data set and its variants"
            )


_CONDITIONS = {"images": "images", "precision": "precision", "processes": "number of processes"}
"""Facts of training beside the recipe that change results a little, and what messages call them."""


def _same_recipes(predictions: Sequence[Evaluated]) -> None:
    """Arms of a model must differ by their images only."""
    first: dict[str, Evaluated] = {}
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


def _known_labels(label: Indices, paired: Paired) -> None:
    odd = np.flatnonzero((label < 0) | (label >= len(paired.categories)))
    if len(odd):
        raise TableError(
            f"'{paired.image_ids[odd[0]]}' has label {label[odd[0]]}, "
            f"which is none of the {len(paired.categories)} categories of the runs"
        )


def _same_images(first: _Row, row: _Row) -> None:
    if not first.image_ids.equals(row.image_ids):
        odd = sorted(set(first.image_ids.to_pylist()) ^ set(row.image_ids.to_pylist()))
        raise UsageError(
            f"{first.title} and {row.title} were evaluated on different images "
            f"({len(odd)} in only one of them, '{odd[0]}' first); evaluate both on the same images"
        )


def _seeds(rows: Iterable[Run], *, allow_single_seed: bool) -> dict[str, tuple[int, ...]]:
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


def _cells(rows: Mapping[Run, _Row], seeds: Mapping[str, tuple[int, ...]]) -> dict[Cell, list[_Row]]:
    found = sorted({(model, arm) for model, arm, _ in rows}, key=lambda cell: (cell[0], arm_order(cell[1])))
    return {(model, arm): [rows[model, arm, seed] for seed in seeds[model]] for model, arm in found}


def _one_of_each_reference(paired: Paired) -> None:
    for model in paired.models:
        for reference in REFERENCES:
            same = [arm for arm in paired.arms(model) if reference_of(arm) == reference]
            if len(same) > 1:
                raise UsageError(
                    f"model {model} has {len(same)} arms that could be the reference '{reference}' "
                    f"({', '.join(same)}); compare with one of them at a time"
                )
