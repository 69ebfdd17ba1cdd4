"""Merging: from the records of all people to the next revision of the face table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.errors import TableError
from sfumato.faces import FACES_SCHEMA, Faces, FaceTable, faces_rows
from sfumato.review.agreement import weights
from sfumato.review.assignment import Plan
from sfumato.review.audit import ESTIMATES_SCHEMA
from sfumato.review.columns import Columns, dataset_of
from sfumato.review.consensus import consensus
from sfumato.review.gold import answer_of
from sfumato.review.ledger import Ledger
from sfumato.review.model import Record, Reviewer, ReviewSettings
from sfumato.review.queue import audit_order, people_needed
from sfumato.review.showing import Showing
from sfumato.review.tallies import Tallies

DISAGREEMENTS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("reason", pa.string()),
        ("x0", pa.float64()),
        ("y0", pa.float64()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("kind", pa.string()),
        ("voters", pa.string()),
        ("n_voters", pa.int32()),
        ("n_asked", pa.int32()),
        ("kept", pa.bool_()),
    ]
)
"""One row a box that not everybody has ("box"), that has several kinds ("kind"), or an image that somebody
"flagged" (no box); names of those who have it, joined by commas, out of how many who were asked, and whether
it is in the result. Images that an arbiter decided have none."""


@dataclass(frozen=True)
class MergeOptions:
    """What merging knows besides faces and records.

    Attributes:
        settings: of the review.
        truth: known faces by image id; they hold whatever people said of these images.
        groups: categories of each group of the table of estimates; empty for a division by how many images
            of a category have faces.
        people: so that those set aside are.
    """

    settings: ReviewSettings = field(default_factory=ReviewSettings)
    truth: Mapping[str, Faces] = field(default_factory=dict)
    groups: Mapping[str, Collection[str]] = field(default_factory=dict)
    people: tuple[Reviewer, ...] = ()


@dataclass(frozen=True, eq=False)
class Merged:
    """What a review made of a face table.

    Attributes:
        faces: rows of `sfumato.faces.FACES_SCHEMA`, in the order of images; columns beyond it are kept in
            rows that nobody touched.
        images: rows of the images, as they were.
        disagreements: rows of `DISAGREEMENTS_SCHEMA`.
        estimates: rows of `sfumato.review.audit.ESTIMATES_SCHEMA`.
        status: as `sfumato.review.Session.status`.
        n_changed: images whose faces come from people.
    """

    faces: pa.Table
    images: pa.Table
    disagreements: pa.Table
    estimates: pa.Table
    status: Mapping[str, Any]
    n_changed: int


def merge(faces: FaceTable, records: Iterable[Record], options: MergeOptions = MergeOptions()) -> Merged:
    """The next revision of a face table, from what people said.

    A pure function of the set of records: the order in which they are given makes no difference, nor do the
    numbers of records that do not follow from each other. An image of which nobody said anything keeps its
    faces; see `sfumato.review.consensus.consensus` for the others.

    Raises:
        TableError: two records with one number, or a record of an image that the table does not have.
    """
    columns = Columns.of(faces, dataset_of(faces, Path()))
    truth = {
        number: known
        for image_id, known in options.truth.items()
        if (number := columns.find(image_id)) is not None and columns.ok[number]
    }
    book = numbered(records)
    showing = _replayed(columns, book, truth, options)
    tallies = Tallies(showing)
    changed = _changed(showing, tallies)
    groups = _groups(columns, faces, options.groups) if options.groups else None
    return Merged(
        faces=_with_changes(faces, columns, changed),
        images=faces.images,
        disagreements=_disagreements(tallies),
        estimates=pa.Table.from_pylist(tallies.estimates(groups), schema=ESTIMATES_SCHEMA),
        status=tallies.status(options.people, groups),
        n_changed=len(changed),
    )


def numbered(records: Iterable[Record]) -> list[Record | None]:
    """Records by number, with nothing at 0; where numbers are missing, those behind move up.

    Raises:
        TableError: two records with one number.
    """
    ordered = sorted(records, key=lambda record: record.n)
    moved = {record.n: n for n, record in enumerate(ordered, start=1)}
    if len(moved) < len(ordered):
        raise TableError("two records have the same number; merge the log of one review at a time")
    return [None] + [
        replace(record, n=moved[record.n], parent=moved.get(record.parent, 0)) for record in ordered
    ]


def _replayed(
    columns: Columns, book: list[Record | None], truth: Mapping[int, Faces], options: MergeOptions
) -> Showing:
    settings = options.settings
    candidates = columns.ok.copy()
    candidates[list(truth)] = False
    queue = np.flatnonzero(candidates).astype(np.int32)
    need = people_needed(columns.ok, settings)
    plan = Plan(queue, audit_order(columns.ok, candidates, settings.seed), need, sorted(truth))
    ledger = Ledger(need, candidates, settings)
    for record in book[1:]:
        assert record is not None
        number = columns.find(record.image_id)
        if number is None:
            raise TableError(
                f"record {record.n} is of '{record.image_id}', which the face table does not have"
            )
        ledger.add(record, number)
    for person in options.people:
        if person.set_aside:
            ledger.set_aside(person.name)
    return Showing(settings, columns, _Book(book), ledger, plan, truth)


class _Book:
    def __init__(self, records: list[Record | None]) -> None:
        self._records = records

    def __getitem__(self, n: int) -> Record:
        record = self._records[n]
        assert record is not None
        return record


def _changed(showing: Showing, tallies: Tallies) -> dict[int, Faces]:
    """Faces by the number of each image of which something is known or was said, rising."""
    weight = weights(tallies.agreement())
    found: dict[int, Faces] = {}
    for number in sorted({*showing.ledger.of_image, *showing.truth}):
        if number in showing.truth:
            found[number] = answer_of(showing.truth[number])
            continue
        valid, others = showing.records(number)
        if any(record.state != "skipped" for record in valid):
            shown, min_iou = showing.columns.faces(number), showing.settings.match_iou
            found[number] = consensus(shown, valid, others, weights=weight, min_iou=min_iou).faces
    return found


def _with_changes(faces: FaceTable, columns: Columns, changed: Mapping[int, Faces]) -> pa.Table:
    """The face table with other faces for some images, sorted by image."""
    ids = pa.array([sample.image_id for sample in columns.dataset.samples], pa.string())
    old = _owners(faces.faces, ids)
    kept = np.flatnonzero(~np.isin(old, list(changed)))
    rows = [row for number, known in changed.items() for row in faces_rows(columns.image_id(number), known)]
    new = pa.Table.from_pylist(rows, schema=FACES_SCHEMA)
    whole = pa.concat_tables([faces.faces.take(pa.array(kept)), new], promote_options="default")
    owner = np.concatenate([old[kept], _owners(new, ids)])
    return whole.take(pa.array(np.argsort(owner, kind="stable"))).combine_chunks()


def _owners(table: pa.Table, ids: pa.Array) -> NDArray[np.int64]:
    place = pc.index_in(table["image_id"].combine_chunks(), ids)
    return np.asarray(place.to_numpy(zero_copy_only=False), dtype=np.int64)


def _disagreements(tallies: Tallies) -> pa.Table:
    rows = []
    for number in tallies.disputes():
        image_id = tallies.showing.columns.image_id(number)
        for found in tallies.disagreements(number):
            box = found.xyxy if found.reason != "flagged" else (None,) * 4
            rows.append(
                {
                    "image_id": image_id,
                    "reason": found.reason,
                    **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                    "kind": found.kind or None,
                    "voters": ", ".join(found.voters),
                    "n_voters": len(found.voters),
                    "n_asked": found.n_asked,
                    "kept": found.kept,
                }
            )
    return pa.Table.from_pylist(rows, schema=DISAGREEMENTS_SCHEMA)


def _groups(
    columns: Columns, faces: FaceTable, groups: Mapping[str, Collection[str]]
) -> dict[str, NDArray[np.bool_]]:
    categories = list(faces.manifest.facts.get("categories", ()))
    return {
        name: np.isin(columns.label, [at for at, category in enumerate(categories) if category in members])
        for name, members in groups.items()
    }
