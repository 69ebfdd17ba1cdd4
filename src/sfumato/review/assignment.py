"""Assignment: which image a person is given next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sfumato.review.leases import Key, Leases
from sfumato.review.ledger import Entry, Ledger, Progress
from sfumato.review.model import ReviewSettings, Task

_CHUNK = 4096
"""Images of an order that are looked at together."""

Numbers = NDArray[np.int32]


class Plan:
    """The order of work, fixed when a review is opened.

    Attributes:
        queue, audit: image numbers in order (see `sfumato.review.queue`).
        need: (images,) how many people look at each image.
        gold: numbers of the images whose answer is known.
    """

    def __init__(self, queue: Numbers, audit: Numbers, need: NDArray[np.uint8], gold: Sequence[int]) -> None:
        self.queue, self.audit, self.need, self.gold = queue, audit, need, tuple(gold)


@dataclass(eq=False)
class Assignment:
    """Chooses images for people: gold ones and the random sample at their share, else the riskiest.

    What a person is given depends on the seed, on what was saved, and on who has what; on nothing else.

    Attributes:
        settings: of the review.
        ledger: what was saved.
        leases: who has what.
        plan: the order of work.
        n_people: how many people review; too few of them audit what they reviewed themselves.
    """

    settings: ReviewSettings
    ledger: Ledger
    leases: Leases
    plan: Plan
    n_people: Callable[[], int]
    _cursors: dict[tuple[str, bool], tuple[tuple[int, int], int]] = field(default_factory=dict)

    def pick(self, person: Progress) -> Entry | None:
        """A new image for a person, leased to them and put on their trail; None where nothing is left."""
        return self._give(person, self._choose(person))

    def pick_audit(self, person: Progress) -> Entry | None:
        """As `pick`, from the random sample."""
        return self._give(person, self._audit(person))

    def pick_of(self, person: Progress, numbers: Sequence[int]) -> Entry | None:
        """As `pick`, the first of these that an arbiter has not decided and no other has before them."""
        taken = {number for number, names in self.leases.all("arbiter") if names - {person.name}}
        free = (
            number for number in numbers if number not in taken and (number, "arbiter") not in person.place
        )
        number = next(free, None)
        return self._give(person, None if number is None else (number, "arbiter"))

    def left(self, person: Progress) -> int:
        """How many images of the queue a person may still be given."""
        open_, need = self.ledger.n_open, self.plan.need
        mine = (
            np.frombuffer(person.numbers, dtype=np.int32) if person.numbers else np.zeros(0, dtype=np.int32)
        )
        return open_ - int(
            np.count_nonzero((self.ledger.passes[mine] < need[mine]) & self.ledger.queued[mine])
        )

    def total(self, person: Progress, numbers: Sequence[int] | None = None) -> int:
        """How many images a person will have had at the end, as far as can be told.

        Gold images and the random sample are foreseen at the places that they will have; if they came on top
        when they come, a total that rises would tell them from the others.

        Args:
            person: who asks.
            numbers: the images that an arbiter has to decide; None for anybody else.
        """
        if numbers is not None:
            return len(person.trail) + sum((number, "arbiter") not in person.place for number in numbers)
        ahead = person.counts["queue"] + person.counts["second"] + self.left(person)
        salt, total = self._salt(person), 0
        most = {"gold": len(self.plan.gold), "audit": len(self.plan.audit)}
        kinds = (
            ("gold", self.settings.gold_share, salt),
            ("audit", self.settings.audit_share, f"{salt}audit/"),
        )
        following = ahead
        while following > total:
            total = following
            mixed_in = (min(self._due(total - 1, share, each), most[name]) for name, share, each in kinds)
            following = ahead + sum(mixed_in)
        return max(total, len(person.trail))

    def keep(self, person: Progress, entry: Entry) -> bool:
        """Lease an image of the trail again; False where somebody else has it, or it is done."""
        number, task = entry
        if entry in person.saved or task == "gold":
            return True
        key = key_of(entry)
        others = self.leases.holders(key) - {person.name}
        if task in ("audit", "arbiter"):
            free = not others and not (task == "audit" and self.ledger.audited[number])
        else:
            free = int(self.ledger.passes[number]) + len(others) < int(self.plan.need[number])
        if free:
            self.leases.take(key, person.name)
        return free

    def taken(self, person: Progress, entry: Entry) -> bool:
        """Whether the lease ran out and enough others have the image before them now."""
        number, task = entry
        if task not in ("queue", "second") or entry in person.saved:
            return False
        holders = self.leases.holders(key_of(entry))
        there = len(holders) + int(self.ledger.passes[number])
        return bool(holders) and person.name not in holders and there >= int(self.plan.need[number])

    def _give(self, person: Progress, entry: Entry | None) -> Entry | None:
        if entry is not None:
            self.leases.take(key_of(entry), person.name)
            person.given(entry)
        return entry

    def _choose(self, person: Progress) -> Entry | None:
        salt = self._salt(person)
        if self._due(len(person.trail), self.settings.gold_share, salt) > person.counts["gold"]:
            gold = self._gold(person, salt)
            if gold is not None:
                return gold, "gold"
        if self._due(len(person.trail), self.settings.audit_share, f"{salt}audit/") > person.counts["audit"]:
            audit = self._audit(person)
            if audit is not None:
                return audit
        return self._queue(person)

    def _due(self, given: int, share: float, salt: str) -> int:
        """How many of the first `given` + 1 images should have been of a kind with this share.

        One in each block of 1 / share images, at a place in it that the salt decides; a block is no longer
        than the queue, so that a short review has one too.
        """
        if share <= 0:
            return 0
        size = max(1, min(round(1 / share), len(self.plan.queue)))
        block, place = divmod(given, size)
        digest = hashlib.sha256(f"{salt}{block}".encode()).digest()
        return block + (int.from_bytes(digest[:4]) % size <= place)

    def _salt(self, person: Progress) -> str:
        return f"{self.settings.seed}/{person.name}/{person.restarts}/"

    def _queue(self, person: Progress) -> Entry | None:
        passes, need = self.ledger.passes, self.plan.need
        busy = {
            number
            for number, names in self.leases.all("queue")
            if int(passes[number]) + len(names) >= int(need[number])
        }
        number = self._first(
            self.plan.queue,
            person,
            busy,
            lambda rows: np.asarray(passes[rows] >= need[rows]),
            lambda number: self._seen(person, number, ("queue", "second"), ("audit",)),
        )
        if number is None:
            return None
        others = int(passes[number]) + len(self.leases.holders((number, "queue")))
        return number, "second" if others else "queue"

    def _audit(self, person: Progress) -> Entry | None:
        number = self._first(
            self.plan.audit,
            person,
            {number for number, _ in self.leases.all("audit")},
            lambda rows: self.ledger.audited[rows],
            lambda number: self._seen(person, number, ("audit",), ("queue", "second")),
        )
        return None if number is None else (number, "audit")

    def _seen(self, person: Progress, number: int, same: Sequence[Task], other: Sequence[Task]) -> bool:
        """Whether a person is not to be given an image: they had it, or the other look should be by another.

        An audit is a look by somebody who did not review the image, where there are people enough for that.
        """
        if any((number, task) in person.place for task in same):
            return True
        enough = self.n_people() > int(self.plan.need[number])
        return enough and any((number, task) in person.place for task in other)

    def _first(
        self,
        order: Numbers,
        person: Progress,
        busy: set[int],
        done: Callable[[Numbers], NDArray[np.bool_]],
        seen: Callable[[int], bool],
    ) -> int | None:
        """The first image of an order that is not done, that the person has not seen, and that nobody has.

        Where all before is done or seen for good, the next search begins behind it.
        """
        state = (self.ledger.epoch, self.n_people())
        key = (person.name, order is self.plan.audit)
        known, start = self._cursors.get(key, (state, 0))
        start = start if known == state and person.trail else 0
        waits = False
        for begin in range(start, len(order), _CHUNK):
            numbers = order[begin : begin + _CHUNK]
            for number in numbers[~done(numbers)].tolist():
                if seen(number):
                    continue
                if not waits:
                    waits = True
                    self._cursors[key] = (state, begin)
                if number not in busy:
                    return int(number)
        return None

    def _gold(self, person: Progress, salt: str) -> int | None:
        """A gold image that they have not had since they last began, rather one that they never had."""
        left = [number for number in self.plan.gold if (number, "gold") not in person.place]
        new = [number for number in left if number not in person.asked]
        return min(
            new or left, key=lambda number: hashlib.sha256(f"{salt}{number}".encode()).digest(), default=None
        )


def key_of(entry: Entry) -> Key:
    """What is leased for an image and a task."""
    number, task = entry
    return number, task if task in ("audit", "arbiter", "gold") else "queue"
