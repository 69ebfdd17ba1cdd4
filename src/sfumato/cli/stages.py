"""The whole flow, and one command for each of its stages. Heavy imports stay inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli.options import (
    FAILED,
    Detector,
    Device,
    Epochs,
    ImageSize,
    Json,
    Out,
    Overwrite,
    Photos,
    Quiet,
    SplitSeed,
    ValFraction,
    Workers,
    make_work,
    say,
    say_done,
    say_study,
    selected_faces,
    verdict_lines,
)
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.compare import Tables

app = typer.Typer()


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
    epochs: Epochs = None,
    image_size: ImageSize = None,
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
    options = StudyOptions(make_work(workers, quiet=quiet), device, show_originals)
    say_study(run_study(plan, folder, options=options), as_json=as_json)


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

    result, checks = run_demo(out, seed=seed, options=StudyOptions(make_work(workers, quiet=quiet), device))
    for check in checks:
        typer.echo(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}", err=True)
    say_study(result, as_json=as_json)
    if not all(check.passed for check in checks):
        raise typer.Exit(FAILED)


@app.command()
def detect(
    photos: Photos,
    out: Out,
    detector: Detector | None = None,
    preset: Annotated[
        str | None, typer.Option(help="The same for presets: fast, balanced, high-recall.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, or what onnxruntime has: cuda, rocm, directml, mps.")
    ] = "auto",
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the faces: one row a face, one row an image examined.

    Example: sfumato detect photos --preset high-recall --out faces
    """
    from sfumato.data import read_dataset
    from sfumato.detect import DETECTORS, check_preset
    from sfumato.detect import detect as run_detect

    if preset is not None:
        if detector is not None:
            raise UsageError("give --detector or --preset, not both")
        detector = check_preset(preset)

    dataset = read_dataset(photos, val_fraction=val_fraction or 0.0, seed=split_seed)
    work = make_work(workers, overwrite, quiet=quiet)
    table = run_detect(
        dataset, DETECTORS.build("balanced" if detector is None else detector), out, device=device, work=work
    )
    if not len(table.faces):
        typer.echo(f"sfumato: no face found in {len(dataset)} images", err=True)
    say_done(out, table.manifest.counts, table.errors, as_json=as_json)


