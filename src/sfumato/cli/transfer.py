"""The command that trains pretrained models on a downstream task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli.learning import budget_of, changes_of, say_outcome
from sfumato.cli.options import (
    CacheBudget,
    Change,
    Compile,
    Detector,
    Device,
    Epochs,
    ImageSize,
    Json,
    Overwrite,
    PartOf,
    Quiet,
    Workers,
    make_work,
    remark,
    verdict_lines,
)

if TYPE_CHECKING:
    from sfumato.transfer import Transfer

app = typer.Typer()


@app.command()
def transfer(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUNS...", help="Run folders, folders of runs, ARM=WEIGHTS, or scratch."),
    ],
    task: Annotated[
        str, typer.Option(help="cifar10, sun397, celeba, voc, coco, yolo, or a folder of images.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of tasks; a study's is STUDY/transfer.")],
    data: Annotated[Path | None, typer.Option(help="Where the task's images lie.")] = None,
    protocol: Annotated[
        str, typer.Option(help="finetune trains all weights, linear the head only.")
    ] = "finetune",
    model: Annotated[
        list[str] | None, typer.Option(help="Only runs of this model; the model of weights and scratch.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, help="Train each start with this seed; repeat. Its own else.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Training recipe; the task's own by default.")] = None,
    change: Change = None,
    epochs: Epochs = None,
    image_size: ImageSize = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    partition: Annotated[int, typer.Option(min=1, max=10, help="Of SUN397.")] = 1,
    wild: Annotated[bool, typer.Option("--wild", help="CelebA's images as found, not aligned.")] = False,
    years: Annotated[str, typer.Option(help="Of VOC: 2007, or 2007+2012.")] = "2007",
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the task into --data first, where that is possible.")
    ] = False,
    obfuscate_task: Annotated[
        bool, typer.Option("--obfuscate-task", help="Hide faces in the task's images too, as each arm does.")
    ] = False,
    task_faces: Annotated[
        Path | None,
        typer.Option(help="The same, with the faces in a folder that sfumato detect wrote for it."),
    ] = None,
    detector: Detector = "default",
    margin: Annotated[float, typer.Option(help="Points: a smaller difference is called meaningless.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=100, help="Bootstrap rounds.")] = 2000,
    cache_budget: CacheBudget = None,
    part: PartOf = None,
    device: Device = "auto",
    compile_: Compile = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train finished runs on a downstream task, and compare what they started from.

    Example: sfumato transfer study/runs scratch --task cifar10 --data cifar --out study/transfer
    """
    from sfumato.compare import CompareSettings
    from sfumato.data.tasks import TaskOptions
    from sfumato.learn import Part, TrainingOptions, find_recipe
    from sfumato.learn.starts import as_protocol, find_starts, recipe_for
    from sfumato.transfer import Hiding, TransferOptions, open_task
    from sfumato.transfer import transfer as run_transfer

    way, given = as_protocol(protocol), {"epochs": epochs, "image_size": image_size}
    changes = changes_of(change or []) | {name: value for name, value in given.items() if value is not None}
    # What cannot be is said before a task is read, which may take long: all recipes have the same fields.
    find_recipe(recipe or "transfer-linear").with_overrides(**changes)
    options = TransferOptions(
        way,
        seeds=None if seed is None else tuple(seed),
        precision=precision,
        budget=budget_of(cache_budget),
        hiding=Hiding(task_faces, detector) if obfuscate_task or task_faces else None,
        settings=CompareSettings(rounds, margin=margin / 100),
    )
    work = make_work(workers, overwrite, quiet=quiet)
    training = TrainingOptions(device, compile_, Part.parse(part) if part else None, work)
    starts = find_starts(runs, model or [])
    which = TaskOptions(partition, wild, tuple(years.split("+")), download)
    found = open_task(task, data, out, which)
    chosen = recipe_for(found, way) if recipe is None else find_recipe(recipe)
    options = replace(options, recipe=chosen.with_overrides(**changes))
    _say(run_transfer(starts, found, out, options=options, training=training), as_json=as_json)


def _say(made: Transfer, *, as_json: bool) -> None:
    from sfumato.compare import judge

    extra: dict[str, Any] = {"tables": None}
    lines: list[str] = []
    if made.tables is not None:
        verdict = judge(made.tables)
        extra = {"tables": str(made.folder / "tables"), "verdict": verdict.headline}
        lines = [*verdict_lines(verdict), f"tables: {made.folder / 'tables'}"]
    elif not made.outcome.failures:
        remark(f"{made.folder}: not every run is there yet; the comparison is made when the last one is")
    say_outcome(made.folder, made.outcome, made.failed, extra=(extra, lines), as_json=as_json)
