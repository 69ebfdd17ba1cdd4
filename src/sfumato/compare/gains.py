"""Gains over training from scratch, of a downstream task: whether pre-training helps at all, by arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.compare.arms import SCRATCH, reference_of
from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.wording import About, at_least, counted, points

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gain:
    """What starting from one arm's models gains over random weights; fractions, arm minus scratch.

    Attributes:
        arm: its spec.
        name: short name, unique within the verdict.
        model: the model, or "all" for the mean over models, which are taken as given.
        n_models: how many models that is.
        metric: the main one of the task.
        outcome: "gain", "cost", "equivalent" or "undecided" (`sfumato.compare.planning.outcome`).
        difference, ci_low, ci_high: with the interval.
        p_value: two-sided, of no difference.
        n_images, n_seeds: behind it.
        sentence: all of that in words.
    """

    arm: str
    name: str
    model: str
    n_models: int
    metric: str
    outcome: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    n_images: int
    n_seeds: int
    sentence: str


_COPIED = (
    "arm",
    "model",
    "metric",
    "outcome",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "n_images",
    "n_seeds",
)


def gains(rows: Sequence[Row], names: Mapping[str, str], about: About) -> Iterator[Gain]:
    """One gain for each arm.

    Args:
        rows: of the table of differences, of one metric and all images; those against scratch are taken, of
            all models where there is such a row, else of the one.
        names: arm to short name.
        about: words; the name and number of models are filled in for each.
    """
    own = [row for row in rows if row["reference"] == SCRATCH]
    models = {row["model"] for row in own}
    lead = ALL_MODELS if ALL_MODELS in models else next(iter(sorted(models)), ALL_MODELS)
    for row in own:
        if row["model"] == lead:
            same = {other["model"] for other in own if other["arm"] == row["arm"]}
            n_models = len(same - {ALL_MODELS})
            yield Gain(
                **{name: row[name] for name in _COPIED},
                name=names[row["arm"]],
                n_models=n_models,
                sentence=_sentence(row, _pretraining(row["arm"], names), n_models, about),
            )


def _pretraining(arm: str, names: Mapping[str, str]) -> str:
    return _REFERENCES.get(reference_of(arm) or "", f"pre-training with faces hidden by {names[arm]}")


_REFERENCES = {
    "original": "pre-training on original images",
    "none": "pre-training on images written anew with nothing hidden (none)",
}


def _sentence(row: Row, subject: str, n_models: int, about: About) -> str:
    size, over = points(abs(row["difference"])), "over training from scratch"
    more = row["difference"] >= 0
    end = row["ci_low"] if row["outcome"] == "gain" else -row["ci_high"]
    text = {
        "gain": f"{subject} gained at least {{}} points of {about.metric} {over}, about {size} on average",
        "cost": f"{subject} cost at least {{}} points of {about.metric} {over}, about {size} on average",
        "equivalent": f"{subject} made no meaningful difference to training from scratch: {about.metric} "
        f"{'rose' if more else 'fell'} by {size} points on average",
        "undecided": f"this study cannot tell what {subject} gains {over}: a {'gain' if more else 'loss'} of "
        f"{size} points of {about.metric} was measured",
    }[row["outcome"]]
    text = text.format(at_least(end)) if row["outcome"] in ("gain", "cost") else text
    models = f"{n_models} models, " if row["model"] == ALL_MODELS else ""
    basis = (
        f"{100 * about.confidence:g} % interval of the change {points(row['ci_low'])} to "
        f"{points(row['ci_high'])}; {counted(row['n_images'], 'image')}, {models}"
        f"{counted(row['n_seeds'], 'seed')}"
    )
    return f"{text[0].upper()}{text[1:]} ({basis})."
