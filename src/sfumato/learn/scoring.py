"""A model's scores for images, and where it looks: one centre crop an image, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sfumato.errors import TrainingError
from sfumato.learn.architectures import Preprocessing
from sfumato.learn.attention import GradCam, Maps
from sfumato.learn.device import Normalise, Runtime, exact_float32
from sfumato.learn.index import Images
from sfumato.learn.inputs import ahead, loading_for
from sfumato.learn.memory import enough_memory, in_parts, kept_memory
from sfumato.learn.views import Windows, centre_windows, one_thread_each

_BATCH = 128
_ATTENTION_BATCH = 32  # what leads back to the feature map is kept, so fewer fit


@dataclass(frozen=True, eq=False)
class Batch:
    """Images as a model sees them.

    Attributes:
        rows: of the images, (n,).
        windows: the part of each picture that is seen, (n, 4).
        pixels: (n, size, size, 3) uint8.
    """

    rows: NDArray[np.int64]
    windows: Windows
    pixels: NDArray[np.uint8]


def centre_batches(images: Images, given: Preprocessing, *, device: str) -> Iterator[Batch]:
    """The centre crop of every image, in order, made as suits a model on this device."""
    loading = loading_for(device)
    rows = [np.arange(start, min(start + _BATCH, len(images))) for start in range(0, len(images), _BATCH)]

    def make(number: int) -> Batch:
        windows = centre_windows(images.shapes[rows[number]], given.resize_ratio)
        with enough_memory(len(rows[number])):
            pixels = images.batch(rows[number], windows, size=given.image_size, threads=loading.threads)
        return Batch(rows[number], windows, pixels)

    with one_thread_each(), kept_memory():
        for batch, _ in ahead(make, len(rows), loading=loading):
            yield batch


class Scorer:
    """A trained model that gives scores; where memory runs out, a batch is halved.

    Attributes:
        model: on the device of `runtime`.
        given: what it wants to be fed.
        runtime: device and memory format; half precision is not used, since it makes equal scores out of
            different ones, which changes ranks.
        name: for messages.
    """

    def __init__(self, model: nn.Module, given: Preprocessing, runtime: Runtime, *, name: str) -> None:
        self.model, self.given, self.runtime, self.name = model.eval(), given, runtime, name
        self._normalise = Normalise(given, runtime)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scores before softmax, (n, n_categories), of squares (n, size, size, 3).

        Raises:
            TrainingError: a score is not finite, or one image does not fit into memory.
        """
        scores = self.raw_scores(pixels)
        if not np.isfinite(scores).all():
            raise TrainingError(
                f"{self.name}: the model gives scores that are not finite; delete the folder of the run and "
                "train again, with a lower learning rate"
            )
        return scores

    def raw_scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `scores`, but finite or not.

        Raises:
            TrainingError: one image does not fit into memory.
        """
        return self._in_parts(lambda part: self._scores(pixels[part]), len(pixels))

    def attention(self, pixels: NDArray[np.uint8], categories: NDArray[np.int64]) -> Maps:
        """Grad-CAM for categories (n, k) of squares (n, size, size, 3): (n, k, rows, columns).

        Raises:
            TrainingError: the model has no spatial feature map, or one image does not fit into memory.
        """

        def maps(part: NDArray[np.int64]) -> Maps:
            chosen = torch.from_numpy(categories[part])
            return self._grad_cam.maps(self._normalise(pixels[part]), chosen)

        def some(start: int) -> Maps:
            count = min(_ATTENTION_BATCH, len(pixels) - start)
            return self._in_parts(lambda part: maps(start + part), count)

        return np.concatenate([some(start) for start in range(0, len(pixels), _ATTENTION_BATCH)])

    @cached_property
    def _grad_cam(self) -> GradCam:
        return GradCam(self.model, self.given.image_size, name=self.name)

    def _scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = self.model(self._normalise(pixels)).float().cpu().numpy()
        return scores

    def _in_parts(
        self, make: Callable[[NDArray[np.int64]], NDArray[np.float32]], n: int
    ) -> NDArray[np.float32]:
        """What is made of n images in float32, in parts where memory does not suffice."""
        size, device = self.given.image_size, self.runtime.device
        with exact_float32():
            return np.concatenate(in_parts(make, n, name=self.name, image_size=size, device=device))
