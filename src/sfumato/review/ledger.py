"""What the log says, image by image and person by person; replayed when a review is opened.

Everything in here follows from the records alone, so that what is opened again is what was closed, or killed.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sfumato.review.model import STATES, Record, ReviewSettings, Task

TASKS: tuple[Task, ...] = ("queue", "second", "audit", "gold", "grid", "arbiter", "crowd")
PASS: frozenset[Task] = frozenset({"queue", "second", "crowd"})
"""Tasks in which somebody looked at the whole image, as the queue asks."""

_TASK_CODES = {task: code for code, task in enumerate(TASKS)}
_STATE_CODES = {state: code for code, state in enumerate(STATES)}
_PASS_CODES = frozenset(_TASK_CODES[task] for task in PASS)
_AUDIT, _SKIPPED = _TASK_CODES["audit"], _STATE_CODES["skipped"]

Entry = tuple[int, Task]


@dataclass
class Progress:
    """How far one person is, since they last began.

    Attributes:
        name: theirs.
        trail: image numbers in the order in which they were given, with the task.
        place: where each of these stands in the trail.
        counts: how many of these are of each task.
        numbers: the image numbers of the trail alone, those of the queue.
        saved: of these, what they saved.
        since: numbers of their records.
        lives: left.
        restarts: how often they had to begin again, ever.
        set_aside: nothing of theirs counts.
        asked: gold images that they were ever asked, by image number: whether the first answer was right.
        seconds: how long they looked at each image that they saved, ever.
    """

    name: str
    lives: int
    trail: list[Entry] = field(default_factory=list)
    place: dict[Entry, int] = field(default_factory=dict)
    counts: Counter[Task] = field(default_factory=Counter)
    numbers: array[int] = field(default_factory=lambda: array("i"))
    saved: set[Entry] = field(default_factory=set)
    since: array[int] = field(default_factory=lambda: array("i"))
    restarts: int = 0
    set_aside: bool = False
    asked: dict[int, bool] = field(default_factory=dict)
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def given(self, entry: Entry) -> None:
        """Add an image to the trail, once."""
        if entry not in self.place:
            self.place[entry] = len(self.trail)
            self.trail.append(entry)
            self.counts[entry[1]] += 1
            if entry[1] in PASS:
                self.numbers.append(entry[0])

    def lost(self, entry: Entry) -> None:
        """Take an image that they did not save off the trail."""
        self.trail.remove(entry)
        self.place = {known: at for at, known in enumerate(self.trail)}
        self.counts = Counter(task for _, task in self.trail)
        self.numbers = array("i", [number for number, task in self.trail if task in PASS])

    def begin_again(self, lives: int) -> None:
        """Forget everything since they last began."""
        self.lives = lives
        self.trail, self.place, self.saved, self.since = [], {}, set(), array("i")
        self.counts, self.numbers = Counter(), array("i")

    def unsaved(self) -> list[Entry]:
        """What they were given and have not saved, in order; at the end of the trail, so found quickly."""
        found: list[Entry] = []
        n = len(self.trail) - len(self.saved)
        for entry in reversed(self.trail):
            if len(found) == n:
                break
            if entry not in self.saved:
                found.append(entry)
        return found[::-1]

    def task_of(self, number: int) -> Task | None:
        """What an image was given to them for, last; None where it never was."""
        found = [(self.place[(number, task)], task) for task in TASKS if (number, task) in self.place]
        return max(found)[1] if found else None


class Ledger:
    """Records by image and person.

    Attributes:
        queued: (images,) whether the image is in the queue.
        n_open: number of images in the queue that not enough people have passed.
        passes: (images,) how many people's pass of the image counts.
        audited: (images,) whether an audit of the image counts.
        epoch: rises whenever records stop to count, so that images may be open again.
        people: progress by name.
        of_image: numbers of the records of an image, rising.
        changed: numbers of images whose records changed; whoever uses it empties it.
    """

    def __init__(self, need: NDArray[np.uint8], queued: NDArray[np.bool_], settings: ReviewSettings) -> None:
        n_images = len(need)
        self._settings, self._need = settings, need
        self.queued = queued
        self.n_open = int(np.count_nonzero(queued & (need > 0)))
        self.passes: NDArray[np.uint8] = np.zeros(n_images, dtype=np.uint8)
        self.audited: NDArray[np.bool_] = np.zeros(n_images, dtype=bool)
        self.epoch = 0
        self.people: dict[str, Progress] = {}
        self.of_image: dict[int, list[int]] = defaultdict(list)
        self.changed: set[int] = set()
        self._image, self._parent = array("i", [-1]), array("i", [0])
        self._task, self._state, self._who = array("b", [0]), array("b", [0]), array("h", [-1])
        self._valid = bytearray(1)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._image) - 1

    def person(self, name: str) -> Progress:
        """Progress of a person, new where nobody has the name."""
        if name not in self.people:
            self.people[name] = Progress(name, self._settings.lives)
            self._numbers[name] = len(self._names)
            self._names.append(name)
        return self.people[name]

    def add(self, record: Record, number: int, *, count: bool = True) -> None:
        """Take in the next record, of the image with this number.

        Args:
            record: the next one.
            number: of its image.
            count: bring the counts up to date; where many are added, `recount` does it once at the end.
        """
        person = self.person(record.reviewer)
        self._image.append(number)
        self._parent.append(record.parent)
        self._task.append(_TASK_CODES[record.task])
        self._state.append(_STATE_CODES[record.state])
        self._who.append(self._numbers[record.reviewer])
        self._valid.append(not person.set_aside)
        self.of_image[number].append(len(self))
        person.since.append(len(self))
        if record.task != "grid":
            person.given((number, record.task))
            person.saved.add((number, record.task))
            person.seconds.append(record.seconds)
        self._gold(record, person, number)
        if count:
            self._recount(number)

    def _gold(self, record: Record, person: Progress, number: int) -> None:
        if record.gold is None:
            return
        person.asked.setdefault(number, record.gold.passed)
        person.lives = record.gold.lives
        if record.gold.lives == 0:
            person.restarts += 1
            self._forget(person.since)
            person.begin_again(self._settings.lives)
        if record.gold.set_aside:
            self.set_aside(person.name)

    def set_aside(self, name: str) -> None:
        """Let nothing that a person did count; their images return to the queue."""
        person = self.person(name)
        person.set_aside = True
        self._forget([n for n in range(1, len(self) + 1) if self._who[n] == self._numbers[name]])
        person.begin_again(person.lives)

    def _forget(self, records: Iterable[int]) -> None:
        records = list(records)
        self.epoch += 1
        for n in records:
            self._valid[n] = False
        for number in {self._image[n] for n in records}:
            self._recount(number)

    def recount(self) -> None:
        """Count again for every image, after records were added without."""
        image, who = (np.frombuffer(column, column.typecode) for column in (self._image, self._who))
        task, state = (np.frombuffer(column, np.int8) for column in (self._task, self._state))
        valid = np.frombuffer(self._valid, bool) & (state != _SKIPPED)
        valid[0] = False
        passed = valid & np.isin(task, list(_PASS_CODES))
        pairs = np.unique(np.stack([image[passed].astype(np.int64), who[passed]]), axis=1)
        people = np.bincount(pairs[0], minlength=len(self._need))
        self.passes[:] = np.minimum(people, 255)
        self.audited[:] = False
        self.audited[image[valid & (task == _AUDIT)]] = True
        self.n_open = int(np.count_nonzero(self.queued & (people < self._need)))
        self.changed.update(self.of_image)

    def _recount(self, number: int) -> None:
        """Count again whose pass of an image counts, and whether it is audited."""
        rows = [n for n in self.of_image[number] if self._valid[n] and self._state[n] != _SKIPPED]
        people = len({self._who[n] for n in rows if self._task[n] in _PASS_CODES})
        need = int(self._need[number])
        if self.queued[number]:
            self.n_open += int(people < need) - int(int(self.passes[number]) < need)
        self.passes[number] = min(255, people)
        self.audited[number] = any(self._task[n] == _AUDIT for n in rows)
        self.changed.add(number)

    def valid(self, number: int) -> list[int]:
        """Numbers of the records of an image that count, rising."""
        return [n for n in self.of_image.get(number, ()) if self._valid[n]]

    def task(self, n: int) -> Task:
        """What record n was for."""
        return TASKS[self._task[n]]

    def reviewer(self, n: int) -> str:
        """Who made record n."""
        return self._names[self._who[n]]

    def skipped(self, n: int) -> bool:
        """Whether record n leaves the image undecided."""
        return STATES[self._state[n]] == "skipped"

    def flagged(self, n: int) -> bool:
        """Whether record n asks somebody else to look."""
        return STATES[self._state[n]] == "flagged"

    def is_valid(self, n: int) -> bool:
        """Whether record n counts."""
        return bool(self._valid[n])

    def images(self, task: Task) -> Iterator[int]:
        """Numbers of images with a record of this task that counts."""
        wanted = _TASK_CODES[task]
        found = {
            self._image[n] for n in range(1, len(self) + 1) if self._task[n] == wanted and self._valid[n]
        }
        return iter(sorted(found))

    def latest(self, number: int, tasks: Iterable[Task], name: str, *, own: bool) -> int:
        """The last record of an image, of these tasks, that counts; 0 where there is none.

        Args:
            number: of the image.
            tasks: to look at.
            name: of the person who asks: what they skipped is theirs to find again.
            own: look at this person's records only.
        """
        wanted = set(tasks)
        for n in reversed(self.of_image.get(number, ())):
            theirs = self.reviewer(n) == name
            if self._valid[n] and self.task(n) in wanted and (theirs or not (own or self.skipped(n))):
                return n
        return 0
