"""The tables in words: a sentence for every arm that a person can read who knows no statistics.

A difference whose interval holds zero is never called "no cost": the study could not see one, which
is something else. Saying how small a cost has been ruled out needs an equivalence test with a margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato.compare.arms import NONE, ORIGINAL, is_crossed, is_obfuscated, reference_of, short_names
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import Tables
from sfumato.records import write_json

VERDICT = "verdict.json"

_TOLERANCE = 1e-9
"""Differences of floating-point sums that are zero on paper stay below this."""

_MOST_NAMED = 5
_METRIC = "top1_accuracy"
Row = dict[str, Any]


@dataclass(frozen=True)
class AffectedCategory:
    """A category whose interval excludes zero; fractions, arm minus reference."""

    category: str
    difference: float
    ci_low: float
    ci_high: float
    n_images: int


@dataclass(frozen=True)
class Finding:
    """What one arm did to top-1 accuracy.

    Attributes:
        arm: its spec.
        name: short name, unique within the verdict.
        model: the model, or "all" for the mean over models.
        n_models: how many models that is.
        reference: "none" where there is a control arm, else "original".
        outcome: "cost", "gain", or "undecided" where the interval holds zero.
        difference, ci_low, ci_high: fractions, arm minus reference.
        n_images, n_seeds: behind the difference.
        sentence: all of that in words.
        harmed, helped: categories whose interval excludes zero, the most affected first.
        n_categories: categories that were looked at.
        categories_sentence: those in words.
    """

    arm: str
    name: str
    model: str
    n_models: int
    reference: str
    outcome: str
    difference: float
    ci_low: float
    ci_high: float
    n_images: int
    n_seeds: int
    sentence: str
    harmed: tuple[AffectedCategory, ...]
    helped: tuple[AffectedCategory, ...]
    n_categories: int
    categories_sentence: str


@dataclass(frozen=True)
class Verdict:
    """What a comparison says.

    Attributes:
        headline: one sentence over all arms.
        findings: one for every arm in which something is hidden.
        caveats: what to keep in mind, a sentence each.
    """

    headline: str
    findings: tuple[Finding, ...]
    caveats: tuple[str, ...]


def judge(tables: Tables) -> Verdict:
    """Put the tables into words."""
    rows = [row for row in tables.differences.to_pylist() if _is_judged(row)]
    models = {row["model"] for row in rows}
    model = ALL_MODELS if ALL_MODELS in models else next(iter(sorted(models)), ALL_MODELS)
    rows_of_model = [row for row in rows if row["model"] == model]
    arms = list(dict.fromkeys(row["arm"] for row in rows_of_model))
    names = short_names(arms)
    confidence = _confidence(tables)
    categories = tables.by_category.to_pylist()
    findings = []
    for arm in arms:
        row = _best_row([row for row in rows_of_model if row["arm"] == arm])
        of_arm = [item for item in categories if (item["model"], item["arm"]) == (model, arm)]
        same = [other for other in rows if (other["arm"], other["reference"]) == (arm, row["reference"])]
        n_models = len({other["model"] for other in same} - {ALL_MODELS})
        basis = _basis(row, n_models, confidence)
        findings.append(_finding(row, (names[arm], basis), n_models, of_arm))
    return Verdict(_headline(findings), tuple(findings), tuple(_caveats(tables, findings)))


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write `verdict.json`."""
    write_json(folder / VERDICT, asdict(verdict))


def points(fraction: float) -> str:
    """A fraction as percentage points with one decimal, "-0.0" avoided."""
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def _confidence(tables: Tables) -> float:
    settings = tables.manifest.settings if tables.manifest else {}
    return float(settings.get("confidence", CompareSettings.confidence))


def _is_judged(row: Row) -> bool:
    return bool(
        row["metric"] == _METRIC
        and row["subset"] == "all"
        and row["ci_low"] is not None
        and is_obfuscated(row["arm"])
    )


def _best_row(rows: Sequence[Row]) -> Row:
    by_reference = {row["reference"]: row for row in rows}
    return by_reference[NONE if NONE in by_reference else ORIGINAL]


def _outcome(low: float, high: float) -> str:
    if high < -_TOLERANCE:
        return "cost"
    return "gain" if low > _TOLERANCE else "undecided"


def _finding(row: Row, words: tuple[str, str], n_models: int, categories: Sequence[Row]) -> Finding:
    name, basis = words
    outcome = _outcome(row["ci_low"], row["ci_high"])
    affected = _affected(categories, row["reference"])
    harmed = tuple(sorted((a for a in affected if a.difference < 0), key=lambda a: a.difference))
    helped = tuple(sorted((a for a in affected if a.difference > 0), key=lambda a: -a.difference))
    n_categories = sum(item["n_images"] > 0 for item in categories)
    return Finding(
        arm=row["arm"],
        name=name,
        model=row["model"],
        n_models=n_models,
        reference=row["reference"],
        outcome=outcome,
        difference=row["difference"],
        ci_low=row["ci_low"],
        ci_high=row["ci_high"],
        n_images=row["n_images"],
        n_seeds=row["n_seeds"],
        sentence=_sentence(row, name, outcome, basis),
        harmed=harmed,
        helped=helped,
        n_categories=n_categories,
        categories_sentence=_categories_sentence(harmed, helped, n_categories),
    )


