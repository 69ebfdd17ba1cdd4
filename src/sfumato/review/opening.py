"""A review folder is opened: files are read, the queue is made, the log is replayed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.data import Dataset
from sfumato.errors import TableError, UsageError
from sfumato.faces import Faces, FaceTable
from sfumato.faces.gold import by_image_id, read_gold
from sfumato.records import locked, write_atomic
from sfumato.review.assignment import Assignment, Plan
from sfumato.review.columns import Columns
from sfumato.review.grid import Grid
from sfumato.review.leases import Leases
from sfumato.review.ledger import Ledger
from sfumato.review.log import Log
from sfumato.review.model import ReviewSettings
from sfumato.review.queue import audit_order, people_needed, queue_order, risk
from sfumato.review.reviewers import Reviewers
from sfumato.review.settings import read_settings, write_settings
from sfumato.review.showing import Showing
from sfumato.review.tallies import Tallies
from sfumato.review.versions import rows_of

SETTINGS, PEOPLE, LOG, GOLD = "review.toml", "reviewers.json", "reviews.jsonl", "gold.json"

_TOGETHER = 50_000
"""Records that are replayed together, so that memory is bounded."""

Given = tuple[ReviewSettings | None, Mapping[str, Faces] | None, FaceTable | None]
"""Settings, truth and a second face table, as they were given."""


@dataclass(frozen=True, eq=False)
class Parts:
    """An open review, taken apart.

    Attributes:
        truth: known faces by image number.
        warnings: lines for a person.
    """

    settings: ReviewSettings
    folder: Path
    reviewers: Reviewers
    columns: Columns
    log: Log
    ledger: Ledger
    leases: Leases
    plan: Plan
    truth: Mapping[int, Faces]
    showing: Showing
    assignment: Assignment
    grid: Grid
    tallies: Tallies
    warnings: tuple[str, ...]


def open_parts(
    faces: FaceTable,
    dataset: Dataset,
    folder: Path,
    given: Given,
    held: tuple[ExitStack, Callable[[], float]],
) -> Parts:
    """Open a review folder; what must be closed again is entered into the stack.

    Raises:
        UsageError, TableError, BusyError: as `sfumato.review.Session.open`.
    """
    stack, clock = held
    settings = _settings(folder, given[0], faces.manifest.key)
    if not settings.read_only:
        stack.enter_context(locked(folder))
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(folder / SETTINGS, settings, faces_key=faces.manifest.key)
    columns = Columns.of(faces, dataset)
    truth, warnings = _truth(folder, given[1], columns, write=not settings.read_only)
    plan = _plan(columns, settings, truth, given[2])
    log = Log(folder / LOG, read_only=settings.read_only)
    stack.callback(log.close)
    queued = np.zeros(len(columns), dtype=bool)
    queued[plan.queue] = True
    ledger = Ledger(plan.need, queued, settings)
    replay(log, ledger, columns)
    reviewers = Reviewers(folder / PEOPLE, read_only=settings.read_only)
    for person in reviewers.people:
        if person.set_aside:
            ledger.set_aside(person.name)
    showing = Showing(settings, columns, log, ledger, plan, truth)
    leases = Leases(settings.lease_seconds, clock)
    hidden = np.zeros(len(columns), dtype=bool)
    hidden[list(truth)] = True
    return Parts(
        settings=settings,
        folder=folder,
        reviewers=reviewers,
        columns=columns,
        log=log,
        ledger=ledger,
        leases=leases,
        plan=plan,
        truth=truth,
        showing=showing,
        assignment=Assignment(settings, ledger, leases, plan, lambda: _n_people(reviewers)),
        grid=Grid(columns, hidden, lambda number: showing.shown(number, "grid", "")),
        tallies=Tallies(showing),
        warnings=(*warnings, *([log.torn] if log.torn else [])),
    )


def replay(log: Log, ledger: Ledger, columns: Columns) -> None:
    """Take in every record of the log.

    Raises:
        TableError: a damaged line, one out of order, or one of an image that the data set does not have.
    """
    every = iter(log)
    for first in range(1, len(log) + 1, _TOGETHER):
        records = list(islice(every, _TOGETHER))
        numbers = columns.numbers([record.image_id for record in records])
        for n, (record, number) in enumerate(zip(records, numbers.tolist(), strict=True), start=first):
            if record.n != n:
                raise TableError(f"{LOG}: line {n} has the number {record.n}; lines are missing or twice")
            if number < 0:
                raise TableError(
                    f"{LOG}: line {n} is of '{record.image_id}', which the data set does not have; "
                    "is it the right one?"
                )
            ledger.add(record, number, count=False)
    ledger.recount()


def _n_people(reviewers: Reviewers) -> int:
    return sum(not person.arbiter and not person.set_aside for person in reviewers.people)


def _settings(folder: Path, given: ReviewSettings | None, key: str) -> ReviewSettings:
    if not (folder / SETTINGS).is_file():
        return given or ReviewSettings()
    known, faces_key = read_settings(folder / SETTINGS)
    if faces_key and faces_key != key:
        raise UsageError(
            f"{folder}: is a review of another face table (key {faces_key}, not {key}); name another folder"
        )
    return given or known


def _plan(
    columns: Columns, settings: ReviewSettings, truth: Mapping[int, Faces], second: FaceTable | None
) -> Plan:
    candidates = columns.ok.copy()
    candidates[list(truth)] = False
    other = None if second is None else Columns.of(second, columns.dataset)
    return Plan(
        queue_order(risk(columns, settings, other), candidates, settings.seed),
        audit_order(columns.ok, candidates, settings.seed),
        people_needed(columns.ok, settings),
        sorted(truth),
    )


def _truth(
    folder: Path, given: Mapping[str, Faces] | None, columns: Columns, *, write: bool
) -> tuple[dict[int, Faces], list[str]]:
    """Known faces by image number, and what to tell of those that cannot be used."""
    if given is None:
        given = read_gold(folder / GOLD) if (folder / GOLD).is_file() else {}
    numbers: dict[int, Faces] = {}
    lost = []
    for image_id, faces in _named(given, columns).items():
        number = columns.find(image_id)
        if number is None or not columns.ok[number]:
            lost.append(image_id)
        else:
            numbers[number] = faces
    if write and numbers:
        write_gold(folder / GOLD, {columns.image_id(number): faces for number, faces in numbers.items()})
    words = f"{len(lost)} image(s) with known faces are not among those examined (the first: {lost[:1]})"
    return numbers, [words] if lost else []


def _named(given: Mapping[str, Faces], columns: Columns) -> Mapping[str, Faces]:
    """Known faces under image ids; names are only searched for where they are no ids already."""
    if all(columns.find(name) is not None for name in given):
        return given
    return by_image_id(given, (sample.image_id for sample in columns.dataset.samples))


def write_gold(path: Path, truth: Mapping[str, Faces]) -> None:
    """Write known faces as `sfumato.faces.gold.read_gold` reads them, every digit kept."""
    images: dict[str, Any] = {
        image_id: {
            "faces": [
                dict(zip(("x0", "y0", "x1", "y1", "kind", "source"), row, strict=True))
                for row in rows_of(faces)
            ]
        }
        for image_id, faces in sorted(truth.items())
    }
    write_atomic(path, json.dumps({"images": images}, ensure_ascii=False, indent=1).encode() + b"\n")
