"""A review that goes on: what the page asks, answered from the log."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from sfumato.data import Dataset
from sfumato.errors import UsageError
from sfumato.faces import Faces, FaceTable
from sfumato.review.assignment import key_of
from sfumato.review.crowd import CrowdImage, new_records
from sfumato.review.gold import GoldRule, answer_of
from sfumato.review.grid import with_found, without
from sfumato.review.ledger import Entry, Progress
from sfumato.review.model import (
    Crop,
    Item,
    Outcome,
    Record,
    Reviewer,
    ReviewSettings,
    Submission,
    Task,
)
from sfumato.review.opening import Parts, open_parts
from sfumato.review.published import Published
from sfumato.review.recording import Made, new_record, now
from sfumato.review.showing import Shown
from sfumato.review.versions import rows_of


class Session:
    """A review folder, open in this process; safe to use from several threads.

    Everything but leases follows from the files in the folder: whatever was saved is there again after a
    crash, and nothing else was ever confirmed.
    """

    clock: ClassVar[Callable[[], float]] = time.monotonic
    """Seconds, never going back; for leases."""

    def __init__(self, parts: Parts, held: ExitStack) -> None:
        """Use `Session.open`."""
        self._parts, self._held = parts, held
        self._lock = threading.RLock()
        self._run = secrets.token_hex(4)
        self._published = Published(parts.tallies, type(self).clock)
        self._rule = GoldRule(parts.settings.gold_iou, parts.settings.gold_rule)
        self.settings = parts.settings
        self.reviewers = parts.reviewers
        self.folder, self.dataset = parts.folder, parts.columns.dataset

    @classmethod
    def open(
        cls,
        faces: FaceTable | tuple[FaceTable, FaceTable],
        dataset: Dataset,
        folder: Path,
        settings: ReviewSettings | None = None,
        truth: Mapping[str, Faces] | None = None,
    ) -> Self:
        """Open a review folder, which is made where it is missing.

        Args:
            faces: what was found; or a pair, whose second table is what another detector found: images where
                they disagree come first.
            dataset: the images.
            folder: of the review.
            settings: None for those of the folder, or the defaults.
            truth: known faces by image id, for gold images; None for those of the folder. A box of kind
                "start" is no face but one to begin with (an empty one asks for no box at all).

        Raises:
            UsageError: the review is of another face table, or settings that cannot be.
            TableError: a damaged file of the folder, or faces of images that the data set does not have.
            BusyError: another process has the folder open.
        """
        found, second = faces if isinstance(faces, tuple) else (faces, None)
        held = ExitStack()
        try:
            parts = open_parts(found, dataset, Path(folder), (settings, truth, second), (held, cls.clock))
        except BaseException:
            held.close()
            raise
        return cls(parts, held)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should be told about the folder: a line that was cut short, gold images left out."""
        return self._parts.warnings

    def close(self) -> None:
        """Let go of the folder; in the thread that opened it."""
        with self._lock:
            self._held.close()

    def add_reviewer(self, name: str, *, arbiter: bool = False) -> str:
        """A token for a person's link; a person who is known gets a further one.

        Raises:
            UsageError: no name.
        """
        with self._lock:
            return self.reviewers.issue(name, arbiter=arbiter)

    def reviewer(self, token: str) -> Reviewer | None:
        """The person whose link has this token; compared in constant time."""
        with self._lock:
            return self.reviewers.of_token(token)

    def set_aside(self, name: str) -> None:
        """Take a person out for good: nothing of theirs counts, and their images return to the queue.

        Raises:
            UsageError: nobody of this name.
        """
        with self._lock:
            self._check_writable()
            self.reviewers.set_aside(name)
            self._parts.ledger.set_aside(name)
            self._parts.leases.release_all(name)

    def next(self, reviewer: Reviewer, *, after: str | None = None) -> Item | None:
        """The image that comes after another for this person, or the first that they have not saved.

        It is kept for them: nobody else is given it until it is saved, or the lease runs out.

        Args:
            reviewer: the person.
            after: an image that they had; None begins where they left off.

        Returns:
            None where nothing is left for them.
        """
        with self._lock:
            person = self._person(reviewer)
            if person.set_aside:
                return None
            for entry in self._following(person, after):
                if self._parts.assignment.keep(person, entry):
                    return self._item(person, entry)
                self._drop(person, entry)
            lost = None if after is None or self._place(person, after) is not None else self._number(after)
            given = self._pick(reviewer, person)
            if given is not None and given[0] == lost:  # they have it before them since before a crash
                given = self._pick(reviewer, person)
            return None if given is None else self._item(person, given)

    def previous(self, reviewer: Reviewer, before: str) -> Item | None:
        """The image that this person had before another; None at the beginning."""
        with self._lock:
            person = self._person(reviewer)
            place = self._place(person, before)
            place = len(person.trail) if place is None else place
            return self._item(person, person.trail[place - 1]) if place else None

    def item(self, reviewer: Reviewer, image_id: str) -> Item:
        """Any image that was examined (UsageError for others); it is not kept for the person."""
        with self._lock:
            person = self._person(reviewer)
            number = self._number(image_id)
            return self._item(person, (number, self._task(reviewer, person, number)))

    def save(self, reviewer: Reviewer, submission: Submission) -> Outcome:
        """Keep what a person hands in; see `Outcome`. What is "saved" is on the disk.

        Raises:
            UsageError: no such image, boxes that cannot be, or the review is read-only.
            SfumatoError: the disk is full.
        """
        with self._lock:
            self._check_writable()
            person, number = self._person(reviewer), self._number(submission.image_id)
            if person.set_aside:
                return Outcome("set_aside", submission.image_id)
            task, shown = self._asked(reviewer, person, number, submission.base)
            if task != "gold" and submission.base != shown.base:
                return Outcome("stale", submission.image_id, shown.base, submission.faces, shown.faces)
            if self._parts.assignment.taken(person, (number, task)):
                return Outcome("taken", submission.image_id, shown.base, submission.faces, shown.faces)
            faces = self._parts.showing.handed_in(submission, shown.faces, number, reviewer.name)
            gold = (
                self._rule.result(
                    faces,
                    self._parts.truth[number],
                    person.lives,
                    last=person.restarts >= self.settings.max_restarts,
                )
                if task == "gold"
                else None
            )
            made = Made(task, shown.parent, rows_of(faces), gold)
            self._keep([self._record(reviewer, submission, made)])
            return self._outcome(person, (number, task), faces)

    def grid(self, *, order: str = "score", page: int = 0, size: int = 60) -> list[Crop]:
        """A page of the grid, from page 0: faces by "score", "size" or "image", or "no-faces".

        Raises:
            UsageError: an unknown order.
        """
        with self._lock:
            return self._parts.grid.cells(order, page, size)

    def grid_total(self, *, order: str = "score") -> int:
        """How many cells the grid has in this order."""
        with self._lock:
            return len(self._parts.grid.order(order))

    def reject(self, reviewer: Reviewer, faces: Sequence[tuple[str, int, str]]) -> Outcome:
        """Throw out faces of the grid, given as (image id, index, base) of their cells.

        Images that somebody changed since are named in `Outcome.stale` and stay; the others are saved.

        Raises:
            UsageError: no such image or face, or the review is read-only.
        """
        return self._change(reviewer, faces, without)

    def restore(self, reviewer: Reviewer, faces: Sequence[tuple[str, int, str]]) -> Outcome:
        """Bring faces of the grid back, given as (image id, row, base) of their cells; as `reject`."""
        columns = self._parts.columns

        def back(image_id: str, shown: Faces, rows: set[int]) -> Faces:
            return with_found(image_id, shown, columns.faces(columns.number(image_id)), rows)

        return self._change(reviewer, faces, back)

    def import_crowd(self, results: Iterable[Sequence[CrowdImage]]) -> Outcome:
        """Keep results of crowd tasks, as records of a reviewer "crowd"; see `sfumato.review.crowd`.

        Results that the review has already are left out; `Outcome.n_known` says how many tasks these are.

        Raises:
            TableError: a result of an image that was not examined.
        """
        with self._lock:
            self._check_writable()
            ids = (
                self._parts.columns.image_id(int(number)) for number in np.flatnonzero(self._parts.columns.ok)
            )
            records, n_known = new_records(results, ids, self._parts.log, self._rule)
            self._keep([replace(record, time=now(), session=self._run) for record in records])
            return Outcome("saved", n_saved=len(records), n_known=n_known)

    def status(self, viewer: Reviewer | None = None) -> dict[str, Any]:
        """Progress, people and what is still missed, as JSON can hold it; None sees all.

        Where gold images are mixed in, only an arbiter (the owner is one) sees how many of them people had.
        Figures that change with each save would tell the others which they are: theirs may be a minute old.
        """
        with self._lock:
            return self._published.status(self.reviewers.people, viewer)

    def _change(
        self,
        reviewer: Reviewer,
        faces: Iterable[tuple[str, int, str]],
        change: Callable[[str, Faces, set[int]], Faces],
    ) -> Outcome:
        chosen: dict[tuple[str, str], set[int]] = {}
        for image_id, index, base in faces:
            chosen.setdefault((image_id, base), set()).add(index)
        with self._lock:
            self._check_writable()
            if self._person(reviewer).set_aside:
                return Outcome("set_aside")
            stale: list[str] = []
            records: list[Record] = []
            for (image_id, base), indices in chosen.items():
                number = self._number(image_id)
                shown = self._parts.showing.shown(number, "grid", reviewer.name)
                if base != shown.base:
                    stale.append(image_id)
                    continue
                changed = change(image_id, shown.faces, indices)
                made = Made("grid", shown.parent, rows_of(changed))
                records.append(
                    self._record(reviewer, Submission(image_id, base, changed), made, len(records))
                )
            self._keep(records)
            return Outcome("saved", n_saved=len(records), stale=tuple(stale))

    def _keep(self, records: Sequence[Record]) -> None:
        if records:
            self._parts.log.append(records)
        for record in records:
            self._parts.ledger.add(record, self._number(record.image_id))

    def _record(self, reviewer: Reviewer, submission: Submission, made: Made, ahead: int = 0) -> Record:
        return new_record(len(self._parts.log) + 1 + ahead, (reviewer.name, self._run), submission, made)

    def _outcome(self, person: Progress, entry: Entry, faces: Faces) -> Outcome:
        number, task = entry
        self._parts.leases.release(key_of(entry), person.name)
        image_id = self._parts.columns.image_id(number)
        gold = self._parts.log[len(self._parts.log)].gold
        base = self._parts.showing.shown(number, task, person.name).base
        lives = person.lives if self._parts.truth else None
        if gold is None or gold.passed:
            return Outcome("saved", image_id, base, faces, lives=lives, n_saved=1)
        right = answer_of(self._parts.truth[number])
        if gold.lives > 0:
            return Outcome("gold_failed", image_id, base, faces, right=right, lives=gold.lives)
        self._parts.leases.release_all(person.name)
        if not gold.set_aside:
            return Outcome("restart", image_id, base, faces, right=right, lives=0)
        if self.reviewers.named(person.name):
            self.reviewers.set_aside(person.name)
        return Outcome("set_aside", image_id, base, faces, right=right, lives=0)

    def _following(self, person: Progress, after: str | None) -> list[Entry]:
        place = None if after is None else self._place(person, after)
        if place is not None:
            return person.trail[place + 1 :]
        return person.unsaved()

    def _pick(self, reviewer: Reviewer, person: Progress) -> Entry | None:
        assignment = self._parts.assignment
        if reviewer.arbiter:
            return assignment.pick_of(person, self._parts.tallies.disputes())
        entry = assignment.pick(person)
        if entry is None and self.settings.audit_until_target and self.settings.audit_share:
            entry = None if self._parts.tallies.target_met() else assignment.pick_audit(person)
        return entry

    def _asked(self, reviewer: Reviewer, person: Progress, number: int, base: str) -> tuple[Task, Shown]:
        """What a person was given an image for, and shown, who hands it in with this base.

        After a crash they are given again what they had before them, which is chosen as it was then. Without
        that an image of the random sample, saved from a page still open, would pass for one of the queue.
        """
        task = self._task(reviewer, person, number)
        shown = self._parts.showing.shown(number, task, person.name)
        known = person.task_of(number) is not None and base == shown.base
        if known or person.unsaved():
            return task, shown
        self._pick(reviewer, person)
        task = self._task(reviewer, person, number)
        return task, self._parts.showing.shown(number, task, person.name)

    def _drop(self, person: Progress, entry: Entry) -> None:
        person.lost(entry)
        self._parts.ledger.epoch += 1  # the image may be free again later, behind where searches begin

    def _item(self, person: Progress, entry: Entry) -> Item:
        number, task = entry
        shown: Shown = self._parts.showing.shown(number, task, person.name)
        width, height = self._parts.columns.size(number)
        last = self._parts.ledger.latest(number, [task], person.name, own=True)
        record = self._parts.log[last] if last else None
        disputes = self._parts.tallies.disputes() if task == "arbiter" else None
        return Item(
            self._parts.columns.image_id(number),
            width,
            height,
            shown.faces,
            shown.base,
            person.place.get(entry, len(person.trail)) + 1,
            self._parts.assignment.total(person, disputes),
            record.state if record else None,
            record.comment if record else "",
            person.lives if self._parts.truth else None,
        )

    def _person(self, reviewer: Reviewer) -> Progress:
        return self._parts.ledger.person(reviewer.name)

    def _place(self, person: Progress, image_id: str) -> int | None:
        number = self._number(image_id)
        task = person.task_of(number)
        return None if task is None else person.place[(number, task)]

    def _task(self, reviewer: Reviewer, person: Progress, number: int) -> Task:
        given = person.task_of(number)
        if given is not None:
            return given
        if reviewer.arbiter:
            return "arbiter"
        return "gold" if number in self._parts.truth else "queue"

    def _number(self, image_id: str) -> int:
        number = self._parts.columns.number(image_id)
        if not self._parts.columns.ok[number]:
            raise UsageError(f"{image_id}: was not examined or could not be read; run sfumato detect on it")
        return number

    def _check_writable(self) -> None:
        if self.settings.read_only:
            raise UsageError(f"{self.folder}: this review is read-only")
