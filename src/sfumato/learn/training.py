"""A run in progress: its model, its optimizer, and where it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sfumato.data.tasks import TaskKind
from sfumato.errors import TrainingError, UsageError
from sfumato.learn.architectures import Preprocessing, rate_for
from sfumato.learn.catalogue import build_model, find_model, head_of, need_image_size
from sfumato.learn.chance import torch_seed
from sfumato.learn.config import RunConfig
from sfumato.learn.device import Runtime, place
from sfumato.learn.recipes import Recipe
from sfumato.learn.schedules import training_size
from sfumato.learn.world import World, join_world

_ADAM_SQUARES = 0.999


@dataclass
class Place:
    """Where a run is, and the sums over the epoch so far.

    Attributes:
        epoch: epochs behind it.
        batch: batches of the present epoch behind it.
        loss_sum: of the loss over images.
        n_right: images that were right, perhaps in parts.
        n_images: images behind it in this epoch.
        waited: seconds that the model waited for images.
        seconds: spent in this epoch.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    n_right: float = 0.0
    n_images: int = 0
    waited: float = 0.0
    seconds: float = 0.0


@dataclass
class Training:
    """A run in progress: what a checkpoint holds, and what it needs to go on.

    Attributes:
        config: what is trained how.
        model: on its device.
        forward: the model as it is called: itself, or compiled.
        optimizer: over all its parameters.
        peak_rate: initial or highest learning rate.
        preprocessing: with the image size of this run.
        runtime: device and number format.
        world: the processes that train together.
        start: what pretrained weights it started from, as recorded; empty for random ones.
        scaler: of the gradients in float16.
        place: where the run is.
        parts: parts that a batch is worked through in; grows where memory runs out.
        average: running mean of weights and buffers by name, where the recipe wants one.
        chance: state of torch's generators in each process, in the middle of an epoch.
        kind: of what is learned.
    """

    config: RunConfig
    model: nn.Module
    forward: Callable[[torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    peak_rate: float
    preprocessing: Preprocessing
    runtime: Runtime
    world: World
    start: dict[str, Any]
    scaler: torch.amp.GradScaler | None = None
    place: Place = field(default_factory=Place)
    parts: int = 1
    average: dict[str, torch.Tensor] | None = None
    chance: list[torch.Tensor] = field(default_factory=list)
    kind: TaskKind = "categories"

    def set_mode(self) -> None:
        """Modules as in training; where only the head is trained, as in evaluation: features stay."""
        self.model.train(not (self.config.freeze and self.kind != "objects"))

    def result(self) -> nn.Module:
        """The model with the weights to keep: the running mean, where the recipe wants one."""
        if self.average is None:
            return self.model
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average)
        return model


def resolve(model_name: str, recipe: Recipe, *, pretrained: bool = False) -> tuple[Preprocessing, float]:
    """What a recipe leaves to the architecture: preprocessing with the image size used, and learning rate.

    Args:
        model_name: see `find_model`.
        recipe: of the run.
        pretrained: whether it starts from trained weights.

    Raises:
        UnknownName, MissingExtra: as `find_model`.
    """
    architecture = find_model(model_name)
    given = architecture.preprocessing
    own_rate = rate_for(architecture, recipe.optimizer) * recipe.rate_factor
    rate = own_rate if recipe.learning_rate is None else recipe.learning_rate
    if pretrained and recipe.pretrained_rate is not None:
        rate = recipe.pretrained_rate
    return given.adapted(image_size=recipe.image_size, resize_ratio=recipe.resize_ratio), rate


def start(
    config: RunConfig, n_categories: int, *, runtime: Runtime, kind: TaskKind = "categories"
) -> Training:
    """A new run; the first weights depend on model, pretrained weights, number of categories and seed only.

    Args:
        config: what is trained how.
        n_categories: or attributes, or classes of objects.
        runtime: where.
        kind: of what is learned; for "objects" the model becomes the body of a detector.

    Raises:
        UnknownName, MissingExtra: as `find_model`.
        TrainingError: the model takes no images of the recipe's sizes, or does not fit into memory.
        UsageError: a detector that is to be compiled.
    """
    recipe = config.recipe
    preprocessing, rate = resolve(config.model, recipe, pretrained=config.weights is not None)
    model, facts = _first_model(config, n_categories, preprocessing.image_size)
    for size in _sizes(recipe, preprocessing.image_size):
        need_image_size(model, config.model, size)
    if kind == "objects":
        if runtime.compiled:
            raise UsageError("a detector cannot be compiled; train it without --compile")
        model = _as_detector(model, config, n_categories, preprocessing.image_size)
    elif config.freeze:
        _freeze(model, config.model, n_categories, preprocessing.image_size)
    world = join_world(runtime.device)
    model = place(model, runtime)
    world.spread([*model.parameters(), *model.buffers()])
    return Training(
        config=config,
        model=model,
        forward=torch.compile(model) if runtime.compiled else model,
        optimizer=_optimizer(model, recipe, rate, fused=runtime.device != "mps"),
        peak_rate=rate,
        preprocessing=preprocessing,
        runtime=runtime,
        world=world,
        start=facts,
        scaler=torch.amp.GradScaler(runtime.device) if runtime.fp16 else None,
        parts=recipe.accumulate,
        average=_copy_of(model) if recipe.ema_decay > 0 else None,
        kind=kind,
    )


def need_finite(training: Training) -> None:
    """Check that weights can be kept: a last step may have ruined them after a loss that was finite.

    Raises:
        TrainingError: a parameter or buffer, or one of their running means, is not finite.
    """
    kept = [*training.model.state_dict().values(), *(training.average or {}).values()]
    finite = [value.isfinite().all() for value in kept if value.is_floating_point()]
    if finite and not bool(torch.stack(finite).all()):
        epoch = training.place.epoch + (training.place.batch > 0)
        raise TrainingError(
            f"the weights are not finite numbers in epoch {epoch} at learning rate "
            f"{training.optimizer.param_groups[0]['lr']:g}; try a lower learning rate"
        )


def _freeze(model: nn.Module, name: str, n_categories: int, image_size: int) -> None:
    """Leave only the head to be trained.

    Raises:
        TrainingError: the model has none that could be told from the rest.
    """
    head = set(head_of(model.state_dict(), name, n_categories, image_size=image_size))
    if not head:
        raise TrainingError(
            f"{name}: no head is found that depends on the number of categories; train all of it"
        )
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in head)


