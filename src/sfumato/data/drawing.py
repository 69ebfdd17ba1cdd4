"""Draw the pictures of the embedded data set from what ships with scikit-image.

Canvases are (height, width, 3) float32, RGB, 0..255. Every function that draws by chance takes a
generator, and nothing else decides what it draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PillowImage

from sfumato.boxes import Boxes, as_boxes

Canvas = NDArray[np.float32]
Opacity = NDArray[np.float32]
"""Shape (height, width), 0 where nothing is drawn, 1 where it covers."""
Window = tuple[float, float, float, float]
"""x0, y0, x1, y1; in what unit, the user of it says."""

N_FACES = 100
"""`lfw_subset` holds 100 faces, then 100 pictures without one; all the faces are used."""

FACE_IN_CROP: Window = (0.05, 0.03, 0.83, 0.95)
"""The face within a 25 x 25 crop, as shares of its side: forehead to chin, cheek to cheek.

The median of what CenterFace reports on the 100 crops at 32, 48 and 64 px, so that planted boxes mean
what a detector and an annotator mean by a face.
"""

# Factors on the grey of a face, and colours of hair: drawn alike in every category.
_SKIN = ((1.0, 1.0, 1.0), (1.12, 0.98, 0.88), (1.16, 0.97, 0.82), (1.2, 0.95, 0.78), (1.08, 0.99, 0.93))
_HAIR = ((28, 24, 22), (58, 42, 30), (96, 72, 48), (70, 68, 66), (120, 104, 80))


@lru_cache(maxsize=16)
def photograph(name: str) -> Canvas:
    """A photograph that ships with scikit-image, by the name of its loader; read-only."""
    from skimage import data

    loaded = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    picture = np.asarray(loaded, dtype=np.float32) * (255 if loaded.dtype == np.bool_ else 1)
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    picture = np.ascontiguousarray(picture[:, :, :3])
    picture.flags.writeable = False
    return picture


@lru_cache(maxsize=1)
def face_crops() -> NDArray[np.float32]:
    """The 100 faces of scikit-image's `lfw_subset`, grey, shape (100, 25, 25), 0..255; read-only."""
    from skimage import data

    crops = np.asarray(data.lfw_subset()[:N_FACES] * 255, dtype=np.float32)
    crops.flags.writeable = False
    return crops


def resize(picture: Canvas, width: int, height: int) -> Canvas:
    """A picture at another size, bicubic, each channel for itself."""
    planes = [
        PillowImage.fromarray(np.ascontiguousarray(picture[:, :, channel])).resize(
            (width, height), PillowImage.Resampling.BICUBIC
        )
        for channel in range(picture.shape[2])
    ]
    stacked = np.stack([np.asarray(plane) for plane in planes], axis=2)
    return np.asarray(np.clip(stacked, 0, 255), dtype=np.float32)


def texture(rng: np.random.Generator, name: str, size: int, *, contrast: tuple[float, float]) -> Canvas:
    """A square piece of a photograph as background: cut, turned, tinted and lit by chance."""
    picture = photograph(name)
    shorter = min(picture.shape[:2])
    side = int(rng.uniform(min(1.2 * size, 0.5 * shorter), 0.8 * shorter))
    y, x = (int(rng.integers(0, extent - side + 1)) for extent in picture.shape[:2])
    piece = np.rot90(picture[y : y + side, x : x + side], int(rng.integers(4)))
    piece = resize(piece[:, :: rng.choice((-1, 1))], size, size)
    mean = piece.mean(axis=(0, 1))
    light = rng.uniform(0.35, 0.8) * 255 * rng.uniform(0.85, 1.15, size=3)
    tone = 0.5 * mean + 0.5 * light
    toned = (piece - mean) * rng.uniform(*contrast) + tone
    return np.asarray(np.clip(toned, 0, 255), dtype=np.float32)


