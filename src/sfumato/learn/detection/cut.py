"""Where a classifier has feature maps for a detector, and what of it is then its head.

The net is tried once with every module watched. At each stride (4, 8, 16 and 32 pixels of the image for one
of the map) the last map counts that all goes through which reaches the scores: so a stage's result is taken,
shortcuts included, and not what lies inside the first block of the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from sfumato.errors import TrainingError
from sfumato.learn.attention import FeatureMap, Trace, evaluating, hooked

STRIDES = (4, 8, 16, 32)

_PROBE_SIZE = 224
"""Side of the images that a net is tried with, in pixels, where its own are larger and it takes these. No
stage has as many channels as such images have rows there, so it is clear which dimension is which."""
_ANY_SIZE_IN = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True)
class Level:
    """A feature map of a net.

    Attributes:
        where: in the net it comes out.
        stride: pixels of the image for one of its own, to the nearest power of 2.
        channels: number.
    """

    where: FeatureMap
    stride: int
    channels: int


@dataclass(frozen=True)
class Cut:
    """Where a classifier is cut.

    Attributes:
        levels: at least one, the finest first, each with twice the stride of the one before.
        head: names of the modules that are called only after all of them.
    """

    levels: tuple[Level, ...]
    head: frozenset[str]


def find_cut(classifier: nn.Module, image_size: int) -> Cut:
    """Find the levels of a classifier, which is left as it was.

    Args:
        classifier: images (n, 3, h, w) to scores (n, n_categories).
        image_size: side of its square images in pixels.

    Raises:
        TrainingError: it takes no such images, or has no feature maps.
    """
    with evaluating(classifier), torch.enable_grad():
        watch = _watched(classifier, image_size)
    found = watch.maps()
    if not found:
        raise TrainingError(
            f"the model has no feature map of {STRIDES[0]} to {STRIDES[-1]} px a pixel for images of "
            f"{image_size} px, so it cannot be the body of a detector; choose larger images or another model"
        )
    strides = [max(found)]
    while strides[0] // 2 in found:
        strides.insert(0, strides[0] // 2)
    levels = [watch.level(found[stride], stride) for stride in strides]
    return Cut(tuple(levels), watch.called_after(max(found[stride] for stride in strides)))


def _watched(classifier: nn.Module, image_size: int) -> _Watch:
    """A net tried on torch's device "meta", where nothing is computed; else on its own."""
    for side in sorted({min(_PROBE_SIZE, image_size), image_size}):
        try:
            return _try(classifier, side, torch.device("meta"))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            pass  # images of one size only, or numbers that must be known
    device = next((parameter.device for parameter in classifier.parameters()), torch.device("cpu"))
    try:
        return _try(classifier, image_size, device)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"the model cannot take images of {image_size} px ({reason}); choose a larger image size or "
            "another model"
        ) from error


def _try(classifier: nn.Module, side: int, device: torch.device) -> _Watch:
    state = {
        name: value.detach().to(device)
        for name, value in (*classifier.named_parameters(), *classifier.named_buffers())
    }
    images = torch.zeros(2, 3, side, side, device=device, requires_grad=True)
    watch = _Watch(classifier, images)
    with ExitStack() as stack:
        for name, module in classifier.named_modules():
            stack.callback(module.register_forward_pre_hook(watch.start(name)).remove)
        stack.enter_context(hooked(classifier, {name: watch.hook(name) for name, _ in _inner(classifier)}))
        watch.scores = torch.func.functional_call(classifier, state, (images * 1,))
    return watch


def _inner(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if name)


class _Watch(Trace):
    """What comes out of the modules of a net, how it was computed, and when they were called."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__(model, images)
        self.model, self.scores = model, images
        self.nodes: list[Any] = []  # of the graph of autograd, in the order of `seen`
        self.starts: dict[str, list[int]] = {}  # number of maps seen when a module is called

    def start(self, module: str) -> Callable[[nn.Module, Any], None]:
        """A hook that notes when a module is called."""
        return lambda _, __: self.starts.setdefault(module, []).append(len(self.seen))

    def hook(self, module: str) -> Callable[[nn.Module, Any, object], None]:
        """As of any trace."""
        note = super().hook(module)

        def both(called: nn.Module, inputs: Any, output: object) -> None:
            note(called, inputs, output)
            if len(self.nodes) < len(self.seen):
                self.nodes.append(self.seen[-1][1].grad_fn)

        return both

    def maps(self) -> dict[int, int]:
        """Which map to take at each stride, as its place in `seen`."""
        found: dict[int, int] = {}
        for place in reversed(range(self._end())):
            stride = self._stride(place)
            if stride in STRIDES and stride not in found and self._counts(place):
                found[stride] = place
        return found

    def level(self, place: int, stride: int) -> Level:
        """The map at a place as a level."""
        where, output = self.seen[place]
        return Level(where, stride, where.spatial(output).shape[1])

    def called_after(self, place: int) -> frozenset[str]:
        """Modules that are called only after the map at this place is there."""
        return frozenset(name for name, starts in self.starts.items() if min(starts) > place)

    def _end(self) -> int:
        """Maps before the first one of a size of its own, and before the layer that gives the scores."""
        scoring = max(
            starts[-1]
            for name, starts in self.starts.items()
            if any(True for _ in self.model.get_submodule(name).parameters(recurse=False))
        )
        pools = (
            place
            for place, (where, _) in enumerate(self.seen)
            if isinstance(self.model.get_submodule(where.module), _ANY_SIZE_IN) and self._counts(place)
        )
        return min([scoring, *pools])

    def _stride(self, place: int) -> int:
        where, output = self.seen[place]
        ratio = self.images.shape[-1] / where.spatial(output).shape[-1]
        return int(2 ** round(math.log2(ratio)))

    def _counts(self, place: int) -> bool:
        """Whether the scores depend on the images through this map only, and the map is no dropout's."""
        if isinstance(self.model.get_submodule(self.seen[place][0].module), _DropoutNd):
            return False
        ahead: list[Any] = [self.scores.grad_fn]
        visited = {None, self.nodes[place]}
        while ahead:
            node = ahead.pop()
            if node in visited:
                continue
            visited.add(node)
            if hasattr(node, "variable"):  # the images: nothing else is asked for a gradient
                return False
            ahead += [before for before, _ in node.next_functions]
        return True
