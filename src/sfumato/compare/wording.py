"""The sentences of a verdict: for a person who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import floor
from typing import TYPE_CHECKING, Any

from sfumato.compare.arms import NONE, ORIGINAL, is_crossed, reference_of
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.planning import TOLERANCE

if TYPE_CHECKING:
    from sfumato.compare.gains import Gain
    from sfumato.compare.verdict import AffectedCategory, Finding

MOST_NAMED = 5
Row = Mapping[str, Any]


METRIC_WORDS = {
    "top1_accuracy": "top-1 accuracy",
    "top5_accuracy": "top-5 accuracy",
    "mean_average_precision": "mean average precision",
    "coco_ap": "mean average precision (COCO)",
    "coco_ap50": "mean average precision (COCO, IoU 0.5)",
    "voc2007_ap": "mean average precision (VOC 2007, 11 points)",
    "voc2010_ap": "mean average precision (VOC 2010, area)",
}
"""What a sentence calls a metric."""

_NOUNS = {"categories": "category", "attributes": "attribute", "objects": "class"}
_PLURALS = {"category": "categories", "attribute": "attributes", "class": "classes"}


@dataclass(frozen=True)
class About:
    """What a sentence needs beside the numbers.

    Attributes:
        name: of the arm.
        n_models: how many.
        confidence: of the intervals.
        metric: in words, of a downstream task with its title.
        during: " in pre-training", of a downstream task.
        noun: what the images are told by: "category", "attribute" or "class".
    """

    name: str
    n_models: int
    confidence: float
    metric: str = METRIC_WORDS["top1_accuracy"]
    during: str = ""
    noun: str = "category"

    @classmethod
    def of(cls, metric: str, task: Mapping[str, Any] | None, confidence: float) -> About:
        """Words for one metric, of a downstream task or none; name and models are still to come."""
        words = METRIC_WORDS.get(metric, metric)
        if task is None:
            return cls("", 0, confidence, words)
        noun = _NOUNS[task["kind"]]
        return cls("", 0, confidence, f"{words} on {task['title']}", " in pre-training", noun)

    @property
    def plural(self) -> str:
        """Of the noun."""
        return _PLURALS[self.noun]


def points(fraction: float) -> str:
    """A fraction as percentage points: one decimal, more where it would print as zero and is not."""
    decimals = decimals_of(fraction)
    return f"{round(100 * fraction, decimals) + 0.0:.{decimals}f}"


def signed_points(fraction: float) -> str:
    """The same with its sign: "+0.4", "-1.2", "+0.0"."""
    text = points(fraction)
    return text if text.startswith("-") else f"+{text}"


def decimals_of(fraction: float) -> int:
    """How many decimals a fraction needs as percentage points, so as not to print as zero; at least one."""
    if abs(fraction) < TOLERANCE:  # a sum that is zero on paper
        return 1
    return next(places for places in count(1) if round(100 * fraction, places))


def at_least(fraction: float) -> str:
    """A positive fraction as points, rounded down to a tenth, or further where that would be zero."""
    sizes = range(1, 1 + decimals_of(TOLERANCE))
    decimals = next((places for places in sizes if _floored(fraction, places)), 1)
    return f"{_floored(fraction, decimals):.{decimals}f}"


def _floored(fraction: float, decimals: int) -> float:
    scale = 10.0**decimals
    return floor(fraction * 100 * scale + 1e-9) / scale


def counted(n: int, word: str) -> str:
    """A number with its noun."""
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def sentence(row: Row, about: About) -> str:
    """What one arm did, from its row of the table of differences."""
    subject = f"hiding faces with {about.name}{about.during}"
    if is_crossed(row["arm"]):
        trained, evaluated = about.name.split(" -> ")
        subject = f"training on {trained} and evaluating on {evaluated}"
    text = _SENTENCES[row["outcome"]](subject, row, about)
    return f"{text[0].upper()}{text[1:]}"


def _equivalent(subject: str, row: Row, about: About) -> str:
    size, margin = points(abs(row["difference"])), _margin(row)
    told = row["ci_low"] > 0 or row["ci_high"] < 0
    seen = "more than chance would do, but shown to be less than" if told else "shown to be less than"
    moved = f"{about.metric} {_moved(row)} by {size} points on average"
    return f"{subject} had no meaningful cost: {moved}, {seen} {margin} ({_basis(row, about)})."


def _cost(subject: str, row: Row, about: About) -> str:
    verb, end = ("cost", -row["ci_high"]) if row["difference"] < 0 else ("gained", row["ci_low"])
    size = points(abs(row["difference"]))
    least = f"{verb} at least {at_least(end)} points of {about.metric}"
    return f"{subject} {least}, about {size} on average ({_basis(row, about)})."


def _undecided(subject: str, row: Row, about: About) -> str:
    size = f"{'cost' if row['difference'] <= 0 else 'gain'} of {points(abs(row['difference']))} points"
    effect = points(row["smallest_effect"])
    return (
        f"this study cannot tell what {subject} costs: a {size} of {about.metric} was measured "
        f"({_basis(row, about)}), which is neither told from zero nor shown to be less than {_margin(row)}. "
        f"An effect of {effect} points would have been seen in 8 of 10 such studies; {_settling(row)}."
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


def architectures_sentence(row: Row | None, about: About) -> str:
    """What to expect of another architecture, from the paired t over models."""
    if row is None:
        return ""
    interval = f"{100 * about.confidence:g} % interval {points(row['ci_low'])} to {points(row['ci_high'])}"
    return (
        f"On average over architectures like these, {about.metric} changes by "
        f"{points(row['difference'])} points ({interval}; paired t over {row['n_models']} models); the "
        "interval above is of these models alone."
    )


def categories_sentence(
    found: tuple[Sequence[AffectedCategory], Sequence[AffectedCategory], Sequence[AffectedCategory]],
    n_categories: int,
    about: About,
) -> str:
    """Which categories changed: established harms and gains, and what lost most where none is established."""
    harmed, helped, most_harmed = found
    looked_at = f"{n_categories:,} {about.noun if n_categories == 1 else about.plural}"
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
    named = [f"{item.category} ({signed_points(item.difference)} points)" for item in categories[:MOST_NAMED]]
    more = total - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def headline(findings: Sequence[Finding], about: About) -> str:
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
            parts.append(words.format(_joined(named), metric=about.metric, during=about.during))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


_HEADLINE = {
    "cost": "hiding faces{during} cost {metric}: {}",
    "gain": "{metric} rose: {}",
    "equivalent": "hiding faces{during} had no meaningful cost with {}",
    "undecided": "this study cannot tell what hiding faces with {}{during} costs",
}


def _named(finding: Finding) -> str:
    if finding.outcome == "undecided":
        return finding.name
    if finding.outcome == "equivalent":
        return f"{finding.name} ({signed_points(finding.difference)} points)"
    end = -finding.ci_high if finding.outcome == "cost" else finding.ci_low
    size = f"about {points(abs(finding.difference))} points"
    return f"{size} with {finding.name} (at least {at_least(end)})"


def _joined(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def rewriting(rows: Sequence[Row], findings: Sequence[Finding], about: About) -> list[str]:
    """What writing the images anew did, hiding nothing, where that can be told from zero.

    Args:
        rows: of the table of differences, the main metric on all images.
        findings: of the verdict.
        about: words.
    """
    models = {finding.model for finding in findings if finding.reference == NONE}
    told = [
        row
        for row in rows
        if row["model"] in models and reference_of(row["arm"]) == NONE and row["reference"] == ORIGINAL
        if row["ci_high"] < 0 or row["ci_low"] > 0
    ]
    return [
        f"Writing the images{about.during} anew, with nothing hidden, "
        f"{'cost' if row['difference'] < 0 else 'gained'} about {points(abs(row['difference']))} points of "
        f"{about.metric} by itself (the control arm none against original); that is not counted above."
        for row in told
    ]


def caveats(findings: Sequence[Finding], gains: Sequence[Gain], about: About, n_excluded: int) -> list[str]:
    """What to keep in mind, a sentence each."""
    n_seeds = [finding.n_seeds for finding in findings] + [gain.n_seeds for gain in gains]
    found = [text for holds, text in _known_caveats(findings, n_seeds, about) if holds]
    if n_excluded:
        found.append(f"{counted(n_excluded, 'image')} failed and were left out of every arm.")
    return found


def _known_caveats(
    findings: Sequence[Finding], n_seeds: Sequence[int], about: About
) -> list[tuple[bool, str]]:
    rate = f"{100 * (1 - about.confidence):.0f}"
    one = 1 in n_seeds
    return [
        (
            any(finding.outcome == "undecided" for finding in findings),
            "An interval that holds zero does not show that hiding faces costs nothing; it shows that this "
            "study could not have seen a cost within the interval.",
        ),
        (
            any(finding.harmed or finding.helped for finding in findings),
            f"{_article(about.noun)}'s change is called established at a false discovery rate of {rate} % "
            f"(Benjamini-Hochberg over the {about.plural} of an arm): of those named, up to {rate} in 100 "
            "are to be expected by chance.",
        ),
        (
            one,
            "At least one model was trained with one seed only: how much training varies by chance is "
            "unknown, and the intervals are too narrow by that much.",
        ),
        (
            not one and any(count < 5 for count in n_seeds),
            "With few seeds, how much training varies by chance is known only roughly: intervals are wide.",
        ),
        (
            any(finding.reference == ORIGINAL for finding in findings),
            "Without the control arm none, the effect of writing the images anew is counted as hiding faces.",
        ),
    ]


def _article(noun: str) -> str:
    return f"{'An' if noun[0] in 'aeiou' else 'A'} {noun}"


ONE_START = (
    "The chance of pre-training is not in these intervals: every arm started from one pre-trained model."
)


def not_counted(names: Sequence[str], about: About, few: str) -> list[str]:
    """What is not in a mean average precision, and what it has too few of, in a sentence, or nothing."""
    if not names:
        return []
    are, listed = ("is", "has") if len(names) == 1 else ("are", "have"), ", ".join(names[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    noun = about.noun if len(names) == 1 else about.plural
    why = few or "nothing to be found"
    return [f"{len(names)} {noun} {are[1]} {why} and {are[0]} not in the mean: {listed}{more}."]
