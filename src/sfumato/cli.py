"""The command line: one thin function a command. Heavy imports stay inside the commands.

Results go to standard output, progress and remarks to standard error. Exit codes: 0 done, 1 failed,
2 wrong usage, 3 done, but some images failed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import sfumato
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.engines import Work
    from sfumato.study import Study

FAILED, SOME_IMAGES_FAILED, INTERRUPTED = 1, 3, 130

app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find and hide the faces in a labelled image data set, and measure what that costs.",
    epilog="Any command takes --debug, which shows the traceback of an error.",
)

Photos = Annotated[
    Path, typer.Argument(help="Folder of images: split/category/image, category/image, or flat.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; one for each core by default.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that Sfumato made from something else.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ValFraction = Annotated[
    float | None, typer.Option(help="Share of each category held back where there is no val or test split.")
]
SplitSeed = Annotated[int, typer.Option(help="Seed of that choice.")]
Detector = Annotated[str, typer.Option(help="How to find faces (see sfumato plugins).")]


@app.command()
def study(
    source: Annotated[Path, typer.Argument(metavar="PHOTOS|PLAN", help="Folder of images, or a study.toml.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the study; a plan's own folder by default.")
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="Method to compare, such as blur or 'mosaic(blocks=3)'; repeat.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model to train; repeat.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of runs of each model and arm.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Training recipe.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side of the model's input in pixels.")
    ] = None,
    detector: Annotated[str | None, typer.Option(help="How to find faces.")] = None,
    val_fraction: ValFraction = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of that choice.")] = None,
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Show visible faces in the report.")
    ] = False,
    device: Device = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole flow: find, hide, train, evaluate, compare, report. Finished work is skipped.

    Example: sfumato study photos --out my-study --arm blur --arm overlay
    """
    from sfumato.study import StudyOptions, plan_of
    from sfumato.study import study as run_study

    plan, folder = plan_of(source, out)
    change = {"epochs": epochs, "image_size": image_size}
    plan = plan.with_changes(
        arms=arm,
        models=model,
        seeds=range(seeds) if seeds else None,
        recipe=recipe,
        change={**plan.change, **{key: value for key, value in change.items() if value is not None}},
        detector=detector,
        val_fraction=val_fraction,
        split_seed=split_seed,
    )
    options = StudyOptions(_work(workers, quiet=quiet), device, show_originals)
    _print_study(run_study(plan, folder, options=options), as_json=as_json)


@app.command()
def demo(
    out: Out = Path("sfumato-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the drawn data set.")] = 0,
    device: Device = "auto",
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """The whole flow on the embedded data set, where the truth is known: also a check of the tool.

    Example: sfumato demo --out sfumato-demo
    """
    from sfumato.demo import demo as run_demo
    from sfumato.study import StudyOptions

    result, checks = run_demo(out, seed=seed, options=StudyOptions(_work(workers, quiet=quiet), device))
    for check in checks:
        typer.echo(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}", err=True)
    _print_study(result, as_json=as_json)
    if not all(check.passed for check in checks):
        raise typer.Exit(FAILED)


