"""The program `sfumato`: its commands put together, and how it ends.

Results go to standard output, progress and remarks to standard error. Exit codes: 0 done, 1 failed,
2 wrong usage, 3 done, but some images failed.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import sfumato
from sfumato.cli import faces, learning, predictions, review, stages, transfer, verify
from sfumato.cli.options import FAILED, INTERRUPTED, remark
from sfumato.errors import SfumatoError

app = typer.Typer(
    name="sfumato",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find and hide the faces in a labelled image data set, and measure what that costs.",
    epilog="Any command takes --debug, which shows the traceback of an error.",
)
app.add_typer(stages.app)
app.add_typer(learning.app)
app.add_typer(transfer.app)
app.add_typer(verify.app)
app.add_typer(review.app)
app.add_typer(faces.app, name="faces")
app.add_typer(predictions.app, name="predictions")


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
        remark(_one_line(error))
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
