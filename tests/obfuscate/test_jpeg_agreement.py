"""The bound on coefficients: sound for whatever an encoder writes, and sharp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut, coffee

from sfumato.errors import ImageError
from sfumato.images import Pixels
from sfumato.obfuscate.proof.jpeg_agreement import (
    Coefficients,
    changed_units,
    in_units,
    moved_blocks,
    read_coefficients,
    strange_blocks,
)

KINDS = st.fixed_dictionaries(
    {
        "quality": st.integers(5, 100),
        "subsampling": st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
        "progressive": st.booleans(),
    }
)
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def picture(kind: str, height: int, width: int) -> Pixels:
    if kind == "noise":
        return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.ascontiguousarray((astronaut() if kind == "portrait" else coffee())[40 : 40 + height, :width])


def written(folder: Path, pixels: Pixels, options: dict[str, Any]) -> Coefficients:
    Image.fromarray(pixels).save(folder / "a.jpg", **options)
    return read_coefficients(folder / "a.jpg")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["noise", "portrait", "cup"]), SIZES, KINDS)
def test_no_encoder_setting_makes_a_true_picture_strange(
    tmp_path_factory: pytest.TempPathFactory, kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    pixels = picture(kind, *size)
    file = written(tmp_path_factory.mktemp("a"), pixels, options)
    assert file.comparable
    assert not any(strange.any() for strange in strange_blocks(file, pixels))


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"quality": 80}], ids=["rgb", "ycc"])
def test_other_colour_spaces(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = picture("portrait", 61, 45)
    assert not any(item.any() for item in strange_blocks(written(tmp_path, pixels, options), pixels))
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    file = written(tmp_path, grey, {"quality": 80})
    assert (file.space, len(file.blocks)) == ("JCS_GRAYSCALE", 1)
    assert not strange_blocks(file, np.repeat(grey[..., None], 3, axis=2))[0].any()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_three_levels_are_seen(tmp_path: Path, subsampling: str) -> None:
    """At quality 90 the bound is so narrow that 3 grey levels more in one block are too many."""
    pixels = np.full((48, 64, 3), 120, dtype=np.uint8)
    file = written(tmp_path, pixels, {"quality": 90, "subsampling": subsampling})
    pixels[16:24, 24:32] += 3
    strange = strange_blocks(file, pixels)[0]
    assert np.argwhere(strange).tolist() == [[2, 3]]


def test_amplitudes_are_those_of_another_library(tmp_path: Path) -> None:
    """A grey JPEG with steps of 1: each coefficient is the rounded amplitude that OpenCV gives."""
    grey = np.asarray(Image.fromarray(picture("cup", 40, 56)).convert("L"))
    file = written(tmp_path, grey, {"qtables": [[1] * 64]})
    tiles = grey.reshape(5, 8, 7, 8).swapaxes(1, 2).astype(np.float64) - 128
    amplitudes = np.array([[cv2.dct(tile) for tile in row] for row in tiles])
    assert np.abs(file.blocks[0] - amplitudes).max() < 1.5  # a whole-number transform besides the rounding


def test_units_are_those_that_hold_a_changed_pixel(tmp_path: Path) -> None:
    pixels = picture("portrait", 40, 70)
    file = written(tmp_path, pixels, {"subsampling": "4:2:0"})
    after = pixels.copy()
    after[39, 69] ^= 1
    units = changed_units(file, pixels, after)
    assert units.shape == (3, 5)
    assert np.argwhere(units).tolist() == [[2, 4]]
    assert np.argwhere(in_units(file, units, 0)).tolist() == [[4, 8]]  # 40 x 70 pixels have 5 x 9 blocks
    assert np.argwhere(in_units(file, units, 1)).tolist() == [[2, 4]]


def test_a_moved_coefficient_is_the_only_one(tmp_path: Path) -> None:
    file = written(tmp_path, picture("portrait", 40, 70), {"subsampling": "4:2:2"})
    blocks = tuple(item.copy() for item in file.blocks)
    blocks[2][1, 3, 7, 7] += 1
    other = Coefficients(
        blocks, file.tables, file.sampling, file.space, file.height, file.width, file.progressive
    )
    assert other.same_layout(file)
    assert [np.argwhere(item).tolist() for item in moved_blocks(other, file)] == [[], [], [[1, 3]]]


def test_another_table_or_mode_is_another_layout(tmp_path: Path) -> None:
    pixels = picture("portrait", 40, 70)
    first = written(tmp_path, pixels, {"quality": 80})
    for options in (
        {"quality": 81},
        {"quality": 80, "progressive": True},
        {"quality": 80, "subsampling": "4:4:4"},
    ):
        assert not written(tmp_path, pixels, options).same_layout(first)
    assert written(tmp_path, pixels, {"quality": 80, "optimize": True}).same_layout(first)


def test_what_is_no_jpeg_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture at all")
    with pytest.raises(ImageError, match="cannot be read"):
        read_coefficients(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        read_coefficients(tmp_path / "missing.jpg")
