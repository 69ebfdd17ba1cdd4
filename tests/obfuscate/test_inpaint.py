"""`inpaint` looks at nothing of any face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import SpecError
from sfumato.faces import Faces
from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.methods.inpaint import GREY, Inpaint
from sfumato.testing.obfuscators import picture

sides = st.sampled_from([8, 30, 90, 160])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-60, 200), st.integers(-60, 200), sides, sides), min_size=1, max_size=4)
)
def test_nothing_inside_any_box_matters(corners: list[tuple[int, int, int, int]]) -> None:
    """Two pictures that differ in the boxes only become the same picture."""
    boxes = [[x, y, x + w, y + h] for x, y, w, h in corners]
    first, second = picture(180, 220, seed=1), picture(180, 220, seed=1)
    for x0, y0, x1, y1 in np.clip(boxes, 0, 220):
        second[y0:y1, x0:x1] = picture(180, 220, seed=2)[y0:y1, x0:x1]
    for shape in ("rectangle", "ellipse"):
        method = Inpaint(shape=shape)
        assert np.array_equal(method(first, Faces.of(boxes)), method(second, Faces.of(boxes)))


@pytest.mark.parametrize(
    "boxes", [[[0, 0, 160, 120]], [[0, 0, 90, 120], [80, 0, 160, 120]], [[-9, -9, 999, 999]]]
)
def test_a_face_with_nothing_around_it_becomes_grey(boxes: list[list[int]]) -> None:
    assert (Inpaint()(picture(), Faces.of(boxes)) == GREY).all()


@pytest.mark.parametrize("side", [10, 60, 300])
def test_the_surroundings_are_continued(side: int) -> None:
    """An even picture comes out even; on a slope the filling lies on the slope."""
    even = np.full((2 * side, 2 * side, 3), (200, 90, 30), dtype=np.uint8)
    box = [side // 2, side // 2, side // 2 + side, side // 2 + side]
    assert np.abs(Inpaint()(even, Faces.of([box])).astype(int) - even).max() <= 1
    slope = np.broadcast_to(np.linspace(0, 255, 2 * side)[None, :, None], (2 * side, 2 * side, 3))
    out = Inpaint()(np.rint(slope).astype(np.uint8), Faces.of([box])).astype(float)
    row = out[side, side // 2 : side // 2 + side, 0]
    assert row[: side // 4].mean() < 110 < 145 < row[-(side // 4) :].mean()


@pytest.mark.parametrize(
    "box", [[0, 40, 50, 90], [110, 40, 160, 90], [40, 0, 90, 50], [40, 70, 90, 120], [0, 0, 40, 40]]
)
def test_the_last_row_and_column_are_filled(box: list[int]) -> None:
    """A white face at the border of a dark picture leaves no white."""
    image = np.full((120, 160, 3), 20, dtype=np.uint8)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = 255
    assert Inpaint(grow=0.0)(image, Faces.of([box])).max() <= 21


@pytest.mark.parametrize("text", ["inpaint(radius=0)", "inpaint(radius=2.0)", "inpaint(radius='big')"])
def test_impossible_settings_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="radius"):
        METHODS.build(text)
