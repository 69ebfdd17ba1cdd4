"""Leases: an image that a person has before them is given to nobody else for a while."""

from __future__ import annotations

from collections.abc import Callable

Key = tuple[int, str]
"""Number of the image, and what for: "queue" or "audit"."""


class Leases:
    """Who has which image until when; kept in memory, so that a server that was killed keeps none."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """Args: how long a lease holds, and a clock in seconds that never goes back."""
        self._seconds = seconds
        self._clock = clock
        self._until: dict[Key, dict[str, float]] = {}

    def take(self, key: Key, name: str) -> None:
        """Give an image to a person, or let them keep it longer."""
        self._until.setdefault(key, {})[name] = self._clock() + self._seconds

    def release(self, key: Key, name: str) -> None:
        """Take an image back from a person, if they have it."""
        held = self._until.get(key, {})
        held.pop(name, None)
        if not held:
            self._until.pop(key, None)

    def release_all(self, name: str) -> None:
        """Take everything back from a person."""
        for key in list(self._until):
            self.release(key, name)

    def holders(self, key: Key) -> set[str]:
        """Names of those who have an image."""
        now = self._clock()
        held = self._until.get(key, {})
        for name in [name for name, until in held.items() if until <= now]:
            self.release(key, name)
        return set(self._until.get(key, ()))

    def all(self, purpose: str) -> list[tuple[int, set[str]]]:
        """Numbers of the images that somebody has for this purpose, with their names."""
        keys = [key for key in self._until if key[1] == purpose]
        return [(key[0], names) for key in keys if (names := self.holders(key))]
