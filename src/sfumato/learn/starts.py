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
"""All weights are trained on; or the head only, on features as they are (of a detector: all but the body)."""

RECIPES_OF = {
    "sun397": "transfer-sun397",
    "celeba": "transfer-celeba",
    "voc": "transfer-voc",
    "coco": "transfer-voc",
    "yolo": "transfer-voc",
}
"""Task to its recipe; others have that of CIFAR-10."""


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

    Without seeds each start is trained on once, with its own seed, and scratch with those of the others.

    Raises:
        UsageError: several seeds of pretrained runs and several seeds named, whose chances would be mixed up;
            or two starts of one model, arm and seed.
    """
    own = sorted({start.seed for start in starts if start.seed is not None}) or [0]
    if seeds is not None and len(own) > 1:
        raise UsageError(
            f"the runs have the seeds {', '.join(map(str, own))} of their own; leave --seeds out, so that "
            "each is trained on once, or name runs of one seed"
        )
    cells: dict[Cell, Start] = {}
    for seed in own if seeds is None else seeds:
        for start in starts:
            if seeds is None and start.seed not in (None, seed):
                continue
            cell = Cell(start.model, start.arm, seed, (start.arm,))
            if cell in cells:
                raise UsageError(
                    f"{start.weights} and {cells[cell].weights} are both {start.model} of the arm "
                    f"{start.arm}; name one of them"
                )
            cells[cell] = start
    return cells


def recipe_for(task: str, protocol: Protocol, name: str | None = None) -> Recipe:
    """The recipe of a task: the one named, else its own, or that of linear probes.

    Raises:
        UnknownName, UsageError, SpecError: as `find_recipe`.
    """
    if name is not None:
        return find_recipe(name)
    own = RECIPES_OF.get(task, "transfer-cifar10")
    return find_recipe("transfer-linear" if protocol == "linear" and own != "transfer-voc" else own)


def transfer_configs(cells: Mapping[Cell, Start], base: RunConfig) -> dict[Cell, RunConfig]:
    """How each run is trained.

    Args:
        cells: with their starts.
        base: recipe, precision and device; whether the features are frozen.

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


def need_kind(task: TaskData, protocol: Protocol) -> None:
    """Check that a task can be learned in a protocol.

    Raises:
        UsageError: no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"{task.title}: unknown protocol '{protocol}'; known: {', '.join(PROTOCOLS)}")


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
    return Start(facts["model"], facts["arm"], str(run), facts["seed"], facts["image_size"])


def _scratch(model: str, others: Sequence[Start]) -> Start:
    find_model(model)
    sizes = {start.image_size for start in others if start.model == model}
    return Start(model, SCRATCH, None, image_size=next(iter(sizes)) if len(sizes) == 1 else None)
