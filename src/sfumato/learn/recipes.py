"""Recipes: how a model is trained, as data. Named ones here, every field of them can be overridden."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sfumato.errors import SpecError, UnknownName

Schedule = Literal["step", "cosine", "onecycle"]
Crop = Literal["random_resized", "padded", "centre"]


@dataclass(frozen=True)
class Recipe:
    """Every setting of a training run but model, seed and device.

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
        batch_size: images a step, at most; the batches of an epoch have equal size up to one image.
        epochs: passes over the training images.
        learning_rate: initial ("step") or highest rate; None takes the architecture's times `rate_factor`.
        rate_factor: see there; smaller batches take smaller rates.
        schedule: "step" divides by 10 every `step_epochs`; "cosine" falls along half a cosine; "onecycle"
            rises linearly, then falls linearly. The last two end at 0 and warm up over `warmup` of the steps.
        step_epochs: see there.
        warmup: share of the steps over which the rate rises linearly from 0.
        momentum, nesterov, weight_decay: of SGD; decay applies to every parameter.
        label_smoothing: share of the target given to all categories alike.
    """

    name: str
    image_size: int | None
    resize_ratio: float
    crop: Crop
    crop_scale: tuple[float, float]
    flip: bool
    batch_size: int
    epochs: int
    learning_rate: float | None
    rate_factor: float
    schedule: Schedule
    step_epochs: int
    warmup: float
    momentum: float
    nesterov: bool
    weight_decay: float
    label_smoothing: float

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise SpecError(f"recipe '{self.name}': {problem}")

    def with_overrides(self, **changes: Any) -> Recipe:
        """The recipe with some fields changed; whole numbers are taken for fractions too.

        Raises:
            SpecError: no such field, or a value that it cannot have.
        """
        known = {item.name for item in dataclasses.fields(self)} - {"name"}
        for field_name in changes:
            if field_name not in known:
                raise SpecError(
                    f"recipe '{self.name}' has no field '{field_name}'; it has {', '.join(sorted(known))}"
                )
        if "crop_scale" in changes:
            changes["crop_scale"] = tuple(changes["crop_scale"])
        try:
            return dataclasses.replace(self, **changes)
        except TypeError as error:
            raise SpecError(f"recipe '{self.name}': a field has the wrong type ({error})") from error

    def describe(self) -> str:
        """The name and what differs from the named recipe: "small" or "small(epochs=3)"."""
        base = RECIPES.get(self.name)
        if base is None or base == self:
            return self.name
        changed = [item.name for item in dataclasses.fields(self) if _differs(self, base, item.name)]
        return f"{self.name}({', '.join(f'{key}={getattr(self, key)!r}' for key in changed)})"

    def settings(self) -> dict[str, Any]:
        """Every field, as written into manifests."""
        return dataclasses.asdict(self)


def find_recipe(name: str) -> Recipe:
    """The named recipe.

    Raises:
        UnknownName: there is none of that name.
    """
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_from(settings: dict[str, Any]) -> Recipe:
    """The recipe that `Recipe.settings` wrote, also after a round through JSON."""
    return Recipe(**{**settings, "crop_scale": tuple(settings["crop_scale"])})


def _differs(recipe: Recipe, base: Recipe, name: str) -> bool:
    return bool(getattr(recipe, name) != getattr(base, name))


def _problems(recipe: Recipe) -> list[str]:
    low, high = recipe.crop_scale
    checks = {
        "batch_size must be at least 2": recipe.batch_size >= 2,
        "epochs must be at least 1": recipe.epochs >= 1,
        "step_epochs must be at least 1": recipe.step_epochs >= 1,
        "image_size must be at least 8 px": recipe.image_size is None or recipe.image_size >= 8,
        "resize_ratio must be at least 1": recipe.resize_ratio >= 1,
        "crop_scale needs 0 < smallest <= largest <= 1": 0 < low <= high <= 1,
        "learning_rate must be above 0": recipe.learning_rate is None or recipe.learning_rate > 0,
        "rate_factor must be above 0": recipe.rate_factor > 0,
        "warmup must be at least 0 and below 1": 0 <= recipe.warmup < 1,
        "momentum must be at least 0 and below 1": 0 <= recipe.momentum < 1,
        "weight_decay must be at least 0": recipe.weight_decay >= 0,
        "label_smoothing must be at least 0 and below 1": 0 <= recipe.label_smoothing < 1,
        "nesterov needs momentum": recipe.momentum > 0 or not recipe.nesterov,
        f"schedule must be one of {', '.join(get_args(Schedule))}": recipe.schedule in get_args(Schedule),
        f"crop must be one of {', '.join(get_args(Crop))}": recipe.crop in get_args(Crop),
    }
    return [problem for problem, fine in checks.items() if not fine]


STUDY = Recipe(
    name="study",
    image_size=224,
    resize_ratio=256 / 224,
    crop="random_resized",
    crop_scale=(0.08, 1.0),
    flip=True,
    batch_size=256,
    epochs=90,
    learning_rate=None,
    rate_factor=1.0,
    schedule="step",
    step_epochs=30,
    warmup=0.0,
    momentum=0.9,
    nesterov=False,
    weight_decay=1e-4,
    label_smoothing=0.0,
)
"""The settings of Yang et al. 2022: those of PyTorch's ImageNet example. One difference: training crops are
cut from the cached picture, whose shorter side is 256 px, so small crops are enlarged more."""

SMALL = Recipe(
    name="small",
    image_size=64,
    resize_ratio=1.0,
    crop="random_resized",
    crop_scale=(0.5, 1.0),
    flip=True,
    batch_size=64,
    epochs=6,
    learning_rate=None,
    rate_factor=0.4,
    schedule="onecycle",
    step_epochs=30,
    warmup=0.25,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    label_smoothing=0.1,
)
"""For a few thousand small images: a short run that ends at rate 0 (one-cycle, Smith and Topin 2017)."""

TINY = dataclasses.replace(SMALL, name="tiny", epochs=15)
"""For less than about two thousand small images, which need more passes for as many steps."""

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (STUDY, SMALL, TINY)}
