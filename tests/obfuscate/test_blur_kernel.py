"""The kernel of `blur`: three boxes that are never weaker than the sigma asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageFilter

from sfumato.obfuscate.methods.blur import blurred, box_widths


@given(st.floats(0.5, 3000))
def test_boxes_have_the_sigma_asked_for_or_little_more(sigma: float) -> None:
    widths = box_widths(sigma)
    assert all(width % 2 for width in widths)
    assert max(widths) - min(widths) in (0, 2)
    got = np.sqrt(sum((width**2 - 1) / 12 for width in widths))
    assert sigma - 1e-6 <= got <= sigma + 0.5
    if sigma >= 3.5:
        assert got <= sigma + 0.34


@pytest.mark.parametrize("sigma", [3.5, 8.0, 21.3])
def test_a_bright_bar_spreads_as_three_boxes_say(sigma: float) -> None:
    """Against NumPy's convolution, rounded after each pass."""
    image = np.zeros((1, 401, 3), dtype=np.uint8)
    image[:, 180:221] = 255
    expected = image[0, :, 0].astype(float)
    for width in box_widths(sigma):
        padded = np.pad(expected, width // 2, mode="edge")
        expected = np.rint(np.convolve(padded, np.full(width, 1 / width), mode="valid"))
    out = blurred(image, slice(0, 1), slice(0, 401), sigma=sigma)
    np.testing.assert_array_equal(out[0, :, 1], expected)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(3.5, 40), st.integers(0, 2**32 - 1), st.data())
def test_a_part_is_as_in_the_whole_picture(
    height: int, width: int, sigma: float, seed: int, data: st.DataObject
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    whole = blurred(image, slice(0, height), slice(0, width), sigma=sigma)
    part = blurred(image, slice(y0, y1), slice(x0, x1), sigma=sigma)
    np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize("sigma", [4.0, 10.0, 25.0])
def test_it_looks_like_a_gaussian(sigma: float) -> None:
    """Against Pillow's filter, whose three boxes have fractional widths, on a smooth picture."""
    rng = np.random.default_rng(3)
    coarse = PillowImage.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize((300, 300), PillowImage.Resampling.BICUBIC))
    other = np.asarray(PillowImage.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))
    ours = blurred(image, slice(0, 300), slice(0, 300), sigma=sigma)
    assert np.abs(ours.astype(int) - other).max() <= 10
    assert np.abs(ours.astype(int) - other).mean() <= 2
