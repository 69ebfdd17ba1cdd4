"""Reading pictures: every format upright, every damaged file one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.errors import ImageError
from sfumato.images import is_image, read_image
from tests.conftest import drawn


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "JPG", "PnG"])
def test_formats_are_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(drawn()).save(path, quality=95)
    pixels = read_image(path)
    assert is_image(path)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - drawn()).mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr", "F", "PA", "I"} else "a.png")
    image = Image.fromarray(drawn())
    if mode == "PA":
        image = image.convert("RGBA")
    converted = image.convert("P" if mode == "PA" else mode)
    converted.save(path)
    assert read_image(path).shape == (48, 64, 3)


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint16) * 257
    Image.fromarray(np.tile(levels, (4, 1))).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png")[0, :, 0], np.arange(256))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    """Stored turned and marked so, every orientation shows the same upright picture."""
    upright = Image.fromarray(drawn(32, 48))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(upright))


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    Image.fromarray(drawn()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_image(tmp_path / "a.jpg"), drawn())


def damaged(tmp_path: Path) -> dict[str, Path]:
    Image.fromarray(drawn(200, 300)).save(tmp_path / "whole.jpg")
    Image.fromarray(drawn(200, 300)).save(tmp_path / "whole.png")
    files = {
        "cut.jpg": (tmp_path / "whole.jpg").read_bytes()[:2000],
        "cut.png": (tmp_path / "whole.png").read_bytes()[:9000],
        "empty.jpg": b"",
        "text.jpg": b"this is no picture",
        "header.gif": b"GIF89a",
        "header.png": b"\x89PNG\r\n\x1a\n",
        "header.webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        "header.tif": b"II*\x00\xff\xff\xff\xff",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in files}


def test_damaged_files_raise_one_error_that_names_them(tmp_path: Path) -> None:
    for name, path in damaged(tmp_path).items():
        with pytest.raises(ImageError, match=name):
            read_image(path)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "missing.jpg")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(drawn(200, 300)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="too large to be decoded safely"):
        read_image(tmp_path / "a.png")


def test_reduced_decoding_keeps_the_size_asked_for(tmp_path: Path) -> None:
    Image.fromarray(drawn(800, 1200)).save(tmp_path / "a.jpg")
    reduced = read_image(tmp_path / "a.jpg", at_least=200)
    assert 200 <= min(reduced.shape[:2]) < 800
    assert read_image(tmp_path / "a.jpg").shape == (800, 1200, 3)


@pytest.mark.parametrize("name", [".hidden.jpg", "a.txt", "a.jpg.part", "manifest.json", "a"])
def test_other_files_are_no_images(name: str) -> None:
    assert not is_image(Path(name))
