"""The blur of the published study, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter

from sfumato import boxes as geometry
from sfumato.faces import Faces
from sfumato.images import Pixels


@dataclass(frozen=True)
class StudyBlur:
    """Blur as in Yang et al., "A Study of Face Obfuscation in ImageNet" (ICML 2022), released script.

    With s_i the longer side of box i and s the largest of them: boxes are widened by 0.1 s_i, image and mask
    are both blurred with sigma = 0.1 s, and the blurred mask mixes original and blurred image. One sigma for
    all faces of an image, so **a small face beside a large one keeps most of its own pixels** (a 20 px face
    beside one of 200 px keeps 81 %). Use it to compare with the study; use `blur` to hide faces.
    """

    name: ClassVar[str] = "study_blur"
    invertible: ClassVar[str] = (
        "yes for small faces beside large ones, which keep their own pixels; else as blur"
    )

    def __call__(self, image: Pixels, faces: Faces) -> Pixels:
        """The picture with all faces blurred by the published formula."""
        boxes = faces.xyxy[(faces.xyxy[:, 0] < faces.xyxy[:, 2]) & (faces.xyxy[:, 1] < faces.xyxy[:, 3])]
        # The script computes in Python floats. Boxes are kept as float32: three decimals of them are the
        # numbers that were written down.
        exact = np.round(boxes.astype(np.float64), 3)
        if not len(exact):
            return image.copy()
        sides = (exact[:, 2:] - exact[:, :2]).max(axis=1)
        margin = (0.1 * sides)[:, None]
        wide = np.hstack([exact[:, :2] - margin, exact[:, 2:] + margin])
        return _mixed(image, wide, sigma=0.1 * float(sides.max()))


def _mixed(image: Pixels, wide: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, sigma: float) -> Pixels:
    """Composite on the part of the picture that the formula can change.

    The mask reaches 3 sigma beyond the widened boxes and the blur of the image 3 sigma further, so a crop
    padded by 6 sigma gives the very pixels that the whole picture would.
    """
    height, width = image.shape[:2]
    reach = int(np.ceil(6 * sigma)) + 2
    whole = geometry.round_out(wide.astype(np.float32))
    left, top = np.maximum(whole[:, :2].min(axis=0) - reach, 0).tolist()
    right, bottom = np.minimum(whole[:, 2:].max(axis=0) + reach, [width, height]).tolist()
    out = image.copy()
    if left >= right or top >= bottom:
        return out
    crop = PillowImage.fromarray(image[top:bottom, left:right])
    mask = PillowImage.new("L", crop.size, 255)
    draw = ImageDraw.Draw(mask)
    for x0, y0, x1, y1 in wide - [left, top, left, top]:
        draw.rectangle((x0, y0, x1, y1), fill=0)
    blur = ImageFilter.GaussianBlur(sigma)
    out[top:bottom, left:right] = np.asarray(
        PillowImage.composite(crop, crop.filter(blur), mask.filter(blur))
    )
    return out
