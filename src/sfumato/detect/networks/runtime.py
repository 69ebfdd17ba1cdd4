"""Networks in ONNX form, loaded: one session a process, on the processor or a graphics card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.detect.networks.candidates import Candidates
from sfumato.detect.networks.weights import Weights
from sfumato.errors import SfumatoError, UsageError

Tensor = NDArray[np.float32]

CPU = "CPUExecutionProvider"
PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": (),
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
    "directml": ("DmlExecutionProvider",),
    "mps": ("CoreMLExecutionProvider",),
}
"""onnxruntime's execution providers for each device that can be asked for. "auto" takes the first that is
installed of CUDA, ROCm and DirectML; CoreML is left out of it, since it compiles anew for each size."""

_AUTO = ("cuda", "rocm", "directml")

GPU_BATCH = 16
"""Pictures of one size that a graphics card is given at once."""

_device = "auto"


def use_device(device: str) -> None:
    """Choose where this process computes: "auto", "cpu", "cuda", "rocm", "directml" or "mps".

    Raises:
        UsageError: no such device, or the installed onnxruntime has no provider for it; the message says what
            to install.
    """
    global _device
    providers(device)
    _device = device


def providers(device: str) -> tuple[str, ...]:
    """Execution providers for a device, best first; the processor is always the last.

    Raises:
        UsageError: as `use_device`.
    """
    import onnxruntime

    if device != "auto" and device not in PROVIDERS:
        raise UsageError(f"unknown device '{device}'; known: auto, {', '.join(PROVIDERS)}")
    installed = onnxruntime.get_available_providers()
    wanted = [name for choice in (_AUTO if device == "auto" else (device,)) for name in PROVIDERS[choice]]
    found = [name for name in wanted if name in installed]
    if wanted and not found and device != "auto":
        raise UsageError(
            f"the installed onnxruntime cannot compute on {device} (it has {', '.join(installed)}); "
            "install the build that can, such as onnxruntime-gpu for cuda, or use --device cpu"
        )
    return (*found[:1], CPU)


def chosen_providers() -> tuple[str, ...]:
    """Execution providers for the device that this process computes on."""
    return providers(_device)


@dataclass(frozen=True, eq=False)
class Graph:
    """A loaded network.

    Attributes:
        weights: that it has.
        session: of onnxruntime.
        outputs: their names, in the file's order.
        sides: height and width of the input in pixels where the file fixes them, else None.
        most: pictures that are best given at once.
    """

    weights: Weights
    session: Any
    outputs: tuple[str, ...]
    sides: tuple[int, int] | None
    most: int

    def run(self, pixels: Tensor, outputs: Sequence[str] | None = None) -> list[Tensor]:
        """The outputs for an input (n, 3, height, width) float32; all, in the file's order, by default."""
        feed = {self.session.get_inputs()[0].name: np.ascontiguousarray(pixels, dtype=np.float32)}
        found: list[Tensor] = self.session.run(list(outputs or self.outputs), feed)
        return found


def load(weights: Weights, prepare: Callable[[bytes], bytes]) -> Graph:
    """The network with these weights, loaded once a process.

    On the processor it computes on one thread. Stages run one process a core, so more threads would only
    fight; and a fixed number keeps results the same to the bit, whatever the number of workers.

    Args:
        weights: of the network.
        prepare: changes the ONNX bytes before they are loaded; a module-level function.

    Raises:
        SfumatoError: the weights are missing, or are no network that onnxruntime can load.
    """
    return _load(weights, prepare, _device)


@lru_cache(maxsize=8)
def _load(weights: Weights, prepare: Callable[[bytes], bytes], device: str) -> Graph:
    import onnxruntime

    data = weights.read()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(prepare(data), options, providers=list(providers(device)))
    except UsageError:
        raise
    except Exception as error:  # onnxruntime's own kinds, and those of the ONNX parser
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SfumatoError(f"{weights.file}: no ONNX network that can be loaded ({first})") from error
    if device not in ("auto", "cpu") and session.get_providers()[0] == CPU:
        raise SfumatoError(f"onnxruntime has a provider for {device}, but no such device could be started")
    number, _, height, width = _input_shape(session, weights)
    sides = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    most = 1 if session.get_providers()[0] == CPU or isinstance(number, int) else GPU_BATCH
    names = tuple(output.name for output in session.get_outputs())
    return Graph(weights, session, names, sides, most)


def _input_shape(session: Any, weights: Weights) -> Sequence[int | str]:
    """Shape of the input (n, 3, h, w): numbers where the file fixes them, names where it does not."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        shapes = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise SfumatoError(
            f"{weights.file}: {weights.name} takes one input (n, 3, height, width), not {shapes}"
        )
    if inputs[0].shape[0] not in (1, None) and isinstance(inputs[0].shape[0], int):
        raise SfumatoError(
            f"{weights.file}: takes {inputs[0].shape[0]} pictures at once and no other number; "
            "export it with one, or with any number"
        )
    shape: Sequence[int | str] = inputs[0].shape
    return shape


@dataclass(frozen=True)
class OnnxNetwork(ABC):
    """A network of one family with its weights; see `sfumato.detect.networks.views.Network`.

    A subclass is called with a batch and says what goes in and what the outputs mean. It is a small value:
    the graph itself is loaded when it is first used, once a process.
    """

    weights: Weights

    @abstractmethod
    def __call__(self, batch: NDArray[np.uint8], *, min_score: float) -> list[Candidates]:
        """Candidates of each picture of (n, h, w, 3) uint8 RGB, sides multiples of 32."""

    @property
    def graph(self) -> Graph:
        """The loaded network.

        Raises:
            SfumatoError: it cannot be loaded.
        """
        return load(self.weights, self.prepare)

    @property
    def sides(self) -> tuple[int, int] | None:
        """Height and width of the pictures where the file fixes them."""
        return self.graph.sides

    @property
    def most(self) -> int:
        """Number of pictures of one size that are best given at once."""
        return self.graph.most

    @staticmethod
    def prepare(data: bytes) -> bytes:
        """The ONNX bytes as they are loaded: unchanged, but for families that know better."""
        return data

    def refused(self, expected: str, outputs: Sequence[Tensor]) -> SfumatoError:
        """The error for a file whose outputs are not those of the family."""
        shapes = ", ".join(
            f"{name} {list(output.shape)}" for name, output in zip(self.graph.outputs, outputs, strict=False)
        )
        return SfumatoError(
            f"{self.weights.file}: not a {self.weights.name} network: {expected}; it has {shapes}"
        )
