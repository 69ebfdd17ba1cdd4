"""What a review is made of: settings, people, what they are shown, what they hand in, what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sfumato.errors import UsageError
from sfumato.faces import Faces

Task = Literal["queue", "second", "audit", "gold", "grid", "arbiter", "crowd"]
"""Why an image was looked at; the person is never told."""

State = Literal["done", "skipped", "flagged"]
"""How a person left an image: as it should be, undecided, or to be looked at by somebody else."""

STATES: tuple[State, ...] = ("done", "skipped", "flagged")

START = "start"
"""Kind of a box of the truth that is no face: gold images are shown with these boxes, wrong on purpose."""

KINDS = ("face", "photo", "depicted", "sensitive")

INSTRUCTIONS = """\
Draw, adjust or delete rectangles until every human face and everything else that must not be seen is covered.

- A face includes at least mouth, nose, eyes, forehead and cheeks.
- Two faces that touch may share one rectangle.
- A face too small to be recognised may be left out.
- Sensitive content (nudity, sexuality, profanity, violence) is covered like a face.
- An image without people usually needs nothing: go on to the next.
"""
"""The rules of the study's page, as text."""


@dataclass(frozen=True)
class ReviewSettings:
    """How a review is done.

    Attributes:
        seed: of everything random: order of equal risks, the audit sample, places of gold images. With
            another seed a sample that was begun is worth nothing.
        threshold: score at which a detection is as likely right as wrong; the queue asks about such first.
        small: longer side in pixels below which a face counts as small.
        face_free: a category in which fewer than this share of images has a face is "usually face-free".
        audit_share: share of the images a person is given that come from a random sample of all.
        audit_until_target: go on with the sample, once the queue is done, until the target is met.
        gold_share: share of images with a known answer.
        gold_rule: "union" compares the areas covered, "boxes" needs a partner for each box.
        gold_iou: least intersection over union of the rule.
        gold_start: what gold images are shown with where the truth has no boxes of kind "start":
            the "faces" of the table, or "wrong" boxes that are made from the answer.
        lives: failed gold images until a person starts again.
        max_restarts: a person who would have to start again more often is set aside.
        overlap: number of people who look at an image, of those that `overlap_share` chooses.
        overlap_share: share of images that several people look at, drawn at random; the others get one.
        lease_seconds: how long an image is kept for a person who has not saved it.
        match_iou: least intersection over union at which boxes of two people are the same face.
        target: share of faces, in 0..1, that may be missed at most.
        confidence: of intervals, and of the statement about the target.
        kinds: what a box may be.
        instructions: text for the people.
        read_only: nothing can be saved.
    """

    seed: int = 0
    threshold: float = 0.5
    small: float = 32.0
    face_free: float = 0.05
    audit_share: float = 0.05
    audit_until_target: bool = False
    gold_share: float = 0.06
    gold_rule: Literal["union", "boxes"] = "union"
    gold_iou: float = 0.72
    gold_start: Literal["faces", "wrong"] = "faces"
    lives: int = 2
    max_restarts: int = 3
    overlap: int = 1
    overlap_share: float = 1.0
    lease_seconds: float = 600.0
    match_iou: float = 0.4
    target: float = 0.01
    confidence: float = 0.95
    kinds: tuple[str, ...] = KINDS
    instructions: str = INSTRUCTIONS
    read_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        for name in ("threshold", "face_free", "gold_iou", "overlap_share", "match_iou"):
            _check(0 <= getattr(self, name) <= 1, name, "a share in 0..1", self)
        for name in ("audit_share", "gold_share"):
            _check(0 <= getattr(self, name) < 1, name, "a share from 0 to below 1", self)
        for name in ("target", "confidence"):
            _check(0 < getattr(self, name) < 1, name, "a share between 0 and 1", self)
        for name in ("lives", "overlap"):
            _check(getattr(self, name) >= 1, name, "at least 1", self)
        for name in ("max_restarts", "small", "lease_seconds"):
            _check(getattr(self, name) >= 0, name, "at least 0", self)
        _check(bool(self.kinds) and START not in self.kinds, "kinds", "some words other than 'start'", self)
        _check(self.gold_rule in ("union", "boxes"), "gold_rule", "union or boxes", self)
        _check(self.gold_start in ("faces", "wrong"), "gold_start", "faces or wrong", self)


def _check(fits: bool, name: str, words: str, settings: ReviewSettings) -> None:
    if not fits:
        raise UsageError(f"review: {name} must be {words}, not {getattr(settings, name)!r}")


