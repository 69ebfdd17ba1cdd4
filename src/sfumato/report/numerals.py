"""Numbers as a reader sees them: rounding happens here and nowhere before."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"


def percent(fraction: float | None, *, decimals: int = 1) -> str:
    """A fraction in 0..1 as percent without the sign "%": 0.8125 is "81.2"."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.{decimals}f}"


def change(fraction: float | None) -> str:
    """A difference of fractions as signed percentage points: "+0.4", "−1.2", "0.0"."""
    if fraction is None:
        return UNKNOWN
    rounded = round(100 * fraction, 1)
    if rounded == 0:
        return "0.0"
    return f"{'+' if rounded > 0 else MINUS}{abs(rounded):.1f}"


def interval(low: float | None, high: float | None) -> str:
    """Ends of an interval in signed percentage points: "−1.2 to +0.3"."""
    return UNKNOWN if low is None or high is None else f"{change(low)} to {change(high)}"


def typeset(sentence: str) -> str:
    """A sentence with a true minus before its negative numbers."""
    return re.sub(r"(?<![\w.)])-(?=\d)", MINUS, sentence)


def count(number: int | None) -> str:
    """A whole number with separators: "50,000"."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, word: str) -> str:
    """A number with its word: "1 image", "2 images"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
