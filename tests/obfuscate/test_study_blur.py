"""`study_blur` against an independent transcription of the published arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from sfumato.faces import Faces
from sfumato.images import read_image
from sfumato.obfuscate.methods.study_blur import StudyBlur
from sfumato.testing.obfuscators import picture

SHARED = Path(__file__).parents[3] / "shared" / "data" / "imagenet-samples"


def published(pixels: Any, bboxes: list[dict[str, float]]) -> Any:
    """The arithmetic as released, over the whole picture: one mask, one sigma, one composite."""
    image = Image.fromarray(pixels)
    mask = Image.new("L", image.size, 255)
    draw = ImageDraw.Draw(mask)
    longest = 0.0
    for box in bboxes:
        if box["x0"] >= box["x1"] or box["y0"] >= box["y1"]:
            continue
        longer = max(box["x1"] - box["x0"], box["y1"] - box["y0"])
        longest = max(longest, longer)
        corners = [
            box["x0"] - 0.1 * longer,
            box["y0"] - 0.1 * longer,
            box["x1"] + 0.1 * longer,
            box["y1"] + 0.1 * longer,
        ]
        draw.rectangle(corners, fill=0)
    if longest == 0:
        return np.asarray(image)
    soft = ImageFilter.GaussianBlur(radius=0.1 * longest)
    return np.asarray(Image.composite(image, image.filter(soft), mask.filter(soft)))


def as_dictionaries(faces: Faces) -> list[dict[str, float]]:
    return [dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True)) for box in faces.xyxy]


tenths = st.integers(-200, 3000).map(lambda value: value / 10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(tenths, tenths, st.integers(1, 1500), st.integers(1, 1500)), max_size=3))
def test_boxes_with_decimals_that_no_float32_holds(corners: list[tuple[float, float, int, int]]) -> None:
    """The script computes with the decimals of the annotation file."""
    rows = [[x, y, round(x + w / 10, 1), round(y + h / 10, 1)] for x, y, w, h in corners]
    raw = [dict(zip(("x0", "y0", "x1", "y1"), row, strict=True)) for row in rows]
    image = picture(230, 310)
    assert np.array_equal(StudyBlur()(image, Faces.of(rows)), published(image, raw))


quarters = st.integers(-80, 1200).map(lambda value: value / 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(quarters, quarters, st.integers(0, 600), st.integers(0, 600)), max_size=4))
def test_equals_the_published_arithmetic_pixel_for_pixel(
    corners: list[tuple[float, float, int, int]],
) -> None:
    faces = Faces.of([[x, y, x + w / 4, y + h / 4] for x, y, w, h in corners])
    image = picture(230, 310)
    assert np.array_equal(StudyBlur()(image, faces), published(image, as_dictionaries(faces)))


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the development images are not beside this checkout")
def test_equals_the_published_arithmetic_on_photos() -> None:
    gold = json.loads((SHARED / "faces.json").read_text())["images"]
    with_faces = [name for name, record in sorted(gold.items()) if record["faces"]][:40]
    assert len(with_faces) >= 30
    for name in with_faces:
        boxes = [[face[key] for key in ("x0", "y0", "x1", "y1")] for face in gold[name]["faces"]]
        image = read_image(SHARED / "images" / name)
        assert np.array_equal(StudyBlur()(image, Faces.of(boxes)), published(image, gold[name]["faces"])), (
            name
        )
