"""Commands that train and evaluate: one run, or every run of a plan."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli.options import (
    SOME_IMAGES_FAILED,
    CacheBudget,
    Change,
    Compile,
    Device,
    Epochs,
    ImageSize,
    Json,
    Overwrite,
    PartOf,
    Quiet,
    SplitSeed,
    ValFraction,
    Workers,
    make_work,
    remark,
    say,
    say_done,
    say_failed,
)
from sfumato.errors import SpecError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sfumato.learn import Outcome, TrainingOptions

app = typer.Typer()

_WORD = re.compile(r"(?!(?:true|false|inf|nan)$)[A-Za-z_][A-Za-z0-9_.-]*")


@app.command()
def train(
    source: Annotated[
        Path, typer.Argument(metavar="PHOTOS|PLAN", help="Data set or variant, or the TOML file of a plan.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of runs, each with a folder in it; a plan's own by default."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to train; resnet18 by default.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run; 0 by default.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Training recipe, or a TOML file of one; small by default.")
    ] = None,
    change: Change = None,
    epochs: Epochs = None,
    image_size: ImageSize = None,
    weights: Annotated[
        str | None, typer.Option(help="Pretrained start: a file, a run, torchvision, or timm.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            min=0, help="Look at the accuracy after each so many epochs; keeps the best weights too."
        ),
    ] = None,
    cache_budget: CacheBudget = None,
    val_fraction: ValFraction = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of that choice.")] = None,
    part: PartOf = None,
    device: Device = "auto",
    compile_: Compile = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one model on a data set or a variant; or train and evaluate every run of a plan.

    Example: sfumato train variant --model resnet18 --seed 0 --out runs
    """
    from sfumato.data import read_dataset
    from sfumato.learn import Part, RunConfig, TrainingOptions, find_recipe, run_folder
    from sfumato.learn import train as run_train

    given = _given(
        weights=weights, precision=precision, validate_every=validate_every, model=model, seed=seed
    )
    options = TrainingOptions(device, compile_, work=make_work(workers, overwrite, quiet=quiet))
    if source.suffix == ".toml":
        others = _given(recipe=recipe, set=change, epochs=epochs, image_size=image_size)
        others |= _given(val_fraction=val_fraction, split_seed=split_seed, cache_budget=cache_budget)
        _refuse(given | others, f"what is trained stands in {source}; change it there")
        _train_plan(source, out, replace(options, part=Part.parse(part) if part else None), as_json=as_json)
        return
    _refuse(_given(part=part), "a part is of a plan; name its TOML file instead of a folder")
    if out is None:
        raise UsageError("name a folder for the run with --out")
    changes = changes_of(change or []) | _given(epochs=epochs, image_size=image_size)
    recipe_ = find_recipe(recipe or "small").with_overrides(**changes)
    config = RunConfig(**{"model": "resnet18", **given}, recipe=recipe_, device=device, compile=compile_)
    dataset = read_dataset(source, val_fraction=val_fraction or 0.0, seed=split_seed or 0)
    folder = run_folder(out, config.model, dataset.arm, seed=config.seed)
    run = run_train(dataset, config, folder, budget=budget_of(cache_budget), work=options.work)
    _say_run(run, as_json=as_json)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    on: Annotated[Path, typer.Option("--on", help="Data set or variant to evaluate on.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; inside the run by default.")
    ] = None,
    keep_scores: Annotated[
        bool, typer.Option("--keep-scores", help="Also write all scores, as float16.")
    ] = False,
    faces: Annotated[
        Path | None,
        typer.Option(help="Folder that sfumato detect wrote: adds how much of each view faces cover."),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Also measure how much the model looks at faces (Grad-CAM).")
    ] = False,
    cache_budget: CacheBudget = None,
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    allow_trained: Annotated[
        bool,
        typer.Option("--allow-trained", help="Evaluate even on images that are named like trained ones."),
    ] = False,
    device: Device = "auto",
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate a trained model: one row an image.

    Example: sfumato evaluate runs/resnet18--original--seed0 --on photos
    """
    from sfumato.data import read_dataset
    from sfumato.faces import read_faces
    from sfumato.learn import evaluate as run_evaluate
    from sfumato.learn import predictions_folder
    from sfumato.predictions import read_predictions

    dataset = read_dataset(on, val_fraction=val_fraction or 0.0, seed=split_seed)
    folder = out or predictions_folder(run, dataset.arm)
    work = make_work(workers, overwrite, quiet=quiet)
    run_evaluate(
        run,
        dataset,
        folder,
        keep_scores=keep_scores,
        faces=None if faces is None else read_faces(faces),
        attention=attention,
        allow_trained=allow_trained,
        budget=budget_of(cache_budget),
        device=device,
        work=work,
    )
    made = read_predictions(folder)
    counts = {key: made.facts[key] for key in ("n_images", "n_failed")}
    rows = made.table.select(["image_id", "error"]).to_pylist()
    say_done(folder, counts, {row["image_id"]: row["error"] for row in rows if row["error"]}, as_json=as_json)


def _train_plan(source: Path, out: Path | None, options: TrainingOptions, *, as_json: bool) -> None:
    from sfumato.learn import read_training_plan, train_plan
    from sfumato.learn.runner import failed_images

    folder = out or source.absolute().parent
    outcome, arms = train_plan(read_training_plan(source), folder, options=options, source=source)
    say_outcome(folder, outcome, {**arms.failed, **failed_images(outcome)}, as_json=as_json)


def say_outcome(
    folder: Path,
    outcome: Outcome,
    failed: Mapping[str, str],
    *,
    extra: tuple[Mapping[str, Any], Sequence[str]] = ({}, ()),
    as_json: bool,
) -> None:
    """Print what became of a plan's runs; exit 1 if a run failed, 3 if only images did.

    Args:
        folder: of the runs.
        outcome: of them.
        failed: reason by image id, for images that are in no run.
        extra: what else to say, as data and as lines.
        as_json: print data.
    """
    from sfumato.learn.timing import read_timing, waiting_share

    waiting = waiting_share(timing for run in outcome.trained if (timing := read_timing(run)))
    counts = {"n_trained": len(outcome.trained), "n_evaluated": len(outcome.predictions)}
    counts |= {"n_failed": len(outcome.failures), "n_elsewhere": len(outcome.elsewhere)}
    value: dict[str, Any] = {"out": str(folder), "counts": counts, "waiting_share": waiting}
    value["failed_runs"] = [str(failure) for failure in outcome.failures]
    value |= {"elsewhere": [cell.title for cell in outcome.elsewhere], "failed": dict(failed), **extra[0]}
    summary = (
        f"{counts['n_trained']} runs trained, {counts['n_evaluated']} evaluated, {counts['n_failed']} failed"
    )
    lines = [f"{folder}: {summary}; {_waited(waiting)}", *extra[1]]
    say(value, "\n".join(lines), as_json=as_json)
    _say_memory(outcome.trained)
    for cell in outcome.elsewhere:
        remark(f"{cell.title}: being worked on elsewhere; give the command again later")
    for failure in outcome.failures:
        remark(str(failure))
    if outcome.failures:
        n_runs = len({failure.cell for failure in outcome.failures})
        raise TrainingError(
            f"{n_runs} run(s) failed; what is finished is kept, the same command tries them again"
        )
    say_failed(failed)


def _say_run(run: Path, *, as_json: bool) -> None:
    from sfumato.learn.timing import read_timing, waiting_share
    from sfumato.records import read_manifest

    manifest = read_manifest(run, kind="run")
    counts, failed = manifest.counts, manifest.facts.get("failed", {})
    waiting = waiting_share(timing for timing in [read_timing(run)] if timing)
    summary = ", ".join(f"{value} {key.removeprefix('n_')}" for key, value in counts.items())
    value = {"out": str(run), "counts": counts, "waiting_share": waiting, "failed": failed}
    say(value, f"{run}: {summary}; {_waited(waiting)}", as_json=as_json)
    _say_memory([run])
    say_failed(failed)
    if counts["n_failed"]:  # a run of an earlier version does not say which
        remark(f"{counts['n_failed']} image(s) failed and were not trained on")
        raise typer.Exit(SOME_IMAGES_FAILED)


def _say_memory(runs: Sequence[Path]) -> None:
    """Say, also where the progress is not shown, which runs ran out of memory."""
    from sfumato.learn.timing import parts_for_memory

    for run in runs:
        parts = parts_for_memory(run)
        if parts is not None:
            remark(
                f"{run}: memory ran out, so batches went through in {parts} parts; "
                "batch normalisation took its statistics over each of them"
            )


def _waited(share: float) -> str:
    return f"the model waited for images {share:.0%} of the time"


def budget_of(text: str | None) -> int:
    """Bytes that `--cache-budget` says."""
    from sfumato.learn.inputs import DEFAULT_BUDGET, parse_bytes

    return DEFAULT_BUDGET if text is None else parse_bytes(text)


def _given(**options: Any) -> dict[str, Any]:
    """The options that the person gave."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: Mapping[str, Any], reason: str) -> None:
    for name in options:
        raise UsageError(f"--{name.replace('_', '-')} is not for this: {reason}")


def changes_of(texts: Sequence[str]) -> dict[str, Any]:
    """Fields and values of `--set field=value`; values as in TOML, a single word needs no quotes.

    Raises:
        SpecError: not written so.
    """
    changes = {}
    for text in texts:
        name, _, value = (piece.strip() for piece in text.partition("="))
        try:
            read = tomllib.loads(f"value = {value!r}" if _WORD.fullmatch(value) else f"value = {value}")
        except tomllib.TOMLDecodeError:
            read = {}
        if not name or list(read) != ["value"]:
            raise SpecError(f"--set '{text}': write it like --set epochs=3, or --set crop_scale=[0.5,1.0]")
        changes[name] = read["value"]
    return changes
