"""Commands on predictions as data: results of others taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sfumato.cli.options import Json, Out, Overwrite, Quiet, make_work, say
from sfumato.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Predictions as data: results of others taken in.")


@app.callback()
def _predictions() -> None:
    """Keep the name of the command: a group of one would be called by the group's name alone."""


@app.command("import")
def import_(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT.pickle…", help="Files of the study.")],
    out: Out,
    by_name: Annotated[
        bool, typer.Option("--by-name", help="Take model, arms and seed from the names of the study's files.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Model, for one file.")] = None,
    train_arm: Annotated[
        str | None, typer.Option(help="What it was trained on, for one file; original by default.")
    ] = None,
    eval_arm: Annotated[
        str | None, typer.Option(help="What it was evaluated on; the same by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of its training, for one file; 0 by default.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="The images: gives their ids, and which there should be.")
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(help="JSON list of categories in the order of labels; ImageNet's by default."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Take in the result pickles that the ImageNet face obfuscation study released; they run no code here.

    Example: sfumato predictions import results/*.pickle --by-name --out study-runs
    """
    from sfumato.data import read_dataset
    from sfumato.learn.study_results import RunFacts, facts_in_name, import_results, read_categories

    if by_name == (model is not None):
        raise UsageError("say what the file is a result of with --model, or give --by-name")
    if by_name:
        _refuse_beside_names(train_arm=train_arm, eval_arm=eval_arm, seed=seed)
        _need_files(results)
        named = {path: facts_in_name(path.name) for path in results}
    elif len(results) > 1:
        raise UsageError("--model is for one file; take several in with --by-name")
    else:
        _need_files(results)
        trained_on = train_arm or "original"
        named = {results[0]: RunFacts(str(model), trained_on, eval_arm or trained_on, seed or 0)}
    folders = import_results(
        named,
        out,
        categories=read_categories(categories) if categories else None,
        dataset=read_dataset(dataset) if dataset else None,
        work=make_work(1, overwrite, quiet=quiet),
    )
    value = {"out": str(out), "predictions": [str(folder) for folder in folders]}
    say(value, f"{out}: predictions of {len(folders)} run(s)", as_json=as_json)


def _need_files(paths: list[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: no such file; name result files of the study")


def _refuse_beside_names(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is not for this: with --by-name the names of the files say it"
            )