@app.command()
def detect(
    photos: Photos,
    out: Out,
    detector: Detector = "default",
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the faces: one row a face, one row an image examined.

    Example: sfumato detect photos --out faces
    """
    from sfumato.data import read_dataset
    from sfumato.detect import DETECTORS
    from sfumato.detect import detect as run_detect

    dataset = read_dataset(photos, val_fraction=val_fraction or 0.0, seed=split_seed)
    table = run_detect(dataset, DETECTORS.build(detector), out, work=_work(workers, overwrite, quiet=quiet))
    if not len(table.faces):
        typer.echo(f"sfumato: no face found in {len(dataset)} images", err=True)
    _done(out, table.manifest.counts, table.errors, as_json=as_json)


@app.command()
def obfuscate(
    photos: Photos,
    faces: Annotated[Path, typer.Option(help="Folder that sfumato detect wrote.")],
    out: Out,
    method: Annotated[
        str, typer.Option("--method", "-m", help="How to hide (see sfumato plugins).")
    ] = "blur",
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Hide the faces: write the data set again, same names, same labels.

    Example: sfumato obfuscate photos --faces faces --method "blur(strength=0.2)" --out variant
    """
    from sfumato.data import read_dataset
    from sfumato.faces import read_faces
    from sfumato.obfuscate import METHODS, read_failures
    from sfumato.obfuscate import obfuscate as run_obfuscate

    dataset = read_dataset(photos, val_fraction=val_fraction or 0.0, seed=split_seed)
    work = _work(workers, overwrite, quiet=quiet)
    manifest = run_obfuscate(dataset, read_faces(faces), METHODS.build(method), out, work=work)
    _done(out, manifest.counts, read_failures(out), as_json=as_json)


@app.command()
def train(
    photos: Photos,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of runs; the run gets a folder in it.")],
    model: Annotated[str, typer.Option(help="Model to train.")] = "resnet18",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run.")] = 0,
    recipe: Annotated[str, typer.Option(help="Training recipe.")] = "small",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side of the model's input in pixels.")
    ] = None,
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    device: Device = "auto",
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one model on a data set or a variant.

    Example: sfumato train variant --model resnet18 --seed 0 --out runs
    """
    from sfumato.data import read_dataset
    from sfumato.learn import RunConfig, find_recipe
    from sfumato.learn import train as run_train
    from sfumato.records import read_manifest
    from sfumato.study import run_folder

    change = {
        key: value for key, value in (("epochs", epochs), ("image_size", image_size)) if value is not None
    }
    config = RunConfig(model, find_recipe(recipe).with_overrides(**change), seed, device)
    dataset = read_dataset(photos, val_fraction=val_fraction or 0.0, seed=split_seed)
    run = run_train(
        dataset,
        config,
        run_folder(out, model, dataset.arm, seed=seed),
        work=_work(workers, overwrite, quiet=quiet),
    )
    counts = read_manifest(run, kind="run").counts
    _done(run, counts, {}, as_json=as_json)
    if counts["n_failed"]:
        typer.echo(f"sfumato: {counts['n_failed']} image(s) failed and were not trained on", err=True)
        raise typer.Exit(SOME_IMAGES_FAILED)


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
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
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
    from sfumato.learn import evaluate as run_evaluate
    from sfumato.plan import slug
    from sfumato.predictions import read_predictions

    dataset = read_dataset(on, val_fraction=val_fraction or 0.0, seed=split_seed)
    folder = out or run / "predictions" / slug(dataset.arm)
    run_evaluate(
        run,
        dataset,
        folder,
        keep_scores=keep_scores,
        device=device,
        work=_work(workers, overwrite, quiet=quiet),
    )
    made = read_predictions(folder)
    counts = {key: made.facts[key] for key in ("n_images", "n_failed")}
    rows = made.table.select(["image_id", "error"]).to_pylist()
    _done(folder, counts, {row["image_id"]: row["error"] for row in rows if row["error"]}, as_json=as_json)


@app.command()
def compare(
    runs: Annotated[Path, typer.Argument(help="Folder of runs that were evaluated.")],
    out: Out,
    faces: Annotated[
        Path | None, typer.Option(help="Folder that sfumato detect wrote: tells images with faces apart.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=100, help="Bootstrap rounds.")] = 2000,
    allow_single_seed: Annotated[
        bool, typer.Option("--allow-single-seed", help="Compare runs of one seed.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare evaluated runs: tables with intervals, and a verdict.

    Example: sfumato compare runs --faces faces --out tables
    """
    from sfumato.compare import CompareSettings, judge
    from sfumato.compare import compare as run_compare
    from sfumato.faces import read_faces
    from sfumato.predictions import find_predictions, read_predictions

    folders = find_predictions(runs)
    if not folders:
        raise UsageError(f"{runs}: no evaluated run in it; make some with sfumato train and sfumato evaluate")
    tables = run_compare(
        [read_predictions(folder) for folder in folders],
        out,
        faces=read_faces(faces) if faces else None,
        settings=CompareSettings(rounds=rounds, allow_single_seed=allow_single_seed),
        work=_work(1, overwrite, quiet=quiet),
    )
    verdict = judge(tables)
    _print(
        {"tables": str(out), "verdict": verdict.headline},
        verdict.headline + f"\ntables: {out}",
        as_json=as_json,
    )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study.")],
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Show visible faces in the report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a finished study again.

    Example: sfumato report my-study --show-originals
    """
    from sfumato.study import StudyOptions
    from sfumato.study import report as run_report

    _print_study(run_report(folder, options=StudyOptions(show_originals=show_originals)), as_json=as_json)


@app.command()
def plugins(as_json: Json = False) -> None:
    """List the methods, detectors, models and recipes that can be named.

    Example: sfumato plugins
    """
    from sfumato.detect import DETECTORS
    from sfumato.learn import MODELS, RECIPES
    from sfumato.obfuscate import METHODS

    names = {"methods": METHODS.names(), "detectors": DETECTORS.names()}
    names |= {"models": MODELS.names(), "recipes": sorted(RECIPES)}
    text = "\n".join(f"{kind}: {', '.join(known)}" for kind, known in names.items())
    _print(names, f"{text}\n(models: timm's names too, where timm is installed)", as_json=as_json)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sfumato {sfumato.__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _work(workers: int | None, overwrite: bool = False, *, quiet: bool) -> Work:
    from sfumato.engines import Work
    from sfumato.progress import Bars, silent

    return Work(workers, silent if quiet else Bars(), overwrite)


def _print(value: Any, text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, default=str) if as_json else text)


def _done(out: Path, counts: Mapping[str, Any], failed: Mapping[str, str], *, as_json: bool) -> None:
    """Print where a stage's result lies and its counts; say what failed, and exit 3 if anything did."""
    summary = ", ".join(
        f"{value} {key.removeprefix('n_').replace('_', ' ')}" for key, value in counts.items()
    )
    _print({"out": str(out), "counts": counts, "failed": failed}, f"{out}: {summary}", as_json=as_json)
    _say_failed(failed)


def _say_failed(failed: Mapping[str, str]) -> None:
    if failed:
        first = next(iter(failed.items()))
        typer.echo(
            f"sfumato: {len(failed)} image(s) failed and are left out; {first[0]}: {first[1]}", err=True
        )
        raise typer.Exit(SOME_IMAGES_FAILED)


def _print_study(result: Study, *, as_json: bool) -> None:
    value = {"report": str(result.report), "verdict": result.verdict.headline, "failed": result.failed}
    _print(value, f"{result.verdict.headline}\nreport: {result.report}", as_json=as_json)
    _say_failed(result.failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. An error is one line, with --debug its traceback too."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app([item for item in given if item != "--debug"], prog_name="sfumato")
    except SystemExit as ended:  # how Typer ends, having said what was wrong with the arguments
        if isinstance(ended.__context__, typer.Abort):
            typer.echo("sfumato: interrupted; the same command goes on from here", err=True)
            return INTERRUPTED
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"sfumato: {_one_line(error)}", err=True)
        return error.exit_code if isinstance(error, SfumatoError) else FAILED
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, SfumatoError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        where = f": {error.filename}" if error.filename else ""
        return (
            f"{os.strerror(error.errno)}{where}; what is finished is kept, the same command goes on from here"
        )
    if isinstance(error, MemoryError):
        return "out of memory; try fewer --workers"
    return f"unexpected {type(error).__name__}: {error} (run again with --debug and report it)"
