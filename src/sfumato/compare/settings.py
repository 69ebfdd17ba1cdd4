"""How a comparison is made."""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import UsageError

SEM_DDOF = {"sample": 1, "study": 2}
"""What `CompareSettings.sem` subtracts from the number of seeds: ddof of `scipy.stats.sem`."""


@dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison; all of them are part of the result's key.

    Attributes:
        rounds: of the bootstrap.
        confidence: of the intervals, between 0 and 1; 1 - confidence is the level of every test.
        seed: of the bootstrap's draws.
        allow_single_seed: compare models that were trained once. The standard error is then null and the
            intervals say nothing about how much training itself varies.
        margin: a difference of top-1 or top-5 accuracy smaller than this is called meaningless; a fraction,
            0.01 is one point.
        sem: "sample" for the standard error over seeds with ddof 1; "study" for that of the published study,
            ddof 2, which is larger by the root of 2 with three seeds and null with fewer.

    Raises:
        UsageError: fewer than 100 rounds, a confidence or margin outside 0..1, another word for `sem`.
    """

    rounds: int = 2000
    confidence: float = 0.95
    seed: int = 0
    allow_single_seed: bool = False
    margin: float = 0.01
    sem: str = "sample"

    def __post_init__(self) -> None:
        if self.rounds < 100:
            raise UsageError(f"a bootstrap interval needs at least 100 rounds, not {self.rounds}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"a confidence lies between 0 and 1, {self.confidence} does not")
        if not 0 < self.margin < 1:
            raise UsageError(f"a margin lies between 0 and 100 points, {100 * self.margin:g} does not")
        if self.sem not in SEM_DDOF:
            raise UsageError(f"sem is one of {', '.join(SEM_DDOF)}, not '{self.sem}'")
