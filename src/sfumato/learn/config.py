"""What is trained how: the settings of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sfumato.learn.recipes import RECIPES, Recipe, recipe_from


@dataclass(frozen=True)
class RunConfig:
    """What is trained how.

    Device, `compile` and `checkpoint_seconds` say how it is computed, not what: they are recorded, but are no
    part of what a run is.

    Attributes:
        model: a name that `find_model` knows.
        recipe: every setting.
        seed: of first weights, order, crops and dropout.
        device: "auto", "cpu", "cuda" or "mps".
        weights: what to start from instead of random weights: a file, the folder of a run, or a name; see
            `sfumato.learn.pretrained.load_start`. A file counts by its content.
        precision: "auto" (bf16 where the processor computes in it, else fp32), "fp32", "bf16", or "fp16".
        validate_every: measure the accuracy on the evaluation split after each so many epochs and after the
            last, and keep the weights of the best in `best.safetensors`; 0 never. A look at how a run is
            going: evaluation, and so every comparison, uses the last epoch, since a best one is chosen on
            the images that it is scored on.
        compile: translate the model with `torch.compile` first.
        checkpoint_seconds: time after which a checkpoint is due in the middle of an epoch.
        protocol: of a downstream task, "finetune" or "linear"; None for a run that is of none.
        arm: what the run counts as when runs are compared; None for the arm of its images. Of a downstream
            task it is that of the weights it started from.
    """

    model: str
    recipe: Recipe = RECIPES["small"]
    seed: int = 0
    device: str = "auto"
    weights: str | None = None
    precision: str = "auto"
    validate_every: int = 0
    compile: bool = False
    checkpoint_seconds: float = 600.0
    protocol: str | None = None
    arm: str | None = None

    @property
    def freeze(self) -> bool:
        """Whether only the head is trained (of a detector all but the body), on trained features as they are.

        From random weights everything is trained in either protocol: random features are no features.
        """
        return self.protocol == "linear" and self.weights is not None

    @property
    def fresh_head(self) -> bool:
        """Whether the head starts at random even where that of the trained weights would fit.

        As many categories of another task are other categories.
        """
        return self.protocol is not None

    def settings(self, arm: str) -> dict[str, Any]:
        """What the key of a run depends on, beside its images, which are of an arm."""
        found = {
            "model": self.model,
            "seed": self.seed,
            "arm": self.arm or arm,
            "recipe": self.recipe.settings(),
            "weights": _identity(self.weights),
            "precision": self.precision,
            "validate_every": self.validate_every,
        }
        return found if self.protocol is None else found | {"protocol": self.protocol}


def config_from(settings: dict[str, Any]) -> RunConfig:
    """The config whose settings these are; which file or run the weights were is not in them, only that."""
    start = settings["weights"]
    return RunConfig(
        settings["model"],
        recipe_from(settings["recipe"]),
        settings["seed"],
        weights=start and ":".join(filter(None, (start["source"], start.get("name")))),
        precision=settings["precision"],
        validate_every=settings["validate_every"],
        protocol=settings.get("protocol"),
        arm=settings["arm"] if "task" in settings else None,
    )


def _identity(weights: str | None) -> dict[str, str] | None:
    """A name as it is, a file or a run by the hash of its content, wherever it lies, however it is called."""
    if weights is None:
        return None
    from sfumato.learn.pretrained import describe_start

    found = describe_start(weights)
    return {name: value for name, value in found.items() if name != "name" or "sha256" not in found}
