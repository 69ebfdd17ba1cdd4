"""Records are made: what a person hands in becomes a line of the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sfumato.review.model import BoxRow, GoldResult, Record, Submission, Task


@dataclass(frozen=True)
class Made:
    """What the server makes of a submission.

    Attributes:
        task: why the person had the image.
        parent: number of the record that they were shown.
        faces: what they handed in, checked.
        gold: how it compares with the known answer, of gold images.
    """

    task: Task
    parent: int
    faces: tuple[BoxRow, ...]
    gold: GoldResult | None = None


def new_record(n: int, by: tuple[str, str], submission: Submission, made: Made) -> Record:
    """Record number `n`, by (reviewer, run of the server)."""
    return Record(
        n=n,
        time=now(),
        reviewer=by[0],
        image_id=submission.image_id,
        task=made.task,
        base=submission.base,
        parent=made.parent,
        faces=made.faces,
        state=submission.state,
        comment=submission.comment,
        seconds=float(submission.seconds),
        gold=made.gold,
        session=by[1],
    )


def now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
