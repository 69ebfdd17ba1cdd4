"""The tables judged: for every arm in which something is hidden, what it did to top-1 accuracy.

Of a downstream task it is what hiding faces in pre-training did to the task's main metric; and what each arm
gained over training from scratch.

Three answers (`sfumato.compare.planning.outcome`): no meaningful cost, where the equivalence test passes at
the margin; a cost (or gain) of at least so much, where the interval leaves zero out; or that this study
cannot tell. An interval that holds zero is never called "no cost". The words are in
`sfumato.compare.wording`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sfumato.compare import wording
from sfumato.compare.arms import NONE, ORIGINAL, SCRATCH, is_obfuscated, short_names
from sfumato.compare.gains import Gain, gains
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.learned import unlearned
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import Tables
from sfumato.compare.wording import About, points
from sfumato.records import write_json

__all__ = ["AffectedCategory", "Finding", "Gain", "Verdict", "judge", "points", "write_verdict"]

VERDICT = "verdict.json"
SCHEMA_VERSION = 1
"""Of `verdict.json`: raised when a name in it goes or changes its meaning."""

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
    """What one arm did to top-1 accuracy, or to the main metric of a downstream task.

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
        gains: over training from scratch, one for each arm; empty where nothing was trained from scratch.
        metric: that all of it is of.
        unlearned: of a downstream task that no model learned, a sentence that says so (the first of the
            caveats), else "".
    """

    headline: str
    findings: tuple[Finding, ...]
    caveats: tuple[str, ...]
    gains: tuple[Gain, ...] = ()
    metric: str = "top1_accuracy"
    unlearned: str = ""


def judge(tables: Tables) -> Verdict:
    """Put the tables into words."""
    about = About.of(tables.metrics[0], tables.task, _confidence(tables))
    judged = [row for row in tables.differences.to_pylist() if _is_judged(row, tables.metrics[0])]
    findings = list(_findings(tables, judged, about))
    names = short_names(dict.fromkeys(row["arm"] for row in judged))
    gained = tuple(gains(judged, names, about))
    nothing = unlearned(tables)
    caveats = [nothing] if nothing else []
    caveats += wording.caveats(findings, gained, about, len(tables.excluded))
    caveats += wording.rewriting(judged, findings, about)
    caveats += _caveats_of_task(tables, about)
    headline = wording.headline(findings, about)
    if gained and not findings:
        headline = " ".join(gain.sentence for gain in gained)
    return Verdict(headline, tuple(findings), tuple(caveats), gained, tables.metrics[0], nothing)


def _findings(tables: Tables, judged: Sequence[Row], about: About) -> Iterator[Finding]:
    rows = [row for row in judged if is_obfuscated(row["arm"]) and row["reference"] != SCRATCH]
    models = {row["model"] for row in rows}
    model = ALL_MODELS if ALL_MODELS in models else next(iter(sorted(models)), ALL_MODELS)
    arms = list(dict.fromkeys(row["arm"] for row in rows if row["model"] == model))
    names = short_names(arms)
    for arm in arms:
        of_arm = [row for row in rows if row["arm"] == arm]
        best = _best_row([row for row in of_arm if row["model"] == model])
        n_models = sum(row["model"] != ALL_MODELS and row["reference"] == best["reference"] for row in of_arm)
        yield _finding(best, replace(about, name=names[arm], n_models=n_models), tables)


def _caveats_of_task(tables: Tables, about: About) -> list[str]:
    facts = tables.manifest.facts if tables.manifest else {}
    common, fewest = facts.get("too_common", ()), int(facts.get("fewest", 1))
    rare = [name for name in facts.get("not_counted", ()) if name not in common]
    found = wording.not_counted(rare, about, f"fewer than {fewest} images with it" if fewest > 1 else "")
    found += wording.not_counted(common, about, f"fewer than {fewest} images without it")
    starts = [
        seeds
        for by_arm in facts.get("start_seeds", {}).values()
        for arm, seeds in by_arm.items()
        if arm != SCRATCH
    ]
    if starts and all(len(set(seeds)) == 1 for seeds in starts):
        found.append(wording.ONE_START)
    return found


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write `verdict.json`."""
    write_json(folder / VERDICT, {"schema_version": SCHEMA_VERSION, **asdict(verdict)})


def _confidence(tables: Tables) -> float:
    settings = tables.manifest.settings if tables.manifest else {}
    return float(settings.get("confidence", CompareSettings.confidence))


def _is_judged(row: Row, metric: str) -> bool:
    return bool(row["metric"] == metric and row["subset"] == "all" and row["outcome"] is not None)


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


def _finding(row: Row, about: About, tables: Tables) -> Finding:
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
        architectures=wording.architectures_sentence(_across(tables, row), about),
        harmed=harmed,
        helped=helped,
        most_harmed=most_harmed,
        n_categories=len(categories),
        categories_sentence=wording.categories_sentence(
            (harmed, helped, most_harmed), len(categories), about
        ),
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
    """Categories (attributes, classes) with images, from the most harmed to the most helped."""
    found = _by_precision(tables, row) if len(tables.by_category) == 0 else _by_accuracy(tables, row)
    return sorted(found, key=lambda item: (item.difference, item.category))


def _by_accuracy(tables: Tables, row: Row) -> list[AffectedCategory]:
    end = f"_to_{row['reference']}"
    return [
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


def _by_precision(tables: Tables, row: Row) -> list[AffectedCategory]:
    """Those of which something is known: rare attributes are not."""
    return [
        AffectedCategory(
            item["category"],
            item["difference"],
            item["ci_low"],
            item["ci_high"],
            item["q_value_benjamini_hochberg"],
            item["n_images"],
        )
        for item in _of_arm(tables.precision_differences, row).to_pylist()
        if item["reference"] == row["reference"] and item["ci_low"] is not None
    ]


def _across(tables: Tables, row: Row) -> Row | None:
    if row["model"] != ALL_MODELS:
        return None
    names = ("arm", "reference", "metric", "subset")
    same = (item for item in tables.architectures.to_pylist() if all(item[n] == row[n] for n in names))
    return next(same, None)
