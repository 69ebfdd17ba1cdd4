"""Where a model looks: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) for any architecture.

With activations A (channels x rows x columns) of a model's last spatial feature map and the score s of a
category before softmax, the map is ReLU(sum_c w_c A_c), where w_c is the mean of ds / dA_c over rows and
columns. Maps are normalised image by image: to sum 1 to be measured, to maximum 1 to be shown.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.errors import TrainingError

Layout = Literal["channels_first", "channels_last", "tokens"]
Maps = NDArray[np.float32]

_MOST_PREFIX_TOKENS = 8
"""Class, distillation and register tokens before those of the patches; more is no row of patches."""
_EXAMPLES = 2  # so that the number of images is told from a dimension of length 1


@dataclass(frozen=True)
class FeatureMap:
    """Where in a model its last spatial feature map comes out of a module.

    Attributes:
        module: name of the module in the model.
        call: which of the module's calls in one forward pass, from 0.
        layout: "channels_first" (n, c, h, w), "channels_last" (n, h, w, c) or "tokens" (n, prefix + h w, c).
        prefix: number of tokens before those of the patches.
    """

    module: str
    call: int
    layout: Layout
    prefix: int = 0

    def spatial(self, values: Tensor) -> Tensor:
        """Values in this layout as (n, c, h, w), a view."""
        if self.layout == "channels_last":
            return values.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            patches = values[:, self.prefix :]
            side = math.isqrt(patches.shape[1])
            return patches.transpose(1, 2).reshape(len(patches), -1, side, side)
        return values


class GradCam:
    """Grad-CAM of one model, which is left as it was, gradients included.

    Attributes:
        model: as given; called in evaluation mode.
        where: its feature map, found when this object is made.
    """

    def __init__(self, model: nn.Module, image_size: int, *, name: str = "the model") -> None:
        """Find the feature map with one pass forward and back.

        Args:
            model: on its device; images (n, 3, h, w) to scores (n, n_categories).
            image_size: side of its square images in pixels.
            name: of the model, for messages.

        Raises:
            TrainingError: as `find_feature_map`.
        """
        self.model = model
        self.where = find_feature_map(model, image_size, name=name)

    def maps(self, images: Tensor, categories: Tensor) -> Maps:
        """One map for each image and category, before normalisation: (n, k, rows, columns), none negative.

        Args:
            images: the model's input, (n, 3, h, w), on its device.
            categories: indices, (n, k) int64.
        """
        tap = _Tap(self.where.call)
        with evaluating(self.model), torch.no_grad(), hooked(self.model, {self.where.module: tap}):
            scores = self.model(images)
            # The tap has switched gradients on, so only what follows the feature map was recorded.
            chosen = scores.float().gather(1, categories.to(scores.device)).sum(dim=0)
            gradients = [torch.autograd.grad(score, tap.found, retain_graph=True)[0] for score in chosen]
        return np.stack([self._map(tap.found.detach(), gradient) for gradient in gradients], axis=1)

    def _map(self, activations: Tensor, gradients: Tensor) -> Maps:
        weights = self.where.spatial(gradients).float().mean(dim=(2, 3), keepdim=True)
        combined = (weights * self.where.spatial(activations).float()).sum(dim=1).relu()
        found: Maps = combined.cpu().numpy()
        return found


def to_mass(maps: Maps) -> Maps:
    """Maps (…, rows, columns) each with sum 1; one without any mass stays zero."""
    return _divided(maps, maps.sum(axis=(-2, -1), keepdims=True))


def to_display(maps: Maps) -> Maps:
    """Maps (…, rows, columns) each with maximum 1; one without any mass stays zero."""
    return _divided(maps, maps.max(axis=(-2, -1), keepdims=True))


def _divided(maps: Maps, by: Maps) -> Maps:
    return np.divide(maps, by, out=np.zeros_like(maps), where=by > 0)


def find_feature_map(model: nn.Module, image_size: int, *, name: str = "the model") -> FeatureMap:
    """The last output of a module that has places of the image, and whose places the scores depend on.

    The model is called once, and what every module gives is looked at from the last to the first. Images by
    channels by a square counts, with channels first or last, and a sequence of tokens that make a square
    behind a few others, as wide as the last such sequence. (In a vision transformer that is read off its
    class token, the scores depend on no patch after the last exchange between tokens; what is found there is
    the normalised input of that exchange, as is usual for them.)

    Args:
        model: on its device; images (n, 3, h, w) to scores (n, n_categories).
        image_size: side of its square images in pixels.
        name: of the model, for messages.

    Raises:
        TrainingError: there is no such output.
    """
    dice = torch.Generator().manual_seed(0)
    probe = _connected(model, dice).eval()
    device = next((parameter.device for parameter in probe.parameters()), torch.device("cpu"))
    images = torch.randn(_EXAMPLES, 3, image_size, image_size, generator=dice)
    images = images.to(device).requires_grad_()
    trace = Trace(probe, images)
    hooks = {module: trace.hook(module) for module, _ in probe.named_modules() if module}
    with torch.enable_grad(), hooked(probe, hooks):
        scores = probe(images * 1)  # a model may write over its input, which a leaf does not allow
        # Weighted at random: a plain sum is constant where scores are normalised.
        total = (scores.float() * torch.randn(scores.shape, generator=dice).to(device)).sum()
        for where, output in trace.candidates():
            (gradient,) = torch.autograd.grad(total, output, retain_graph=True, allow_unused=True)
            if gradient is not None and bool(where.spatial(gradient).any()):
                return where
    raise TrainingError(
        f"the scores of {name} depend on no spatial feature map at {image_size} px, so there is no Grad-CAM; "
        "try larger images"
    )


def _connected(model: nn.Module, dice: torch.Generator) -> nn.Module:
    """A copy without layers of zeros, as some models have before training: they would hide what is behind."""
    probe = copy.deepcopy(model)
    for parameter in probe.parameters():
        if not bool(parameter.any()):
            parameter.data = torch.randn(parameter.shape, generator=dice).to(parameter) / 10
    return probe


class Trace:
    """What may be feature maps, in the order in which they come out of the modules."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.images = images
        self.prefix: int | None = getattr(model, "num_prefix_tokens", None)  # timm's transformers say it
        self.calls: dict[str, int] = {}
        self.lengths: set[int] = set()
        self.seen: list[tuple[FeatureMap, Tensor]] = []

    def candidates(self) -> Iterator[tuple[FeatureMap, Tensor]]:
        """What was seen, last first; of sequences those as wide as the last, no hidden layers."""
        shape = next(
            (output.shape for where, output in reversed(self.seen) if where.layout == "tokens"), None
        )
        for where, output in reversed(self.seen):
            if where.layout != "tokens" or output.shape == shape:
                yield where, output

    def hook(self, module: str) -> Callable[[nn.Module, Any, object], None]:
        """A forward hook that notes the outputs of one module."""

        def note(_: nn.Module, __: Any, output: object) -> None:
            call = self.calls.get(module, 0)
            self.calls[module] = call + 1
            layout = self._layout(output) if isinstance(output, Tensor) and output.requires_grad else None
            if layout is not None and isinstance(output, Tensor):
                self.seen.append((FeatureMap(module, call, *layout), output))

        return note

    def _layout(self, output: Tensor) -> tuple[Layout, int] | None:
        if output.shape == self.images.shape or not output.ndim or len(output) != _EXAMPLES:
            return None
        if output.ndim == 4:
            return self._plane(output)
        return self._sequence(output) if output.ndim == 3 else None

    def _plane(self, output: Tensor) -> tuple[Layout, int] | None:
        _, first, second, third = output.shape
        if second in self.lengths:  # heads of attention: by tokens, by tokens or features
            return None
        if second == third > 1:
            return "channels_first", 0
        return ("channels_last", 0) if first == second > 1 else None

    def _sequence(self, output: Tensor) -> tuple[Layout, int] | None:
        length = output.shape[1]
        prefix = length - math.isqrt(length) ** 2 if self.prefix is None else self.prefix
        patches = length - prefix
        if patches < 4 or math.isqrt(patches) ** 2 != patches or prefix > _MOST_PREFIX_TOKENS:
            return None
        self.lengths.add(length)
        return "tokens", prefix


class _Tap:
    """A forward hook that cuts the model in two: what it finds is where gradients end."""

    def __init__(self, call: int) -> None:
        self.wanted, self.calls = call, 0
        self.found = torch.empty(0)

    def __call__(self, _: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        self.calls += 1
        if self.calls - 1 != self.wanted:
            return None
        torch.set_grad_enabled(True)
        self.found = output.detach().requires_grad_()
        return self.found.clone()  # the next module may write over it


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, after which every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def hooked(model: nn.Module, hooks: dict[str, Any]) -> Iterator[None]:
    """Forward hooks, by name of module."""
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(model.get_submodule(name).register_forward_hook(hook).remove)
        yield
