"""Several methods, one after the other, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import Obfuscator, apply
from sfumato.obfuscate.methods.control import NoObfuscation


@dataclass(frozen=True)
class Chain:
    """Hide faces with one method, then with the next what the first one left, and so on.

    Its spec is that of its steps, joined: `mosaic(blocks=6) | blur(strength=0.05)`.

    Attributes:
        steps: the methods in the order in which they work; at least one.

    Raises:
        ValueError: there is no step.
    """

    steps: tuple[Obfuscator, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a chain needs at least one step")

    @property
    def name(self) -> str:
        """The names of the steps."""
        return " | ".join(step.name for step in self.steps)

    @property
    def invertible(self) -> str:
        """What the step says that is hardest to undo: who cannot undo that one cannot undo the chain."""
        return min((step.invertible for step in self.steps), key=_ease)

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture after the last step."""
        return self.of_image("", image, faces)

    def of_image(self, image_id: str, image: Pixels, faces: Faces) -> Pixels:
        """The picture after the last step; steps that draw noise draw it for the image with this id."""
        out = image.copy()  # a step may give its input back
        for step in self.steps:
            out = apply(step, image_id, out, faces)
        return out


def chain(steps: Sequence[Obfuscator]) -> Obfuscator:
    """One method that does what the steps do one after the other, written in the shortest way.

    Steps that hide nothing are left out and chains in chains are opened, so that what does the same has the
    same spec. Where one step remains, it is the method; where none does, the method is `none`.
    """
    flat = [part for step in steps for part in (step.steps if isinstance(step, Chain) else (step,))]
    doing = [step for step in flat if not isinstance(step, NoObfuscation)]
    if not doing:
        return NoObfuscation()
    return doing[0] if len(doing) == 1 else Chain(tuple(doing))


def _ease(invertible: str) -> int:
    """How far a method can be undone, from what it says of itself: 0 not, 1 in part, 2 wholly."""
    if invertible == "no" or invertible.startswith(("no,", "no:")):
        return 0
    return 2 if invertible.startswith(("yes", "nothing is hidden")) else 1
