"""Weights and checkpoints as safetensors: numbers and text only, nothing that could run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from sfumato.errors import TrainingError
from sfumato.learn.fit import Training

_MODEL = "model."
_MOMENTUM = "momentum."
_STATE = "state"


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers, whole or not at all."""
    _write(path, _tensors(model), {})


def read_weights(path: Path, model: nn.Module) -> None:
    """Load parameters and buffers into a model of the same architecture.

    Raises:
        TrainingError: the file is missing or damaged, or belongs to another model.
    """
    tensors, _ = _read(path)
    _load(path, model, tensors)


def write_checkpoint(path: Path, training: Training, rows: list[dict[str, Any]]) -> None:
    """Write weights, momentum, and the rows so far, in one file, so that they cannot disagree."""
    tensors = {_MODEL + name: tensor for name, tensor in _tensors(training.model).items()}
    for name, parameter in training.model.named_parameters():
        momentum = training.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[_MOMENTUM + name] = momentum.detach().cpu().contiguous()
    _write(path, tensors, {_STATE: json.dumps({"epochs_done": training.epochs_done, "rows": rows})})


def read_checkpoint(path: Path, training: Training) -> list[dict[str, Any]]:
    """Bring a new run to where a checkpoint was; gives the rows so far.

    Raises:
        TrainingError: the file is damaged, or of another model.
    """
    tensors, metadata = _read(path)
    _load(path, training.model, _below(tensors, _MODEL))
    momenta = _below(tensors, _MOMENTUM)
    for name, parameter in training.model.named_parameters():
        if name in momenta:
            # Filled in place, so that it has the parameter's device and memory format.
            buffer = torch.empty_like(parameter).copy_(momenta[name])
            training.optimizer.state[parameter]["momentum_buffer"] = buffer
    try:
        state = json.loads(metadata[_STATE])
        training.epochs_done = int(state["epochs_done"])
        rows: list[dict[str, Any]] = state["rows"]
    except (KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: damaged checkpoint ({error}); delete it to start anew") from error
    return rows


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    # Not through `write_atomic`: the file may be as large as memory, so it is not put together there.
    temporary = path.parent / f".{path.name}.{uuid4().hex[:8]}.tmp"
    try:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **metadata})
        except SafetensorError as error:  # which does not say what the system said
            raise TrainingError(f"{path}: cannot be written; is the disk full? ({error})") from error
        temporary.chmod(0o666 & ~_umask())  # safetensors makes its files private
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: not a readable safetensors file ({error}); delete it") from error


def _load(path: Path, model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{path}: holds the weights of another model ({reason} …)") from error
