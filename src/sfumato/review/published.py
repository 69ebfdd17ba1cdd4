"""The status as different people may see it: figures must not tell which images have a known answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sfumato.review.model import Reviewer
from sfumato.review.tallies import Tallies

SECONDS = 60.0
"""How old the figures may be that people see among whose images are gold ones."""

_FOR_ARBITERS = ("gold_asked", "gold_right", "gold_accuracy", "gold_ci_low", "gold_ci_high")


class Published:
    """Gives everybody the status that is for them."""

    def __init__(self, tallies: Tallies, clock: Callable[[], float]) -> None:
        """Args: the figures, and a clock in seconds that never goes back."""
        self._tallies, self._clock = tallies, clock
        self._at: float | None = None
        self._known: dict[str, Any] = {}

    def status(self, people: Sequence[Reviewer], viewer: Reviewer | None) -> dict[str, Any]:
        """See `sfumato.review.Session.status`."""
        if viewer is None or viewer.arbiter or not self._tallies.showing.truth:
            return self._tallies.status(people)
        if self._at is None or self._clock() - self._at >= SECONDS:
            self._at, self._known = self._clock(), for_everybody(self._tallies.status(people))
        return self._known


def for_everybody(status: Mapping[str, Any]) -> dict[str, Any]:
    """A status without what people said of gold images."""
    people = [
        {name: value for name, value in row.items() if name not in _FOR_ARBITERS}
        for row in status["reviewers"]
    ]
    return {**status, "reviewers": people}
