"""A study as data: what to hide and how, what to train on it. A short TOML file, or flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfumato.errors import SpecError, UsageError
from sfumato.obfuscate.catalogue import METHODS
from sfumato.specs import Spec, parse, slug, to_spec
from sfumato.toml_files import (
    NUMBER,
    TABLE,
    TEXT,
    TEXTS,
    WHOLE,
    WHOLES,
    Field,
    Layout,
    read_sections,
    write_sections,
)

PLAN_FILE = "study.toml"
ORIGINAL = "original"
CONTROL = "none"

_LAYOUT: Layout = {
    "data": {
        "photos": Field(TEXT, "folder of the images: split/category/image or category/image"),
        "val_fraction": Field(
            NUMBER, "share of each category held back for evaluation; 0 takes the splits that are there"
        ),
        "split_seed": Field(WHOLE, "of that choice"),
    },
    "find": {
        "detector": Field(
            TEXT, "fast, balanced, high-recall or another; oracle(path='boxes.json') takes known boxes"
        )
    },
    "hide": {
        "arms": Field(
            TEXTS, "what to compare; original and none (decoded and written, nothing hidden) are always there"
        )
    },
    "train": {
        "models": Field(TEXTS, "see `sfumato plugins`"),
        "seeds": Field(WHOLES, "every model is trained on every arm once for each"),
        "recipe": Field(TEXT, "see `sfumato plugins`; fields of it can be changed under [train.change]"),
        "change": Field(TABLE),
    },
    "compare": {
        "rounds": Field(WHOLE, "of the bootstrap"),
        "confidence": Field(NUMBER, "of the intervals"),
        "margin": Field(NUMBER, "points of accuracy: a smaller difference is called meaningless"),
    },
}


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a study finds.

    Attributes:
        photos: folder of the images.
        val_fraction: share of each category held back for evaluation; 0 takes the folder's own splits, None
            takes them where there are any and 0.2 else.
        split_seed: seed of that choice.
        detector: spec of a detector.
        arms: specs of methods; "original" and "none" come first, whether named or not.
        models: names of models.
        seeds: one run each for every model and arm.
        recipe: name of a training recipe.
        change: fields of the recipe that are changed.
        rounds: bootstrap rounds.
        confidence: of the intervals, 0 to 1.
        margin: points of accuracy; a smaller difference is called meaningless.
    """

    photos: Path
    val_fraction: float | None = None
    split_seed: int = 0
    detector: str = "balanced"
    arms: tuple[str, ...] = ("blur", "overlay")
    models: tuple[str, ...] = ("resnet18",)
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = "small"
    change: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 2000
    confidence: float = 0.95
    margin: float = 1.0

    def __post_init__(self) -> None:
        arms = tuple(dict.fromkeys((ORIGINAL, CONTROL, *map(_canonical, self.arms))))
        object.__setattr__(self, "photos", Path(self.photos).absolute())
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "detector", _absolute(self.detector))
        for name in ("models", "seeds", "arms"):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if not values or len(set(values)) < len(values):
                raise UsageError(f"a study needs {name}, each named once, not {list(values)}")
            if len({slug(str(value)) for value in values}) < len(values):
                raise UsageError(
                    f"{name} that differ in punctuation only would share a folder: {list(values)}"
                )
        if len(arms) < 3:
            raise UsageError("a study needs at least one method that hides something, such as --arm blur")

    def with_changes(self, **changes: Any) -> Plan:
        """The plan with some fields changed; None leaves a field as it is."""
        return dataclasses.replace(
            self, **{key: value for key, value in changes.items() if value is not None}
        )


def _absolute(detector: str) -> str:
    """A detector's spec with an absolute path in it, since a plan is run again from other folders."""
    spec = parse(detector)
    if not spec.options.get("path"):
        return detector
    return str(Spec(spec.name, {**spec.options, "path": str(Path(str(spec.options["path"])).absolute())}))


def _canonical(arm: str) -> str:
    """An arm's spec with every default written out."""
    return arm if arm == ORIGINAL else to_spec(METHODS.build(arm))


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as TOML, every default written out and explained."""
    head = [
        "What this study did. Change it and run `sfumato study` on this file again:",
        "what is done already is kept, what is missing or changed is made.",
    ]
    write_sections(path, _LAYOUT, dataclasses.asdict(plan) | {"photos": str(plan.photos)}, head=head)


def read_plan(path: Path) -> Plan:
    """Read a plan; fields that the file leaves out have their defaults.

    A relative `photos` is meant from the folder of the file.

    Raises:
        UsageError: no such file, no TOML, an unknown section or field, or a value that cannot be.
    """
    values = read_sections(path, _LAYOUT)
    if "photos" not in values:
        raise UsageError(f"{path}: [data] photos is missing: the folder of the images")
    values["photos"] = path.parent.absolute() / values["photos"]
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    try:
        return Plan(**fields)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
