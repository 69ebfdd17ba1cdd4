"""The body of a detector: a classifier without its head."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sfumato.learn.attention import hooked
from sfumato.learn.detection.cut import Cut, Level


class Body(nn.Module):
    """Images (n, 3, h, w) to the feature maps of some levels, each (n, channels, h/stride, w/stride).

    Attributes:
        net: the classifier, with nothing in the place of its head.
        levels: as found, the finest first.
    """

    def __init__(self, classifier: nn.Module, cut: Cut, *, still: bool, frozen: bool) -> None:
        """Copy a classifier up to a cut.

        Args:
            classifier: with its weights; left as it is.
            cut: as found in it.
            still: batch normalisation keeps its statistics and scales.
            frozen: nothing changes at all, and no gradients are computed.
        """
        super().__init__()
        # What is in the memo already is not copied: a head can be larger than the rest.
        memo: dict[int, Any] = {id(classifier.get_submodule(name)): nn.Identity() for name in cut.head}
        self.net = copy.deepcopy(classifier, memo)
        self.levels = cut.levels
        self.still, self.frozen = still, frozen
        for module in self._keep_still():
            module.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Body:
        """As for any module, but what keeps still stays in evaluation mode."""
        super().train(mode)
        for module in self._keep_still():
            module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, the finest first."""
        taps = _Taps(self.levels)
        learns = torch.is_grad_enabled() and not self.frozen
        with torch.set_grad_enabled(learns), hooked(self.net, taps.hooks()):
            try:
                self.net(images)
            except _AllFoundError:
                return [taps.found[level] for level in self.levels]
        raise AssertionError("the net has not called a module that it called when it was cut")

    def _keep_still(self) -> Iterator[nn.Module]:
        if self.frozen:
            yield self.net
        elif self.still:
            yield from (module for module in self.net.modules() if isinstance(module, _BatchNorm))


class _AllFoundError(Exception):
    """Ends a pass through the net: what follows is its head."""


class _Taps:
    """Takes the maps as they come out of the modules."""

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self.levels, self.found = levels, dict[Level, Tensor]()
        self.calls = {level.where.module: 0 for level in levels}

    def hooks(self) -> dict[str, Callable[[nn.Module, Any, Tensor], None]]:
        """Forward hooks by name of module."""
        return {module: self._hook(module) for module in self.calls}

    def _hook(self, module: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def take(_: nn.Module, __: Any, output: Tensor) -> None:
            for level in self.levels:
                if level.where.module == module and level.where.call == self.calls[module]:
                    # A copy, since what follows may write over it.
                    self.found[level] = level.where.spatial(output).clone()
            self.calls[module] += 1
            if len(self.found) == len(self.levels):
                raise _AllFoundError

        return take