@app.command()
def obfuscate(
    photos: Photos,
    faces: Annotated[Path, typer.Option(help="Folder that sfumato detect wrote.")],
    out: Out,
    method: Annotated[
        str, typer.Option("--method", "-m", help="How to hide (see sfumato plugins).")
    ] = "blur",
    select: Annotated[
        Path | None, typer.Option(help="TOML or JSON of rules: which faces to hide, which to leave alone.")
    ] = None,
    metadata: Annotated[
        str,
        typer.Option(help="Kept in files with faces: safe (colours, orientation, resolution), all, none."),
    ] = "safe",
    metadata_everywhere: Annotated[
        bool, typer.Option("--metadata-everywhere", help="The same in files without faces.")
    ] = False,
    link: Annotated[
        str, typer.Option(help="Files without faces: auto (clone or copy), copy, hard (links).")
    ] = "auto",
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
    from sfumato.obfuscate import METHODS, FileOptions, read_failures
    from sfumato.obfuscate import obfuscate as run_obfuscate

    dataset = read_dataset(photos, val_fraction=val_fraction or 0.0, seed=split_seed)
    work = make_work(workers, overwrite, quiet=quiet)
    table = selected_faces(faces, select)
    files = FileOptions.of(metadata, link, everywhere=metadata_everywhere)
    manifest = run_obfuscate(dataset, table, METHODS.build(method), out, files=files, work=work)
    say_done(out, manifest.counts, read_failures(out), as_json=as_json)


@app.command()
def compare(
    runs: Annotated[Path, typer.Argument(help="Folder of runs that were evaluated.")],
    out: Out,
    faces: Annotated[
        Path | None, typer.Option(help="Folder that sfumato detect wrote: tells images with faces apart.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Points of accuracy: a smaller difference is called meaningless.")
    ] = 1.0,
    confidence: Annotated[
        float, typer.Option(help="Of the intervals; 1 less it is the level of tests.")
    ] = 0.95,
    rounds: Annotated[int, typer.Option(min=100, help="Bootstrap rounds.")] = 2000,
    sem: Annotated[
        str, typer.Option(help="Standard error over seeds: sample, or study (the published one, larger).")
    ] = "sample",
    groups: Annotated[
        Path | None, typer.Option(help="Parquet or CSV of image_id and columns that group the images.")
    ] = None,
    group_by: Annotated[
        list[str] | None, typer.Option(help="Column of it whose groups are told apart; repeat.")
    ] = None,
    supercategories: Annotated[
        str | None,
        typer.Option(help="CSV of category,supercategory; or ilsvrc for ImageNet's WordNet groups."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Also write the published study's numbers beside these.")
    ] = False,
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
    from sfumato.compare import CompareSettings, judge, read_groupings
    from sfumato.compare import compare as run_compare
    from sfumato.faces import read_faces
    from sfumato.predictions import find_predictions, read_any_predictions

    settings = CompareSettings(
        rounds, confidence, allow_single_seed=allow_single_seed, margin=margin / 100, sem=sem
    )
    groupings = read_groupings(groups, group_by or [], supercategories)
    folders = find_predictions(runs)
    if not folders:
        raise UsageError(f"{runs}: no evaluated run in it; make some with sfumato train and sfumato evaluate")
    tables = run_compare(
        [read_any_predictions(folder) for folder in folders],
        out,
        faces=read_faces(faces) if faces else None,
        groups=groupings,
        settings=settings,
        work=make_work(1, overwrite, quiet=quiet),
    )
    verdict = judge(tables)
    value: dict[str, Any] = {"tables": str(out), "verdict": verdict.headline}
    lines = verdict_lines(verdict)
    if published:
        value["published"], said = _beside_published(out, tables)
        lines += said
    say(value, "\n".join([*lines, f"tables: {out}"]), as_json=as_json)


def _beside_published(out: Path, tables: Tables) -> tuple[dict[str, Any], list[str]]:
    """Write the published numbers beside ours: what to say of them, as data and as lines."""
    from sfumato.compare.published import headline, mean_drops, published_summary, write_published
    from sfumato.compare.published_transfer import TRANSFER_UNKNOWN, write_published_transfer

    if tables.task is not None:
        n_both = write_published_transfer(out, tables)
        said = f"{n_both} of our means stand beside the study's in {out / 'published_transfer.csv'}."
        unknown = ["Not known of the study's transfer experiments:", *TRANSFER_UNKNOWN]
        return {"n_beside": n_both, "unknown": list(TRANSFER_UNKNOWN)}, [said, *unknown]
    n_both = write_published(out, tables.overall, tables.differences)
    lines = [headline(), mean_drops()]
    lines.append(f"{n_both} of our differences stand beside the study's in {out / 'published.csv'}.")
    return {"n_beside": n_both, "summary": published_summary().to_pylist(), "sentences": lines[:2]}, lines


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study.")],
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Show visible faces in the report.")
    ] = False,
    transfer: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that sfumato transfer wrote, beside STUDY/transfer; repeat."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a finished study again, with what is in STUDY/transfer.

    Example: sfumato report my-study --transfer cifar10
    """
    from sfumato.study import StudyOptions
    from sfumato.study import report as run_report

    options = StudyOptions(show_originals=show_originals, transfer=transfer or ())
    say_study(run_report(folder, options=options), as_json=as_json)


@app.command()
def plugins(as_json: Json = False) -> None:
    """List the methods, detectors, box formats, models and recipes that can be named.

    Example: sfumato plugins
    """
    from sfumato.detect.description import describe_detectors
    from sfumato.faces.exchange import FORMATS
    from sfumato.learn import MODELS, RECIPES
    from sfumato.obfuscate import METHODS

    detectors = describe_detectors()
    names = {"methods": METHODS.names(), "formats": FORMATS.names()}
    names |= {"models": MODELS.names(), "recipes": sorted(RECIPES)}
    lines = [f"{kind}: {', '.join(known)}" for kind, known in names.items()]
    lines += ["(models: timm's names too, where timm is installed)", "", "detectors:", *map(str, detectors)]
    value = names | {"detectors": [detector.to_dict() for detector in detectors]}
    say(value, "\n".join(lines), as_json=as_json)
