"""Only touched MCUs of a JPEG change: read back by another library, and compared with a plain encoder."""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from sfumato.obfuscate.files.jpeg import CannotEdit, edit_jpeg, transform, turbo
from sfumato.obfuscate.files.jpeg.header import _ZIGZAG, read_header
from tests.conftest import drawn

SAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}
KINDS = (*SAMPLINGS, "grey", "rgb", "cmyk", "ycck", "cmyk 4:2:0", "ycck 4:2:0")
MCU = {"4:2:2": (8, 16), "4:2:0": (16, 16), "4:4:0": (16, 8), "4:1:1": (8, 32)}
"""Height and width of an MCU in pixels; 8 x 8 for the others."""


def write(kind: str, rgb: Any, *, progressive: bool = False, restart: int = 0) -> bytes:
    """Stored pixels as a JPEG of a kind, by OpenCV or Pillow."""
    if kind in SAMPLINGS:
        options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[kind]]
        options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
        ok, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), options)
        assert ok
        return bytes(data)
    image = Image.fromarray(rgb)
    if kind == "grey":
        image = image.convert("L")
    elif kind.startswith("cmyk"):
        image = image.convert("CMYK")
    elif kind.startswith("ycck"):
        # Pillow stores 255 less what it is given: the planes of YCCK under the label CMYK, set right below.
        planes = 255 - np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))
        black = np.zeros((*rgb.shape[:2], 1), dtype=np.uint8)
        image = Image.frombuffer("CMYK", image.size, np.concatenate([planes, black], axis=2).tobytes())
    subsampling = 2 if kind.endswith("4:2:0") else 0
    sink = BytesIO()
    image.save(
        sink,
        "JPEG",
        quality=90,
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_blocks=restart,
        keep_rgb=kind == "rgb",
    )
    return adobe_transform(sink.getvalue(), 2) if kind.startswith("ycck") else sink.getvalue()


def adobe_transform(data: bytes, value: int) -> bytes:
    at = data.index(b"Adobe") + 11
    return data[:at] + bytes([value]) + data[at + 1 :]


