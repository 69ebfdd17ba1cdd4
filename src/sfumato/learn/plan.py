"""A training plan as data: which models are trained on which arms with which seeds, and evaluated on what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from sfumato.errors import UsageError
from sfumato.specs import short_spec
from sfumato.toml_files import (
    FLAG,
    NUMBER,
    TABLE,
    TEXT,
    TEXTS,
    WHOLE,
    WHOLES,
    Field,
    Kind,
    Layout,
    read_sections,
    write_sections,
)

TRAINING_FILE = "training.toml"

PUBLISHED = ("torchvision", "timm")
"""Pretrained starts that are words, not files (see `sfumato.learn.pretrained`)."""

Pair = tuple[str, str]
"""An arm to train on and another to evaluate on."""
On = Literal["same", "all"] | tuple[Pair, ...]


def _is_on(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("same", "all")
    return isinstance(value, list) and all(TEXTS.fits(pair) and len(pair) == 2 for pair in value)


_ON = Kind(_is_on, '"same", "all", or a list of pairs [trained on, evaluated on]')

_BYTES = Kind(
    lambda value: TEXT.fits(value) or WHOLE.fits(value), 'a text such as "16GiB", or a whole number of bytes'
)

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""As `sfumato.learn.device.Precision`, which is not to be had without torch."""

_LAYOUT: Layout = {
    "data": {
        "photos": Field(TEXT, "folder of the untouched images: split/category/image or category/image"),
        "variants": Field(TEXTS, "folders that `sfumato obfuscate` wrote; their manifests name the arms"),
        "val_fraction": Field(
            NUMBER, "share of each category held back for evaluation; 0 takes the splits that are there"
        ),
        "split_seed": Field(WHOLE, "of that choice"),
    },
    "train": {
        "models": Field(TEXTS, "see `sfumato plugins`"),
        "seeds": Field(WHOLES, "every model is trained on every arm once for each"),
        "recipe": Field(
            TEXT, "see `sfumato plugins`, or a TOML file; fields of it are changed in [train.change]"
        ),
        "weights": Field(
            TEXT, "file or name of a pretrained start; {model} in it stands for the model's name"
        ),
        "precision": Field(TEXT, "auto (bf16 where the processor computes in it), fp32, bf16 or fp16"),
        "validate_every": Field(WHOLE, "look at the accuracy after each so many epochs; 0 never"),
        "cache_budget": Field(_BYTES, "what the decoded images of an arm may take on disk; more is not kept"),
        "change": Field(TABLE),
    },
    "evaluate": {
        "on": Field(
            _ON,
            '"same" arm as trained on, "all" arms, or pairs [trained on, evaluated on] beside the same arm',
        ),
        "keep_scores": Field(FLAG, "keep the scores of all categories, as float16"),
        "faces": Field(TEXT, "folder that `sfumato detect` wrote: the share of each image that faces take"),
        "attention": Field(FLAG, "with faces: how much of what a model looks at lies in them (Grad-CAM)"),
    },
}


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides what a training plan finds.

    Attributes:
        photos: folder of the untouched images.
        variants: folders of variants of them; each is an arm.
        val_fraction: share of each category held back for evaluation; 0 takes the splits that are there, None
            takes them where there are any and 0.2 else.
        split_seed: seed of that choice.
        models: names of models.
        seeds: one run each for every model and arm.
        recipe: name of a training recipe, or path of a TOML file.
        weights: pretrained start; "{model}" in it stands for the model's name. None starts at random.
        precision, validate_every: as `RunConfig`.
        cache_budget: as `budget` of `prepare_images`, with a unit. Part of the plan, since images that do
            not fit are cut from pictures of full size.
        change: fields of the recipe that are changed.
        on: what each run is evaluated on: the "same" arm as it was trained on, "all" arms, or the same and
            these pairs (trained on, evaluated on).
        keep_scores, attention: as `evaluate`.
        faces: folder of a face table, for `evaluate`.

    Raises:
        UsageError: no model or seed, one named twice, a negative seed, an unknown precision, or attention
            without faces.
    """

    photos: Path
    variants: tuple[Path, ...] = ()
    val_fraction: float | None = None
    split_seed: int = 0
    models: tuple[str, ...] = ("resnet18",)
    seeds: tuple[int, ...] = (0, 1, 2)
    recipe: str = "small"
    weights: str | None = None
    precision: str = "auto"
    validate_every: int = 0
    cache_budget: str = "16GiB"
    change: Mapping[str, Any] = field(default_factory=dict)
    on: On = "same"
    keep_scores: bool = False
    faces: Path | None = None
    attention: bool = False

    def __post_init__(self) -> None:
        for name in ("models", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UsageError(f"a training plan needs {name}, each named once, not {list(values)}")
        if min(self.seeds) < 0:
            raise UsageError(f"seeds = {list(self.seeds)} cannot be: a seed is 0 or more")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision = '{self.precision}' cannot be; known: {', '.join(PRECISIONS)}")
        if self.attention and self.faces is None:
            raise UsageError(
                "attention = true needs faces: name a folder that `sfumato detect` wrote in [evaluate]"
            )


@dataclass(frozen=True)
class Cell:
    """One run of a plan: a model trained on an arm with a seed, evaluated on arms.

    Attributes:
        model: name.
        arm: trained on.
        seed: of the run.
        on: arms that it is evaluated on.
    """

    model: str
    arm: str
    seed: int
    on: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people: "resnet18 blur seed 0"."""
        return f"{self.model} {short_spec(self.arm)} seed {self.seed}"


