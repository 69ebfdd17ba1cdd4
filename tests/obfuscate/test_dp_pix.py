"""`dp_pix` against the distribution of the paper, and what its noise may depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SpecError
from sfumato.faces import Faces
from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.method import ObfuscatorById
from sfumato.obfuscate.methods.dp_pix import DpPix, laplace
from sfumato.testing.obfuscators import picture

FACES = Faces.of([[20, 20, 84, 84]])


def test_the_noise_is_laplace() -> None:
    """Kolmogorov's distance to the closed form; chance exceeds 1.95 once in a thousand."""
    sample = np.sort(laplace("key", (40, 50, 10)).ravel())
    expected = np.where(sample < 0, np.exp(sample) / 2, 1 - np.exp(-sample) / 2)
    steps = np.arange(len(sample) + 1) / len(sample)
    distance = max(np.abs(steps[1:] - expected).max(), np.abs(steps[:-1] - expected).max())
    assert distance * math.sqrt(len(sample)) < 1.95


@given(st.text(max_size=5), st.text(max_size=5))
def test_the_noise_depends_on_the_key_alone(first: str, second: str) -> None:
    same = np.array_equal(laplace(first, (2, 3)), laplace(second, (2, 3)))
    assert same == (first == second)


@pytest.mark.parametrize(("epsilon", "blocks", "m"), [(0.5, 4, 16), (1.0, 4, 16), (0.5, 2, 64), (2.0, 8, 3)])
def test_scale_is_255_m_over_b_squared_epsilon(epsilon: float, blocks: int, m: int) -> None:
    """On an even grey face of 64 px: the mean absolute value of Laplace noise is its scale."""
    image = np.full((104, 104, 3), 127, dtype=np.uint8)
    method = DpPix(epsilon=epsilon, blocks=blocks, m=m, grow=0.0)
    b = 64 // blocks
    cells = [
        method.of_image(str(number), image, FACES)[20:84:b, 20:84:b].astype(float) - 127
        for number in range(2400 // blocks**2 + 1)
    ]
    scale = 255 * m / (b * b * epsilon)
    expected = scale * (1 - math.exp(-127.5 / scale))  # levels are cut at 0 and 255
    assert np.abs(cells).mean() == pytest.approx(expected, rel=0.06)


def test_every_cell_has_one_colour_around_its_mean() -> None:
    image = picture(104, 104)
    out = DpPix(epsilon=1e6, grow=0.0)(image, FACES)
    for y in range(20, 84, 16):
        for x in range(20, 84, 16):
            mean = image[y : y + 16, x : x + 16].mean(axis=(0, 1))
            assert np.abs(out[y : y + 16, x : x + 16] - mean).max() <= 0.51


def test_image_id_and_seed_fix_the_noise() -> None:
    image = picture()
    method = DpPix()
    assert isinstance(method, ObfuscatorById)
    outs = [
        method(image, FACES),
        method.of_image("a.jpg", image, FACES),
        method.of_image("b.jpg", image, FACES),
        DpPix(seed=1).of_image("a.jpg", image, FACES),
    ]
    assert len({out.tobytes() for out in outs}) == 4
    assert np.array_equal(method.of_image("a.jpg", image, FACES), outs[1])


def test_the_noise_of_a_face_does_not_depend_on_the_others() -> None:
    image = picture()
    alone = DpPix().of_image("a", image, FACES)
    both = DpPix().of_image("a", image, Faces.of([[110, 20, 140, 50], [20, 20, 84, 84]]))
    assert np.array_equal(both[20:84, 20:84], alone[20:84, 20:84])


def test_ids_that_are_no_text_in_any_encoding_are_ids_too() -> None:
    assert DpPix().of_image("caf\udce9.jpg", picture(), FACES).shape == (120, 160, 3)


@pytest.mark.parametrize(
    "text",
    [
        "dp_pix(epsilon=0)",
        "dp_pix(epsilon=-1.0)",
        "dp_pix(epsilon='much')",
        "dp_pix(m=0)",
        "dp_pix(m=1.5)",
        "dp_pix(blocks=0)",
        "dp_pix(seed='a')",
    ],
)
def test_impossible_settings_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="cannot build method"):
        METHODS.build(text)


def test_bytes_stay_what_they_are() -> None:
    """A golden value: another machine, or another version of NumPy, draws the same noise."""
    values: Any = laplace("0\n\na.jpg", (4,))
    assert values == pytest.approx(GOLDEN, abs=1e-12)


GOLDEN = [1.2065351039143974, -0.09046221758622791, 1.5137335657688242, -0.42511519739418524]
