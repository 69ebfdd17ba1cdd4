"""Where a model runs and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from sfumato.errors import UsageError

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Runtime:
    """A device and how to use it.

    Attributes:
        device: "cpu", "cuda" or "mps".
        bf16: convolutions and products in bfloat16, weights and losses in float32.
        channels_last: memory format of images and convolution weights.
    """

    device: str
    bf16: bool
    channels_last: bool

    @property
    def precision(self) -> str:
        """As recorded with a run."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def memory_format(self) -> torch.memory_format:
        """As torch calls it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the model is called."""
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)


def choose_runtime(device: str = "auto") -> Runtime:
    """The best way to use a device.

    bfloat16 is used where the processor computes in it: without such instructions it is emulated and slower.

    Args:
        device: "cpu", "cuda", "mps", or "auto" for the first of cuda, mps, cpu that is there.

    Raises:
        UsageError: another word, or a device that is not there.
    """
    if device not in get_args(Device):
        raise UsageError(f"unknown device '{device}'; known: {', '.join(get_args(Device))}")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    if not present[device]:
        raise UsageError(f"torch finds no {device} device here; use --device auto or --device cpu")
    if device == "cuda":
        return Runtime("cuda", bf16=torch.cuda.is_bf16_supported(), channels_last=True)
    if device == "mps":
        return Runtime("mps", bf16=False, channels_last=False)
    return Runtime("cpu", bf16=_cpu_has_bf16(), channels_last=True)


def _cpu_has_bf16() -> bool:
    # Private names: older versions of torch have no public way to ask.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
