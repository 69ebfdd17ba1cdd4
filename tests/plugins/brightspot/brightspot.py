"""A detector for Sfumato, for want of a better one: the bright part of a picture."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sfumato.faces import Faces


def brightest(image: Any, *, level: int = 200) -> Any:
    """The box around all bright pixels, with a score; a plain function serves too."""
    rows, columns = np.nonzero(image.min(axis=2) >= level)
    return [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]] if len(rows) else []


@dataclass(frozen=True)
class BrightSpot:
    """The same with options that a spec shows."""

    name: ClassVar[str] = "brightspot"
    level: int = 200

    def __call__(self, images: Any) -> list[Faces]:
        found = [np.array(brightest(image, level=self.level)).reshape(-1, 5) for image in images]
        return [Faces.of(rows[:, :4], rows[:, 4], source=self.name) for rows in found]
