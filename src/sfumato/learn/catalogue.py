"""Which models there are by name: the study's sixteen, one for small images, plug-ins, and timm's."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from sfumato.errors import MissingExtra, TrainingError, UnknownName
from sfumato.learn.architectures import Architecture, TimmModel, for_size
from sfumato.learn.operators import import_timm, import_torch
from sfumato.specs import Catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

STUDY_MODELS = (
    "alexnet",
    "squeezenet1_0",
    "shufflenet_v2_x1_0",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "mobilenet_v2",
    "densenet121",
    "densenet201",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
)
"""The fifteen convolutional nets of the study (Yang et al. 2022, table 3), small to large by family. Its
sixteenth model, of the ICML version only, is `swin_b`."""

MODELS = Catalogue(
    kind="model",
    group="sfumato.models",
    builtins={
        name: f"sfumato.learn.architectures:{name}" for name in (*STUDY_MODELS, "swin_b", "small_resnet")
    },
)

_TIMM_PREFIX = "timm:"


def find_model(name: str) -> Architecture:
    """The architecture of that name: ours or a plug-in's, else timm's ("timm:NAME" always means timm's).

    Raises:
        UnknownName: nobody has it; lists ours.
        MissingExtra: "timm:NAME" without timm.
    """
    if name in MODELS.names():
        return cast(Architecture, MODELS.load(name))
    wanted = name.removeprefix(_TIMM_PREFIX)
    installed = find_spec("timm") is not None
    if name.startswith(_TIMM_PREFIX) and not installed:
        raise MissingExtra("timm", f"the model '{name}'")
    if installed and _timm_has(wanted):
        return TimmModel(wanted)
    raise UnknownName(
        "model", name, [*MODELS.names(), "timm:NAME (any of timm's names, where timm is installed)"]
    )


def build_model(name: str, n_categories: int, *, image_size: int | None = None) -> nn.Module:
    """A new model with random weights drawn from torch's global generator.

    Args:
        name: see `find_model`.
        n_categories: number of scores it gives.
        image_size: side of the square images that it will see, in pixels, for the models that must know it
            (vision transformers of timm); None for the model's own.

    Raises:
        UnknownName, MissingExtra: as `find_model`; torch or torchvision is not installed.
    """
    return for_size(find_model(name), image_size)(n_categories)


def head_of(
    weights: Mapping[str, Tensor], name: str, n_categories: int, *, image_size: int | None = None
) -> list[str]:
    """Names of the parameters of a model's head, which gives a score for each category.

    It is found by building the model for one category more: what changes its shape belongs to it.

    Args:
        weights: of a model of this name and number of categories.
        name, n_categories, image_size: as for `build_model`.
    """
    torch = import_torch()
    with torch.random.fork_rng():  # so that this changes none of a run's own random numbers
        other = build_model(name, n_categories + 1, image_size=image_size)
    shapes = {key: tensor.shape for key, tensor in other.state_dict().items()}
    return [key for key, tensor in weights.items() if shapes.get(key) != tensor.shape]


def need_image_size(model: nn.Module, name: str, image_size: int) -> None:
    """Check that a model takes square images of this side, by trying one.

    Raises:
        TrainingError: it does not, or memory does not suffice for one.
    """
    torch = import_torch()
    from sfumato.learn.memory import is_out_of_memory

    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError, MemoryError) as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"one image of {image_size} px does not fit into memory with {name}; "
                "choose a smaller image size or a smaller model"
            ) from error
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"{name} cannot take images of {image_size} px ({reason}); "
            "choose a larger image size or another model"
        ) from error
    finally:
        model.train(was_training)


def _timm_has(name: str) -> bool:
    timm = import_timm()
    if not timm.is_model(name):
        return False
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # the architecture is there, but not the weights that the part after the dot names
        return False
    return True
