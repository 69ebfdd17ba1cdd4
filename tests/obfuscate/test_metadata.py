"""Files keep their picture, bit for bit, and nothing else that is not on a list."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import Policy, clean, left_over
from tests.obfuscate.plain_files import PLAIN, outcome, shown
from tests.obfuscate.planted_files import (
    all_planted,
    chunk,
    gif_block,
    gif_with,
    gif_xmp,
    icc_segment,
    jpeg_with,
    png_with,
    segment,
    tiff_file,
    webp_with,
)
from tests.obfuscate.planted_secrets import (
    PROFILE,
    SECRET,
    Planted,
    saved,
    small_exif,
    xmp,
)

PLANTED = all_planted()


@pytest.mark.parametrize("case", PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_gone(case: Planted) -> None:
    assert all(secret in case.data for secret in case.secrets)
    for policy in (Policy.SAFE, Policy.NONE):
        cleaned = clean(case.data, policy)
        assert not any(secret in cleaned.data for secret in case.secrets)
        assert outcome(cleaned.data) == outcome(case.data) != "unreadable"
    assert case.word in left_over(case.data)
    assert len(clean(case.data).data) < len(case.data) or case.word in (
        "bytes before the pixels",
        "colour profile",
    )


@pytest.mark.parametrize("case", PLANTED.values(), ids=PLANTED)
def test_cleaning_twice_is_cleaning_once(case: Planted) -> None:
    for policy in (Policy.SAFE, Policy.NONE):
        once = clean(case.data, policy).data
        assert clean(once, policy) == clean(once, Policy.SAFE)
        assert clean(once, policy).data == once
        assert left_over(once) == ()


@pytest.mark.parametrize("case", PLANTED.values(), ids=PLANTED)
def test_all_keeps_everything(case: Planted) -> None:
    assert clean(case.data, Policy.ALL).data == case.data
    assert clean(case.data, Policy.ALL).removed == ()


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_every_kind_of_picture_stays(data: bytes) -> None:
    for policy in (Policy.SAFE, Policy.NONE):
        assert shown(clean(data, policy).data) == shown(data)
    if not data.startswith((b"II", b"MM")):  # Pillow leaves stumps of headers between the pages of a TIFF
        assert clean(data).data == data
        assert left_over(data) == ()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("policy", [Policy.SAFE, Policy.NONE])
def test_orientation_stays(file_format: str, orientation: int, policy: Policy) -> None:
    data = saved(file_format, exif=small_exif(orientation))
    after = clean(data, policy).data
    assert SECRET in data
    assert SECRET not in after
    assert shown(after) == shown(data)
    with Image.open(BytesIO(after)) as image:
        assert image.getexif().get(274, 1) == orientation
        assert set(image.getexif()) <= {274} or file_format == "TIFF"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_orientation_that_only_xmp_tells_stays(orientation: int) -> None:
    """Pillow turns such pictures, so faces were found in them turned."""
    told = xmp(orientation)
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + told
    files = [
        jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + told)),
        png_with(chunk(b"iTXt", body)),
        png_with(chunk(b"iTXt", body), late=True),
        webp_with((b"XMP ", told), flags=4),
        tiff_file("<", (700, 1, len(told), told)),
        tiff_file(">", (700, 1, len(told), told)),
    ]
    for data in files:
        after = clean(data).data
        assert SECRET not in after
        assert shown(after) == shown(data)
        assert (shown(after)[0][4][0] == shown(after)[0][1]) == (
            orientation < 5 or data[:2] in (b"II", b"MM")
        )


def test_a_gif_that_xmp_turns_is_refused() -> None:
    assert clean(gif_with(gif_xmp(1))).removed == ("XMP",)
    with pytest.raises(ImageError, match="XMP turns it"):
        clean(gif_with(gif_xmp(6)))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_profile_and_resolution_stay_with_safe_and_go_with_none(file_format: str) -> None:
    data = saved(file_format, icc_profile=PROFILE, dpi=(300, 150))
    kept, bare = (Image.open(BytesIO(clean(data, policy).data)) for policy in (Policy.SAFE, Policy.NONE))
    source = Image.open(BytesIO(data))
    assert kept.info.get("icc_profile") == PROFILE
    assert kept.info.get("dpi") == source.info.get("dpi")
    assert "icc_profile" not in bare.info
    assert bare.info.get("dpi", (1, 1)) == (1, 1)
    words = {"colour profile", "resolution"} if file_format != "WEBP" else {"colour profile"}
    assert set(clean(data, Policy.NONE).removed) == words
    assert clean(data).data == data or file_format == "TIFF"


def test_a_long_profile_stays_in_all_its_chunks() -> None:
    size = 150_000
    profile = size.to_bytes(4, "big") + PROFILE[4:] + bytes(size - len(PROFILE))
    chunks = [icc_segment(3 - n, 3, profile[(2 - n) * 60_000 : (3 - n) * 60_000]) for n in range(3)]
    after = clean(jpeg_with(*chunks))
    assert Image.open(BytesIO(after.data)).info["icc_profile"] == profile
    assert after.removed == ()
    assert clean(after.data).data == after.data


def test_resolution_of_exif_stays_where_jfif_has_none() -> None:
    data = saved("JPEG")
    without = b"\xff\xd8" + data[20:]
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 300.0, 150.5, 3
    after = clean(jpeg_with(segment(0xE1, exif.tobytes()), base=without)).data
    told = Image.open(BytesIO(after)).getexif()
    assert (float(told[282]), float(told[283]), told[296]) == (300, 150.5, 3)


@pytest.mark.parametrize("name", [name for name in PLAIN if name.startswith("jpeg")])
def test_coded_data_is_copied_byte_for_byte(name: str) -> None:
    data = PLAIN[name]
    picture = data[data.index(b"\xff\xdb") :]
    after = clean(jpeg_with(segment(0xE1, b"Exif\0\0" + SECRET), segment(0xFE, SECRET), base=data)).data
    assert after.endswith(picture)


def test_broken_exif_turns_nothing() -> None:
    data = jpeg_with(segment(0xE1, b"Exif\0\0II*\0\xff\xff\0\0" + SECRET))
    assert clean(data).data == saved("JPEG")
    assert clean(data).removed == ("EXIF",)


def test_fill_bytes_are_no_trouble() -> None:
    data = saved("JPEG", progressive=True)
    second = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
    padded = data[:second] + b"\xff" * 7 + data[second:-2] + b"\xff" * 5 + data[-2:]
    assert clean(padded).data == data
    assert clean(padded).removed == ()


KEPT = (b"tRNS", b"acTL", b"fcTL", b"fdAT", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"iCCP")
LETTERS = st.text(
    st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), min_size=3, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*range(0xE0, 0xF0), 0xFE]), st.binary(max_size=40)),
        min_size=1,
        max_size=5,
    )
)
def test_no_segment_of_any_kind_stays(parts: list[tuple[int, bytes]]) -> None:
    data = jpeg_with(*(segment(marker, body + SECRET) for marker, body in parts))
    assert SECRET not in clean(data).data
    assert shown(clean(data).data)[0][:3] == shown(data)[0][:3]
    assert left_over(clean(data).data) == ()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), LETTERS, st.binary(max_size=40), st.booleans())
def test_no_chunk_of_any_kind_stays(first: str, rest: str, body: bytes, late: bool) -> None:
    name = (first + rest).encode()
    assume(name not in KEPT)
    png = png_with(chunk(name, body + SECRET), late=late)
    webp = webp_with((name, body + SECRET))
    for data in (png, webp):
        assert SECRET not in clean(data).data
        assert shown(clean(data).data) == shown(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(400, 65535), st.sampled_from([1, 2, 7]), st.sampled_from("<>"))
def test_no_tag_of_any_kind_stays(tag: int, kind: int, order: str) -> None:
    data = tiff_file(order, (tag, kind, len(SECRET), SECRET))
    try:
        after = clean(data).data
    except ImageError:
        assert tag in (530, 531, 532, 529)
        return
    assert SECRET not in after
    assert shown(after) == shown(data)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 255).filter(lambda label: label != 0xF9),
    st.lists(st.binary(min_size=1, max_size=200), max_size=3),
)
def test_no_extension_of_any_kind_stays(label: int, parts: list[bytes]) -> None:
    data = gif_with(gif_block(label, *parts, SECRET))
    assert SECRET not in clean(data).data
