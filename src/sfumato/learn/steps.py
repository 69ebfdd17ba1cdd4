"""One step of the optimizer: gradients over a batch, in parts and in several processes where need be.

The step is that of the whole batch, whatever the number of parts and processes: each part's loss weighs as
much as its share of the images, and gradients are added up. One thing differs: batch normalisation takes its
statistics over what is worked on at once, a part in a process. Its running statistics are the mean over the
processes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import torch

from sfumato.errors import TrainingError
from sfumato.learn.device import Normalise
from sfumato.learn.memory import is_out_of_memory
from sfumato.learn.objective import Objective, Targets, on_device
from sfumato.learn.training import Training

_STATISTICS = ("running_mean", "running_var")
_FEWEST = 2
"""Images worked on at once, at least: normalisation over a batch cannot work with one."""


class Steps:
    """Takes steps of one run."""

    def __init__(self, training: Training, objective: Objective) -> None:
        self.training, self.objective = training, objective
        self.normalise = Normalise(training.preprocessing, training.runtime)
        self.runtime = training.runtime

    def in_fp32(self, *, wanted: bool) -> None:
        """Compute from now on in float32, or again in the number format of the run."""
        runtime = self.training.runtime
        self.runtime = replace(runtime, bf16=False, fp16=False) if wanted else runtime

    def take(
        self, pixels: torch.Tensor, targets: Targets, *, rate: float, n_batch: int, pause: bool
    ) -> torch.Tensor:
        """Take a step; the result is on the device, so that nobody need wait for it.

        Args:
            pixels: this process's images of the batch, (n, size, size, 3) uint8, staged.
            targets: what the model is told of them.
            rate: learning rate.
            n_batch: images of the batch in all processes.
            pause: passed through: the third number is above 0 where any process asks for a pause.

        Returns:
            Mean loss over the batch, number of images that were right, and whether to pause, (3,) float32.

        Raises:
            TrainingError: out of memory with two images at once.
        """
        training = self.training
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        device = training.runtime.device
        pixels = pixels.to(device, non_blocking=True)
        with self.runtime.arithmetic():
            loss, right = self._gradients(pixels, on_device(targets, device), n_batch=n_batch)
        figures = torch.stack([loss, right.float(), torch.full_like(loss, float(pause))])
        if training.world.size > 1:
            _add_up(training, figures)
        self._update()
        return figures

    def _gradients(
        self, pixels: torch.Tensor, targets: Targets, *, n_batch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of this process's images; where memory runs out, again in twice as many parts."""
        before = _Before(self.training)
        while True:
            try:
                return self._backward(pixels, targets, n_batch=n_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not while the error is held: it holds what filled the memory.
            self._more_parts(len(pixels))
            before.restore()

    def _backward(
        self, pixels: torch.Tensor, targets: Targets, *, n_batch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        training, objective = self.training, self.objective
        training.optimizer.zero_grad(set_to_none=True)
        losses, rights, done = [], [], 0
        for part in pixels.tensor_split(_n_parts(training.parts, len(pixels))):
            target = targets[done : done + len(part)]
            done += len(part)
            with self.runtime.autocast():
                found = objective.call(training.forward, self.normalise(part), target)
            loss, right = objective.judge(found, target)
            if len(part) != n_batch:
                loss = loss * (len(part) / n_batch)
            scaled = loss if training.scaler is None else training.scaler.scale(loss)
            scaled.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            rights.append(right)
        return torch.stack(losses).sum(), torch.stack(rights).sum()

    def _more_parts(self, n_images: int) -> None:
        training = self.training
        now = _n_parts(training.parts, n_images)
        if now >= n_images // _FEWEST:
            # The first steps may be in float32 where the others would fit.
            least = "" if self.runtime == training.runtime else ", or --set fp32_steps=0"
            raise TrainingError(
                f"out of memory with {-(-n_images // now)} images at once; choose smaller images or a "
                f"smaller model{least}"
            )
        training.parts = _n_parts(2 * now, n_images)
        training.optimizer.zero_grad(set_to_none=True)
        if training.runtime.device == "cuda":
            torch.cuda.empty_cache()

    def _update(self) -> None:
        training = self.training
        clip = training.config.recipe.clip_norm
        if training.scaler is not None and clip > 0:
            training.scaler.unscale_(training.optimizer)
        if clip > 0:
            torch.nn.utils.clip_grad_norm_(training.model.parameters(), clip)
        if training.scaler is None:
            training.optimizer.step()
        else:
            training.scaler.step(training.optimizer)
            training.scaler.update()


class _Before:
    """Buffers and chance as they were before a batch, for another try: the first may have changed them."""

    def __init__(self, training: Training) -> None:
        self.runtime, self.chance = training.runtime, training.runtime.chance()
        by_type: dict[torch.dtype, list[torch.Tensor]] = defaultdict(list)
        for value in training.model.buffers():
            by_type[value.dtype].append(value)
        # One copy for all of a type: a copy each would take longer than the step of a small model.
        self.saved = [(values, torch.cat([v.reshape(-1) for v in values])) for values in by_type.values()]

    def restore(self) -> None:
        """Bring them back."""
        self.runtime.set_chance(self.chance)
        for values, flat in self.saved:
            for value, part in zip(values, torch.split(flat, [v.numel() for v in values]), strict=True):
                value.copy_(part.view(value.shape))


def follow(training: Training, step: int) -> None:
    """Move the running mean of the weights towards the present ones.

    Args:
        training: whose mean is moved; nothing happens without one.
        step: steps done before, over the whole run.
    """
    if training.average is None:
        return
    decay = min(training.config.recipe.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in training.model.state_dict().items():
            kept = training.average[name]
            if value.is_floating_point():
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)


def _n_parts(wanted: int, n_images: int) -> int:
    return max(1, min(wanted, n_images // _FEWEST))


def _add_up(training: Training, figures: torch.Tensor) -> None:
    """Add gradients and figures up over the processes, and take the mean of running statistics."""
    gradients = [value.grad for value in training.model.parameters() if value.grad is not None]
    statistics = [value for name, value in training.model.named_buffers() if name.endswith(_STATISTICS)]
    for value in statistics:
        value.div_(training.world.size)
    training.world.add_up([*gradients, *statistics, figures])
