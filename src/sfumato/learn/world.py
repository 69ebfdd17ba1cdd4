"""The processes that train one model together: one alone, or those that `torchrun` started.

They share nothing but what they add up: after each step all hold the same weights. Process 0 alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import distributed

from sfumato.errors import MissingExtra, SfumatoError, UsageError
from sfumato.progress import is_alone

Made = TypeVar("Made")

_PATIENCE = timedelta(days=1)
"""How long a process waits for another, which may be decoding; one that dies is noticed at once."""


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one exchange; all of one floating type."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(
            tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True
        ):
            tensor.detach().copy_(part.view(tensor.shape))

    def spread(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by that of process 0, which has the same shape and type."""
        if self.size == 1:
            return
        for tensor in tensors:
            # As bytes, since gloo does not know every type, and in one piece, whatever the memory format.
            flat = tensor.detach().reshape(-1).contiguous().clone()
            distributed.broadcast(flat.view(torch.uint8), 0)
            tensor.detach().copy_(flat.view(tensor.shape))

    def gather(self, value: Made) -> list[Made]:
        """The value of each process, by rank, in every process; pickled on the way."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def share(self, make: Callable[[], Made]) -> Made:
        """What process 0 makes, in every process; the others wait for it.

        Raises:
            Whatever `make` raises in process 0; SfumatoError with its message in the others.
        """
        if self.size == 1:
            return make()
        if not self.main:
            box: list[Any] = [None]
            distributed.broadcast_object_list(box)
            fine, value = box[0]
            if not fine:
                raise SfumatoError(f"process 0 gave up: {value}")
            return value  # type: ignore[no-any-return]
        try:
            value = make()
        except Exception as error:
            distributed.broadcast_object_list([(False, str(error))])
            raise
        distributed.broadcast_object_list([(True, value)])
        return value


def join_world(device: str) -> World:
    """Meet the other processes, where `torchrun` started several; gloo on a CPU, NCCL on CUDA.

    Args:
        device: "cpu" or "cuda".

    Raises:
        UsageError: several processes on another device, or more of them than this machine has GPUs.
        MissingExtra: several processes without accelerate.
    """
    if is_alone():
        return World()
    if find_spec("accelerate") is None:
        raise MissingExtra("train", "training in several processes")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device not in {"cpu", "cuda"}:
        raise UsageError(f"several processes can train on cpu or cuda, not on {device}; start one")
    if device == "cuda" and here > torch.cuda.device_count():
        raise UsageError(f"{here} processes for {torch.cuda.device_count()} GPU(s); start one for each")
    state = import_module("accelerate").PartialState(cpu=device == "cpu", timeout=_PATIENCE)
    return World(state.process_index, state.num_processes)
