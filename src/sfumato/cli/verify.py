"""The command that proves a variant against its original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfumato.cli.options import SOME_IMAGES_FAILED, Json, Quiet, Workers, make_work, say

if TYPE_CHECKING:
    from sfumato.obfuscate.proof.verify import Verification

app = typer.Typer()

SHOWN = 50
"""Rows of the table that are printed; a file gets all of them."""


@app.command()
def verify(
    variant: Annotated[Path, typer.Argument(metavar="VARIANT", help="Folder that sfumato obfuscate wrote.")],
    against: Annotated[Path, typer.Option("--against", help="The original data set.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV file for what is wrong.")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Prove a variant: all images there, all faces hidden, nothing else touched or left over.

    Example: sfumato verify variant --against photos
    """
    from sfumato.obfuscate.proof.verify import verify as run_verify
    from sfumato.records import write_csv

    result = run_verify(variant, against, work=make_work(workers, quiet=quiet))
    if out is not None:
        write_csv(out, result.findings)
    value = {"ok": result.ok, "counts": result.counts, "findings": result.findings.to_pylist()}
    say(value, _text(variant, result), as_json=as_json)
    if not result.ok:
        raise typer.Exit(SOME_IMAGES_FAILED)


def _text(variant: Path, result: Verification) -> str:
    """One line where all is well, else a table."""
    counts = result.counts
    summary = (
        f"{counts['images']} images, {counts['with_faces']} of them with {counts['faces']} faces, "
        f"{counts['failed']} failed"
    )
    if result.ok:
        return f"{variant}: all checks passed: {summary}"
    rows = [
        f"{row['image_id'] or '(variant)'}\t{row['check']}\t{row['detail']}"
        for row in result.findings.slice(0, SHOWN).to_pylist()
    ]
    more = len(result.findings) - SHOWN
    rows += [f"… and {more} more (--out TABLE.csv has all)"] if more > 0 else []
    return "\n".join([f"{variant}: {len(result.findings)} checks failed: {summary}", *rows])
