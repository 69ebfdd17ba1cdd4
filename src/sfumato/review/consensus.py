"""One image, several people: which of their boxes hold, and where they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import Boxes, iou
from sfumato.faces import Faces
from sfumato.review.model import Record
from sfumato.review.versions import faces_of, rows_of

MERGED = "review"
"""Source of a box that several people's boxes were made into."""


@dataclass(frozen=True, eq=False)
class Disagreement:
    """A box that not everybody has, that is not of one kind, or an image that somebody flagged.

    Attributes:
        reason: "box", "kind" or "flagged".
        xyxy: the box; NaN for a flagged image.
        kind: of the box.
        voters: names of those who have it, or who flagged.
        n_asked: number of people who could have had it.
        kept: whether it is in the result.
    """

    reason: str
    xyxy: tuple[float, float, float, float]
    kind: str
    voters: tuple[str, ...]
    n_asked: int
    kept: bool


@dataclass(frozen=True, eq=False)
class Consensus:
    """What holds for one image.

    Attributes:
        faces: that hold, with score 1.
        disagreements: what an arbiter should look at.
        decided: an arbiter has.
    """

    faces: Faces
    disagreements: tuple[Disagreement, ...] = ()
    decided: bool = False


@dataclass(frozen=True, eq=False)
class _Voter:
    """Somebody's word on one image; who only looked at crops says nothing but which boxes are wrong."""

    name: str
    faces: Faces
    rejected: Boxes | None
    flagged: bool


def heads(valid: Sequence[Record], others: Sequence[Record] = ()) -> list[Record]:
    """The records of one image that nobody has gone on from, by number.

    A record gives way to one that was made from it, and to a later one of the same person in the same lane
    (the audit is a lane of its own, and so is the grid). Where an arbiter decided, only arbiters' records
    are left. Skipped images and failed gold images say nothing.

    Args:
        valid: records of the image that count.
        others: records of the image that do not; what was made from them still follows what they were made
            from.
    """
    parent = {record.n: record.parent for record in (*valid, *others)}
    says = [r for r in valid if r.state != "skipped" and (r.gold is None or r.gold.passed)]
    decided = [record for record in says if record.task == "arbiter"]
    says = decided or says
    gone = {n for record in says for n in _ancestors(record.n, parent)}
    last: dict[tuple[str, str], int] = {}
    for record in says:
        lane = _lane(record)
        last[lane] = max(last.get(lane, 0), record.n)
    return sorted(
        (record for record in says if record.n not in gone and record.n == last[_lane(record)]),
        key=lambda record: record.n,
    )


def _lane(record: Record) -> tuple[str, str]:
    return record.reviewer, record.task if record.task in ("audit", "gold", "arbiter", "grid") else "queue"


