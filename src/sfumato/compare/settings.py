"""How a comparison is made."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import UsageError


@dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison; all of them are part of the result's key.

    Attributes:
        rounds: of the bootstrap.
        confidence: of the intervals, between 0 and 1.
        seed: of the bootstrap's draws.
        allow_single_seed: compare models that were trained once. The standard error is then null and the
            intervals say nothing about how much training itself varies.

    Raises:
        UsageError: fewer than 100 rounds, or a confidence outside 0..1.
    """

    rounds: int = 2000
    confidence: float = 0.95
    seed: int = 0
    allow_single_seed: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 100:
            raise UsageError(f"a bootstrap interval needs at least 100 rounds, not {self.rounds}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"a confidence lies between 0 and 1, {self.confidence} does not")
