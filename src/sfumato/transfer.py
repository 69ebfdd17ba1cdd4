"""Transfer: models trained on a downstream task, evaluated, and compared by what they started from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sfumato.compare import CompareSettings, Tables, compare
from sfumato.data import read_dataset
from sfumato.data.tasks import TASKS, TaskData, TaskOptions, read_task
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import UsageError
from sfumato.faces import FaceTable, read_faces
from sfumato.learn import Outcome, RunConfig, Runs, TrainingOptions, check_training, run_all
from sfumato.learn.downloads import download_task
from sfumato.learn.inputs import DEFAULT_BUDGET
from sfumato.learn.recipes import Recipe
from sfumato.learn.starts import (
    SCRATCH,
    Protocol,
    Start,
    need_kind,
    recipe_for,
    transfer_cells,
    transfer_configs,
)
from sfumato.obfuscate import METHODS, check_apart, obfuscate
from sfumato.predictions import find_predictions, read_any_predictions
from sfumato.specs import slug

RUNS, TABLES, CACHE, DATA = "runs", "tables", "cache", "data"
"""What lies in the folder of a task and protocol, and (the last two) of all."""


@dataclass(frozen=True)
class Hiding:
    """How a downstream task's own images are obfuscated: in each arm as what it started from.

    Attributes:
        faces: folder of a face table of the task's images; None finds faces.
        detector: that finds them.
    """

    faces: Path | None = None
    detector: str = "default"


@dataclass(frozen=True)
class TransferOptions:
    """How starts are trained on a task.

    Attributes:
        protocol: "finetune" or "linear", see `sfumato.learn.starts.PROTOCOLS`.
        recipe: None for the task's own, see `sfumato.learn.starts.recipe_for`.
        seeds: None trains each start once, with its own seed.
        precision: as `RunConfig`.
        budget: bytes that decoded images may take.
        hiding: None leaves the task's images as they are, as the study did.
        settings: of the comparison.
    """

    protocol: Protocol = "finetune"
    recipe: Recipe | None = None
    seeds: tuple[int, ...] | None = None
    precision: str = "auto"
    budget: int = DEFAULT_BUDGET
    hiding: Hiding | None = None
    settings: CompareSettings = field(default_factory=CompareSettings)


@dataclass(frozen=True)
class Transfer:
    """What became of a task.

    Attributes:
        folder: of the task and protocol.
        outcome: of its runs.
        tables: of the comparison; None where a run is missing.
    """

    folder: Path
    outcome: Outcome
    tables: Tables | None


def open_task(name: str, data: Path | None, out: Path, options: TaskOptions = TaskOptions()) -> TaskData:
    """Read a downstream task, fetched first where that is asked for.

    Args:
        name: one of `sfumato.data.tasks.TASKS`, or a folder of images.
        data: where a named one lies.
        out: folder of all tasks; what must be unpacked goes there.
        options: which version.

    Raises:
        UsageError, DatasetError: as `read_task` and `download_task`; `out` lies in the images' folder, or it
            in `out`.
    """
    source = data if name in TASKS else Path(name)
    if source is not None and source.is_dir():
        check_apart(source, out)
    if options.download:
        if name not in TASKS or data is None:
            raise UsageError(
                f"--download needs a task ({', '.join(TASKS)}) and --data, a folder to put it into"
            )
        download_task(name, data, options)
    return read_task(name, data, options=options, cache=out / CACHE)


def transfer(  # noqa: PLR0913 -- the options of a command
    starts: Sequence[Start],
    task: TaskData,
    out: Path,
    *,
    recipe_name: str = "",
    options: TransferOptions = TransferOptions(),
    training: TrainingOptions = TrainingOptions(),
) -> Transfer:
    """Train every start on a task, evaluate it, and compare what they started from.

    What is finished is kept. Tables are written when every run of every part is there.

    Args:
        starts: see `sfumato.learn.starts.find_starts`.
        task: to learn.
        out: folder of all tasks; this one gets `out/NAME--PROTOCOL`.
        recipe_name: of the task, to find its recipe; the task's name by default.
        options: what is done.
        training: how, with the share of the runs that this call makes.

    Raises:
        UsageError: starts, seeds or settings that cannot be.
        DatasetError, TrainingError, BusyError: as `sfumato.learn.run_all`.
    """
    need_kind(task, options.protocol)
    whole = task if options.hiding is None else _named_obfuscated(task)
    check_training(training.device)
    cells = transfer_cells(starts, options.seeds)
    recipe = options.recipe or recipe_for(recipe_name or task.name, options.protocol)
    base = RunConfig(
        starts[0].model,
        recipe,
        device=training.device,
        precision=options.precision,
        compile=training.compile,
        freeze=options.protocol == "linear",
    )
    configs = transfer_configs(cells, base)
    folder = out / f"{slug(whole.name)}--{options.protocol}"
    made = list(cells) if training.part is None else training.part.choose(list(cells))
    datasets = _by_arm(whole, {cell.arm for cell in cells}, out, options.hiding, training.work)
    runs = Runs(datasets, made, base, options.budget, own=configs)
    outcome = run_all(runs, folder / RUNS, cache=out / CACHE, work=training.work)
    return Transfer(folder, outcome, _compared(folder, cells, options.settings, training.work))


def _named_obfuscated(task: TaskData) -> TaskData:
    """The task under another name, since its results are no longer those of the task as it came."""
    return replace(
        task,
        name=f"{task.name}-obfuscated",
        title=f"{task.title}, faces hidden",
        facts={**task.facts, "obfuscated": True},
    )


def _by_arm(
    task: TaskData, arms: Iterable[str], out: Path, hiding: Hiding | None, work: Work
) -> Mapping[str, TaskData]:
    """The task for each arm: the same for all, or obfuscated as the arm's own images were."""
    if hiding is None:
        return dict.fromkeys(arms, task)
    faces = _faces(task, out, hiding, work)
    return {arm: _hidden(task, arm, faces, out, work) for arm in arms}


def _faces(task: TaskData, out: Path, hiding: Hiding, work: Work) -> FaceTable:
    if hiding.faces is not None:
        return read_faces(hiding.faces)
    folder = out / DATA / slug(task.name) / "faces"
    return detect(task.dataset, DETECTORS.build(hiding.detector), folder, work=work)


def _hidden(task: TaskData, arm: str, faces: FaceTable, out: Path, work: Work) -> TaskData:
    if arm in ("original", SCRATCH):
        return task
    folder = out / DATA / slug(task.name) / slug(arm)
    obfuscate(task.dataset, faces, METHODS.build(arm), folder, work=work)
    variant = read_dataset(folder)
    fingerprint = f"{task.dataset.fingerprint}+{variant.fingerprint}"
    return replace(
        task, dataset=replace(task.dataset, root=variant.root, fingerprint=fingerprint, arm=variant.arm)
    )


def _compared(folder: Path, cells: Iterable[object], settings: CompareSettings, work: Work) -> Tables | None:
    """Tables of all predictions in a folder, or None where there are fewer than there should be."""
    found = find_predictions(folder / RUNS)
    if len(found) < len(list(cells)):
        return None
    predictions = [read_any_predictions(each) for each in found]
    single = len({item.facts["seed"] for item in predictions}) == 1
    settings = replace(settings, allow_single_seed=settings.allow_single_seed or single)
    return compare(predictions, folder / TABLES, settings=settings, work=replace(work, overwrite=True))
