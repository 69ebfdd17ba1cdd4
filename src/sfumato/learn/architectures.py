"""What an architecture is here, and those that Sfumato brings or finds; importing this loads no torch.

An architecture is called with the number of categories and returns a module with random weights. What must
be known to feed it travels with it as data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from sfumato.learn.operators import import_timm, import_torch, import_torchvision

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_RATIO = 256 / 224
"""Shorter side after resizing divided by the side of the crop, as ImageNet is usually evaluated."""
ADAMW_RATE = 2.5e-4
"""Initial learning rate for AdamW at batch 256: 1e-3 at batch 1024 (Liu et al. 2021, arXiv 2103.14030)."""


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input.

    Attributes:
        image_size: side of the square input in pixels.
        mean, std: of the channels R, G, B on the scale 0..1; input is (pixel / 255 - mean) / std.
        resize_ratio: an image is resized to a shorter side of `image_size * resize_ratio` before its centre
            is cropped.
    """

    image_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize_ratio: float = IMAGENET_RATIO

    def adapted(self, *, image_size: int | None, resize_ratio: float | None) -> Preprocessing:
        """What a run uses: the recipe's size and ratio where it has them, else the model's own."""
        return replace(
            self,
            image_size=self.image_size if image_size is None else image_size,
            resize_ratio=self.resize_ratio if resize_ratio is None else resize_ratio,
        )


class Architecture(Protocol):
    """A plug-in of the group `sfumato.models`: a callable with two attributes.

    It may have a third, `adamw_rate` (see `rate_for`), and a method `sized(image_size)` that gives the
    architecture for images of another side, where one is built differently for each.
    """

    @property
    def preprocessing(self) -> Preprocessing:
        """What the model was designed for; a recipe may ask for another image size."""

    @property
    def learning_rate(self) -> float:
        """The initial learning rate for SGD at batch 256."""

    def __call__(self, n_categories: int) -> nn.Module:
        """A new module with random weights, images (n, 3, h, w) to scores (n, n_categories)."""


@dataclass(frozen=True)
class TorchvisionModel:
    """An architecture by torchvision's definition.

    Attributes:
        name: as `torchvision.models` spells it.
        learning_rate: the study's; nets without batch normalisation start lower.
        preprocessing: ImageNet's.
        adamw_rate: the initial learning rate for AdamW at batch 256.
    """

    name: str
    learning_rate: float = 0.1
    preprocessing: Preprocessing = Preprocessing()
    adamw_rate: float = ADAMW_RATE

    def __call__(self, n_categories: int) -> nn.Module:
        """See `Architecture`."""
        model: nn.Module = import_torchvision().models.get_model(
            self.name, weights=None, num_classes=n_categories
        )
        return model


@dataclass(frozen=True)
class SmallResidual:
    """The residual net for small images, see `small_resnet`."""

    learning_rate: float = 0.1
    preprocessing: Preprocessing = Preprocessing(image_size=64, resize_ratio=1.0)
    adamw_rate: float = 1e-3

    def __call__(self, n_categories: int) -> nn.Module:
        """See `Architecture`."""
        import_torch()
        from sfumato.learn.small_resnet import SmallResNet

        return SmallResNet(n_categories)


@dataclass(frozen=True)
class TimmModel:
    """An architecture of timm, where that is installed.

    Attributes:
        name: as timm spells it.
        learning_rate: as for the others; transformers need less.
        adamw_rate: as for the others.
        image_size: side of the images that the model is built for, in pixels; None for its own.
    """

    name: str
    learning_rate: float = field(default=0.1, kw_only=True)
    adamw_rate: float = field(default=ADAMW_RATE, kw_only=True)
    image_size: int | None = field(default=None, kw_only=True)

    @property
    def preprocessing(self) -> Preprocessing:
        """As timm records it with the model; ImageNet's where it does not."""
        facts: Any = import_timm().get_pretrained_cfg(self.name)
        if facts is None:
            return Preprocessing()
        ratio = 1 / facts.crop_pct if facts.crop_pct else IMAGENET_RATIO
        return Preprocessing(facts.input_size[-1], tuple(facts.mean), tuple(facts.std), ratio)

    def sized(self, image_size: int) -> TimmModel:
        """The same for images of this side."""
        return replace(self, image_size=image_size)

    def __call__(self, n_categories: int) -> nn.Module:
        """See `Architecture`."""
        return self.create(num_classes=n_categories)

    def create(self, **options: Any) -> nn.Module:
        """The model as `timm.create_model` makes it with these options, for `image_size` where it matters.

        A net with a fixed number of patches must know the side of its images; others refuse the word.
        """
        create = import_timm().create_model
        model: nn.Module
        if self.image_size not in (None, self.preprocessing.image_size):
            try:
                model = create(self.name, img_size=self.image_size, **options)
            except TypeError:
                pass
            else:
                return model
        model = create(self.name, **options)
        return model


def rate_for(architecture: Architecture, optimizer: str) -> float:
    """The initial learning rate at batch 256 for an optimizer, "sgd" or "adamw"."""
    if optimizer == "adamw":
        return float(getattr(architecture, "adamw_rate", ADAMW_RATE))
    return architecture.learning_rate


def for_size(architecture: Architecture, image_size: int | None) -> Architecture:
    """The architecture for images of this side; itself where that makes no difference to it."""
    sized = getattr(architecture, "sized", None)
    return architecture if sized is None or image_size is None else cast(Architecture, sized(image_size))


alexnet = TorchvisionModel("alexnet", 0.01)
squeezenet1_0 = TorchvisionModel("squeezenet1_0", 0.01)
shufflenet_v2_x1_0 = TorchvisionModel("shufflenet_v2_x1_0")
vgg11 = TorchvisionModel("vgg11", 0.01)
vgg13 = TorchvisionModel("vgg13", 0.01)
vgg16 = TorchvisionModel("vgg16", 0.01)
vgg19 = TorchvisionModel("vgg19", 0.01)
mobilenet_v2 = TorchvisionModel("mobilenet_v2")
densenet121 = TorchvisionModel("densenet121")
densenet201 = TorchvisionModel("densenet201")
resnet18 = TorchvisionModel("resnet18")
resnet34 = TorchvisionModel("resnet34")
resnet50 = TorchvisionModel("resnet50")
resnet101 = TorchvisionModel("resnet101")
resnet152 = TorchvisionModel("resnet152")
# As torchvision evaluates it: 238 px, of which the central 224.
swin_b = TorchvisionModel("swin_b", 0.01, Preprocessing(resize_ratio=238 / 224))
small_resnet = SmallResidual()
