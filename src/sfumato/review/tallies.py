"""Tallies: what the status page and the final table show, kept up to date image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.review.agreement import Pair, agreement, pairs
from sfumato.review.audit import Audited, Triple, audited, counts_of, estimate_rows, two_passes
from sfumato.review.consensus import Disagreement, consensus, heads
from sfumato.review.estimates import Missed, chapman, missed
from sfumato.review.intervals import clopper_pearson
from sfumato.review.ledger import Progress
from sfumato.review.model import Reviewer
from sfumato.review.showing import Showing

Groups = Mapping[str, NDArray[np.bool_]]
"""Name of a group to (images,) whether an image belongs to it."""


@dataclass(frozen=True)
class _Facts:
    """What the records of one image say."""

    disagreements: tuple[Disagreement, ...] = ()
    pairs: tuple[Pair, ...] = ()
    two_passes: Triple | None = None
    audited: Audited | None = None


@dataclass(eq=False)
class Tallies:
    """Counts and estimates of a review; only images whose records changed are looked at again.

    Attributes:
        showing: the review.
    """

    showing: Showing
    _facts: dict[int, _Facts] = field(default_factory=dict)

    def disputes(self) -> list[int]:
        """Numbers of the images that an arbiter should decide, rising."""
        return sorted(number for number, facts in self._update().items() if facts.disagreements)

    def disagreements(self, number: int) -> tuple[Disagreement, ...]:
        """What an arbiter should look at in an image."""
        return self._update().get(number, _Facts()).disagreements

    def agreement(self) -> dict[str, tuple[int, int]]:
        """See `sfumato.review.agreement.agreement`."""
        return agreement(pair for facts in self._update().values() for pair in facts.pairs)

    def target_met(self) -> bool:
        """Whether the stopping rule holds."""
        return self.missed().reached

    def missed(self) -> Missed:
        """What the audit says of faces that are still missed."""
        settings, found = self.showing.settings, self._sample()
        after = counts_of([facts.after for _, facts in found])
        return missed(after, len(self.showing.plan.audit), settings.target, settings.confidence)

    def estimates(self, groups: Groups | None = None) -> list[dict[str, Any]]:
        """Rows of `sfumato.review.audit.ESTIMATES_SCHEMA`.

        Args:
            groups: besides "all"; None for images of categories that usually have faces, and of the others.
        """
        found = self._sample()
        numbers = np.array([number for number, _ in found], dtype=np.int64)
        groups = self._usual_groups() if groups is None else groups
        members = {name: mask[numbers] for name, mask in groups.items()}
        return estimate_rows(
            counts_of([facts.before for _, facts in found]),
            counts_of([facts.after for _, facts in found]),
            {"all": np.ones(len(numbers), dtype=bool), **members},
            self.showing.settings.confidence,
        )

    def status(self, people: Sequence[Reviewer], groups: Groups | None = None) -> dict[str, Any]:
        """Everything, as JSON can hold it: what is no number is null."""
        facts = self._update()
        ledger, plan, columns = self.showing.ledger, self.showing.plan, self.showing.columns
        shared = [f.two_passes for f in facts.values() if f.two_passes is not None]
        passes = chapman(*counts_sum(shared), self.showing.settings.confidence) if shared else None
        status = {
            "images": len(plan.queue),
            "done": len(plan.queue) - ledger.n_open,
            "gold_images": len(plan.gold),
            "not_examined": int((~columns.ok).sum()),
            "records": len(ledger),
            "disagreements": sum(bool(f.disagreements) for f in facts.values()),
            "reviewers": self._people(people),
            "missed": asdict(self.missed()),
            "same_eyes": sum(facts.same_eyes for _, facts in self._sample()),
            "two_passes": None if passes is None else {"n_images": len(shared), **asdict(passes)},
            "estimates": self.estimates(groups),
        }
        return {key: _plain(value) for key, value in status.items()}

    def _update(self) -> Mapping[int, _Facts]:
        showing = self.showing
        changed, showing.ledger.changed = showing.ledger.changed, set()
        for number in changed:
            if facts := self._look(number):
                self._facts[number] = facts
            else:
                self._facts.pop(number, None)
        return self._facts

    def _look(self, number: int) -> _Facts | None:
        showing, min_iou = self.showing, self.showing.settings.match_iou
        if number in showing.truth or not self._says_more(number):
            return None
        valid, others = showing.records(number)
        shown = showing.columns.faces(number)
        return _Facts(
            consensus(shown, valid, others, min_iou=min_iou).disagreements,
            tuple(pairs(heads(valid, others), min_iou)),
            two_passes(shown, valid, others, min_iou),
            audited(shown, valid, others, min_iou),
        )

    def _says_more(self, number: int) -> bool:
        """Whether there is more to know of an image than what one person said: most have one record."""
        rows = self.showing.ledger.valid(number)
        return (
            len(rows) > 1
            or bool(self.showing.ledger.audited[number])
            or any(self.showing.ledger.flagged(n) for n in rows)
        )

    def _sample(self) -> list[tuple[int, Audited]]:
        """Audited images in the order of the sample, up to the first that nobody has done yet.

        Those behind it are left out: which of them are done depends on who could take them, so that they are
        no random sample. An image that was skipped holds nobody up.
        """
        facts = self._update()
        found = []
        for number in map(int, self.showing.plan.audit):
            said = facts.get(number, _Facts()).audited
            if said is not None:
                found.append((number, said))
            elif not any(self.showing.ledger.task(n) == "audit" for n in self.showing.ledger.valid(number)):
                break
        return found

    def _usual_groups(self) -> dict[str, NDArray[np.bool_]]:
        share = self.showing.columns.face_share
        rare = share < self.showing.settings.face_free
        with_label = ~np.isnan(share)
        if not with_label.any():
            return {}
        return {"usually with faces": with_label & ~rare, "usually without faces": rare}

    def _people(self, people: Sequence[Reviewer]) -> list[dict[str, Any]]:
        agree = self.agreement()
        known = {person.name: person for person in people}
        names = [*known, *(name for name in self.showing.ledger.people if name not in known)]
        return [self._person(known.get(name, Reviewer(name)), agree.get(name, (0, 0))) for name in names]

    def _person(self, person: Reviewer, agree: tuple[int, int]) -> dict[str, Any]:
        progress = self.showing.ledger.people.get(person.name) or Progress(
            person.name, self.showing.settings.lives
        )
        asked, right = len(progress.asked), sum(progress.asked.values())
        low, high = clopper_pearson(right, asked, self.showing.settings.confidence)
        seconds = [value for value in progress.seconds if value > 0]
        typical = median(seconds) if seconds else math.nan
        return {
            "name": person.name,
            "arbiter": person.arbiter,
            "set_aside": person.set_aside or progress.set_aside,
            "saved": len(progress.saved),
            "lives": progress.lives,
            "restarts": progress.restarts,
            "gold_asked": asked,
            "gold_right": right,
            "gold_accuracy": right / asked if asked else math.nan,
            "gold_ci_low": low if asked else math.nan,
            "gold_ci_high": high if asked else math.nan,
            "agreement": agree[0] / agree[1] if agree[1] else math.nan,
            "median_seconds": typical,
            "images_per_hour": 3600 / typical if seconds else math.nan,
        }


def counts_sum(rows: Sequence[Triple]) -> Triple:
    """Sums of the three counts."""
    first, second, both = (sum(row[at] for row in rows) for at in range(3))
    return first, second, both


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
