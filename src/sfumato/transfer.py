"""Transfer: models trained on a downstream task, evaluated, and compared by what they started from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sfumato.compare import CompareSettings, Tables, compare, need_comparable
from sfumato.data import read_dataset
from sfumato.data.tasks import TASKS, TaskData, TaskOptions, read_task
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import BusyError
from sfumato.faces import FaceTable, read_faces
from sfumato.learn import (
    Cell,
    Outcome,
    RunConfig,
    Runs,
    TrainingOptions,
    check_training,
    predictions_folder,
    read_config,
    run_all,
    run_folder,
)
from sfumato.learn.downloads import download_task
from sfumato.learn.inputs import DEFAULT_BUDGET
from sfumato.learn.recipes import Recipe
from sfumato.learn.runner import failed_images
from sfumato.learn.starts import SCRATCH, Protocol, Start, recipe_for, transfer_cells, transfer_configs
from sfumato.obfuscate import METHODS, check_apart, obfuscate, read_failures
from sfumato.predictions import read_any_predictions
from sfumato.progress import is_main_process
from sfumato.records import MANIFEST
from sfumato.specs import slug

Made = TypeVar("Made")

RUNS, TABLES, CACHE, DATA = "runs", "tables", "cache", "data"
"""What lies in the folder of a task and protocol, and (the last two) of all."""

_UNTOUCHED = ("original", SCRATCH)
"""Arms that see a task as it came, also where the others see it obfuscated."""


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
        failed: reason by image id, for images that are not in every run.
    """

    folder: Path
    outcome: Outcome
    tables: Tables | None
    failed: Mapping[str, str]


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
        download_task(name, data, options)
    return read_task(name, data, options=options, cache=out / CACHE)


def transfer(
    starts: Sequence[Start],
    task: TaskData,
    out: Path,
    *,
    options: TransferOptions = TransferOptions(),
    training: TrainingOptions = TrainingOptions(),
) -> Transfer:
    """Train every start on a task, evaluate it, and compare what they started from.

    What is finished is kept. Tables are written when every run of every part is there.

    Args:
        starts: see `sfumato.learn.starts.find_starts`.
        task: to learn.
        out: folder of all tasks; this one gets `out/NAME--PROTOCOL`.
        options: what is done.
        training: how, with the share of the runs that this call makes.

    Raises:
        UsageError: starts, seeds or settings that cannot be, or a task that nothing could be said of.
        MissingExtra: pycocotools, for objects.
        DatasetError, TrainingError, BusyError: as `sfumato.learn.run_all`.
    """
    check_training(training.device)
    cells = transfer_cells(starts, options.seeds)
    base = RunConfig(
        starts[0].model,
        options.recipe or recipe_for(task, options.protocol),
        device=training.device,
        precision=options.precision,
        compile=training.compile,
        protocol=options.protocol,
    )
    configs = transfer_configs(cells, base)
    need_comparable(task.kind, _evaluated_attributes(task))
    datasets, failed = _by_arm(task, {cell.arm for cell in cells}, out, options.hiding, training.work)
    folder = out / f"{slug(next(iter(datasets.values())).name)}--{options.protocol}"
    made = list(cells) if training.part is None else training.part.choose(list(cells))
    runs = Runs(datasets, made, base, options.budget, own=configs)
    outcome = run_all(runs, folder / RUNS, cache=out / CACHE, work=training.work)
    tables = None
    if is_main_process() and not (outcome.failures or outcome.elsewhere):
        tables = _compared(folder, configs, options.settings, training.work)
    return Transfer(folder, outcome, tables, failed | failed_images(outcome))


def _evaluated_attributes(task: TaskData) -> NDArray[np.int8] | None:
    if task.attributes is None:
        return None
    split = task.dataset.evaluation_split
    rows = np.array([sample.split == split for sample in task.dataset.samples])
    evaluated: NDArray[np.int8] = task.attributes[rows]
    return evaluated


def _by_arm(
    task: TaskData, arms: Iterable[str], out: Path, hiding: Hiding | None, work: Work
) -> tuple[Mapping[str, TaskData], dict[str, str]]:
    """The task for each arm: the same for all, or obfuscated as the arm's own images were.

    What failed in one arm is left out of all; the reasons are the second result, by image id.
    """
    if hiding is None:
        return dict.fromkeys(arms, task), {}
    methods = {arm: METHODS.build(arm) for arm in arms if arm not in _UNTOUCHED}
    task, place = _named_obfuscated(task), out / DATA / slug(task.name)
    faces = _faces(task, place, hiding, work)
    failed = dict(faces.errors)
    folders = {arm: place / slug(arm) for arm in methods}
    for arm, method in methods.items():
        _patiently(partial(obfuscate, task.dataset, faces, method, folders[arm], work=work))
        failed |= read_failures(folders[arm])
    whole = task.without(failed)
    found = {arm: _seen_in(whole, folders[arm]) if arm in folders else whole for arm in arms}
    return found, {image_id: failed[image_id] for image_id in sorted(failed)}


def _named_obfuscated(task: TaskData) -> TaskData:
    """The task under another name, since its results are no longer those of the task as it came."""
    return replace(
        task,
        name=f"{task.name}-obfuscated",
        title=f"{task.title}, faces hidden",
        facts={**task.facts, "obfuscated": True},
    )


def _faces(task: TaskData, place: Path, hiding: Hiding, work: Work) -> FaceTable:
    if hiding.faces is not None:
        return read_faces(hiding.faces)
    detector = DETECTORS.build(hiding.detector)
    return _patiently(partial(detect, task.dataset, detector, place / "faces", work=work))


def _seen_in(task: TaskData, folder: Path) -> TaskData:
    """The same samples with the images of a variant."""
    variant = read_dataset(folder)
    fingerprint = f"{task.dataset.fingerprint}+{variant.fingerprint}"
    return replace(
        task, dataset=replace(task.dataset, root=variant.root, fingerprint=fingerprint, arm=variant.arm)
    )


def _patiently(make: Callable[[], Made]) -> Made:
    """What is made, as soon as another process that makes the same has done so."""
    while True:
        try:
            return make()
        except BusyError:
            time.sleep(1)


def _compared(
    folder: Path, configs: Mapping[Cell, RunConfig], settings: CompareSettings, work: Work
) -> Tables | None:
    """Tables of these runs, or None where one is not there yet, or is of other settings still."""
    predictions = []
    for cell, config in configs.items():
        run = run_folder(folder / RUNS, cell.model, cell.arm, seed=cell.seed)
        found = predictions_folder(run, cell.arm)
        if not all((each / MANIFEST).is_file() for each in (run, found)):
            return None
        if read_config(run).recipe != config.recipe:
            return None
        predictions.append(read_any_predictions(found))
    single = len({item.facts["seed"] for item in predictions}) == 1
    settings = replace(settings, allow_single_seed=settings.allow_single_seed or single)
    return compare(predictions, folder / TABLES, settings=settings, work=replace(work, overwrite=True))
