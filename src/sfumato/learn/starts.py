"""Where a downstream task is started from: runs, files of weights, or nothing; and the runs that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sfumato.data.tasks import TaskData
from sfumato.errors import UsageError
from sfumato.learn.catalogue import find_model
from sfumato.learn.config import RunConfig
from sfumato.learn.plan import Cell
from sfumato.learn.recipes import Recipe, find_recipe
from sfumato.learn.run import KIND
from sfumato.records import MANIFEST, read_manifest

SCRATCH = "scratch"
"""The arm of models that start from random weights."""

Protocol = Literal["finetune", "linear"]
PROTOCOLS: tuple[Protocol, ...] = ("finetune", "linear")
"""All weights are trained on; or the head only, on features as they are (of a detector: all but the body).
From scratch all weights are trained in both."""

_RECIPES = {"objects": "transfer-voc", "attributes": "transfer-celeba"}


@dataclass(frozen=True)
class Start:
    """Weights that a downstream task starts from.

    Attributes:
        model: name.
        arm: what they were trained on, or "scratch".
        weights: as `RunConfig.weights`; None from scratch.
        seed: of the run that they are of; None where that is unknown.
        image_size: side of the images that they were trained on, in pixels; None where that is unknown.
    """

    model: str
    arm: str
    weights: str | None
    seed: int | None = None
    image_size: int | None = None


def find_starts(sources: Sequence[str], models: Sequence[str] = ()) -> list[Start]:
    """What a person names as starts.

    Args:
        sources: each the folder of a run, a folder with runs in it, "scratch", or ARM=FILE, weights that
            count as that arm.
        models: names; with runs only those are taken. Files need exactly one.

    Raises:
        UsageError: a source is none of that, or holds no run of these models; scratch without a model.
        ManifestError: a damaged manifest.
    """
    found = [start for source in sources if source != SCRATCH for start in _read(source, models)]
    if SCRATCH in sources:
        names = list(models) or list(dict.fromkeys(start.model for start in found))
        if not names:
            raise UsageError("scratch alone says nothing of the model; name it with --model")
        found += [_scratch(name, found) for name in names]
    if not found:
        raise UsageError("nothing to start from; name run folders of sfumato train, or scratch with --model")
    return found


def transfer_cells(starts: Sequence[Start], seeds: Sequence[int] | None) -> dict[Cell, Start]:
    """The runs of a downstream task, one seed of everything before the next.

    Without seeds each start is trained on once, with its own seed; scratch, and weights whose seed is not
    known, with those of the other runs of their model.

    Args:
        starts: of one model or several.
        seeds: one run each for every start.

    Raises:
        UsageError: several seeds of pretrained runs and several seeds named, whose chances would be mixed up;
            arms of a model that have not the same seeds; two starts of one model, arm and seed; a seed named
            twice.
    """
    pairs = [(seed, start) for start in starts for seed in _seeds_of(start, starts, seeds)]
    cells: dict[Cell, Start] = {}
    for seed, start in sorted(pairs, key=lambda pair: pair[0]):
        cell = Cell(start.model, start.arm, seed, (start.arm,))
        if cell in cells:
            raise UsageError(
                f"{start.weights or start.arm} and {cells[cell].weights or start.arm} are both {start.model} "
                f"of the arm {start.arm} and the seed {seed}; name one of them, once"
            )
        cells[cell] = start
    _need_same_seeds(cells)
    return cells


def _seeds_of(start: Start, starts: Sequence[Start], seeds: Sequence[int] | None) -> Sequence[int]:
    own = sorted({other.seed for other in starts if other.model == start.model and other.seed is not None})
    if seeds is None:
        return own or [0] if start.seed is None else [start.seed]
    if len(own) > 1:
        raise UsageError(
            f"the runs of {start.model} have the seeds {_listed(own)} of their own; leave --seed out, so "
            "that each is trained on once, or name runs of one seed"
        )
    return seeds


def _need_same_seeds(cells: Iterable[Cell]) -> None:
    """Check before anything is trained that every arm of a model has the seeds of the others."""
    found: dict[str, dict[str, set[int]]] = {}
    for cell in cells:
        found.setdefault(cell.model, {}).setdefault(cell.arm, set()).add(cell.seed)
    for model, arms in found.items():
        (first, seeds), *others = arms.items()
        for arm, theirs in others:
            if theirs != seeds:
                raise UsageError(
                    f"{model}: there are runs of {first} with the seeds {_listed(sorted(seeds))}, of {arm} "
                    f"with {_listed(sorted(theirs))}; finish those that are missing, or leave others out"
                )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def recipe_for(task: TaskData, protocol: Protocol) -> Recipe:
    """The recipe of a task, or that of linear probes; folders of images have that of CIFAR-10."""
    if protocol == "linear" and task.kind != "objects":
        return find_recipe("transfer-linear")
    of_categories = "transfer-sun397" if task.name.startswith("sun397-") else "transfer-cifar10"
    return find_recipe(_RECIPES.get(task.kind, of_categories))


def transfer_configs(cells: Mapping[Cell, Start], base: RunConfig) -> dict[Cell, RunConfig]:
    """How each run is trained.

    Args:
        cells: with their starts.
        base: recipe, protocol, precision and device.

    Raises:
        UsageError: weights of one model that were trained at several sizes, and a recipe that names none.
    """
    sizes = {model: _size(model, cells.values()) for model in {cell.model for cell in cells}}
    return {
        cell: replace(
            base,
            model=cell.model,
            recipe=_sized(base.recipe, sizes[cell.model]),
            seed=cell.seed,
            weights=start.weights,
            arm=cell.arm,
        )
        for cell, start in cells.items()
    }


def as_protocol(word: str) -> Protocol:
    """The protocol that a word names.

    Raises:
        UsageError: none.
    """
    for protocol in PROTOCOLS:
        if word == protocol:
            return protocol
    raise UsageError(f"unknown protocol '{word}'; known: {', '.join(PROTOCOLS)}")


def _sized(recipe: Recipe, size: int | None) -> Recipe:
    if recipe.image_size is not None or size is None:
        return recipe
    return recipe.with_overrides(image_size=size)


def _size(model: str, starts: Iterable[Start]) -> int | None:
    found = {start.image_size for start in starts if start.model == model} - {None}
    if len(found) > 1:
        sizes = ", ".join(str(size) for size in sorted(size for size in found if size))
        raise UsageError(f"the runs of {model} saw images of {sizes} px; choose one with --image-size")
    return next(iter(found), None)


def _read(source: str, models: Sequence[str]) -> list[Start]:
    path = Path(source)
    if path.is_dir():
        runs = [start for run in _runs(path) if (start := _of_run(run)).model in (models or (start.model,))]
        if not runs:
            wanted = f" of {', '.join(models)}" if models else ""
            raise UsageError(f"{source}: no finished run{wanted} in it; make one with sfumato train")
        return runs
    arm, found, file = source.partition("=")
    if arm in ("", SCRATCH):
        raise UsageError(f"{source}: weights cannot count as the arm '{arm}'; write ARM=FILE with another")
    if not found or not Path(file).is_file():
        raise UsageError(
            f"{source}: neither a run folder, nor scratch, nor weights that exist, written ARM=FILE"
        )
    if len(models) != 1:
        raise UsageError(f"{source}: name the model that these weights are of with one --model")
    find_model(models[0])
    return [Start(models[0], arm, file)]


def _runs(folder: Path) -> list[Path]:
    """The run in a folder, or those directly below it or below its folder `runs`."""
    if (folder / MANIFEST).is_file():
        return [folder]
    found = [path.parent for pattern in ("*", "runs/*") for path in folder.glob(f"{pattern}/{MANIFEST}")]
    return [run for run in sorted(found) if read_manifest(run).kind == KIND]


def _of_run(run: Path) -> Start:
    facts = read_manifest(run, kind=KIND).facts
    if "task" in facts:
        raise UsageError(
            f"{run} was trained on {facts['task']['title']} already, from other weights; name the run that "
            "it started from"
        )
    return Start(facts["model"], facts["arm"], str(run), facts["seed"], facts["image_size"])


def _scratch(model: str, others: Sequence[Start]) -> Start:
    find_model(model)
    sizes = {start.image_size for start in others if start.model == model}
    return Start(model, SCRATCH, None, image_size=next(iter(sizes)) if len(sizes) == 1 else None)