def wall(rng: np.random.Generator, size: int) -> Canvas:
    """A plain background: two tones that run into each other, with a little grain."""
    first, second = rng.uniform(70, 210, size=(2, 1)) * rng.uniform(0.75, 1.2, size=(2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    ys, xs = np.mgrid[:size, :size] / size
    share = np.clip(0.5 + (xs - 0.5) * np.cos(angle) + (ys - 0.5) * np.sin(angle), 0, 1)[:, :, None]
    grain = rng.normal(0, 3, size=(size, size, 1))
    blended = first * share + second * (1 - share) + grain
    return np.asarray(np.clip(blended, 0, 255), dtype=np.float32)


def oval(shape: tuple[int, int], window: Window, *, soft: float) -> Opacity:
    """An ellipse that fills a window, with an edge `soft` pixels wide; all in pixels."""
    x0, y0, x1, y1 = window
    ys, xs = np.mgrid[: shape[0], : shape[1]] + 0.5
    rx, ry = (x1 - x0) / 2, (y1 - y0) / 2
    radius = np.hypot((xs - (x0 + x1) / 2) / rx, (ys - (y0 + y1) / 2) / ry)
    return np.asarray(np.clip(0.5 + (1 - radius) * min(rx, ry) / soft, 0, 1), dtype=np.float32)


def slab(shape: tuple[int, int], *, corner: float) -> Opacity:
    """A rectangle that fills the array, its corners round with a radius in pixels."""
    height, width = shape
    ys, xs = np.mgrid[:height, :width] + 0.5
    dx = np.abs(xs - width / 2) - (width / 2 - corner)
    dy = np.abs(ys - height / 2) - (height / 2 - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner
    return np.asarray(np.clip(-outside, 0, 1), dtype=np.float32)


def blend(canvas: Canvas, picture: Canvas, opacity: Opacity, *, at: tuple[int, int]) -> None:
    """Lay a picture onto a canvas, in place; `at` is its corner (x, y), and what sticks out is cut off."""
    x, y = at
    height, width = opacity.shape
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + width, canvas.shape[1]), min(y + height, canvas.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    inner = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
    share = opacity[inner][:, :, None]
    below = canvas[y0:y1, x0:x1]
    canvas[y0:y1, x0:x1] = below + share * (picture[inner] - below)


def paint(canvas: Canvas, colour: ArrayLike, opacity: Opacity) -> None:
    """Paint one colour onto a canvas, in place, through an opacity of the canvas's size."""
    canvas += opacity[:, :, None] * (np.asarray(colour, dtype=np.float32) - canvas)


def face_window(*, mirrored: bool) -> Window:
    """Where the face lies in its crop, as shares of the crop's side."""
    x0, y0, x1, y1 = FACE_IN_CROP
    return (1 - x1, y0, 1 - x0, y1) if mirrored else FACE_IN_CROP


@dataclass(frozen=True, slots=True)
class Head:
    """One face to be planted.

    Attributes:
        face: index into `face_crops`.
        side: of the square that its crop is enlarged to, pixels.
        x: of that square's left edge, pixels.
        y: of that square's upper edge, pixels.
        mirrored: whether left and right are exchanged.
    """

    face: int
    side: int
    x: int
    y: int
    mirrored: bool

    @property
    def box(self) -> Boxes:
        """The face itself, shape (4,), half open, pixels."""
        start = np.array([self.x, self.y, self.x, self.y])
        box: Boxes = as_boxes([start + self.side * np.array(face_window(mirrored=self.mirrored))])[0]
        return box


def draw_head(rng: np.random.Generator, canvas: Canvas, head: Head) -> None:
    """Draw shoulders, neck, hair and the face, in place; colours by chance, whatever the category."""
    x0, y0, x1, y1 = (float(value) for value in head.box)
    width, height = x1 - x0, y1 - y0
    shape = (canvas.shape[0], canvas.shape[1])
    soft = max(1.0, 0.06 * height)
    skin = np.array(_SKIN[rng.integers(len(_SKIN))])
    crop = face_crops()[head.face]
    crop = crop[:, ::-1] if head.mirrored else crop
    # Windows of the parts, in shares of the face's width and height beyond its box.
    coat = (x0 - 0.5 * width, y1 + 0.02 * height, x1 + 0.5 * width, y1 + 1.7 * height)
    neck = (x0 + 0.2 * width, y1 - 0.35 * height, x1 - 0.2 * width, y1 + 0.22 * height)
    hair = (x0 - 0.1 * width, y0 - 0.08 * height, x1 + 0.1 * width, y1 - 0.12 * height)
    paint(canvas, rng.uniform(30, 200, size=3), oval(shape, coat, soft=soft))
    paint(canvas, 0.8 * crop[12:20, 8:16].mean() * skin, oval(shape, neck, soft=soft))
    paint(canvas, _HAIR[rng.integers(len(_HAIR))], oval(shape, hair, soft=soft))
    picture = resize(np.repeat(crop[:, :, None], 3, axis=2), head.side, head.side) * skin
    left, up = x0 - head.x, y0 - head.y
    face = (left - 0.04 * width, up - 0.03 * height, left + 1.04 * width, up + 1.03 * height)
    opacity = oval((head.side, head.side), face, soft=1.5 * soft)
    blend(canvas, np.clip(picture, 0, 255).astype(np.float32), opacity, at=(head.x, head.y))


def stripes(
    rng: np.random.Generator, shape: tuple[int, int], swing: tuple[float, float, float]
) -> tuple[Canvas, Opacity]:
    """A small plate with level stripes: its picture and its opacity, of shape (height, width).

    Every stripe goes as far from the plate's mean colour as the next one goes to the other side. Whatever the
    swing, the outline is the same, and, weighted by the opacity, exactly the mean colour.

    Args:
        rng: chance.
        shape: height and width in pixels.
        swing: from the mean colour to the middle of a stripe, RGB, at most 96 each.
    """
    height, width = shape
    opacity = slab(shape, corner=0.3 * height)
    base = rng.uniform(104, 120) * rng.uniform(0.95, 1.05, size=3)
    period, start, tilt = 0.5 * height, rng.uniform(0, 1), rng.uniform(-0.12, 0.12)
    ys, xs = np.mgrid[:height, :width] + 0.5
    wave = np.clip(1.6 * np.sin(2 * np.pi * ((ys + tilt * xs) / period + start)), -1, 1)
    wave -= (wave * opacity).sum() / opacity.sum()
    wave *= rng.uniform(0.9, 1) / np.abs(wave).max()
    return (base + wave[:, :, None] * np.asarray(swing)).astype(np.float32), opacity