def decode(data: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def coefficients(data: bytes, folder: Path) -> list[Any]:
    """The quantised blocks of each component, (rows, columns, 8, 8), read by libjpeg 6b."""
    path = folder / "read.jpg"
    path.write_bytes(data)
    jpeg = jpeglib.read_dct(str(path))
    return [plane for plane in (jpeg.Y, jpeg.Cb, jpeg.Cr, jpeg.K) if plane is not None]


def turned(pixels: Any, orientation: int) -> Any:
    """Stored pixels as Pillow shows them."""
    image = Image.fromarray(pixels)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def hidden(upright: Any, *boxes: tuple[int, int, int, int]) -> Any:
    """The picture with boxes x0, y0, x1, y1 replaced by other content."""
    after = upright.copy()
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        after[y0:y1, x0:x1] = drawn(*upright.shape[:2], seed=100 + number)[y0:y1, x0:x1]
    return after


def touched_blocks(data: bytes, kind: str, changed: Any) -> list[Any]:
    """Whether each block of each component lies in an MCU with a changed stored pixel, pixel by pixel."""
    height, width = changed.shape
    tall, wide = MCU.get(kind.split()[-1], (8, 8))
    mcus = {(y // tall, x // wide) for y, x in np.argwhere(changed)}
    masks = []
    for component in read_header(data).components:
        down, across = component.down, component.across
        mask = np.zeros((-(-height * down // tall), -(-width * across // wide)), dtype=bool)
        for row in range(mask.shape[0]):
            for column in range(mask.shape[1]):
                mask[row, column] = (row // down, column // across) in mcus
        masks.append(mask)
    return masks


def check(
    kind: str, folder: Path, boxes: Any, *, orientation: int = 1, shape: Any = (53, 91), **how: Any
) -> bytes:
    """Edit a file and hold the result against another reader and a plain encoder."""
    rgb = drawn(*shape, seed=sum(shape))
    source = write(kind, rgb, **how)
    before = turned(decode(source), orientation)
    after = hidden(before, *boxes)
    out = edit_jpeg(source, before, after, orientation=orientation)

    places = turned(
        np.arange(rgb.shape[0] * rgb.shape[1], dtype=np.int32).reshape(rgb.shape[:2]), orientation
    )
    stored_after = np.empty_like(rgb)
    stored_after.reshape(-1, 3)[places] = after
    changed = (stored_after != decode(source)).any(axis=2)
    masks = touched_blocks(source, kind, changed)
    encoder = write(kind, stored_after, **how)
    planes = zip(
        *(coefficients(data, folder) for data in (out, source, encoder)),
        masks,
        read_header(source).components,
        strict=True,
    )
    for new, old, plain, mask, component in planes:
        assert new.shape == old.shape
        assert mask.shape == new.shape[:2]
        np.testing.assert_array_equal(new[~mask], old[~mask])
        # Encoders differ in what they put below the last row of the picture.
        mask[component.down * (shape[0] // MCU.get(kind.split()[-1], (8, 8))[0]) :] = False
        difference = np.abs(new[mask].astype(int) - plain[mask])
        assert difference.max(initial=0) <= 2
        assert not mask.any() or difference.mean() < 0.15
    assert Image.open(BytesIO(out)).size == (shape[1], shape[0])
    assert decode(out).shape == rgb.shape
    if changed.any():
        seen = Image.fromarray(stored_after)
        wanted = np.asarray(seen.convert("L").convert("RGB") if kind == "grey" else seen).astype(int)
        ours, theirs = (np.abs(decode(data) - wanted)[changed] for data in (out, encoder))
        # Over a few pixels rounding and what lies beyond the edge do not average out.
        assert ours.mean() <= 1.2 * theirs.mean() + (1.5 if changed.sum() >= 64 else 5)
        assert ours.max() <= 1.2 * theirs.max() + 12
    return out


@pytest.mark.parametrize("restart", [0, 3])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_only_touched_mcus_change(kind: str, progressive: bool, restart: int, tmp_path: Path) -> None:
    out = check(kind, tmp_path, [(20, 9, 37, 30), (70, 40, 91, 53)], progressive=progressive, restart=restart)
    header = read_header(out)
    assert header.progressive is progressive
    assert header.restart == restart
    assert bool(re.search(rb"\xff[\xd0-\xd7]", out[header.segments[-1].end :])) is bool(restart)


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:1:1", "grey", "ycck"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_upright_and_coefficients_are_not(kind: str, orientation: int, tmp_path: Path) -> None:
    check(kind, tmp_path, [(3, 30, 18, 51)], orientation=orientation)


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (16, 16), (17, 33), (1, 70), (70, 1), (15, 31), (33, 9)])
@pytest.mark.parametrize("kind", ["4:4:4", "4:2:0", "4:1:1", "grey", "cmyk 4:2:0"])
def test_any_size(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    check(kind, tmp_path, [(0, 0, shape[1], shape[0])], shape=shape)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_boxes(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    orientation = data.draw(st.integers(1, 8))
    upright = (width, height) if orientation < 5 else (height, width)
    boxes = []
    for _ in range(data.draw(st.integers(0, 3))):
        x0, y0 = (data.draw(st.integers(0, size - 1)) for size in upright)
        x1, y1 = data.draw(st.integers(x0 + 1, upright[0])), data.draw(st.integers(y0 + 1, upright[1]))
        boxes.append((x0, y0, x1, y1))
    check(
        data.draw(st.sampled_from(KINDS)),
        tmp_path_factory.getbasetemp(),
        boxes,
        orientation=orientation,
        shape=(height, width),
        progressive=data.draw(st.booleans()),
        restart=data.draw(st.sampled_from([0, 1, 4])),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_picture_keeps_every_coefficient(kind: str, tmp_path: Path) -> None:
    source = write(kind, drawn(53, 91))
    out = edit_jpeg(source, decode(source), decode(source), orientation=1)
    for new, old in zip(coefficients(out, tmp_path), coefficients(source, tmp_path), strict=True):
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(decode(out), decode(source))


def test_more_touched_mcus_than_are_computed_at_once(tmp_path: Path) -> None:
    check("4:2:0", tmp_path, [(0, 0, 700, 500)], shape=(500, 700))


def test_one_mcu_is_touched_for_one_pixel(tmp_path: Path) -> None:
    source = write("4:2:0", drawn(64, 64))
    before = decode(source)
    after = before.copy()
    after[40, 20] ^= 255
    out = edit_jpeg(source, before, after, orientation=1)
    luma, chroma, _ = (
        (new != old).any(axis=(2, 3))
        for new, old in zip(coefficients(out, tmp_path), coefficients(source, tmp_path), strict=True)
    )
    assert {tuple(at) for at in np.argwhere(luma)} <= {(4, 2), (4, 3), (5, 2), (5, 3)}
    assert luma[5, 2]
    assert {tuple(at) for at in np.argwhere(chroma)} <= {(2, 1)}


@pytest.mark.parametrize("kind", ["4:2:0", "grey", "rgb", "cmyk", "ycck 4:2:0"])
def test_nothing_is_left_behind_the_edge_of_the_picture(kind: str, tmp_path: Path) -> None:
    """The last blocks reach beyond an odd size; an encoder may have put anything there."""
    source = enlarged_by_hiding(write(kind, drawn(64, 64)), height=59, width=58)
    before = decode(source)
    assert before.shape == (59, 58, 3)
    after = np.full_like(before, 90)
    for plane in coefficients(edit_jpeg(source, before, after, orientation=1), tmp_path):
        assert not plane.reshape(-1, 64)[:, 1:].any()


def enlarged_by_hiding(data: bytes, *, height: int, width: int) -> bytes:
    """A file whose header names a smaller picture of as many MCUs: the rest lies behind the edge."""
    frame = read_header(data).frame
    return data[: frame.start + 5] + struct.pack(">HH", height, width) + data[frame.start + 9 :]


def segments(data: bytes) -> list[bytes]:
    """All segments before the first scan that do not say how it is coded."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at:end])
        at = end
    return [segment for segment in found if segment[1] not in (0xC4, 0xDD)]


@pytest.mark.parametrize("progressive", [False, True])
def test_segments_are_kept_byte_for_byte_and_trailers_are_not(progressive: bool) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "a \xff\xd9 name"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sink = BytesIO()
    Image.fromarray(drawn()).save(
        sink,
        "JPEG",
        exif=exif,
        icc_profile=profile * 200,  # more than one segment
        comment=b"\xff\xda here",
        dpi=(300, 300),
        progressive=progressive,
        optimize=True,
    )
    source = sink.getvalue()
    before = decode(source)
    out = edit_jpeg(source + source, before, hidden(before, (3, 3, 30, 30)), orientation=1)
    assert segments(out) == segments(source)
    assert [segment[1] for segment in segments(out)].count(0xE2) > 1
    assert out.endswith(b"\xff\xd9")
    assert read_header(out).end == len(out)


def test_fill_bytes_between_segments_are_read() -> None:
    source = write("4:2:0", drawn())
    filled = source[:2] + b"\xff\xff\xff" + source[2:]
    before = decode(source)
    out = edit_jpeg(filled, before, hidden(before, (3, 3, 30, 30)), orientation=1)
    np.testing.assert_array_equal(
        decode(out), decode(edit_jpeg(source, before, hidden(before, (3, 3, 30, 30)), orientation=1))
    )


def with_frame(data: bytes, *, marker: int = 0xC0, precision: int = 8) -> bytes:
    at = read_header(data).frame.start
    return data[: at + 1] + bytes([marker, *data[at + 2 : at + 4], precision]) + data[at + 5 :]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"marker": 0xC9}, "arithmetic"),
        ({"marker": 0xCA}, "arithmetic"),
        ({"marker": 0xC3}, "lossless"),
        ({"marker": 0xC5}, "hierarchical"),
        ({"marker": 0xC1, "precision": 12}, "12 bit"),
    ],
)
def test_other_kinds_of_jpeg_are_refused(frame: Any, reason: str) -> None:
    source = write("4:2:0", drawn())
    with pytest.raises(CannotEdit, match=reason):
        edit_jpeg(with_frame(source, **frame), decode(source), decode(source), orientation=1)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9"]
)
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(CannotEdit):
        edit_jpeg(data, drawn(), drawn(), orientation=1)


@pytest.mark.parametrize("orientation", [1, 6, 0, 9])
def test_another_size_is_refused(orientation: int) -> None:
    source, other = write("4:2:0", drawn(48, 64)), drawn(48, 63)
    with pytest.raises(CannotEdit, match="size"):
        edit_jpeg(source, other, other, orientation=orientation)


def test_second_tables_behind_the_first_scan_are_refused() -> None:
    source = write("4:2:0", drawn(), progressive=True)
    table = next(segment for segment in segments(source) if segment[1] == 0xDB)
    second_scan = source.index(b"\xff\xda", read_header(source).segments[-1].end)
    with pytest.raises(CannotEdit, match="behind"):
        edit_jpeg(source[:second_scan] + table + source[second_scan:], drawn(), drawn(), orientation=1)


@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_is_refused(progressive: bool) -> None:
    source = write("4:2:0", drawn(), progressive=progressive)
    before = decode(source)
    for end in range(0, len(source), 7):
        with pytest.raises(CannotEdit):
            edit_jpeg(source[:end], before, hidden(before, (3, 3, 30, 30)), orientation=1)
    with pytest.raises(CannotEdit, match="damaged picture data"):
        edit_jpeg(source[:-30] + b"\xff\xd9", before, before, orientation=1)


@pytest.mark.parametrize(("kind", "progressive"), [("4:2:0", False), ("4:4:4", True), ("grey", False)])
def test_mutants_are_hidden_or_refused(kind: str, progressive: bool) -> None:
    source = write(kind, drawn(64, 80, seed=3), progressive=progressive, restart=0 if progressive else 2)
    rng = np.random.default_rng(7)
    edited = 0
    for _ in range(200):
        mutant = mutated(source, rng)
        try:
            before = decode(mutant)
        except Exception:  # Pillow's errors have no common class; nor is there a picture to edit
            continue
        after = before.copy()
        after[16:48, 32:64] = 127
        try:
            out = edit_jpeg(mutant, before, after, orientation=1)
        except CannotEdit:
            continue
        edited += 1
        shown = decode(out)
        assert shown.shape == before.shape
        # Whole MCUs of one colour decode to one colour, whatever the tables are; chroma bleeds at the border.
        assert np.ptp(shown[18:46, 34:62], axis=(0, 1)).max(initial=0) <= 1
    assert edited >= 5


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with bytes changed, removed, or doubled."""
    mutant = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, length = int(rng.integers(2, len(mutant))), int(rng.integers(1, 6))
        match int(rng.integers(0, 4)):
            case 0 | 1:
                mutant[at] = int(rng.integers(0, 256))
            case 2:
                del mutant[at : at + length]
            case _:
                mutant[at:at] = mutant[at : at + length]
    return bytes(mutant)


@pytest.fixture
def picture() -> tuple[bytes, Any, Any]:
    source = write("4:2:0", drawn())
    return source, decode(source), hidden(decode(source), (3, 3, 30, 30))


def test_blocks_that_the_writer_does_not_ask_for_are_an_error(
    picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform._Placement, "__call__", lambda *arguments: 0)
    with pytest.raises(CannotEdit, match="not where"):
        edit_jpeg(*picture, orientation=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_while_blocks_are_placed_is_not_lost(picture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(transform._Placement, "_place")
    with pytest.raises(CannotEdit):
        edit_jpeg(*picture, orientation=1)


def test_a_writer_laid_out_otherwise_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    source = write("4:2:0", drawn(), restart=2)
    monkeypatch.setattr(transform, "_WRITING_COEFFICIENTS", 1)
    with pytest.raises(CannotEdit, match="restart"):
        edit_jpeg(source, decode(source), decode(source), orientation=1)


def test_without_the_library_the_reason_says_what_to_install(
    picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turbo, "find_library", lambda name: None)
    monkeypatch.setattr(turbo, "find_spec", lambda name: None)
    turbo.turbojpeg.cache_clear()
    with pytest.raises(CannotEdit, match="pip install turbojpeg"):
        edit_jpeg(*picture, orientation=1)


def test_the_inputs_stay_as_they_were(picture: Any) -> None:
    source, before, after = picture
    copies = before.copy(), after.copy()
    assert edit_jpeg(source, before, after, orientation=1) == edit_jpeg(source, before, after, orientation=1)
    np.testing.assert_array_equal(before, copies[0])
    np.testing.assert_array_equal(after, copies[1])


def test_zigzag_is_the_order_of_the_standard() -> None:
    first = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5]  # T.81, figure A.6
    assert _ZIGZAG[:16].tolist() == first
    assert sorted(_ZIGZAG.tolist()) == list(range(64))
    assert (_ZIGZAG[::-1] == 63 - _ZIGZAG).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", [*SAMPLINGS, "grey", "rgb"])
def test_pixels_are_decoded_as_pillow_decodes_them(kind: str, progressive: bool) -> None:
    data = write(kind, drawn(35, 61), progressive=progressive)
    with Image.open(BytesIO(data)) as other:
        expected = np.asarray(other.convert("RGB"))
    np.testing.assert_array_equal(turbo.decode(data, read_header(data)), expected)


def test_damage_and_inks_are_not_decoded() -> None:
    data = write("4:2:0", drawn(64, 64))
    with pytest.raises(CannotEdit, match="damaged"):
        turbo.decode(data[: len(data) // 2], read_header(data))
    inks = write("cmyk", drawn(16, 16))
    with pytest.raises(CannotEdit, match="inks"):
        turbo.decode(inks, read_header(inks))
