"""The command that lets people look: a page in the browser, served from this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfumato.cli.options import remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sfumato.data import Dataset
    from sfumato.review import ReviewSettings, Session
    from sfumato.review.server import ReviewServer

app = typer.Typer()

_OWNER = "owner"
"""Name of whoever started the review: an arbiter, who sees more of the status than those who review."""


@app.command()
def review(
    faces: Annotated[Path, typer.Argument(metavar="FACES", help="Folder that sfumato detect wrote.")],
    dataset: Annotated[Path, typer.Option(help="The images that the faces are of.")],
    reviews: Annotated[
        Path | None, typer.Option(help="Folder of what people say; beside FACES by default.")
    ] = None,
    reviewer: Annotated[list[str] | None, typer.Option(help="Name of a person; repeat.")] = None,
    arbiter: Annotated[
        list[str] | None, typer.Option(help="Name of a person who decides where others disagree; repeat.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Known boxes: images that are mixed in to see how well people do.")
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="Text file to show instead of the study's rules.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order and of the random sample.")] = None,
    audit_share: Annotated[
        float | None, typer.Option(help="Share of images that come from a random sample of all.")
    ] = None,
    gold_share: Annotated[
        float | None, typer.Option(help="Share of images with known boxes, where there is --truth.")
    ] = None,
    overlap: Annotated[int | None, typer.Option(min=1, help="Number of people who look at an image.")] = None,
    target: Annotated[
        float | None, typer.Option(help="Share of faces that may be missed at most; tells when to stop.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show, but save nothing.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 for any; by default the same for a folder each time."),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --host be another than this machine.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of the certificate, PEM.")] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
) -> None:
    """Look at the faces in a browser, correct them, and learn how many are still missed.

    Settings that are given are kept in review.toml of the folder, where there are more.

    Example: sfumato review faces --dataset photos --reviewer Ada
    """
    from contextlib import ExitStack, closing

    from sfumato.review.server import ReviewServer, ServerOptions, usual_port

    folder = reviews or faces.with_name(f"{faces.name}-review")
    options = ServerOptions(
        host, usual_port(folder) if port is None else port, port is None, allow_remote, certificate, key
    )
    given = {"seed": seed, "audit_share": audit_share, "gold_share": gold_share, "overlap": overlap}
    settings = _settings(folder, instructions, {**given, "target": target, "read_only": read_only})
    people = dict.fromkeys(reviewer or ([] if arbiter else ["reviewer"]), False)
    with ExitStack() as held:
        session = held.enter_context(closing(_session(faces, dataset, folder, (settings, truth))))
        server = held.enter_context(ReviewServer(session, options))
        links = _links(session, server, {**people, **dict.fromkeys(arbiter or [], True)})
        for warning in (*session.warnings, options.warning):
            if warning:
                remark(warning)
        for name, link in links:
            typer.echo(f"{name}: {link}" if len(links) > 1 else link)
        if _OWNER not in people:
            (_, link), *_rest = _links(session, server, {_OWNER: True})
            remark(f"for yourself, with the figures of known answers: {link}#status")
        remark(f"reviews are kept in {folder}; Ctrl-C ends")
        _serve(server, "" if no_open else links[0][1])


def _settings(folder: Path, instructions: Path | None, given: dict[str, Any]) -> ReviewSettings:
    """The settings of a review folder, with what is given on the command line."""
    from dataclasses import replace

    from sfumato.errors import UsageError
    from sfumato.review import ReviewSettings
    from sfumato.review.settings import read_settings

    known = folder / "review.toml"
    settings = read_settings(known)[0] if known.is_file() else ReviewSettings()
    if instructions is not None:
        try:
            given = {**given, "instructions": instructions.read_text("utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{instructions}: no text file that can be read ({error})") from error
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def _session(faces: Path, photos: Path, folder: Path, given: tuple[ReviewSettings, Path | None]) -> Session:
    from sfumato.errors import UsageError
    from sfumato.faces import read_faces
    from sfumato.faces.gold import by_image_id, read_truth
    from sfumato.review import Session, dataset_of

    settings, truth = given
    table = read_faces(faces)
    dataset = dataset_of(table, photos)
    if len(dataset) and not any(dataset.path(dataset.samples[at].image_id).exists() for at in _few(dataset)):
        raise UsageError(f"{photos}: has no image of {faces}; name the folder that the faces are of")
    gold = by_image_id(read_truth(truth), table.status) if truth is not None else None
    return Session.open(table, dataset, folder, settings, gold)


def _few(dataset: Dataset) -> range:
    """Places of some images all over a data set: enough to tell whether it is there at all."""
    return range(0, len(dataset), max(1, len(dataset) // 100))


def _links(session: Session, server: ReviewServer, people: dict[str, bool]) -> Sequence[tuple[str, str]]:
    return [
        (name, server.link(session.add_reviewer(name, arbiter=arbiter))) for name, arbiter in people.items()
    ]


def _serve(server: ReviewServer, link: str) -> None:
    """Answer until Ctrl-C; what was said is on disk already by then."""
    import webbrowser
    from threading import Timer

    if link:
        Timer(0.3, webbrowser.open, [link]).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        remark("ended; the same command goes on from here")
