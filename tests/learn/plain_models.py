"""Small nets without batch normalisation, with dropout, or with a limited memory, as architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from sfumato.learn import MODELS, Preprocessing


class Pooled(nn.Module):
    """A convolution, normalisation if asked for, dropout, the mean over the picture, scores."""

    def __init__(self, n_categories: int, dropout: float, most: int | None, *, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8, n_categories)
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.most is not None and len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("out of memory")
        scores: torch.Tensor = self.head(self.drop(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3))))
        return scores


def before_forward(patch: pytest.MonkeyPatch, called: Callable[[Pooled, torch.Tensor], None]) -> None:
    """Have something done, or raised, before each time that one of these computes."""
    forward = Pooled.forward

    def watched(model: Pooled, x: torch.Tensor) -> torch.Tensor:
        called(model, x)
        return forward(model, x)

    patch.setattr(Pooled, "forward", watched)


@dataclass(frozen=True)
class Plain:
    """An architecture; `most` images at once fit into its memory."""

    dropout: float = 0.0
    most: int | None = None
    norm: bool = False
    learning_rate: float = 0.5
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(16, resize_ratio=1.0))

    def __call__(self, n_categories: int) -> nn.Module:
        return Pooled(n_categories, self.dropout, self.most, norm=self.norm)


plain = Plain()
dropping = Plain(dropout=0.5)
hungry = Plain(most=3)
greedy = Plain(most=1)
restless = Plain(dropout=0.5, norm=True)

NAMES = ("plain", "dropping", "hungry", "greedy", "restless")


def register(patch: pytest.MonkeyPatch) -> None:
    """Let these be found by name."""
    for name in NAMES:
        patch.setitem(MODELS.builtins, name, f"tests.learn.plain_models:{name}")
