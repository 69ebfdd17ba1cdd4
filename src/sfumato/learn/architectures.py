"""What an architecture is here, and those that Sfumato brings or finds; importing this loads no torch.

An architecture is called with the number of categories and returns a module with random weights. What must
be known to feed it travels with it as data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.learn.operators import import_torch, import_torchvision

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input.

    Attributes:
        image_size: side of the square input in pixels.
        mean, std: of the channels R, G, B on the scale 0..1; input is (pixel / 255 - mean) / std.
    """

    image_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Architecture(Protocol):
    """A plug-in of the group `sfumato.models`: a callable with two attributes."""

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
    """

    name: str
    learning_rate: float = 0.1
    preprocessing: Preprocessing = Preprocessing()

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
    preprocessing: Preprocessing = Preprocessing(image_size=64)

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
    """

    name: str
    learning_rate: float = field(default=0.1, kw_only=True)

    @property
    def preprocessing(self) -> Preprocessing:
        """As timm records it with the model; ImageNet's where it does not."""
        import_torchvision()
        import timm

        facts: Any = timm.get_pretrained_cfg(self.name)
        if facts is None:
            return Preprocessing()
        return Preprocessing(facts.input_size[-1], tuple(facts.mean), tuple(facts.std))

    def __call__(self, n_categories: int) -> nn.Module:
        """See `Architecture`."""
        import_torchvision()
        import timm

        model: nn.Module = timm.create_model(self.name, pretrained=False, num_classes=n_categories)
        return model


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
small_resnet = SmallResidual()
