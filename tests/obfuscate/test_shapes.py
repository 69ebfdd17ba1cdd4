"""Shapes cover the annotated box; the default lets nothing of any face through, whatever else there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import SpecError
from sfumato.faces import Faces
from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.method import SHAPES
from sfumato.obfuscate.methods.blur import Blur
from sfumato.testing.obfuscators import picture

SIDE = 900
SHAPED = ("blur", "mosaic", "overlay", "inpaint", "dp_pix")


@st.composite
def box_sets(draw: st.DrawFn) -> list[list[int]]:
    """Up to six boxes with longer sides of 8 to 800 px: inside, at the borders and in the corners."""
    boxes = []
    for _ in range(draw(st.integers(1, 6))):
        side = draw(st.sampled_from([8, 8, 12, 20, 60, 200, 800]))
        wide, tall = draw(st.sampled_from([(1.0, 1.0), (0.7, 1.0), (1.0, 0.5)]))
        width, height = max(1, round(side * wide)), max(1, round(side * tall))
        x, y = draw(st.integers(0, SIDE - width)), draw(st.integers(0, SIDE - height))
        x = draw(st.sampled_from([x, x, 0, SIDE - width]))
        y = draw(st.sampled_from([y, y, 0, SIDE - height]))
        boxes.append([x, y, x + width, y + height])
    return boxes


def own_weight(before: Any, after: Any) -> float:
    """Share of the pixels' own values in what became of them: regression on random pixels.

    Random pixels know nothing of their neighbours, so whatever else is mixed in averages out.
    """
    centred = before.astype(float) - before.mean()
    return float((centred * (after.astype(float) - after.mean())).sum() / (centred**2).sum())


PICTURES = np.random.default_rng(7).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)


@settings(max_examples=15, deadline=None)
@given(box_sets())
def test_blur_leaves_next_to_nothing_of_any_face(boxes: list[list[int]]) -> None:
    """Mean own weight in each box at most 0.03, on each of its edges at most 0.3.

    Small faces have few pixels to measure with: their limit is widened by four standard errors.
    """
    faces = Faces.of(boxes)
    outs = np.stack([Blur()(image, faces) for image in PICTURES])
    for x0, y0, x1, y1 in boxes:
        before, after = PICTURES[:, y0:y1, x0:x1], outs[:, y0:y1, x0:x1]
        spread = 4 * after.std() / before.std() / np.sqrt(before.size)
        assert own_weight(before, after) <= 0.03 + spread
        for edge in (np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:]):
            assert own_weight(before[edge], after[edge]) <= 0.3


boxes_anywhere = st.tuples(
    st.floats(-40, 150), st.floats(-40, 110), st.floats(0.5, 120), st.floats(0.5, 120)
).map(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]])


@given(boxes_anywhere, st.sampled_from(SHAPES), st.floats(0, 0.5))
def test_every_shape_covers_every_pixel_that_the_box_touches(
    box: list[float], shape: str, grow: float
) -> None:
    """A black picture is painted white by an overlay: what is not white inside the box shines through."""
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    out = METHODS.build(f"overlay(color=255, grow={grow!r}, shape={shape!r})")(image, Faces.of([box]))
    x0, y0 = np.maximum(np.floor(np.array(box[:2], dtype=np.float32)), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(np.array(box[2:], dtype=np.float32)), 0).astype(int)
    assert (out[y0:y1, x0:x1] == 255).all()


@given(st.integers(2, 60), st.integers(2, 60))
def test_an_ellipse_is_the_smallest_around_the_box(width: int, height: int) -> None:
    """Its area is pi/2 times that of the box: semi-axes are sqrt(1/2) of the sides. It is symmetric."""
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    box = [70, 80, 70 + width, 80 + height]
    out = METHODS.build("overlay(color=255, grow=0.0, shape='ellipse')")(image, Faces.of([box]))[..., 0] > 0
    rim = 2 * (width + height)  # an area in whole pixels is that of the curve, give or take its length
    assert abs(out.sum() - np.pi / 2 * width * height) <= rim
    around = out[80 - 40 : 80 + height + 40, 70 - 40 : 70 + width + 40]
    assert np.array_equal(around, around[::-1])
    assert np.array_equal(around, around[:, ::-1])


@pytest.mark.parametrize("name", SHAPED)
def test_shapes_differ_outside_the_box_only_in_how_far_they_reach(name: str) -> None:
    image, faces = picture(200, 200), Faces.of([[60, 70, 140, 130]])
    changed = {
        shape: (METHODS.build(f"{name}(shape={shape!r})")(image, faces) != image).any(axis=2)
        for shape in SHAPES
    }
    assert changed["rectangle"][62:138, 52:148].mean() > 0.97
    assert not changed["rectangle"][:61].any()
    assert not changed["rectangle"][:, :51].any()
    assert changed["ellipse"][60, 100]
    assert not changed["ellipse"][62, 52]
    assert not (changed["feathered"] & ~changed["rectangle"]).any()


def test_a_feather_falls_from_the_box_outwards() -> None:
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    out = METHODS.build("overlay(color=200, grow=0.5, shape='feathered')")(
        image, Faces.of([[70, 70, 130, 130]])
    )
    row = out[100, :, 0].astype(int)
    assert (row[70:130] == 200).all()
    assert (np.diff(row[39:71]) > 0).all()
    assert (row[:40] == 0).all()


@pytest.mark.parametrize("name", SHAPED)
def test_other_shapes_are_refused(name: str) -> None:
    for options in ("shape='star'", "shape=3", "grow=2.0", "grow='wide'"):
        with pytest.raises(SpecError, match=r"shape must be one of|grow must be in"):
            METHODS.build(f"{name}({options})")
