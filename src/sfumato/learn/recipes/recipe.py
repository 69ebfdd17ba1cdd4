"""What a recipe is: every setting of a training run but model, seed and machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sfumato.errors import SpecError
from sfumato.learn.recipes.kinds import KINDS, as_kind

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["step", "cosine", "onecycle"]
Crop = Literal["random_resized", "padded", "centre"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a training run but model, seed and machine.

    Attributes:
        name: the named recipe that this one is, or started from.
        image_size: side of the model's input in pixels; None takes the model's own.
        resize_ratio: an image is resized to a shorter side of `image_size * resize_ratio` and its centre
            cropped, when evaluated; also the size at which it lies in the cache.
        crop: how a training view is cut. "random_resized": a random share of the area with a random aspect
            (Szegedy et al. 2015); "padded": the centre, moved by up to an eighth at random over reflected
            borders; "centre": as evaluated.
        crop_scale: smallest and largest share of the area for "random_resized".
        flip: mirror a training view left to right with probability 1/2.
        train_sizes: side of training views in the first and in the last epochs, as a share of `image_size`.
        train_sizes_ramp: shares of the epochs between which the side grows from the one to the other.
        batch_size: images a step, at most; the batches of an epoch have equal size up to one image.
        accumulate: parts that a batch is worked through in, one after another, for want of memory. The step
            is that of the whole batch; batch normalisation sees a part at a time.
        epochs: passes over the training images.
        learning_rate: initial ("step") or highest rate; None takes the architecture's for this optimizer
            times `rate_factor`.
        pretrained_rate: the same for a run that starts from trained weights; None for no difference.
        rate_factor: see there; smaller batches take smaller rates.
        schedule: "step" divides by 10 every `step_epochs`; "cosine" falls along half a cosine; "onecycle"
            rises linearly, then falls linearly. The last two end at 0 and warm up over `warmup` of the steps.
        step_epochs: see there.
        warmup: share of the steps over which the rate rises linearly from 0.
        optimizer: "sgd", or "adamw" (Loshchilov and Hutter 2019).
        momentum: of SGD; for AdamW the decay of the mean of gradients (that of their squares is 0.999).
        nesterov: of SGD.
        weight_decay: share by which weights shrink, times the rate.
        decay_norms: decay biases and the scales of normalisation too, not weights only.
        clip_norm: gradients whose norm over all parameters is larger are scaled to it; 0 leaves them.
        ema_decay: the weights kept are a running mean over the steps, w <- d w + (1 - d) new, with d the
            smaller of this and (1 + step) / (10 + step); 0 keeps the last weights.
        label_smoothing: share of the target given to all categories alike.
        fp32_steps: first steps of a run from random weights that are computed in float32 where the others are
            in 16 bits. Deep in a net that has learned nothing all images look nearly alike, and what tells
            them apart is lost in rounding.
    """

    name: str
    image_size: int | None = None
    resize_ratio: float
    crop: Crop
    crop_scale: tuple[float, float]
    flip: bool
    train_sizes: tuple[float, float] = (1.0, 1.0)
    train_sizes_ramp: tuple[float, float] = (0.0, 1.0)
    batch_size: int
    accumulate: int = 1
    epochs: int
    learning_rate: float | None = None
    pretrained_rate: float | None = None
    rate_factor: float
    schedule: Schedule
    step_epochs: int
    warmup: float
    optimizer: Optimizer = "sgd"
    momentum: float
    nesterov: bool
    weight_decay: float
    decay_norms: bool = True
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    label_smoothing: float
    fp32_steps: int = 10

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            kind = KINDS[str(item.type)]
            if not kind.fits(value):
                raise SpecError(
                    f"recipe '{self.name}': {item.name} = {value!r} has the wrong type; it needs {kind.words}"
                )
            object.__setattr__(self, item.name, as_kind(value, kind))
        for problem in _problems(self):
            raise SpecError(f"recipe '{self.name}': {problem}")

    def with_overrides(self, **changes: Any) -> Recipe:
        """The recipe with some fields changed; whole numbers are taken for fractions too.

        Raises:
            SpecError: no such field, or a value that it cannot have.
        """
        for field_name in changes:
            if field_name not in FIELDS:
                raise SpecError(
                    f"recipe '{self.name}' has no field '{field_name}'; it has {', '.join(sorted(FIELDS))}"
                )
        return dataclasses.replace(self, **changes)

    def differences(self, base: Recipe) -> dict[str, Any]:
        """Fields with another value than in a base, by name."""
        return {name: getattr(self, name) for name in FIELDS if getattr(self, name) != getattr(base, name)}

    def settings(self) -> dict[str, Any]:
        """Every field, as written into manifests."""
        return dataclasses.asdict(self)

    def describe(self) -> str:
        """The name and what differs from the named recipe: "small" or "small(epochs=3)".

        A recipe out of a file of the user's carries a hash of its settings, since the name says nothing.
        """
        from sfumato.learn.recipes.reader import describe

        return describe(self)


