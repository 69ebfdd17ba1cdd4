"""Looks at a model in training: its accuracy on the evaluation split, and whether it is of any use."""

from __future__ import annotations

import numpy as np

from sfumato.errors import TrainingError
from sfumato.learn.index import Images
from sfumato.learn.scoring import Scorer, centre_batches
from sfumato.learn.training import Training
from sfumato.learn.views import centre_windows

_FEW = 8


def accuracy(training: Training, images: Images) -> float:
    """Share of images that the weights to keep get right: centre crop, in float32, as `evaluate`.

    Raises:
        TrainingError: a score is not finite, or one image does not fit into memory.
    """
    given, runtime = training.preprocessing, training.runtime
    scorer = Scorer(training.result(), given, runtime, name=training.config.model)
    n_right = 0
    for batch in centre_batches(images, given, device=runtime.device):
        best = scorer.scores(batch.pixels).argmax(axis=1)
        n_right += int((best == images.labels[batch.rows]).sum())
    return n_right / max(1, len(images))


def need_finite_scores(training: Training, images: Images) -> None:
    """Check that the weights to keep can be evaluated: finite ones may be so large that scores are not.

    Args:
        training: at its end; the loss would have told of every step but the last.
        images: some of them are scored.

    Raises:
        TrainingError: a score is not finite, or one image does not fit into memory.
    """
    given, rows = training.preprocessing, np.arange(min(_FEW, len(images)))
    pixels = images.batch(
        rows, centre_windows(images.shapes[rows], given.resize_ratio), size=given.image_size
    )
    scorer = Scorer(training.result(), given, training.runtime, name=training.config.model)
    if not np.isfinite(scorer.raw_scores(pixels)).all():
        raise TrainingError(
            f"the scores after the last epoch are not finite numbers, at learning rate "
            f"{training.peak_rate:g}; try a lower learning rate"
        )
