"""Commands on faces as data: statistics, scores, exchange with other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sfumato.cli import tasks
from sfumato.cli.options import (
    Json,
    Out,
    Overwrite,
    Quiet,
    SplitSeed,
    ValFraction,
    Workers,
    make_work,
    say,
    say_done,
    selected_faces,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sfumato.faces import Faces as Record

app = typer.Typer(no_args_is_help=True, help="Faces as data: statistics, scores, exchange with other tools.")
app.add_typer(tasks.app, name="tasks")

Orientation = Literal["upright", "stored"]
Faces = Annotated[Path, typer.Argument(metavar="FACES", help="Folder that sfumato detect wrote.")]
Select = Annotated[Path | None, typer.Option(help="TOML or JSON of rules: only the faces that they choose.")]


@app.command()
def stats(
    faces: Faces,
    out: Out,
    groups: Annotated[
        str | None,
        typer.Option(help="CSV of category,supercategory; or ilsvrc for ImageNet's WordNet groups."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only faces of this kind; repeat.")] = None,
    select: Select = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """How many images have faces, how many, and how large: in all, by category, by supercategory.

    Example: sfumato faces stats faces --out statistics
    """
    from sfumato.data.groups import read_groups
    from sfumato.faces.statistics import statistics
    from sfumato.faces.statistics_tables import summary, write_statistics
    from sfumato.report.face_figures import face_figures

    table = selected_faces(faces, select)
    found = statistics(
        table,
        categories=table.manifest.facts["categories"],
        groups=read_groups(groups) if groups else None,
        split=split,
        kinds=kind or None,
    )
    write_statistics(out, found, figures=face_figures(found), overwrite=overwrite)
    value = {"out": str(out), "totals": found.totals.to_pylist()[0]}
    say(value | {"by_supercategory": found.by_supercategory.to_pylist()}, summary(found), as_json=as_json)


@app.command()
def score(
    found: Faces,
    truth: Annotated[Path, typer.Option(help="Known boxes: a folder of sfumato detect, or annotation JSON.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The images: draws a sheet of misses and false alarms.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for tables and sheets.")] = None,
    min_iou: Annotated[float, typer.Option(min=0, max=1, help="Least overlap of a match.")] = 0.4,
    min_size: Annotated[
        float, typer.Option(min=0, help="Known faces with a shorter longer side do not count.")
    ] = 0.0,
    select: Select = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Recall and precision of found faces against known ones, by size and by image, with intervals.

    Example: sfumato faces score faces --truth boxes.json --dataset photos --out score
    """
    from sfumato.data import read_dataset
    from sfumato.detect.contact_sheet import contact_sheets
    from sfumato.detect.score_report import ScoreSettings, score_report, summary, write_score
    from sfumato.faces.gold import by_image_id, read_truth

    known = _known(found, select)
    true = by_image_id(read_truth(truth), known)
    report = score_report(known, true, settings=ScoreSettings(min_iou=min_iou, min_size=min_size))
    if out is not None:
        sheets: dict[str, Any] = {}
        if dataset is not None:
            sheets = contact_sheets(known, true, read_dataset(dataset), min_iou=min_iou, min_size=min_size)
        inputs = {"found": _digest(found, select), "truth": _digest(truth)}
        write_score(out, report, inputs=inputs, sheets=sheets, overwrite=overwrite)
    value = {
        "counts": report.counts,
        "metrics": report.metrics.to_pylist(),
        "by_size": report.by_size.to_pylist(),
    }
    say(value, summary(report), as_json=as_json)


