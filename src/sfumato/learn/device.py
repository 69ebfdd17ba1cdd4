"""Where a model runs, in which number format, and what it is fed there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sfumato.errors import TrainingError, UsageError
from sfumato.learn.architectures import Preprocessing
from sfumato.learn.memory import is_out_of_memory

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_CPU_STATE = 5056
"""Bytes of the state of torch's generator on the CPU."""


@dataclass(frozen=True)
class Runtime:
    """A device and how to use it.

    Attributes:
        device: "cpu", "cuda" or "mps".
        bf16: convolutions and products in bfloat16, weights and losses in float32.
        channels_last: memory format of images and convolution weights.
        fp16: the same in float16, with gradients scaled so that they do not vanish; CUDA only.
        compiled: the model goes through `torch.compile`.
    """

    device: str
    bf16: bool
    channels_last: bool
    fp16: bool = False
    compiled: bool = False

    @property
    def precision(self) -> str:
        """As recorded with a run."""
        if self.fp16:
            return "fp16"
        return "bf16" if self.bf16 else "fp32"

    @property
    def memory_format(self) -> torch.memory_format:
        """As torch calls it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def unread(self) -> int:
        """Steps whose figures may wait to be read, so that a GPU computes while Python reads.

        A CPU does only one of the two at a time.
        """
        return 0 if self.device == "cpu" else 1

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the model is called."""
        if not (self.bf16 or self.fp16):
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.float16 if self.fp16 else torch.bfloat16)

    def arithmetic(self) -> AbstractContextManager[None]:
        """The context in which steps are taken: "fp32" means float32 all the way, see `exact_float32`."""
        return exact_float32() if self.precision == "fp32" else nullcontext()

    def own_chance(self) -> AbstractContextManager[None]:
        """A context in which torch's generators may be changed; afterwards they are as before."""
        devices = [torch.cuda.current_device()] if self.device == "cuda" else []
        return torch.random.fork_rng(devices)

    def chance(self) -> torch.Tensor:
        """State of torch's generators as bytes: of the CPU's, then of the GPU's."""
        states = [torch.get_rng_state()]
        if self.device == "cuda":
            states.append(torch.cuda.get_rng_state())
        return torch.cat(states)

    def set_chance(self, state: torch.Tensor) -> None:
        """Bring the generators to where `chance` found them; a GPU's only where it was on one."""
        torch.set_rng_state(state[:_CPU_STATE].clone())
        if self.device == "cuda" and len(state) > _CPU_STATE:
            torch.cuda.set_rng_state(state[_CPU_STATE:].clone())


def choose_runtime(device: str = "auto", precision: str = "auto", *, compiled: bool = False) -> Runtime:
    """The best way to use a device.

    bfloat16 is used where the processor computes in it: without such instructions it is emulated and slower.

    Args:
        device: "cpu", "cuda", "mps", or "auto" for the first of cuda, mps, cpu that is there.
        precision: "fp32", "bf16", "fp16", or "auto" for the best.
        compiled: see `Runtime`.

    Raises:
        UsageError: another word, a device that is not there, a format that it does not compute in, or a
            `torch.compile` that does not work here.
    """
    _need_known("device", device, get_args(Device))
    _need_known("precision", precision, get_args(Precision))
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    if not present[device]:
        raise UsageError(f"torch finds no {device} device here; use --device auto or --device cpu")
    if precision == "fp16" and device != "cuda":
        raise UsageError(f"fp16 works on cuda only, not on {device}; use bf16, or leave the precision alone")
    if precision == "bf16" and device == "mps":
        raise UsageError("bf16 does not work on mps; use fp32, or leave the precision alone")
    if compiled:
        _need_compiler(device)
    bf16 = precision == "bf16" or (precision == "auto" and _has_bf16(device))
    return Runtime(device, bf16, device != "mps", precision == "fp16", compiled)


def place(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The model on its device, in its memory format.

    Raises:
        TrainingError: it does not fit there.
    """
    try:
        placed: nn.Module = model.to(device=runtime.device, memory_format=runtime.memory_format)  # type: ignore[call-overload]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"the model does not fit into the memory of {runtime.device}") from error
    return placed


class Normalise:
    """Pixels (n, h, w, 3) uint8 to model input (n, 3, h, w) float32 on the device."""

    def __init__(self, preprocessing: Preprocessing, runtime: Runtime) -> None:
        shape = (1, 3, 1, 1)
        self.runtime = runtime
        self.mean = 255 * torch.tensor(preprocessing.mean, device=runtime.device).view(shape)
        self.std = 255 * torch.tensor(preprocessing.std, device=runtime.device).view(shape)

    def stage(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        """Pixels where the device can fetch them while it computes; may be called in another thread."""
        tensor = torch.from_numpy(pixels)
        return tensor.pin_memory() if self.runtime.device == "cuda" else tensor

    def __call__(self, pixels: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """See the class; pixels may be staged, or on the device already."""
        tensor = pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(pixels)
        on_device = tensor.to(self.runtime.device, non_blocking=True)
        # Pixels lie with the channels last already, so this only renames the axes.
        images = on_device.permute(0, 3, 1, 2).float().sub_(self.mean).div_(self.std)
        return images.contiguous(memory_format=self.runtime.memory_format)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switch off TensorFloat-32, in which CUDA otherwise computes convolutions in 10 bits of 23.

    The switches belong to the whole process; afterwards they are as before.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def _need_known(what: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise UsageError(f"unknown {what} '{word}'; known: {', '.join(known)}")


def _need_compiler(device: str) -> None:
    """Compile the smallest of functions: what cannot do that cannot compile a model."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(2, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"torch.compile does not work here ({reason}); it needs a C++ compiler, for CUDA Triton too; "
            "train without it"
        ) from error


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and _cpu_has_bf16()


def _cpu_has_bf16() -> bool:
    # Private names: older versions of torch have no public way to ask.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