FIELDS = tuple(item.name for item in dataclasses.fields(Recipe) if item.name != "name")
"""What a file gives and an override may change."""
REQUIRED = tuple(
    item.name
    for item in dataclasses.fields(Recipe)
    if item.name != "name" and item.default is dataclasses.MISSING
)
"""Fields that a file must give."""


def recipe_from(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that `Recipe.settings` wrote, also after a round through JSON.

    Runs from before there was `fp32_steps` had none.
    """
    return Recipe(**{"fp32_steps": 0, **settings})


def _problems(recipe: Recipe) -> list[str]:
    checks = {**_limits(recipe), **_views(recipe), **_choices(recipe)}
    return [problem for problem, fine in checks.items() if not fine]


def _limits(recipe: Recipe) -> dict[str, bool]:
    return {
        "batch_size must be at least 2": recipe.batch_size >= 2,
        "accumulate must be at least 1": recipe.accumulate >= 1,
        "epochs must be at least 1": recipe.epochs >= 1,
        "step_epochs must be at least 1": recipe.step_epochs >= 1,
        "learning_rate must be above 0": recipe.learning_rate is None or recipe.learning_rate > 0,
        "pretrained_rate must be above 0": recipe.pretrained_rate is None or recipe.pretrained_rate > 0,
        "rate_factor must be above 0": recipe.rate_factor > 0,
        "warmup must be at least 0 and below 1": 0 <= recipe.warmup < 1,
        "momentum must be at least 0 and below 1": 0 <= recipe.momentum < 1,
        "weight_decay must be at least 0": recipe.weight_decay >= 0,
        "clip_norm must be at least 0": recipe.clip_norm >= 0,
        "ema_decay must be at least 0 and below 1": 0 <= recipe.ema_decay < 1,
        "label_smoothing must be at least 0 and below 1": 0 <= recipe.label_smoothing < 1,
        "fp32_steps must be at least 0": recipe.fp32_steps >= 0,
    }


def _views(recipe: Recipe) -> dict[str, bool]:
    low, high = recipe.crop_scale
    start, end = recipe.train_sizes_ramp
    return {
        "image_size must be at least 8 px": recipe.image_size is None or recipe.image_size >= 8,
        "resize_ratio must be at least 1": recipe.resize_ratio >= 1,
        "crop_scale needs 0 < smallest <= largest <= 1": 0 < low <= high <= 1,
        "train_sizes must be above 0 and at most 1": all(0 < share <= 1 for share in recipe.train_sizes),
        "train_sizes_ramp needs 0 <= start <= end <= 1": 0 <= start <= end <= 1,
    }


def _choices(recipe: Recipe) -> dict[str, bool]:
    return {
        f"optimizer must be one of {', '.join(get_args(Optimizer))}": recipe.optimizer in get_args(Optimizer),
        f"schedule must be one of {', '.join(get_args(Schedule))}": recipe.schedule in get_args(Schedule),
        f"crop must be one of {', '.join(get_args(Crop))}": recipe.crop in get_args(Crop),
        "nesterov needs SGD with momentum": not recipe.nesterov
        or (recipe.momentum > 0 and recipe.optimizer == "sgd"),
    }
