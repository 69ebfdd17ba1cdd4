"""Numbers as a reader sees them: rounding happens here and nowhere before."""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"


def percent(fraction: float | None, *, decimals: int = 1) -> str:
    """A fraction in 0..1 as percent without the sign "%": 0.8125 is "81.2"."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.{decimals}f}"


def change(fraction: float | None, *, decimals: int = 1) -> str:
    """A difference of fractions as signed percentage points: "+0.4", "−1.2", "0.0"."""
    if fraction is None:
        return UNKNOWN
    return signed(100 * fraction, decimals=decimals)


def interval(low: float | None, high: float | None, *, decimals: int = 1) -> str:
    """Ends of an interval in signed percentage points: "−1.2 to +0.3"."""
    if low is None or high is None:
        return UNKNOWN
    return f"{change(low, decimals=decimals)} to {change(high, decimals=decimals)}"


def typeset(sentence: str) -> str:
    """A sentence with a true minus before its negative numbers."""
    return re.sub(r"(?<![\w.)])-(?=\d)", MINUS, sentence)


def count(number: int | None) -> str:
    """A whole number with separators: "50,000"."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, word: str) -> str:
    """A number with its word: "1 image", "2 images", "3 categories"."""
    many = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{number:,} {word if number == 1 else many}"


def probability(p: float | None) -> str:
    """A p-value or q-value: "0.35", "0.012", "<0.001"."""
    if p is None:
        return UNKNOWN
    return "<0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.1 else f"{p:.3f}"


def signed(value: float | None, *, decimals: int = 2) -> str:
    """A number as it is, with its sign: "+0.35", "−1.20"."""
    if value is None:
        return UNKNOWN
    rounded = round(value, decimals) + 0.0
    return f"{'+' if rounded > 0 else MINUS if rounded < 0 else ''}{abs(rounded):.{decimals}f}"
