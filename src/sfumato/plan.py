"""A study as data: what to hide and how, what to train on it. A short TOML file, or flags."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from sfumato.errors import SpecError, UsageError
from sfumato.obfuscate.catalogue import METHODS
from sfumato.records import write_atomic
from sfumato.specs import Spec, parse, to_spec

PLAN_FILE = "study.toml"
ORIGINAL = "original"
CONTROL = "none"

_COMMENTS = {
    "photos": "folder of the images: split/category/image or category/image",
    "val_fraction": "share of each category held back for evaluation; 0 takes the splits that are there",
    "split_seed": "of that choice",
    "detector": "fast, balanced, high-recall or another; oracle(path='boxes.json') takes known boxes",
    "arms": "what to compare; original and none (decoded and written, nothing hidden) are always there",
    "models": "see `sfumato plugins`",
    "seeds": "every model is trained on every arm once for each",
    "recipe": "see `sfumato plugins`; fields of it can be changed under [train.change]",
    "rounds": "of the bootstrap",
    "confidence": "of the intervals",
}
_SECTIONS = {
    "data": ("photos", "val_fraction", "split_seed"),
    "find": ("detector",),
    "hide": ("arms",),
    "train": ("models", "seeds", "recipe", "change"),
    "compare": ("rounds", "confidence"),
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


def slug(text: str) -> str:
    """A text as a short folder name; only for people, facts stand in the manifests."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


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
    document = tomlkit.document()
    document.add(
        tomlkit.comment("What this study did. Change it and run `sfumato study` on this file again:")
    )
    document.add(tomlkit.comment("what is done already is kept, what is missing or changed is made."))
    values = dataclasses.asdict(plan) | {"photos": str(plan.photos)}
    for section, names in _SECTIONS.items():
        table = tomlkit.table()
        for name in names:
            value = list(values[name]) if isinstance(values[name], tuple) else values[name]
            if value is None:
                continue
            if name in _COMMENTS:
                table.add(tomlkit.comment(_COMMENTS[name]))
            table.add(name, value)
        document.add(section, table)
    write_atomic(path, tomlkit.dumps(document).encode())


def read_plan(path: Path) -> Plan:
    """Read a plan; fields that the file leaves out have their defaults.

    A relative `photos` is meant from the folder of the file.

    Raises:
        UsageError: no such file, no TOML, an unknown section or field, or a value that cannot be.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from error
    values: dict[str, Any] = {}
    for section, fields in content.items():
        if section not in _SECTIONS or not isinstance(fields, dict):
            raise UsageError(f"{path}: unknown section '{section}'; known: {', '.join(_SECTIONS)}")
        for name, value in fields.items():
            if name not in _SECTIONS[section]:
                known = ", ".join(_SECTIONS[section])
                raise UsageError(f"{path}: [{section}] has no field '{name}'; known: {known}")
            values[name] = value
    return _checked(path, values)


_TYPES: Mapping[str, tuple[type | tuple[type, ...], bool, str]] = {
    "val_fraction": ((int, float), False, "a number"),
    "split_seed": (int, False, "a whole number"),
    "detector": (str, False, "a text"),
    "arms": (str, True, "a list of texts"),
    "models": (str, True, "a list of texts"),
    "seeds": (int, True, "a list of whole numbers"),
    "recipe": (str, False, "a text"),
    "change": (dict, False, "a table of recipe fields"),
    "rounds": (int, False, "a whole number"),
    "confidence": ((int, float), False, "a number"),
}
"""Type of each field, whether it is a list of such, and what to call it."""


def _fits(value: Any, kind: type | tuple[type, ...], many: bool, name: str) -> bool:  # noqa: ARG001
    if many:
        return isinstance(value, list) and all(isinstance(item, kind) for item in value)
    return isinstance(value, kind)


def _checked(path: Path, values: dict[str, Any]) -> Plan:
    if not isinstance(values.get("photos"), str):
        raise UsageError(f"{path}: [data] photos is missing: the folder of the images")
    values["photos"] = path.parent.absolute() / values["photos"]
    for name, value in values.items():
        if name != "photos" and not _fits(value, *_TYPES[name]):
            raise UsageError(f"{path}: {name} = {value!r} cannot be; it needs {_TYPES[name][2]}")
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    try:
        return Plan(**fields)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
