"""A plain function as a detector."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.detect.networks.views import within
from sfumato.detect.networks.weights import Weights
from sfumato.errors import BoxError, ImageError
from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.specs import Spec


@dataclass(frozen=True)
class FunctionDetector:
    """A detector made of a function that another package registers in the group `sfumato.detectors`.

    The function takes one picture, upright RGB uint8 (height, width, 3), and the spec's options as keywords.
    It gives `Faces`, or anything like an array of (n, 4) boxes x0, y0, x1, y1 in pixels, or (n, 5) with a
    score in 0..1 behind each. It may have an attribute `weights`, a tuple of `sfumato.detect.Weights`.

    Attributes:
        spec: name and options.
        function: a module-level function, so that worker processes find it.
        provider: package and version that brings it.

    Raises:
        TypeError: the function does not take such options.
    """

    spec: Spec
    function: Callable[..., Any]
    provider: str

    def __post_init__(self) -> None:
        bound = inspect.signature(self.function).bind(None, **self.spec.options)
        bound.apply_defaults()
        _, *options = bound.arguments.items()
        object.__setattr__(self, "spec", Spec(self.spec.name, dict(options)))

    @property
    def name(self) -> str:
        """The name under which it was registered."""
        return self.spec.name

    @property
    def weights(self) -> tuple[Weights, ...]:
        """What the function says of its weights."""
        return tuple(getattr(self.function, "weights", ()))

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the spec: another version may find others."""
        return {"provider": self.provider}

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each picture.

        Raises:
            ImageError: the function fails, or gives no boxes.
        """
        return [self._faces(image) for image in images]

    def _faces(self, image: Pixels) -> Faces:
        try:
            found = self.function(image, **self.spec.options)
            if isinstance(found, Faces):
                return within(found, image)
            rows = np.asarray(found, dtype=np.float32)
        except Exception as error:  # another project's code, and a picture that it was not made for
            raise ImageError(f"{self.name} fails: {type(error).__name__}: {error}") from error
        if rows.size == 0:
            return Faces.of(source=self.name)
        if rows.ndim != 2 or rows.shape[1] not in (4, 5):
            raise ImageError(f"{self.name} gave an array of shape {rows.shape}, not (n, 4) boxes or (n, 5)")
        try:
            faces = Faces.of(rows[:, :4], rows[:, 4] if rows.shape[1] == 5 else None, source=self.name)
        except BoxError as error:
            raise ImageError(f"{self.name} gave what are no boxes: {error}") from error
        return within(faces, image)