def cells_of(models: Iterable[str], seeds: Iterable[int], on: Mapping[str, tuple[str, ...]]) -> list[Cell]:
    """Every run, one seed of everything before the next, so that early results are whole.

    Args:
        models: names.
        seeds: of the runs.
        on: arm trained on to the arms evaluated on.
    """
    return [Cell(model, arm, seed, on[arm]) for seed, model, arm in product(seeds, models, on)]


def evaluation_arms(on: On, arms: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What a run on each arm is evaluated on, the arm itself first.

    Args:
        on: of the plan; an arm of a pair is named in full ("blur(strength=0.2, …)") or, where only one is
            meant, by its method ("blur").
        arms: all there are.

    Raises:
        UsageError: a pair names an arm that is not there, or one of several.
    """
    if on == "same":
        return {arm: (arm,) for arm in arms}
    if on == "all":
        return {arm: (arm, *(other for other in arms if other != arm)) for arm in arms}
    found = {arm: [arm] for arm in arms}
    for trained, evaluated in on:
        found[_named(trained, arms)].append(_named(evaluated, arms))
    return {arm: tuple(dict.fromkeys(others)) for arm, others in found.items()}


def _named(name: str, arms: Sequence[str]) -> str:
    meant = [arm for arm in arms if name in (arm, short_spec(arm))]
    if len(meant) == 1:
        return meant[0]
    problem = "is none of the arms" if not meant else f"means {len(meant)} arms"
    raise UsageError(f"[evaluate] on: '{name}' {problem}; name one of {'; '.join(meant or arms)}")


@dataclass(frozen=True)
class Part:
    """A share of a plan's runs, for one of several machines: the third of eight is Part(3, 8).

    Raises:
        UsageError: there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"--part {self.number}/{self.of}: there are parts 1/{self.of} to {self.of}/{self.of}"
            )

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read "3/8".

        Raises:
            UsageError: it is not written so, or there is no such part.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise UsageError(f"--part '{text}': write it like 3/8, the third of eight parts")
        return cls(int(number), int(of))

    def choose(self, cells: Sequence[Cell]) -> list[Cell]:
        """The runs of this part, in their order; every run is in exactly one part.

        The runs of each model are dealt out in turn: parts have equally many of the slow ones, up to one.
        """
        models = list(dict.fromkeys(cell.model for cell in cells))
        dealt = sorted(cells, key=lambda cell: models.index(cell.model))
        mine = set(dealt[self.number - 1 :: self.of])
        return [cell for cell in cells if cell in mine]


def write_training_plan(path: Path, plan: TrainingPlan) -> None:
    """Write a plan as TOML, every default written out and explained."""
    values = dataclasses.asdict(plan)
    # Absolute: relative ones are read from the folder of the file on, wherever they were meant from.
    values |= {"photos": str(plan.photos.absolute())}
    values |= {"variants": [str(folder.absolute()) for folder in plan.variants]}
    values |= {"faces": plan.faces and str(plan.faces.absolute())}
    head = [
        "What was trained here. Change it and run `sfumato train` on this file again:",
        "what is done already is kept, what is missing is made.",
    ]
    write_sections(path, _LAYOUT, values, head=head)


def record_training_plan(folder: Path, plan: TrainingPlan, source: Path | None = None) -> Path | None:
    """Write down in a folder what ran there; a file that says something else is left as it is.

    The place is `training.toml`; where that is the file that the plan was read from, or says something else,
    it is `NAME.ran.toml`, NAME being that of the plan's file, which the same plan may replace.

    Args:
        folder: of the runs.
        plan: what ran.
        source: file that it was read from.

    Returns:
        The file; None where the only place left is the plan's own file.
    """
    first = folder / TRAINING_FILE
    if not first.exists():
        write_training_plan(first, plan)
        return first
    if not _is_same(first, source) and _says(first, plan):
        return first
    second = folder / f"{'training' if source is None else source.stem.removesuffix('.ran')}.ran.toml"
    if _is_same(second, source):
        return None
    write_training_plan(second, plan)
    return second


def _is_same(path: Path, source: Path | None) -> bool:
    return source is not None and path.exists() and source.exists() and path.samefile(source)


def _says(path: Path, plan: TrainingPlan) -> bool:
    try:
        return read_training_plan(path) == plan
    except UsageError:
        return False


def _placed(values: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """The fields of a file, with paths from its folder on."""
    placed = dict(values)
    for name in ("photos", "faces"):
        if name in values:
            placed[name] = home / values[name]
    if "variants" in values:
        placed["variants"] = [home / folder for folder in values["variants"]]
    if values.get("recipe", "").endswith(".toml"):
        placed["recipe"] = str(home / values["recipe"])
    if "cache_budget" in values:
        placed["cache_budget"] = str(values["cache_budget"])
    if "weights" in values and values["weights"].partition(":")[0] not in PUBLISHED:
        placed["weights"] = str(home / values["weights"])
    return placed


def read_training_plan(path: Path) -> TrainingPlan:
    """Read a plan; fields that the file leaves out have their defaults.

    Relative paths are meant from the folder of the file.

    Raises:
        UsageError: no such file, no TOML, an unknown section or field, or a value that cannot be.
    """
    values = read_sections(path, _LAYOUT)
    if "photos" not in values:
        raise UsageError(f"{path}: [data] photos is missing: the folder of the untouched images")
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in _placed(values, path.parent.absolute()).items()
    }
    if isinstance(fields.get("on"), tuple):
        fields["on"] = tuple(tuple(pair) for pair in fields["on"])
    try:
        return TrainingPlan(**fields)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
