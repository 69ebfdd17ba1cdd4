"""Differentially private pixelisation: a mosaic with noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import RECTANGLE, Region, check_outline, paint, regions
from sfumato.obfuscate.methods.mosaic import check_blocks, cut, tile_side

LEVELS = 255
"""By how much one pixel can change one channel."""


@dataclass(frozen=True)
class DpPix:
    """Replace each face by tiles of their mean colour plus Laplace noise.

    Fan, "Image Pixelization with Differential Privacy" (DBSec 2018): two pictures that differ in at most m
    pixels give any one result with probabilities that differ by a factor of at most exp(epsilon), for each
    channel of each face, as long as nobody knows the seed. That is a promise about m pixels, not about
    who is shown; docs/methods.md says what it means and what it does not.

    Attributes:
        epsilon: privacy budget for each of the three channels; less means more noise.
        blocks: number of tiles along the longer side of the face; a tile is at least 4 pixels wide.
        m: number of pixels in which pictures may differ and still be hard to tell apart.
        seed: with the image's id it fixes the noise. Who knows it can take the noise away.
        grow: the region is widened on each side by this fraction of the longer side.
        shape: "rectangle", "ellipse", or "feathered" for an edge that melts into the picture.
    """

    name: ClassVar[str] = "dp_pix"
    invertible: ClassVar[str] = (
        "in part: who knows the seed, which stands in the spec, can take the noise away; then as mosaic"
    )

    epsilon: float = 0.5
    blocks: int = 4
    m: int = 16
    seed: int = 0
    grow: float = 0.1
    shape: str = RECTANGLE

    def __post_init__(self) -> None:
        if not isinstance(self.epsilon, int | float) or not 1e-6 <= self.epsilon <= 1e6:
            raise ValueError(f"epsilon must be in 0.000001..1000000, not {self.epsilon!r}")
        check_blocks(self.blocks)
        if not (isinstance(self.m, int) and 1 <= self.m <= 10**9):
            raise ValueError(f"m must be a whole number of pixels in 1..1000000000, not {self.m!r}")
        if not isinstance(self.seed, int):
            raise ValueError(f"seed must be a whole number, not {self.seed!r}")
        check_outline(self.grow, self.shape)

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with every face tiled; the noise is that of the image id ""."""
        return self.of_image("", image, faces)

    def of_image(self, image_id: str, image: Pixels, faces: Faces) -> Pixels:
        """The picture with every face tiled; the noise is that of the image with this id."""
        places = regions(image, faces, margin=lambda size: self.grow * size, shape=self.shape)
        return paint(image, places, partial(self._patch, image_id))

    def _patch(self, image_id: str, image: Pixels, place: Region) -> Pixels:
        tiles = cut(image[place.rows, place.columns], side=tile_side(place, self.blocks))
        # The paper's b^2 is the number of pixels in a cell; here cells differ by a row or column.
        scale = LEVELS * self.m / (tiles.areas * self.epsilon)
        noise = laplace(f"{self.seed}\n{_place(place)}\n{image_id}", tiles.means.shape)
        return tiles.spread(tiles.means + scale[..., None] * noise)


def laplace(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Noise of the standard Laplace distribution (mean 0, scale 1) that depends on the key alone.

    Uniform numbers are the bits of SHAKE-256 of the key: random generators may give others in another version
    of their library. The distribution's inverse makes them Laplace's.
    """
    count = int(np.prod(shape))
    bits = hashlib.shake_256(key.encode("utf-8", "surrogatepass")).digest(8 * count)
    uniform = ((np.frombuffer(bits, dtype="<u8") >> 11) + 0.5) / 2**53  # in 0..1, neither end
    noise = np.where(uniform < 0.5, np.log(2 * uniform), -np.log(2 * (1 - uniform)))
    return noise.reshape(shape)


def _place(place: Region) -> str:
    """The pixels of a region: so the noise of one face does not depend on which others there are."""
    return f"{place.columns.start} {place.rows.start} {place.columns.stop} {place.rows.stop} {place.size!r}"
