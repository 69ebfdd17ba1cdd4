"""How much of a face's detail a method leaves: measured, not believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import Obfuscator, ObfuscatorById, apply

MAX_CONTRAST = 0.05
"""Share of the contrast of a grating, with a period of a quarter of the face, that a method may leave."""

DRAWS = 64
"""Over how many images' noise the effect of a method that draws noise is averaged."""


def mean_effect(method: Obfuscator, image: Pixels, faces: Faces) -> NDArray[np.float64]:
    """What a method makes of a picture, with noise averaged out: the most that many results could tell.

    A method whose result depends on the image's id is asked for `DRAWS` ids, unless the first two agree;
    any other is asked once.

    Returns:
        (height, width, 3), levels 0..255.
    """
    first = apply(method, "0", image, faces)
    if not isinstance(method, ObfuscatorById) or np.array_equal(first, apply(method, "1", image, faces)):
        return first.astype(np.float64)
    total = first.astype(np.int64)
    for draw in range(1, DRAWS):
        total += apply(method, str(draw), image, faces)
    return total / DRAWS


def grating(face: int) -> tuple[Pixels, Faces]:
    """Vertical stripes with a period of a quarter of the face, and one square face amid them."""
    side = 3 * face
    wave = 127.5 + 120 * np.sin(2 * np.pi * np.arange(side) / (face / 4))
    pixels = np.broadcast_to(np.rint(wave)[None, :, None], (side, side, 3)).astype(np.uint8)
    return pixels, Faces.of([[face, face, 2 * face, 2 * face]])


def contrast_left(method: Obfuscator, face: int) -> float:
    """Share of the grating's contrast left inside a face of this many pixels: amplitude after over before.

    The amplitude is that of the grating's own period in the mean row of the face's inner half, after
    `mean_effect`: noise does not count as hiding, nor as contrast.
    """
    pixels, faces = grating(face)
    inner = slice(face + face // 4, face + face // 4 + face // 2)  # two whole periods

    def amplitude(image: NDArray[np.generic]) -> float:
        row = image[inner, inner, 0].astype(np.float64).mean(axis=0)
        phase = np.exp(-2j * np.pi * np.arange(len(row)) / (face / 4))
        return float(abs((row - row.mean()) @ phase))

    return amplitude(mean_effect(method, pixels, faces)) / amplitude(pixels)


def hides(method: Obfuscator) -> bool:
    """Whether a method hides faces well enough that its pictures may be shown to anybody.

    It must leave next to no contrast in small and large faces, and not say of itself that it can be undone.
    """
    if method.invertible.startswith("yes"):
        return False
    return all(contrast_left(method, face) <= MAX_CONTRAST for face in (48, 192))