def _as_detector(model: nn.Module, config: RunConfig, n_classes: int, image_size: int) -> nn.Module:
    """A detector around a model that was trained, or not; its own first weights depend on the seed."""
    from sfumato.learn.detection.network import build_detector

    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(config.seed, -2))
        detector: nn.Module = build_detector(
            model,
            n_classes,
            image_size=image_size,
            trained=config.weights is not None,
            freeze=config.freeze,
        )
        return detector


def _first_model(config: RunConfig, n_categories: int, image_size: int) -> tuple[nn.Module, dict[str, Any]]:
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(config.seed, -1))
        model = build_model(config.model, n_categories, image_size=image_size)
        if config.weights is None:
            return model, {}
        from sfumato.learn.pretrained import load_start

        weights, fresh = config.weights, config.fresh_head
        facts = load_start(
            model, config.model, weights, n_categories, image_size=image_size, fresh_head=fresh
        )
        return model, facts


def _sizes(recipe: Recipe, image_size: int) -> list[int]:
    """Every size of image that the model will see, evaluation first."""
    seen = (training_size(recipe, image_size, epoch=epoch) for epoch in range(recipe.epochs))
    return list(dict.fromkeys((image_size, *seen)))


def _optimizer(model: nn.Module, recipe: Recipe, rate: float, *, fused: bool) -> torch.optim.Optimizer:
    """Over all parameters; fused works in one pass over the weights instead of several."""
    groups = _groups(model, recipe)
    if recipe.optimizer == "adamw":
        betas = (recipe.momentum, _ADAM_SQUARES)
        return torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        fused=fused,
    )


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters in groups: biases and scales of normalisation, which have one axis, may go undecayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if recipe.decay_norms:
        return [{"params": parameters}]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def _copy_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
