"""Learning rate and size of views as pure functions of where a run is."""

from __future__ import annotations

import math

from sfumato.learn.recipes import Recipe


def learning_rate(recipe: Recipe, peak: float, *, step: int, steps_per_epoch: int) -> float:
    """The rate of one optimizer step.

    "step": peak / 10^(epoch // step_epochs). The others: with p = (step + 1) / (steps + 1), rising as
    peak * p / warmup while p < warmup, then with q = (p - warmup) / (1 - warmup) falling as
    peak * (1 - q) for "onecycle" and peak * (1 + cos(pi q)) / 2 for "cosine".

    Args:
        recipe: schedule, epochs, warm-up.
        peak: initial or highest rate.
        step: optimizer steps done before, from 0, over the whole run.
        steps_per_epoch: number of batches in an epoch.
    """
    if recipe.schedule == "step":
        return float(peak * 0.1 ** (step // steps_per_epoch // recipe.step_epochs))
    # The end is one step behind the last one, since a step at rate 0 would be lost.
    done = (step + 1) / (recipe.epochs * steps_per_epoch + 1)
    if done < recipe.warmup:
        return peak * done / recipe.warmup
    fallen = (done - recipe.warmup) / (1 - recipe.warmup)
    if recipe.schedule == "onecycle":
        return peak * (1 - fallen)
    return peak * (1 + math.cos(math.pi * fallen)) / 2


_GRAIN, _FINE_GRAIN = 32, 8
"""Growing sizes are multiples of the first, below 128 px of the second: pooling halves them evenly."""


def training_size(recipe: Recipe, image_size: int, *, epoch: int) -> int:
    """Side of the training views of one epoch, in pixels.

    With `train_sizes` (first, last) and `train_sizes_ramp` (start, end), and p = epoch / epochs: first times
    `image_size` while p <= start, last times it from p >= end, between them along a straight line, rounded to
    32 px (Leclerc et al. 2022, FFCV).

    Args:
        recipe: sizes, ramp, epochs.
        image_size: side of the views that the model is evaluated on.
        epoch: from 0.
    """
    first, last = (round(share * image_size) for share in recipe.train_sizes)
    start, end = recipe.train_sizes_ramp
    done = epoch / recipe.epochs
    if done >= end or first == last:
        return last
    if done <= start:
        return first
    grain = _GRAIN if image_size >= 128 else _FINE_GRAIN
    between = first + (last - first) * (done - start) / (end - start)
    return min(max(round(between / grain) * grain, min(first, last)), max(first, last))
