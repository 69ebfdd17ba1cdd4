"""How much of a face's detail a method leaves: measured, not believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import Obfuscator

MAX_CONTRAST = 0.05
"""Share of the contrast of a grating, with a period of a quarter of the face, that a method may leave."""


def grating(face: int) -> tuple[Pixels, Faces]:
    """Vertical stripes with a period of a quarter of the face, and one square face amid them."""
    side = 3 * face
    wave = 127.5 + 120 * np.sin(2 * np.pi * np.arange(side) / (face / 4))
    pixels = np.broadcast_to(np.rint(wave)[None, :, None], (side, side, 3)).astype(np.uint8)
    return pixels, Faces.of([[face, face, 2 * face, 2 * face]])


def contrast_left(method: Obfuscator, face: int) -> float:
    """Share of the grating's contrast left inside a face of this many pixels: amplitude after over before.

    The amplitude is that of the grating's own period in the mean row of the face's inner half.
    """
    pixels, faces = grating(face)
    inner = slice(face + face // 4, face + face // 4 + face // 2)  # two whole periods

    def amplitude(image: NDArray[np.uint8]) -> float:
        row = image[inner, inner, 0].astype(np.float64).mean(axis=0)
        phase = np.exp(-2j * np.pi * np.arange(len(row)) / (face / 4))
        return float(abs((row - row.mean()) @ phase))

    return amplitude(method(pixels, faces)) / amplitude(pixels)


def hides(method: Obfuscator) -> bool:
    """Whether a method hides faces well enough that its pictures may be shown to anybody.

    It must leave next to no contrast in small and large faces, and not say of itself that it can be undone.
    """
    if method.invertible.startswith("yes"):
        return False
    return all(contrast_left(method, face) <= MAX_CONTRAST for face in (48, 192))