@app.command("import")
def import_(
    boxes: Annotated[Path, typer.Argument(help="File or folder of boxes.")],
    dataset: Annotated[Path, typer.Option(help="The images that the boxes are of.")],
    out: Out,
    format_: Annotated[str, typer.Option("--format", "-f", help="See sfumato plugins.")] = "study",
    orientation: Annotated[
        Orientation,
        typer.Option(help="Whether boxes are in pixels of the upright image, or of the image as stored."),
    ] = "upright",
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Records without an image are counted, not refused.")
    ] = False,
    absent_is_empty: Annotated[
        bool, typer.Option("--absent-is-empty", help="An image without a record has no face.")
    ] = False,
    kind: Annotated[list[str] | None, typer.Option(help="Only boxes of this kind; repeat.")] = None,
    val_fraction: ValFraction = None,
    split_seed: SplitSeed = 0,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Take boxes from another tool: the study's JSON, COCO, YOLO, WIDER FACE, CVAT and others.

    Example: sfumato faces import boxes.json --format coco --dataset photos --out faces
    """
    from sfumato.data import read_dataset
    from sfumato.faces.exchange import FORMATS, BoxFile, ImportOptions, import_boxes

    images = read_dataset(dataset, val_fraction=val_fraction or 0.0, seed=split_seed)
    options = ImportOptions(orientation, allow_unmatched, absent_is_empty, tuple(kind or ()))
    source = BoxFile(boxes, FORMATS.build(format_))
    work = make_work(workers, overwrite, quiet=quiet)
    table = import_boxes(images, source, out, options=options, work=work)
    say_done(out, table.manifest.counts, table.errors, as_json=as_json)


@app.command()
def export(
    faces: Faces,
    out: Annotated[Path, typer.Option("--out", "-o", help="File or folder to write.")],
    format_: Annotated[str, typer.Option("--format", "-f", help="See sfumato plugins.")] = "study",
    dataset: Annotated[Path | None, typer.Option(help="The images, for formats that need them.")] = None,
    orientation: Annotated[
        Orientation,
        typer.Option(help="Write boxes in pixels of the upright image, or of the image as stored."),
    ] = "upright",
    select: Select = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Give boxes to another tool: the study's JSON, COCO, YOLO, WIDER FACE, CVAT and others.

    Example: sfumato faces export faces --format coco --out boxes.json
    """
    from dataclasses import asdict

    from sfumato.data import read_dataset
    from sfumato.faces.exchange import FORMATS, ExportOptions, export_boxes

    images = read_dataset(dataset) if dataset is not None else None
    options = ExportOptions(orientation, overwrite)
    done = export_boxes(
        selected_faces(faces, select), out, FORMATS.build(format_), dataset=images, options=options
    )
    say(asdict(done), f"{out}: {done.n_images} images, {done.n_faces} faces", as_json=as_json)
    if done.lost:
        typer.echo(f"sfumato: {format_} has no place for {', '.join(done.lost)}", err=True)


@app.command()
def merge(
    faces: Faces,
    reviews: Annotated[Path, typer.Option(help="Folder that sfumato review wrote.")],
    out: Out,
    groups: Annotated[
        str | None,
        typer.Option(help="CSV of category,supercategory, or ilsvrc: groups of the table of estimates."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """What people said, put into the faces: the next revision, disagreements, what is still missed.

    Example: sfumato faces merge faces --reviews faces-review --out reviewed
    """
    from sfumato.data.groups import read_groups
    from sfumato.faces import read_faces
    from sfumato.review import write_merged

    table = write_merged(
        read_faces(faces), reviews, out, groups=read_groups(groups) if groups else None, overwrite=overwrite
    )
    say_done(out, table.manifest.counts, table.errors, as_json=as_json)


def _known(found: Path, select: Path | None) -> Mapping[str, Record]:
    """Found faces by image id, of a folder of sfumato detect or of annotation JSON."""
    from sfumato.errors import UsageError
    from sfumato.faces import read_known_boxes

    if select is None:
        return read_known_boxes(found)
    if not found.is_dir():
        raise UsageError(f"{found}: --select chooses from a folder of sfumato detect; import the file first")
    table = selected_faces(found, select)
    return {image_id: table.of(image_id) for image_id, status in table.status.items() if status == "ok"}


def _digest(path: Path, select: Path | None = None) -> str:
    from sfumato.records import file_sha256

    return selected_faces(path, select).manifest.key if path.is_dir() else file_sha256(path)
