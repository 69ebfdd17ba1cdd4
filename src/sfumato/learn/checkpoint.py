"""Weights and checkpoints as safetensors: numbers and text only, nothing that could run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from sfumato.errors import TrainingError
from sfumato.learn.training import Place, Training
from sfumato.records import beside

_MODEL = "model."
_AVERAGE = "average."
_OPTIMIZER = "optimizer."
_CHANCE = "chance."
_STATE = "state"

Tensors = dict[str, torch.Tensor]


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers, whole or not at all.

    Raises:
        TrainingError: the disk is full.
    """
    _write(path, _stored(model.state_dict()), {})


def read_weights(path: Path, model: nn.Module) -> None:
    """Load parameters and buffers into a model of the same architecture.

    Raises:
        TrainingError: the file is missing or damaged, or belongs to another model.
    """
    tensors, _ = _read(path, f"delete the folder {path.parent} and train again")
    _load(path, model, tensors)


def write_checkpoint(path: Path, training: Training, rows: list[dict[str, Any]]) -> None:
    """Write all that a run needs to go on, and the rows so far, in one file, so that they cannot disagree.

    Tensors: weights, their running mean, the optimizer's state, and the state of torch's generators in each
    process. As JSON in the header: where the run is, the parts of a batch, the scale of float16, the rows.

    Raises:
        TrainingError: the disk is full.
    """
    tensors = _stored(training.model.state_dict(), _MODEL) | _stored(training.average or {}, _AVERAGE)
    tensors |= _stored(_optimizer_state(training), _OPTIMIZER)
    tensors |= {f"{_CHANCE}{rank}": state for rank, state in enumerate(training.chance)}
    scaler = training.scaler.state_dict() if training.scaler is not None else None
    state = {"place": asdict(training.place), "parts": training.parts, "scaler": scaler, "rows": rows}
    state["optimizer"] = sorted(_optimizer_state(training))
    _write(path, tensors, {_STATE: json.dumps(state)})


def read_checkpoint(path: Path, training: Training) -> list[dict[str, Any]]:
    """Bring a new run to where a checkpoint was; gives the rows so far.

    Raises:
        TrainingError: the file is damaged, or of another model.
    """
    tensors, metadata = _read(path, "delete it to start anew")
    _load(path, training.model, _below(tensors, _MODEL))
    if training.average is not None:
        average = _below(tensors, _AVERAGE)
        for name, kept in training.average.items():
            kept.copy_(_need(path, average, name, kept.shape))
    chance, remembered = _below(tensors, _CHANCE), _below(tensors, _OPTIMIZER)
    training.chance = [_need(path, chance, str(rank)) for rank in range(len(chance))]
    try:
        state = json.loads(metadata[_STATE])
        if sorted(remembered) != state["optimizer"]:
            raise ValueError("the state of the optimizer is not whole")
        _set_optimizer_state(training, remembered)
        if not remembered and _remembers(training, Place(**state["place"])):
            raise ValueError("no state of the optimizer")
        training.place = Place(**state["place"])
        training.parts = int(state["parts"])
        if training.scaler is not None and state["scaler"]:
            training.scaler.load_state_dict(state["scaler"])
        rows: list[dict[str, Any]] = state["rows"]
    except (KeyError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: damaged checkpoint ({error}); delete it to start anew") from error
    return rows


def _optimizer_state(training: Training) -> Tensors:
    """What the optimizer remembers of each parameter: "momentum_buffer.conv1.weight"."""
    return {
        f"{key}.{name}": value
        for name, parameter in training.model.named_parameters()
        for key, value in training.optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def _remembers(training: Training, place: Place) -> bool:
    """Whether the optimizer must remember something; in float16 all steps may have been skipped."""
    recipe, begun = training.config.recipe, place.epoch + place.batch > 0
    return begun and training.scaler is None and (recipe.optimizer == "adamw" or recipe.momentum > 0)


def _set_optimizer_state(training: Training, tensors: Tensors) -> None:
    parameters = dict(training.model.named_parameters())
    for path, value in tensors.items():
        key, _, name = path.partition(".")
        if name not in parameters:
            raise ValueError(f"no parameter '{name}'")
        parameter = parameters[name]
        # Filled in place, so that it has the parameter's device and memory format; a count has no format.
        whole = value.shape == parameter.shape
        if not whole and value.ndim > 0:
            raise ValueError(f"'{path}' has another shape than its parameter")
        here = torch.empty_like(parameter).copy_(value) if whole else value.to(parameter.device)
        training.optimizer.state[parameter][key] = here.detach()


def _stored(tensors: Tensors, prefix: str = "") -> Tensors:
    return {prefix + name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _below(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _need(path: Path, tensors: Tensors, name: str, shape: torch.Size | None = None) -> torch.Tensor:
    if name not in tensors or shape not in (None, tensors[name].shape):
        raise TrainingError(f"{path}: damaged checkpoint (no '{name}'); delete it to start anew")
    return tensors[name]


def _write(path: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    # Not through `write_atomic`: the file may be as large as memory, so it is not put together there.
    temporary = beside(path)
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


_OF_SAFETENSORS = ".tmp" + 6 * "[0-9A-Za-z]"
"""What safetensors, from 0.8 on, calls the file that it writes before it renames it to the one asked for."""


def sweep(folder: Path) -> None:
    """Remove what a killed process had begun to write."""
    for pattern in (".*.tmp", _OF_SAFETENSORS):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _read(path: Path, remedy: str) -> tuple[Tensors, dict[str, str]]:
    if not path.is_file():
        raise TrainingError(f"{path}: no such file; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: not a readable safetensors file ({error}); {remedy}") from error


def _load(path: Path, model: nn.Module, tensors: Tensors) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(f"{path}: holds the weights of another model ({reason} …)") from error
