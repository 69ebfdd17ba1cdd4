"""What a person is shown of an image: whose boxes they begin with, and the version that has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sfumato.boxes import area, clip
from sfumato.errors import UsageError
from sfumato.faces import Faces
from sfumato.review.assignment import Plan
from sfumato.review.columns import Columns
from sfumato.review.consensus import consensus
from sfumato.review.gold import disguised, starting_boxes, wrong_boxes
from sfumato.review.ledger import PASS, Ledger
from sfumato.review.model import Record, ReviewSettings, Submission, Task
from sfumato.review.versions import faces_in, faces_of, rows_of, version


class Book(Protocol):
    """Records by number, from 1: a log, or a list that begins with nothing."""

    def __getitem__(self, n: int, /) -> Record:
        """Record number `n`."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Faces that a person is shown.

    Attributes:
        faces: to begin with.
        parent: number of the record that they come from; 0 for the face table.
    """

    faces: Faces
    parent: int

    @property
    def base(self) -> str:
        """Name of this version."""
        return version(self.parent, self.faces)


@dataclass(frozen=True, eq=False)
class Showing:
    """Finds what a person is shown.

    One person's image is everybody's: who opens it later goes on from there. Where several people are to look
    at an image, each goes on from their own boxes only, so that their answers are independent; the same holds
    for the random sample and for gold images. An arbiter begins with the consensus.
    """

    settings: ReviewSettings
    columns: Columns
    log: Book
    ledger: Ledger
    plan: Plan
    truth: Mapping[int, Faces]

    def shown(self, number: int, task: Task, name: str) -> Shown:
        """What a person of this name is shown of an image for this task."""
        n = self._latest(number, task, name)
        if task == "arbiter" and not n:
            return self._agreed(number)
        if n:
            return Shown(faces_in(self.log[n]), n)
        return Shown(self._start(number) if task == "gold" else self.columns.faces(number), 0)

    def _latest(self, number: int, task: Task, name: str) -> int:
        """Number of the record to go on from, 0 for none."""
        latest = self.ledger.latest
        if task in ("gold", "audit"):
            return latest(number, [task], name, own=True)
        if task == "arbiter":
            return latest(number, [task], name, own=False)
        if self.plan.need[number] <= 1:
            return latest(number, (*PASS, "grid"), name, own=False)
        own = 0 if task == "grid" else latest(number, PASS, name, own=True)
        return own or latest(number, ["grid"], name, own=False)

    def _agreed(self, number: int) -> Shown:
        valid, others = self.records(number)
        found = consensus(self.columns.faces(number), valid, others, min_iou=self.settings.match_iou)
        return Shown(found.faces, max((record.n for record in valid), default=0))

    def records(self, number: int) -> tuple[list[Record], list[Record]]:
        """The records of an image that count, and those that do not."""
        every = [self.log[n] for n in self.ledger.of_image.get(number, ())]
        return (
            [record for record in every if self.ledger.is_valid(record.n)],
            [record for record in every if not self.ledger.is_valid(record.n)],
        )

    def _start(self, number: int) -> Faces:
        """What a gold image is shown with: nothing that tells it from any other."""
        truth, seed = self.truth[number], f"{self.settings.seed}/{self.columns.image_id(number)}"
        said = starting_boxes(truth)
        if said is None and self.settings.gold_start == "wrong":
            said = wrong_boxes(truth, self.columns.size(number), seed)
        return self.columns.faces(number) if said is None else disguised(said, self.columns.detector, seed)

    def handed_in(self, submission: Submission, shown: Faces, number: int, name: str) -> Faces:
        """The faces of a submission, cut to the image; a box that was shown stays as it was, source and all.

        Raises:
            UsageError: a box outside of the image, or of a kind that this review does not have.
        """
        width, height = self.columns.size(number)
        source = {row[:4]: row[5] for row in rows_of(shown)}
        kinds = {*self.settings.kinds, *shown.kind}
        cut = clip(submission.faces.xyxy, width, height)
        rows = []
        for row, inside in zip(rows_of(submission.faces), cut, strict=True):
            if row[4] not in kinds:
                known = ", ".join(self.settings.kinds)
                raise UsageError(f"{submission.image_id}: '{row[4]}' is no kind of box; known: {known}")
            if row[:4] in source:
                rows.append((*row[:5], source[row[:4]]))
                continue
            if area(inside[None])[0] <= 0:
                raise UsageError(
                    f"{submission.image_id}: the box {row[:4]} has no area inside the image of "
                    f"{width} x {height} pixels; draw it again"
                )
            x0, y0, x1, y1 = inside.tolist()
            rows.append((x0, y0, x1, y1, row[4], name))
        return faces_of(rows)


def index_of(faces: Faces, xyxy: np.ndarray[tuple[int], np.dtype[np.float32]]) -> int:
    """Which face has exactly this box; -1 for none."""
    same = (faces.xyxy == xyxy).all(axis=1)
    return int(same.argmax()) if same.any() else -1
