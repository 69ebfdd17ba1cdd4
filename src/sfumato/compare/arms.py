"""Arms: what a model was trained and evaluated on, and how an arm is called."""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.errors import SpecError
from sfumato.specs import Spec, join_chain, parse, split_chain

ORIGINAL = "original"
"""The arm of untouched images."""

NONE = "none"
"""The control arm: decoded and written like the obfuscated ones, nothing hidden."""

SCRATCH = "scratch"
"""Of a downstream task: the arm of models that started from random weights."""

REFERENCES = (SCRATCH, ORIGINAL, NONE)
"""What other arms are compared with, in the order of the tables; each of them with those before it."""

_ARROW = " -> "


def arm_name(train_arm: str, eval_arm: str) -> str:
    """The arm of a run: its spec where both agree, else "trained on -> evaluated on"."""
    return train_arm if train_arm == eval_arm else f"{train_arm}{_ARROW}{eval_arm}"


def is_crossed(arm: str) -> bool:
    """Whether models of this arm were evaluated on other data than they were trained on."""
    return _ARROW in arm


def reference_of(arm: str) -> str | None:
    """Which reference an arm is: "scratch", "original", "none", or None where it is none of them."""
    name = _spec(arm).name
    return name if name in REFERENCES else None


def references_of(arm: str) -> tuple[str, ...]:
    """What an arm is compared with, where there: a reference with those before it, others with all."""
    own = reference_of(arm)
    return REFERENCES if own is None else REFERENCES[: REFERENCES.index(own)]


def is_obfuscated(arm: str) -> bool:
    """Whether something is hidden in what the models of an arm saw."""
    return any(reference_of(part) is None for part in arm.split(_ARROW))


def short_name(arm: str) -> str:
    """An arm without its options: "blur(strength=0.2)" is "blur"."""
    return _ARROW.join(
        join_chain([_spec(step).name for step in split_chain(part)]) for part in arm.split(_ARROW)
    )


def short_names(arms: Iterable[str]) -> dict[str, str]:
    """A short name for each arm that no two share: the options stay where they are what differs."""
    arms = list(dict.fromkeys(arms))
    short = [short_name(arm) for arm in arms]
    return {arm: name if short.count(name) == 1 else arm for arm, name in zip(arms, short, strict=True)}


def _spec(part: str) -> Spec:
    try:
        return parse(part)
    except SpecError:  # an arm that somebody named by hand is its own name
        return Spec(part, {})