@dataclass(frozen=True)
class Reviewer:
    """A person who looks at images.

    Attributes:
        name: as it stands in the records.
        arbiter: decides where others disagree; sees only such images.
        set_aside: failed, or was taken out: is given nothing, and what they did does not count.
    """

    name: str
    arbiter: bool = False
    set_aside: bool = False


@dataclass(frozen=True, eq=False)
class Item:
    """An image as one person is to see it; whether its answer is known is not in here.

    Attributes:
        image_id: of the image.
        width, height: of the upright image, in pixels.
        faces: boxes to begin with.
        base: version of these; handed in again with the answer.
        position: 1 for the first image of this person.
        total: how many images there will be for this person, as far as can be told.
        state: what this person said of it before, or None.
        comment: theirs, before.
        lives: of the person; None where no gold images are mixed in.
    """

    image_id: str
    width: int
    height: int
    faces: Faces
    base: str
    position: int = 0
    total: int = 0
    state: State | None = None
    comment: str = ""
    lives: int | None = None


@dataclass(frozen=True, eq=False)
class Submission:
    """What a person hands in for one image.

    Attributes:
        image_id: of the image.
        base: version that they were shown (`Item.base`).
        faces: all boxes that the image should have, in pixels of the upright image. Scores do not matter, nor
            do sources: a box that was shown keeps its own, others get the person's name.
        state: see `State`.
        comment: free text.
        seconds: how long they looked.
    """

    image_id: str
    base: str
    faces: Faces
    state: State = "done"
    comment: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a submission.

    Attributes:
        kind: "saved"; "stale": somebody saved another version since (nothing is written); "taken": the lease
            ran out and another person has the image now (nothing is written); "gold_failed": wrong answer to
            a gold image, try again; "restart": the last life is lost, begin again; "set_aside": this person
            is not to go on.
        image_id: of the image; empty for several.
        base: version that holds now.
        mine, theirs: both versions, where stale; `mine` is also what was saved.
        right: the right answer to a gold image that was failed, else None.
        lives: left, or None where no gold images are mixed in.
        n_saved: images saved.
        stale: images of a grid that were not saved, since somebody changed them.
        n_known: crowd tasks that were left out, since they are there already.
    """

    kind: Literal["saved", "stale", "taken", "gold_failed", "restart", "set_aside"]
    image_id: str = ""
    base: str = ""
    mine: Faces | None = None
    theirs: Faces | None = None
    right: Faces | None = None
    lives: int | None = None
    n_saved: int = 0
    stale: tuple[str, ...] = ()
    n_known: int = 0


@dataclass(frozen=True)
class Crop:
    """A cell of the grid.

    Attributes:
        image_id: of the image.
        index: of the face in the image's current faces; -1 for an image without faces, or a face that was
            thrown out or changed.
        base: current version of the image.
        xyxy: the face in pixels of the upright image; all of the image where it has none.
        score, kind, source: of the face; 0 and empty where there is none.
        rejected: a face that somebody threw out, or changed, since it was found.
        width, height: of the upright image, in pixels.
        row: of the face among those that were found in the image; -1 where it has none.
    """

    image_id: str
    index: int
    base: str
    xyxy: tuple[float, float, float, float]
    score: float = 0.0
    kind: str = ""
    source: str = ""
    rejected: bool = False
    width: int = 0
    height: int = 0
    row: int = -1


BoxRow = tuple[float, float, float, float, str, str]
"""x0, y0, x1, y1, kind, source: a face as it stands in the log."""


@dataclass(frozen=True)
class GoldResult:
    """How an answer compares with the known one.

    Attributes:
        iou: intersection over union of the covered areas.
        passed: good enough by the rule.
        lives: left afterwards; 0 means that the person begins again: what they did since they last began does
            not count.
        set_aside: the person began again too often, and nothing of theirs counts.
    """

    iou: float
    passed: bool
    lives: int
    set_aside: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One save: a line of `reviews.jsonl`.

    Attributes:
        n: number of the record in its log, from 1.
        time: UTC, ISO 8601.
        reviewer: name.
        image_id: of the image.
        task: see `Task`.
        base: version that the person was shown.
        parent: `n` of the record that made the version they were shown; 0 for the face table.
        faces: all faces that the image should have.
        state: see `State`.
        comment: free text.
        seconds: how long they looked.
        gold: for gold images only.
        session: names the run of the server that wrote it.
    """

    n: int
    time: str
    reviewer: str
    image_id: str
    task: Task
    base: str
    parent: int
    faces: tuple[BoxRow, ...]
    state: State = "done"
    comment: str = ""
    seconds: float = 0.0
    gold: GoldResult | None = None
    session: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
