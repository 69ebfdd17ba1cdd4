"""What commands share: options that mean the same everywhere, and how results and failures are said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.progress import is_main_process

if TYPE_CHECKING:
    from sfumato.compare import Verdict
    from sfumato.engines import Work
    from sfumato.faces import FaceTable
    from sfumato.study import Study

FAILED, SOME_IMAGES_FAILED, INTERRUPTED = 1, 3, 130

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
Change = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; repeat."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")]
ImageSize = Annotated[
    int | None,
    typer.Option(min=8, help="Side of the model's input in pixels; the recipe's or the runs' by default."),
]
PartOf = Annotated[str | None, typer.Option(metavar="K/N", help="Only the K-th of N shares of the runs.")]
Compile = Annotated[bool, typer.Option("--compile", help="Translate the model first, with torch.compile.")]
CacheBudget = Annotated[
    str | None,
    typer.Option(help="Disk that decoded images may take, 16GiB by default; 0 decodes anew each time."),
]
Detector = Annotated[
    str, typer.Option(help="fast, balanced, high-recall, or another detector (see sfumato plugins).")
]


def make_work(workers: int | None, overwrite: bool = False, *, quiet: bool) -> Work:
    """How a stage works, with bars on standard error unless quiet."""
    from sfumato.engines import Work
    from sfumato.progress import Bars, silent

    return Work(workers, Bars() if is_main_process() and not quiet else silent, overwrite)


def say(value: Any, text: str, *, as_json: bool) -> None:
    """Print a result, as JSON or as text; of several processes of `torchrun` the first one speaks."""
    if is_main_process():
        typer.echo(json.dumps(value, ensure_ascii=False, default=str) if as_json else text)


def remark(text: str) -> None:
    """Print a line on standard error, as the first of the processes that `torchrun` started."""
    if is_main_process():
        typer.echo(f"sfumato: {text}", err=True)


WAYS = frozenset({"copied", "linked", "cleaned", "edited", "encoded"})


def say_done(out: Path, counts: Mapping[str, Any], failed: Mapping[str, str], *, as_json: bool) -> None:
    """Print where a stage's result lies and its counts; say what failed, and exit 3 if anything did."""
    # Of the ways to write an image those are named that occurred.
    said = {key: value for key, value in counts.items() if value or key not in WAYS}
    summary = ", ".join(f"{value} {key.removeprefix('n_').replace('_', ' ')}" for key, value in said.items())
    say({"out": str(out), "counts": counts, "failed": failed}, f"{out}: {summary}", as_json=as_json)
    say_failed(failed)


def say_failed(failed: Mapping[str, str]) -> None:
    """Say what failed, if anything did, and exit 3."""
    if failed:
        first = next(iter(failed.items()))
        remark(f"{len(failed)} image(s) failed and are left out; {first[0]}: {first[1]}")
        raise typer.Exit(SOME_IMAGES_FAILED)


def say_study(result: Study, *, as_json: bool) -> None:
    """Print a study's verdict and where its report lies; say what failed, and exit 3 if anything did."""
    value = {"report": str(result.report), "verdict": result.verdict.headline, "failed": result.failed}
    lines = [*verdict_lines(result.verdict), f"report: {result.report}"]
    say(value, "\n".join(lines), as_json=as_json)
    say_failed(result.failed)


def verdict_lines(verdict: Verdict) -> list[str]:
    """The headline, for each arm which categories changed, and what it gained over scratch; first whether a
    task was learned at all."""
    named = [f"{finding.name}: {finding.categories_sentence}" for finding in verdict.findings]
    gained = [gain.sentence for gain in verdict.gains if verdict.findings]  # else they are the headline
    first = [verdict.unlearned] if verdict.unlearned else []
    return [*first, verdict.headline, *named, *gained]


def selected_faces(folder: Path, select: Path | None) -> FaceTable:
    """The faces of a folder of sfumato detect, those that a file of rules chooses where there is one."""
    from sfumato.faces import read_faces
    from sfumato.faces.selection import read_selection, select_faces

    table = read_faces(folder)
    return table if select is None else select_faces(table, read_selection(select))
