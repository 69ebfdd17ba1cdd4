"""What the page is shown of an image: upright pictures, crops of faces, and their order by likeness."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from sfumato.errors import ImageError
from sfumato.images import read_image
from sfumato.review.crops import SIDE, crop, descriptor, likeness_order, thumbnail
from sfumato.review.pictures import encoded, entity_tag, upright_picture
from tests.conftest import drawn


def as_browser_shows(data: bytes) -> NDArray[np.uint8]:
    """Pixels of bytes that say nothing of being turned."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(274, 1) == 1
        assert getattr(image, "n_frames", 1) == 1
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_shown_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(drawn(40, 64)).save(path, quality=95, exif=exif)
    picture = upright_picture(path)
    shown, right = as_browser_shows(picture.data), read_image(path)
    assert shown.shape == right.shape
    assert np.abs(shown.astype(int) - right).mean() < 2
    assert (picture.data == path.read_bytes()) == (orientation == 1)


@pytest.mark.parametrize(
    ("name", "options", "media_type", "as_it_is"),
    [
        ("a.jpg", {}, "image/jpeg", True),
        ("a.png", {}, "image/png", True),
        ("a.webp", {"lossless": True}, "image/jpeg", False),
        ("a.bmp", {}, "image/jpeg", False),
        ("a.tif", {}, "image/jpeg", False),
        ("a.gif", {"save_all": True, "append_images": [Image.fromarray(drawn(seed=5))]}, "image/jpeg", False),
        ("a.png", {"save_all": True, "append_images": [Image.fromarray(drawn(seed=5))]}, "image/jpeg", False),
    ],
)
def test_only_still_jpeg_and_png_are_sent_as_they_are(
    tmp_path: Path, name: str, options: dict[str, Any], media_type: str, as_it_is: bool
) -> None:
    path = tmp_path / name
    Image.fromarray(drawn()).save(path, **options)
    picture = upright_picture(path)
    assert picture.media_type == media_type
    assert (picture.data == path.read_bytes()) == as_it_is
    assert np.abs(as_browser_shows(picture.data).astype(int) - read_image(path)).mean() < 6


def test_what_the_content_is_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(drawn()).save(path, "PNG")
    assert upright_picture(path).media_type == "image/png"


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(ImageError, match="no such file"):
        upright_picture(path)
    with pytest.raises(ImageError):
        entity_tag(path)
    path.write_bytes(b"GIF89a")
    with pytest.raises(ImageError):
        upright_picture(path)


def test_the_tag_changes_with_file_and_part(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    tag = entity_tag(path, "/image")
    assert tag == entity_tag(path, "/image")
    assert tag != entity_tag(path, "/crop")
    path.write_bytes(b"22")
    assert tag != entity_tag(path, "/image")


def marked(path: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (320, 240)) -> None:
    """A grey picture whose box is red."""
    pixels = np.full((size[1], size[0], 3), 100, np.uint8)
    x0, y0, x1, y1 = box
    pixels[max(y0, 0) : y1, max(x0, 0) : x1] = (230, 20, 20)
    Image.fromarray(pixels).save(path, quality=98, subsampling=0)


@pytest.mark.parametrize("side", [32, 112])
@pytest.mark.parametrize(
    "box", [(100, 80, 140, 120), (0, 0, 40, 40), (290, 210, 320, 240), (40, 100, 280, 160)]
)
def test_a_crop_holds_the_box_in_its_middle(tmp_path: Path, box: Any, side: int) -> None:
    marked(tmp_path / "a.jpg", box)
    cut = crop(tmp_path / "a.jpg", np.array(box, np.float32), side=side).astype(int)
    assert cut.shape == (side, side, 3)
    red = (cut[:, :, 0] - cut[:, :, 1]) > 60
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    # The longer side takes two thirds of the crop, as the page's own frame assumes.
    scale = side / 1.5 / max(box[2] - box[0], box[3] - box[1])
    for found, length in ((columns, box[2] - box[0]), (rows, box[3] - box[1])):
        assert found[-1] - found[0] + 1 == pytest.approx(length * scale, abs=3)
        assert (found[0] + found[-1] + 1) / 2 == pytest.approx(side / 2, abs=2)


@given(
    box=st.tuples(*[st.integers(-400, 700)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
    )
)
def test_a_crop_of_any_box_is_a_picture(tmp_path_factory: pytest.TempPathFactory, box: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jpg"
    if not path.exists():
        marked(path, (10, 10, 20, 20))
    assert crop(path, np.array(box, np.float32), side=32).shape == (32, 32, 3)


def test_a_thumbnail_is_the_whole_image_small(tmp_path: Path) -> None:
    marked(tmp_path / "a.jpg", (0, 0, 160, 240))
    small = thumbnail(tmp_path / "a.jpg", side=64)
    assert small.shape == (48, 64, 3)
    assert small[:, :28, 0].min() > 200
    assert small[:, 36:, 0].max() < 140
    assert thumbnail(tmp_path / "a.jpg", side=900).shape == (240, 320, 3)


def test_a_descriptor_has_length_one_and_likes_what_is_alike() -> None:
    first, second = drawn(SIDE, SIDE, seed=1), drawn(SIDE, SIDE, seed=2)
    noise = np.random.default_rng(0).integers(-6, 7, first.shape)
    near = np.clip(first.astype(int) + noise, 0, 255).astype(np.uint8)
    one, alike, other = descriptor(first), descriptor(near), descriptor(second)
    for vector in (one, alike, other):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert one @ alike > 0.9 > one @ other
    assert np.isfinite(descriptor(np.zeros((16, 16, 3), np.uint8))).all()


@given(
    npst.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(-1, 1, width=32))
)
def test_the_order_by_likeness_is_a_greedy_chain(vectors: NDArray[np.float32]) -> None:
    order = likeness_order(list(vectors))
    assert sorted(order) == list(range(len(vectors)))
    assert order[0] == 0
    for place in range(1, len(order)):
        last, left = vectors[order[place - 1]], order[place:]
        assert last @ vectors[order[place]] >= max(last @ vectors[other] for other in left) - 1e-5


def test_an_order_of_nothing() -> None:
    assert likeness_order([]) == []


def test_groups_come_together() -> None:
    """Crops of three pictures, each with some noise, mixed."""
    rng = np.random.default_rng(3)
    kinds = [0, 1, 2] * 5
    pictures = [drawn(SIDE, SIDE, seed=kind).astype(int) for kind in range(3)]
    crops = [
        np.clip(pictures[kind] + rng.integers(-9, 10, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        for kind in kinds
    ]
    order = likeness_order([descriptor(picture) for picture in crops])
    changes = sum(kinds[a] != kinds[b] for a, b in itertools.pairwise(order))
    assert changes == 2


def test_encoded_has_no_metadata() -> None:
    with Image.open(io.BytesIO(encoded(drawn()).data)) as image:
        assert not image.getexif()
        assert "icc_profile" not in image.info