def _sentence(row: Row, name: str, outcome: str, basis: str) -> str:
    subject = f"Hiding faces with {name}"
    if is_crossed(row["arm"]):
        trained, evaluated = name.split(" -> ")
        subject = f"Training on {trained} and evaluating on {evaluated}"
    return f"{subject} {_effect(row, outcome)} ({basis}){_reading(outcome)}."


def _effect(row: Row, outcome: str) -> str:
    size = points(abs(row["difference"]))
    if outcome == "undecided":
        word = "cost" if row["difference"] <= 0 else "gained"
        return f"{word} {size} points of top-1 accuracy on average"
    return f"{'cost' if outcome == 'cost' else 'gained'} about {size} points of top-1 accuracy on average"


def _reading(outcome: str) -> str:
    return ": this study cannot tell it from zero" if outcome == "undecided" else ""


def _basis(row: Row, n_models: int, confidence: float) -> str:
    sign = 1 if row["difference"] > 0 else -1  # a cost is told as a positive number
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    models = f"{n_models} models, " if row["model"] == ALL_MODELS else ""
    control = "the control arm none" if row["reference"] == NONE else "original images (no control arm)"
    return (
        f"{100 * confidence:g} % interval {points(low)} to {points(high)}; against {control}; "
        f"{_count(row['n_images'], 'image')}, {models}{_count(row['n_seeds'], 'seed')}"
    )


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _affected(categories: Sequence[Row], reference: str) -> list[AffectedCategory]:
    found = []
    for row in categories:
        low, high = row[f"top1_ci_low_to_{reference}"], row[f"top1_ci_high_to_{reference}"]
        if low is not None and _outcome(low, high) != "undecided":
            difference = row[f"top1_difference_to_{reference}"]
            found.append(AffectedCategory(row["category"], difference, low, high, row["n_images"]))
    return found


def _categories_sentence(
    harmed: Sequence[AffectedCategory], helped: Sequence[AffectedCategory], n_categories: int
) -> str:
    looked_at = f"{n_categories:,} {'category' if n_categories == 1 else 'categories'}"
    if not harmed and not helped:
        return f"In none of {looked_at} does the interval exclude zero."
    parts = []
    if harmed:
        parts.append(f"most harmed: {_listed(harmed)}")
    if helped:
        parts.append(f"most helped: {_listed(helped)}")
    return f"In {len(harmed) + len(helped):,} of {looked_at} the interval excludes zero; {'; '.join(parts)}."


def _listed(categories: Sequence[AffectedCategory]) -> str:
    named = [f"{item.category} ({100 * item.difference:+.1f} points)" for item in categories[:_MOST_NAMED]]
    more = len(categories) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _headline(findings: Sequence[Finding]) -> str:
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
    "cost": "hiding faces cost top-1 accuracy with {}",
    "gain": "top-1 accuracy rose with {}",
    "undecided": "with {} this study cannot tell the effect on top-1 accuracy from zero",
}


def _named(finding: Finding) -> str:
    if finding.outcome == "undecided":
        return finding.name
    return f"{finding.name} (about {points(abs(finding.difference))} points)"


def _joined(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def _rewriting(tables: Tables, findings: Sequence[Finding]) -> list[str]:
    """What writing the images anew did, hiding nothing, where that can be told from zero."""
    models = {finding.model for finding in findings if finding.reference == NONE}
    return [
        f"Writing the images anew, with nothing hidden, {_effect(row, outcome)} by itself "
        f"(the control arm none against original); that is not counted above."
        for row in tables.differences.to_pylist()
        if row["metric"] == _METRIC and row["subset"] == "all" and row["ci_low"] is not None
        if row["model"] in models and reference_of(row["arm"]) == NONE
        if (outcome := _outcome(row["ci_low"], row["ci_high"])) != "undecided"
    ]


def _caveats(tables: Tables, findings: Sequence[Finding]) -> list[str]:
    caveats = []
    if any(finding.outcome == "undecided" for finding in findings):
        caveats.append(
            "An interval that holds zero does not show that hiding faces costs nothing; "
            "it shows that a cost within the interval could not be seen."
        )
    if any(finding.harmed or finding.helped for finding in findings):
        chance = 100 * (1 - _confidence(tables))
        caveats.append(
            "Many categories are compared at once without correction: where nothing differs at all, about "
            f"{chance:.0f} in 100 intervals exclude zero by chance alone."
        )
    if any(finding.n_seeds == 1 for finding in findings):
        caveats.append(
            "At least one model was trained with one seed only: how much training varies by chance is "
            "unknown, and the intervals are too narrow by that much."
        )
    elif any(finding.n_seeds < 5 for finding in findings):
        caveats.append("With few seeds, how much training varies by chance is known only roughly.")
    if any(finding.reference == ORIGINAL for finding in findings):
        caveats.append(
            "Without the control arm none, the effect of writing the images anew is counted as hiding faces."
        )
    caveats += _rewriting(tables, findings)
    if len(tables.excluded):
        caveats.append(f"{_count(len(tables.excluded), 'image')} failed and were left out of every arm.")
    return caveats