def _ancestors(n: int, parent: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    n = parent.get(n, 0)
    while n and n not in found:
        found.add(n)
        n = parent.get(n, 0)
    return found


def consensus(
    shown: Faces,
    valid: Sequence[Record],
    others: Sequence[Record] = (),
    *,
    weights: Mapping[str, float] | None = None,
    min_iou: float = 0.4,
) -> Consensus:
    """What holds for one image after these records; a pure function, whatever their order.

    Boxes of different people that overlap are one. It holds where at least half of those asked have it: a
    box too many costs a few pixels, one too few costs somebody's privacy. Its corners are the weighted mean
    of theirs (Solovyev, Wang and Gabruseva, "Weighted boxes fusion", Image and Vision Computing 107, 2021),
    its kind the most frequent, ties by name.

    Args:
        shown: the faces of the face table.
        valid: records of the image that count; none leaves the faces as they are.
        others: those that do not count (see `heads`).
        weights: of people, by name; 1 for the others.
        min_iou: least overlap of boxes that are one.
    """
    said = heads(valid, others)
    if not said:
        return Consensus(shown)
    by_n = {record.n: record for record in (*valid, *others)}
    voters = sorted((_voter(record, by_n, shown) for record in said), key=lambda voter: voter.name)
    full = [voter for voter in voters if voter.rejected is None]
    decided = said[0].task == "arbiter"
    if len(voters) == 1 and full:
        return Consensus(full[0].faces, () if decided else _flags(voters), decided)
    groups = _groups(full, min_iou) if full else _single(shown)
    kept, found = _count(groups, voters, weights or {}, min_iou)
    return Consensus(kept, () if decided else (*found, *_flags(voters)), decided)


def _voter(record: Record, by_n: Mapping[int, Record], shown: Faces) -> _Voter:
    faces = faces_of(record.faces)
    chain = [by_n[n] for n in _ancestors(record.n, {n: r.parent for n, r in by_n.items()}) if n in by_n]
    rejected = None
    if record.task == "grid" and all(earlier.task == "grid" for earlier in chain):
        left = set(record.faces)
        gone = [row not in left for row in rows_of(shown)]
        rejected = shown.xyxy[np.array(gone, dtype=bool)]
    return _Voter(record.reviewer, faces, rejected, record.state == "flagged")


def _flags(voters: Sequence[_Voter]) -> tuple[Disagreement, ...]:
    names = tuple(voter.name for voter in voters if voter.flagged)
    nowhere = (float("nan"),) * 4
    return (Disagreement("flagged", nowhere, "", names, len(voters), True),) if names else ()


@dataclass(frozen=True, eq=False)
class _Group:
    """Boxes that are one face: at most one of each person."""

    faces: Faces
    owners: tuple[str, ...]


def _single(faces: Faces) -> list[_Group]:
    return [_Group(faces[np.array([row])], ("",)) for row in range(len(faces))]


def _groups(voters: Sequence[_Voter], min_iou: float) -> list[_Group]:
    """Boxes of several people put together, the box with most overlap to others first.

    Every choice falls back on coordinates and names, so that the result depends on the set of boxes alone.
    """
    owner = np.repeat(np.arange(len(voters)), [len(voter.faces) for voter in voters])
    faces = Faces.joined([voter.faces for voter in voters])
    order = np.lexsort((owner, *faces.xyxy.T[::-1]))
    faces, owner = faces[order], owner[order]
    overlap = iou(faces.xyxy, faces.xyxy)
    overlap[owner[:, None] == owner[None, :]] = 0
    overlap[overlap < min_iou] = 0
    np.fill_diagonal(overlap, 1)
    left = np.ones(len(faces), dtype=bool)
    groups = []
    while left.any():
        members = _members(np.where(left[None, :], overlap, 0), owner, left)
        left[members] = False
        groups.append(_Group(faces[members], tuple(voters[row].name for row in owner[members].tolist())))
    return sorted(groups, key=lambda group: group.faces.xyxy[0].tolist())


def _members(
    overlap: NDArray[np.float32], owner: NDArray[np.int64], left: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The box that others support most, with each other person's best match for it."""
    best = np.stack([overlap[:, owner == who].max(axis=1) for who in np.unique(owner)], axis=1)
    seed = int(np.where(left, best.sum(axis=1, dtype=np.float64).round(6), -1).argmax())
    chosen = []
    for who in np.unique(owner):
        theirs = np.flatnonzero(owner == who)
        match = int(theirs[overlap[seed, theirs].argmax()])
        if overlap[seed, match] > 0:
            chosen.append(match)
    return np.array(sorted(chosen), dtype=np.int64)


def _count(
    groups: Sequence[_Group], voters: Sequence[_Voter], weights: Mapping[str, float], min_iou: float
) -> tuple[Faces, list[Disagreement]]:
    kept, found = [], []
    for group in groups:
        face = _fused(group, weights)
        against = [v.name for v in voters if v.rejected is not None and _hits(v.rejected, face, min_iou)]
        asked = [voter.name for voter in voters if voter.rejected is None] + against
        names = tuple(name for name in group.owners if name)
        holds = 2 * len(names) >= len(asked)
        if holds:
            kept.append(face)
        if found_here := _disagreement(group, face, asked, holds=holds):
            found.append(found_here)
    return Faces.joined(kept), found


def _disagreement(group: _Group, face: Faces, asked: Collection[str], *, holds: bool) -> Disagreement | None:
    names = tuple(name for name in group.owners if name)
    x0, y0, x1, y1 = face.xyxy[0].tolist()
    if names and len(names) < len(asked):
        return Disagreement("box", (x0, y0, x1, y1), face.kind[0], names, len(asked), holds)
    if len(set(group.faces.kind)) > 1:
        return Disagreement("kind", (x0, y0, x1, y1), face.kind[0], names, len(asked), holds)
    return None


def _hits(rejected: Boxes, face: Faces, min_iou: float) -> bool:
    return bool((iou(rejected, face.xyxy) >= min_iou).any())


def _fused(group: _Group, weights: Mapping[str, float]) -> Faces:
    """One face of a group; a box that all have alike stays as it is, to the last digit."""
    xyxy = group.faces.xyxy
    weight = np.array([weights.get(name, 1.0) for name in group.owners], dtype=np.float64)
    mean = np.average(xyxy.astype(np.float64), axis=0, weights=weight) if weight.sum() > 0 else xyxy[0]
    same = bool((xyxy == xyxy[0]).all())
    sources = set(group.faces.source)
    return Faces.of(
        xyxy[:1] if same else mean[None, :],
        kind=_most_frequent(group.faces.kind),
        source=sources.pop() if len(sources) == 1 else MERGED,
    )


def _most_frequent(words: Sequence[str]) -> str:
    return min(Counter(words).items(), key=lambda item: (-item[1], item[0]))[0]
