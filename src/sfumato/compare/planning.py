"""How many seeds or images would have settled what a study could not tell."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from sfumato.compare.settings import CompareSettings
from sfumato.compare.variance import POWER, Spread, smallest_effect

MOST = 1_000_000.0
"""Times as many as there are: what more than these would be needed for, no number settles."""


def outcome(bounds: tuple[float, float], p_equivalence: float, alpha: float) -> str:
    """What a difference amounts to.

    "equivalent" where the equivalence test rejects at `alpha` that it is as large as the margin (it may
    differ from zero all the same); else "cost" or "gain" where the interval leaves zero out; else
    "undecided".
    """
    if p_equivalence <= alpha:
        return "equivalent"
    if bounds[1] < -TOLERANCE:
        return "cost"
    return "gain" if bounds[0] > TOLERANCE else "undecided"


TOLERANCE = 1e-9
"""Differences of floating-point sums that are zero on paper stay below this."""


def seeds_needed(spread: Spread, difference: float, settings: CompareSettings) -> int | None:
    """The fewest seeds of each model, on the same images, with which the study would settle.

    None where no number of seeds does, as images vary too much, or where nothing is known of seeds.
    """
    if spread.n_seeds < 2:
        return None
    factor = _least(lambda f: settles(spread.with_seeds(f), difference, settings))
    return None if factor is None else ceil(spread.n_seeds * factor - TOLERANCE)


def images_needed(spread: Spread, difference: float, n_images: int, settings: CompareSettings) -> int | None:
    """The fewest images, with the same seeds, with which the study would settle; None where no number
    does."""
    factor = _least(lambda f: settles(spread.with_images(f), difference, settings))
    return None if factor is None else ceil(n_images * factor - TOLERANCE)


def settles(spread: Spread, difference: float, settings: CompareSettings) -> bool:
    """Whether such a study would decide, in 80 % of repetitions, were what was measured the truth.

    Either its interval leaves zero out: the difference is as large as the smallest effect. Or its equivalence
    test passes: there is room for both errors below the margin (Chow, Shao and Wang 2008, "Sample size
    calculations in clinical research", section 3.1; for a difference of 0 exact, else more than needed).
    """
    size = abs(difference)
    room = spread.error(settings.confidence) + spread.error((1 + POWER) / 2)
    return smallest_effect(spread, settings.confidence) <= size or size + room <= settings.margin


def _least(settled: Callable[[float], bool]) -> float | None:
    """The least factor of at least 1 that settles: more never unsettles, so it is found by halving."""
    if settled(1.0):
        return 1.0
    if not settled(MOST):
        return None
    low, high = 1.0, MOST
    while high / low > 1 + 1e-4:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high
