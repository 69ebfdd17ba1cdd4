"""The accuracy of a model in training on the evaluation split: a look at how a run is going."""

from __future__ import annotations

from sfumato.learn.inputs import Images
from sfumato.learn.scoring import Scorer, centre_batches
from sfumato.learn.training import Training


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
