"""The control arm: everything that a variant goes through, but for the hiding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sfumato.faces import Faces
from sfumato.images import Pixels


@dataclass(frozen=True)
class NoObfuscation:
    """Hide nothing: the arm that shows what decoding and encoding alone cost."""

    name: ClassVar[str] = "none"
    invertible: ClassVar[str] = "nothing is hidden"

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:  # noqa: ARG002 - the protocol
        """A copy of the picture."""
        return image.copy()
