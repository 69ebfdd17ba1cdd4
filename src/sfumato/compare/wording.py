"""The sentences of a verdict: for a person who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any

from sfumato.compare.arms import NONE, ORIGINAL, is_crossed, reference_of
from sfumato.compare.layout import ALL_MODELS

if TYPE_CHECKING:
    from sfumato.compare.verdict import AffectedCategory, Finding

MOST_NAMED = 5
Row = Mapping[str, Any]


@dataclass(frozen=True)
class About:
    """What a sentence needs beside the numbers: the arm's name, how many models, the confidence."""

    name: str
    n_models: int
    confidence: float


def points(fraction: float) -> str:
    """A fraction as percentage points with one decimal, "-0.0" avoided."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def at_least(fraction: float) -> str:
    """A positive fraction as points, rounded down: to a tenth, or to a hundredth where little is left."""
    decimals = 1 if fraction >= 0.001 else 2
    scale = 100 * 10**decimals
    return f"{floor(fraction * scale + 1e-9) / scale * 100:.{decimals}f}"


def counted(n: int, word: str) -> str:
    """A number with its noun."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def sentence(row: Row, about: About) -> str:
    """What one arm did, from its row of the table of differences."""
    subject = f"hiding faces with {about.name}"
    if is_crossed(row["arm"]):
        trained, evaluated = about.name.split(" -> ")
        subject = f"training on {trained} and evaluating on {evaluated}"
    text = _SENTENCES[row["outcome"]](subject, row, _basis(row, about))
    return f"{text[0].upper()}{text[1:]}"


def _equivalent(subject: str, row: Row, basis: str) -> str:
    size, margin = points(abs(row["difference"])), _margin(row)
    told = row["ci_low"] > 0 or row["ci_high"] < 0
    seen = "more than chance would do, but shown to be less than" if told else "shown to be less than"
    moved = f"top-1 accuracy {_moved(row)} by {size} points on average"
    return f"{subject} had no meaningful cost: {moved}, {seen} {margin} ({basis})."


def _cost(subject: str, row: Row, basis: str) -> str:
    verb, end = ("cost", -row["ci_high"]) if row["difference"] < 0 else ("gained", row["ci_low"])
    size = points(abs(row["difference"]))
    least = f"{verb} at least {at_least(end)} points of top-1 accuracy"
    return f"{subject} {least}, about {size} on average ({basis})."


def _undecided(subject: str, row: Row, basis: str) -> str:
    size = f"{'cost' if row['difference'] <= 0 else 'gain'} of {points(abs(row['difference']))} points"
    effect = points(row["smallest_effect"])
    return (
        f"this study cannot tell what {subject} costs: a {size} of top-1 accuracy was measured ({basis}), "
        f"which is neither told from zero nor shown to be less than {_margin(row)}. An effect of {effect} "
        f"points would have been seen in 8 of 10 such studies; {_settling(row)}."
    )


_SENTENCES = {"equivalent": _equivalent, "cost": _cost, "gain": _cost, "undecided": _undecided}


def _moved(row: Row) -> str:
    return "fell" if row["difference"] < 0 else "rose" if row["difference"] > 0 else "changed"


def _margin(row: Row) -> str:
    value = f"{100 * row['margin']:g}"
    return f"the margin of {value} point{'' if value == '1' else 's'}"


def _settling(row: Row) -> str:
    """How much more would settle it."""
    ways = []
    if row["seeds_needed"] is not None:
        ways.append(f"{counted(row['seeds_needed'], 'seed')} of each model")
    if row["images_needed"] is not None:
        ways.append(counted(row["images_needed"], "image"))
    if not ways:
        return "if the truth is what was measured, neither more seeds nor more images alone would settle it"
    return f"if the truth is what was measured, about {', or '.join(ways)}, would settle it"


def _basis(row: Row, about: About) -> str:
    sign = 1 if row["difference"] > 0 or row["outcome"] == "equivalent" else -1
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))  # a cost is told as a positive number
    models = f"{about.n_models} models, " if row["model"] == ALL_MODELS else ""
    control = "the control arm none" if row["reference"] == NONE else "original images (no control arm)"
    change = " of the change" if row["outcome"] == "equivalent" else ""
    interval = f"{100 * about.confidence:g} % interval{change} {points(low)} to {points(high)}"
    return (
        f"{interval}; compared with {control}; "
        f"{counted(row['n_images'], 'image')}, {models}{counted(row['n_seeds'], 'seed')}"
    )


def architectures_sentence(row: Row | None, confidence: float) -> str:
    """What to expect of another architecture, from the paired t over models."""
    if row is None:
        return ""
    interval = f"{100 * confidence:g} % interval {points(row['ci_low'])} to {points(row['ci_high'])}"
    return (
        "On average over architectures like these, top-1 accuracy changes by "
        f"{points(row['difference'])} points ({interval}; paired t over {row['n_models']} models); the "
        "interval above is of these models alone."
    )


