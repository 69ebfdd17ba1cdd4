"""The tables judged: for every arm in which something is hidden, what it did to top-1 accuracy.

Three answers (`sfumato.compare.planning.outcome`): no meaningful cost, where the equivalence test passes at
the margin; a cost (or gain) of at least so much, where the interval leaves zero out; or that this study
cannot tell. An interval that holds zero is never called "no cost". The words are in
`sfumato.compare.wording`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sfumato.compare import wording
from sfumato.compare.arms import NONE, ORIGINAL, is_obfuscated, short_names
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import Tables
from sfumato.compare.wording import points
from sfumato.records import write_json

__all__ = ["AffectedCategory", "Finding", "Verdict", "judge", "points", "write_verdict"]

VERDICT = "verdict.json"
SCHEMA_VERSION = 1
"""Of `verdict.json`: raised when a name in it goes or changes its meaning."""

_METRIC = "top1_accuracy"
_REAL_LOSSES = ("real loss", "swap and loss")
Row = dict[str, Any]


@dataclass(frozen=True)
class AffectedCategory:
    """A category of which a change is established; fractions, arm minus reference.

    Attributes:
        category: its name.
        difference, ci_low, ci_high: of this category alone.
        q_value: the least false discovery rate at which it is one (Benjamini-Hochberg over categories).
        n_images: of the category.
    """

    category: str
    difference: float
    ci_low: float | None
    ci_high: float | None
    q_value: float | None
    n_images: int


@dataclass(frozen=True)
class Finding:
    """What one arm did to top-1 accuracy.

    Attributes:
        arm: its spec.
        name: short name, unique within the verdict.
        model: the model, or "all" for the mean over models, which are taken as given.
        n_models: how many models that is.
        reference: "none" where there is a control arm, else "original".
        outcome: "equivalent" (no meaningful cost), "cost", "gain" or "undecided".
        difference, ci_low, ci_high: fractions, arm minus reference.
        p_value: two-sided, of no difference.
        margin: what is called meaningful, a fraction.
        p_equivalence: of the difference being `margin` or more either way.
        smallest_effect: the true difference that the study would have seen in 80 % of repetitions.
        seeds_needed, images_needed: what would settle it, each alone; None where it is settled, or nothing
        would. n_images, n_seeds: behind the difference. sentence: all of that in words. architectures: the
        same for architectures like these, in words; empty for one model. harmed, helped: categories of which
        a change is established, the most affected first. most_harmed: the categories that lost most,
        established or not. n_categories: categories that were looked at. categories_sentence: those in
        words. swaps: pairs (loser, winner) of categories whose changes are one confusion turned round, of all
        models. real_losses: categories that lost more than a swap explains, over all models.
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
    p_value: float
    margin: float
    p_equivalence: float
    smallest_effect: float
    seeds_needed: int | None
    images_needed: int | None
    n_images: int
    n_seeds: int
    sentence: str
    architectures: str
    harmed: tuple[AffectedCategory, ...]
    helped: tuple[AffectedCategory, ...]
    most_harmed: tuple[AffectedCategory, ...]
    n_categories: int
    categories_sentence: str
    swaps: tuple[tuple[str, str], ...]
    real_losses: tuple[str, ...]


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
    differences = tables.differences.to_pylist()
    rows = [row for row in differences if _is_judged(row) and is_obfuscated(row["arm"])]
    models = {row["model"] for row in rows}
    model = ALL_MODELS if ALL_MODELS in models else next(iter(sorted(models)), ALL_MODELS)
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["model"] == model))
    names = short_names(arms)
    confidence = _confidence(tables)
    findings = []
    for arm in arms:
        of_arm = [row for row in rows if row["arm"] == arm]
        best = _best_row([row for row in of_arm if row["model"] == model])
        n_models = sum(row["model"] != ALL_MODELS and row["reference"] == best["reference"] for row in of_arm)
        about = wording.About(names[arm], n_models, confidence)
        findings.append(_finding(best, about, tables))
    caveats = wording.caveats(findings, confidence, len(tables.excluded))
    caveats += wording.rewriting([row for row in differences if _is_judged(row)], findings)
    return Verdict(wording.headline(findings), tuple(findings), tuple(caveats))


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write `verdict.json`."""
    write_json(folder / VERDICT, {"schema_version": SCHEMA_VERSION, **asdict(verdict)})


def _confidence(tables: Tables) -> float:
    settings = tables.manifest.settings if tables.manifest else {}
    return float(settings.get("confidence", CompareSettings.confidence))


def _is_judged(row: Row) -> bool:
    return bool(row["metric"] == _METRIC and row["subset"] == "all" and row["outcome"] is not None)


def _best_row(rows: Sequence[Row]) -> Row:
    by_reference = {row["reference"]: row for row in rows}
    return by_reference[NONE if NONE in by_reference else ORIGINAL]


_COPIED = (
    "arm",
    "model",
    "reference",
    "outcome",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "margin",
    "p_equivalence",
    "smallest_effect",
    "seeds_needed",
    "images_needed",
    "n_images",
    "n_seeds",
)


def _finding(row: Row, about: wording.About, tables: Tables) -> Finding:
    categories = _categories(tables, row)
    alpha = 1 - about.confidence
    established = [item for item in categories if item.q_value is not None and item.q_value <= alpha]
    harmed = tuple(item for item in established if item.difference < 0)
    helped = tuple(item for item in reversed(established) if item.difference > 0)
    most_harmed = tuple(item for item in categories if item.difference < 0)[: wording.MOST_NAMED]
    return Finding(
        **{name: row[name] for name in _COPIED},
        name=about.name,
        n_models=about.n_models,
        sentence=wording.sentence(row, about),
        architectures=wording.architectures_sentence(_across(tables, row), about.confidence),
        harmed=harmed,
        helped=helped,
        most_harmed=most_harmed,
        n_categories=len(categories),
        categories_sentence=wording.categories_sentence((harmed, helped, most_harmed), len(categories)),
        swaps=tuple((item["loser"], item["winner"]) for item in _named(tables.swaps, row) if item["kind"]),
        real_losses=tuple(
            item["category"] for item in _named(tables.losses, row) if item["kind"] in _REAL_LOSSES
        ),
    )


def _of_arm(table: pa.Table, row: Row) -> pa.Table:
    """Filtered before it becomes Python: there may be a thousand categories of every model and arm."""
    return table.filter((pc.field("model") == row["model"]) & (pc.field("arm") == row["arm"]))


def _named(table: pa.Table, row: Row) -> list[Row]:
    return [item for item in table.to_pylist() if all(item[n] == row[n] for n in ("arm", "reference"))]


def _categories(tables: Tables, row: Row) -> list[AffectedCategory]:
    """Categories with images, from the most harmed to the most helped."""
    end = f"_to_{row['reference']}"
    found = [
        AffectedCategory(
            item["category"],
            item[f"top1_difference{end}"],
            item[f"top1_ci_low{end}"],
            item[f"top1_ci_high{end}"],
            item[f"top1_q_value{end}"],
            item["n_images"],
        )
        for item in _of_arm(tables.by_category, row).to_pylist()
        if item[f"top1_difference{end}"] is not None
    ]
    return sorted(found, key=lambda item: (item.difference, item.category))


def _across(tables: Tables, row: Row) -> Row | None:
    if row["model"] != ALL_MODELS:
        return None
    names = ("arm", "reference", "metric", "subset")
    same = (item for item in tables.architectures.to_pylist() if all(item[n] == row[n] for n in names))
    return next(same, None)
