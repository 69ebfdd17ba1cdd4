"""Commands on crowd tasks: images to a page like the study's on Mechanical Turk, and its results back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Json, Overwrite, say

app = typer.Typer(no_args_is_help=True, help="Tasks for a crowd, in the format of the study's page.")

Faces = Annotated[Path, typer.Argument(metavar="FACES", help="Folder that sfumato detect wrote.")]


@app.command()
def export(
    faces: Faces,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: a line a task.")],
    truth: Annotated[Path | None, typer.Option(help="Known boxes: images that check the workers.")] = None,
    prefix: Annotated[str, typer.Option(help="What stands before an image's id in its URL.")] = "",
    per_task: Annotated[int, typer.Option(min=1, help="Images of a task.")] = 50,
    gold_per_task: Annotated[int, typer.Option(min=0, help="Images with known boxes among them.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the choice and places of these.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the images as tasks: inputs with url, bboxes and, where known, ground_truth_bboxes.

    Example: sfumato faces tasks export faces --prefix https://example.org/ --out tasks.jsonl
    """
    from sfumato.errors import OutputExists
    from sfumato.faces import read_faces
    from sfumato.faces.gold import by_image_id, read_truth
    from sfumato.review.crowd import TaskPlan, tasks, write_tasks

    if out.exists() and not overwrite:
        raise OutputExists(f"{out} exists already; name another --out or give --overwrite")
    table = read_faces(faces)
    gold = by_image_id(read_truth(truth), table.status) if truth is not None else {}
    shown = {image_id: table.of(image_id) for image_id, status in table.status.items() if status == "ok"}
    found = tasks(shown, gold, TaskPlan(prefix, per_task, gold_per_task, seed))
    write_tasks(out, found)
    value = {"out": str(out), "tasks": len(found), "images": len(shown)}
    say(value, f"{out}: {len(found)} tasks, {len(shown)} images", as_json=as_json)


@app.command("import")
def import_(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="File of results: a line a task.")],
    faces: Annotated[Path, typer.Option(help="Folder that the tasks were made from.")],
    reviews: Annotated[
        Path | None, typer.Option(help="Folder of what people say; beside FACES by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take results into a review: url, refined_bboxes and change, as the study's page hands them in.

    A result that is there already is left out, so that a file may come again with more in it.

    Example: sfumato faces tasks import results.jsonl --faces faces
    """
    from contextlib import closing

    from sfumato.faces import read_faces
    from sfumato.review import Session, dataset_of
    from sfumato.review.crowd import read_results

    table, found = read_faces(faces), read_results(results)
    folder = reviews or faces.with_name(f"{faces.name}-review")
    with closing(Session.open(table, dataset_of(table, faces), folder)) as session:
        outcome = session.import_crowd(found)
    new, known = len(found) - outcome.n_known, outcome.n_known
    value = {"reviews": str(folder), "tasks": new, "known_tasks": known, "images": outcome.n_saved}
    again = f"; {known} tasks are there already and were left out" if known else ""
    say(value, f"{folder}: {outcome.n_saved} images from {new} tasks{again}", as_json=as_json)