def categories_sentence(
    found: tuple[Sequence[AffectedCategory], Sequence[AffectedCategory], Sequence[AffectedCategory]],
    n_categories: int,
) -> str:
    """Which categories changed: established harms and gains, and what lost most where none is established."""
    harmed, helped, most_harmed = found
    looked_at = f"{n_categories:,} {'category' if n_categories == 1 else 'categories'}"
    if not harmed and not helped:
        named = _listed(most_harmed, len(most_harmed))
        lost = f"; the largest losses, which may be chance: {named}" if most_harmed else ""
        return f"In none of {looked_at} is a change established{lost}."
    parts = [
        f"most {word}: {_listed(items, len(items))}"
        for word, items in (("harmed", harmed), ("helped", helped))
        if items
    ]
    return f"In {len(harmed) + len(helped):,} of {looked_at} a change is established; {'; '.join(parts)}."


def _listed(categories: Sequence[AffectedCategory], total: int) -> str:
    named = [f"{item.category} ({100 * item.difference:+.1f} points)" for item in categories[:MOST_NAMED]]
    more = total - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def headline(findings: Sequence[Finding]) -> str:
    """One sentence over all arms that were evaluated as they were trained."""
    plain = [finding for finding in findings if not is_crossed(finding.arm)]
    if not plain:
        return "No arm with hidden faces was compared, so there is nothing to judge."
    if len(plain) == 1:
        return plain[0].sentence
    parts = []
    for outcome, words in _HEADLINE.items():
        named = [_named(finding) for finding in plain if finding.outcome == outcome]
        if named:
            parts.append(words.format(_joined(named)))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


_HEADLINE = {
    "cost": "hiding faces cost top-1 accuracy: {}",
    "gain": "top-1 accuracy rose: {}",
    "equivalent": "hiding faces had no meaningful cost with {}",
    "undecided": "this study cannot tell what hiding faces with {} costs",
}


def _named(finding: Finding) -> str:
    if finding.outcome == "undecided":
        return finding.name
    if finding.outcome == "equivalent":
        return f"{finding.name} ({100 * finding.difference:+.1f} points)"
    end = -finding.ci_high if finding.outcome == "cost" else finding.ci_low
    size = f"about {points(abs(finding.difference))} points"
    return f"{size} with {finding.name} (at least {at_least(end)})"


def _joined(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def rewriting(rows: Sequence[Row], findings: Sequence[Finding]) -> list[str]:
    """What writing the images anew did, hiding nothing, where that can be told from zero.

    Args:
        rows: of the table of differences, top-1 accuracy on all images.
        findings: of the verdict.
    """
    models = {finding.model for finding in findings if finding.reference == NONE}
    told = [
        row
        for row in rows
        if row["model"] in models and reference_of(row["arm"]) == NONE
        if row["ci_high"] < 0 or row["ci_low"] > 0
    ]
    return [
        f"Writing the images anew, with nothing hidden, {'cost' if row['difference'] < 0 else 'gained'} "
        f"about {points(abs(row['difference']))} points of top-1 accuracy by itself (the control arm none "
        "against original); that is not counted above."
        for row in told
    ]


def caveats(findings: Sequence[Finding], confidence: float, n_excluded: int) -> list[str]:
    """What to keep in mind, a sentence each."""
    found = [text for holds, text in _known_caveats(findings, confidence) if holds]
    if n_excluded:
        found.append(f"{counted(n_excluded, 'image')} failed and were left out of every arm.")
    return found


def _known_caveats(findings: Sequence[Finding], confidence: float) -> list[tuple[bool, str]]:
    rate = f"{100 * (1 - confidence):.0f}"
    one = any(finding.n_seeds == 1 for finding in findings)
    return [
        (
            any(finding.outcome == "undecided" for finding in findings),
            "An interval that holds zero does not show that hiding faces costs nothing; it shows that this "
            "study could not have seen a cost within the interval.",
        ),
        (
            any(finding.harmed or finding.helped for finding in findings),
            f"A category's change is called established at a false discovery rate of {rate} % "
            f"(Benjamini-Hochberg over the categories of an arm): of those named, up to {rate} in 100 are to "
            "be expected by chance.",
        ),
        (
            one,
            "At least one model was trained with one seed only: how much training varies by chance is "
            "unknown, and the intervals are too narrow by that much.",
        ),
        (
            not one and any(finding.n_seeds < 5 for finding in findings),
            "With few seeds, how much training varies by chance is known only roughly: intervals are wide.",
        ),
        (
            any(finding.reference == ORIGINAL for finding in findings),
            "Without the control arm none, the effect of writing the images anew is counted as hiding faces.",
        ),
    ]
