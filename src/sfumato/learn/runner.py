"""Run what a plan lacks: train and evaluate one cell after another; what fails does not end the others."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from sfumato.data import Dataset
from sfumato.data.tasks import TaskData
from sfumato.engines import Work
from sfumato.errors import BusyError, SfumatoError, TrainingError, UsageError
from sfumato.faces import read_faces
from sfumato.learn.arms import Arms, open_arms
from sfumato.learn.catalogue import find_model
from sfumato.learn.config import RunConfig
from sfumato.learn.evaluate import evaluate
from sfumato.learn.inputs import DEFAULT_BUDGET, parse_bytes
from sfumato.learn.plan import (
    Cell,
    Part,
    TrainingPlan,
    cells_of,
    evaluation_arms,
    record_training_plan,
)
from sfumato.learn.recipes import find_recipe
from sfumato.learn.run import check_training, train
from sfumato.learn.subject import as_task
from sfumato.learn.timing import Timing, images_done, in_words, read_timing, remaining_seconds
from sfumato.obfuscate import check_apart
from sfumato.predictions import PREDICTIONS
from sfumato.progress import is_alone, is_main_process, labelled
from sfumato.records import read_manifest
from sfumato.specs import short_spec, slug

_TRAINING = "training"


@dataclass(frozen=True)
class Runs:
    """What is to be trained and evaluated.

    Attributes:
        datasets: by arm; a data set, or a downstream task.
        cells: the runs, in the order in which they are made.
        config: of every run; model, seed and "{model}" in its weights are each cell's.
        own: of runs that have one of their own.
        budget: bytes that the decoded images of an arm may take on disk.
        evaluation: options of `evaluate`: keep_scores, faces, attention.
    """

    datasets: Mapping[str, Dataset | TaskData]
    cells: Sequence[Cell]
    config: RunConfig
    budget: int = DEFAULT_BUDGET
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[Cell, RunConfig] = field(default_factory=dict)

    def config_of(self, cell: Cell) -> RunConfig:
        """How a run is trained."""
        return self.own.get(cell) or replace(_of_model(self.config, cell.model), seed=cell.seed)


@dataclass(frozen=True)
class TrainingOptions:
    """What does not change what a plan finds.

    Attributes:
        device, compile: as `RunConfig`.
        part: the runs that are made by this call; None for all.
        work: workers, progress, overwrite.
    """

    device: str = "auto"
    compile: bool = False
    part: Part | None = None
    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class Failure:
    """A run that could not be trained, or not be evaluated.

    The error itself is not kept: its traceback would hold the model, its optimizer and a batch in memory.

    Attributes:
        cell: of the plan.
        doing: "training" or "evaluation on ARM".
        kind: class of what was raised.
        reason: what it said, for a person.
    """

    cell: Cell
    doing: str
    kind: type[Exception]
    reason: str

    def __str__(self) -> str:
        return f"{self.cell.title}: {self.doing} failed: {self.reason}"


@dataclass
class Outcome:
    """What became of a plan's runs.

    Attributes:
        trained: folders of finished runs, new and old.
        predictions: folders of predictions, new and old.
        failures: what could not be done.
        elsewhere: runs that another process works on.
    """

    trained: list[Path] = field(default_factory=list)
    predictions: list[Path] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)

    def need_all(self) -> None:
        """Check that everything is done.

        Raises:
            TrainingError: a run failed; names the first.
            BusyError: another process works on a run.
        """
        if self.failures:
            others = f"; {len(self.failures) - 1} more failed" if len(self.failures) > 1 else ""
            raise TrainingError(
                f"{self.failures[0]}{others}; what is finished is kept, the same command goes on from here"
            )
        if self.elsewhere:
            raise BusyError(f"{self.elsewhere[0].title}: another process works on this run; wait for it")


def failed_images(outcome: Outcome) -> dict[str, str]:
    """Reason by image id, for images that could not be read in a run or in its evaluation."""
    failed: dict[str, str] = {}
    for run in outcome.trained:
        failed |= read_manifest(run).facts.get("failed", {})
    for folder in outcome.predictions:
        table = pq.read_table(folder / PREDICTIONS, columns=["image_id", "error"])
        rows = table.filter(pc.is_valid(table["error"])).to_pylist()
        failed |= {row["image_id"]: row["error"] for row in rows}
    return dict(sorted(failed.items()))


def run_folder(folder: Path, model: str, arm: str, *, seed: int) -> Path:
    """Where a run lies below a folder of runs; for people, the facts stand in its manifest."""
    return folder / f"{slug(model)}--{slug(arm)}--seed{seed}"


def predictions_folder(run: Path, arm: str) -> Path:
    """Where the predictions of a run on an arm lie."""
    return run / "predictions" / slug(arm)


def train_plan(
    plan: TrainingPlan,
    out: Path,
    *,
    options: TrainingOptions = TrainingOptions(),
    source: Path | None = None,
) -> tuple[Outcome, Arms]:
    """Run what is missing of a plan; it is written to `out` with every default, see `record_training_plan`.

    Args:
        plan: what to train and evaluate.
        out: folder of the runs.
        options: how.
        source: file that the plan was read from; it is left as it is.

    Returns:
        What became of the runs, and the data sets that they are of.

    Raises:
        UsageError, UnknownName, MissingExtra: the plan asks for what is not there.
        DatasetError, TableError, ManifestError: as `open_arms`.
        BusyError, TrainingError: a run could not be trained by the processes of `torchrun`, see `run_all`.
    """
    config = _config(plan, options)
    budget = parse_bytes(plan.cache_budget)
    _check_machine(config)
    check_apart(plan.photos, out)
    arms = open_arms(plan.photos, plan.variants, plan.val_fraction, seed=plan.split_seed)
    cells = cells_of(plan.models, plan.seeds, evaluation_arms(plan.on, tuple(arms.datasets)))
    if len({_folder(out, cell) for cell in cells}) < len(cells):
        raise UsageError("models or arms that differ in punctuation only would share a folder; rename one")
    faces = None if plan.faces is None else read_faces(plan.faces)
    if is_main_process():
        record_training_plan(out, replace(plan, val_fraction=arms.val_fraction), source)
    if options.part is not None:
        cells = options.part.choose(cells)
    evaluation = {"keep_scores": plan.keep_scores, "faces": faces, "attention": plan.attention}
    runs = Runs(arms.datasets, cells, config, budget, evaluation)
    return run_all(runs, out, work=options.work), arms


def _config(plan: TrainingPlan, options: TrainingOptions) -> RunConfig:
    """What all runs of a plan share; models and pretrained starts are looked up."""
    config = RunConfig(
        plan.models[0],
        find_recipe(plan.recipe).with_overrides(**plan.change),
        weights=plan.weights,
        precision=plan.precision,
        validate_every=plan.validate_every,
        device=options.device,
        compile=options.compile,
    )
    for model in plan.models:
        find_model(model)
        _of_model(config, model).settings("")  # raises, should its weights be missing
    return config


def _check_machine(config: RunConfig) -> None:
    """Check that the device is there and computes in the precision, before images are looked at."""
    check_training(config.device)
    from sfumato.learn.device import choose_runtime

    choose_runtime(config.device, config.precision, compiled=config.compile)


def run_all(runs: Runs, folder: Path, *, cache: Path | None = None, work: Work = Work()) -> Outcome:
    """Train and evaluate what is missing; a run is evaluated as soon as it is trained.

    A run that fails is noted and the next one is begun. One that another process works on is left to it. So
    several processes on one folder share the runs among them.

    Processes that `torchrun` started train each run together. A run that they cannot train ends the plan: one
    of them may wait in it for another, so none can go on alone. A failed evaluation, which process 0 does by
    itself, is noted as ever.

    Args:
        runs: what to do.
        folder: of the runs.
        cache: of decoded images, as for `train`.
        work: as for `train`; the progress says which run it is of, and how long the rest will take.

    Raises:
        BusyError, TrainingError: under `torchrun`, a run that cannot be trained; names it.
    """
    outcome = Outcome()
    clock = _Clock(runs, folder)
    for number, cell in enumerate(runs.cells, start=1):
        label = f"{number}/{len(runs.cells)} {cell.title}{clock.left(number - 1)}"
        labelled_work = replace(work, progress=labelled(work.progress, label))
        _run_cell(runs, cell, _folder(folder, cell), (cache, labelled_work), outcome)
        clock.note(cell)
    return outcome


def _folder(folder: Path, cell: Cell) -> Path:
    return run_folder(folder, cell.model, cell.arm, seed=cell.seed)


class _Clock:
    """What the finished runs of a plan say about the others."""

    def __init__(self, runs: Runs, folder: Path) -> None:
        self.cells, self.folder = runs.cells, folder
        datasets = {arm: as_task(data).dataset for arm, data in runs.datasets.items()}
        trained = {arm: len(dataset.subset("train")) for arm, dataset in datasets.items()}
        # To evaluate is to go forward only, about a third of the work of going there and back.
        evaluated = {arm: (len(each) - trained[arm]) // 3 for arm, each in datasets.items()}
        self.n_images = {
            cell: runs.config_of(cell).recipe.epochs * trained[cell.arm]
            + sum(evaluated[arm] for arm in cell.on)
            for cell in runs.cells
        }
        self.timings: dict[Cell, Timing] = {}
        for cell in self.cells:
            self.note(cell)

    def note(self, cell: Cell) -> None:
        """Take down how long a run took, if it is finished."""
        timing = read_timing(_folder(self.folder, cell))
        if timing is not None:
            self.timings[cell] = timing

    def left(self, start: int) -> str:
        """The time for the runs from a place in the list on, as the end of a label; empty if unknown."""
        left = [
            (cell.model, max(0, self.n_images[cell] - images_done(_folder(self.folder, cell))))
            for cell in self.cells[start:]
            if cell not in self.timings
        ]
        seconds = remaining_seconds(self.timings.values(), left)
        return f", about {in_words(seconds)} left" if seconds else ""


def _run_cell(runs: Runs, cell: Cell, run: Path, means: tuple[Path | None, Work], outcome: Outcome) -> None:
    cache, work = means
    config = runs.config_of(cell)
    place: dict[str, Any] = {"cache": cache, "budget": runs.budget, "work": work}
    trained = partial(train, runs.datasets[cell.arm], config, run, **place)
    if _attempt(trained, cell, _TRAINING, outcome) is None:
        return
    outcome.trained.append(run)
    if not is_main_process():  # the others train on; one alone has nothing to add up
        return
    for arm in cell.on:
        out = predictions_folder(run, arm)
        options = {**runs.evaluation, "device": config.device, **place}
        evaluated = partial(evaluate, run, runs.datasets[arm], out, **options)
        done = _attempt(evaluated, cell, f"evaluation on {short_spec(arm)}", outcome)
        if done is not None:
            outcome.predictions.append(done)


def _of_model(config: RunConfig, model: str) -> RunConfig:
    weights = config.weights
    return replace(config, model=model, weights=weights and weights.replace("{model}", model))


def _attempt(do: Callable[[], Path], cell: Cell, doing: str, outcome: Outcome) -> Path | None:
    together = doing == _TRAINING and not is_alone()
    try:
        return do()
    except BusyError as error:
        if together:
            raise BusyError(_stopped(cell, doing, error)) from error
        if cell not in outcome.elsewhere:
            outcome.elsewhere.append(cell)
    except Exception as error:  # whatever it is, also of another project's model: the other runs can be made
        if together:
            raise TrainingError(_stopped(cell, doing, error)) from error
        outcome.failures.append(Failure(cell, doing, type(error), _reason(error)))
        _let_go(error)
    _free()
    return None


def _stopped(cell: Cell, doing: str, error: Exception) -> str:
    return (
        f"{cell.title}: {doing} failed: {_reason(error)}; under torchrun a plan stops at the first run that "
        "cannot be trained, since the processes may wait for each other; what is finished is kept"
    )


def _reason(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, SfumatoError):
        return str(error)
    return " ".join(f"unexpected {type(error).__name__}: {error}".split())


def _let_go(error: BaseException) -> None:
    """Take the frames, and so their tensors, from an error and those it came from; it may still be held."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            pending += [each.__cause__, each.__context__]
            each.__traceback__ = None


def _free() -> None:
    """Give back what a failed run held: graphs hold themselves, and CUDA keeps what is freed for itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
