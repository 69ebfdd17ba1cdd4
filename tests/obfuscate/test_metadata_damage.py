"""Files that are damaged, made to harm, or of a kind that is not rewritten: refused with a clear reason."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from sfumato.errors import ImageError
from sfumato.obfuscate.files.metadata import Policy, clean, left_over
from tests.conftest import drawn
from tests.obfuscate.plain_files import PLAIN, outcome, shown
from tests.obfuscate.planted_files import (
    all_planted,
    bmp_version_5,
    chunk,
    gif_block,
    gif_with,
    jpeg_with,
    png_with,
    riff,
    segment,
    tiff_file,
)
from tests.obfuscate.planted_secrets import PROFILE, SECRET, directory, frames, saved, small_exif, xmp

MUTABLE = {name: case.data for name, case in all_planted().items()} | PLAIN


def mutants(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """The file with a few bytes changed, cut out, repeated, or missing at its end."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        out = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            # Half the changes hit the first 200 bytes, where the structure is.
            at = int(rng.integers(len(out) if rng.random() < 0.5 else min(200, len(out))))
            kind = rng.integers(4)
            if kind == 0:
                out[at] = rng.integers(256)
            elif kind == 1:
                out[at] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                del out[at : at + int(rng.integers(1, 30))]
            else:
                out[at:at] = out[at : at + int(rng.integers(1, 30))]
            out = out or bytearray(b"\0")
        yield bytes(out[: int(rng.integers(len(out)))] if rng.random() < 0.15 else out)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_are_refused_or_show_the_same(seed: int) -> None:
    survived = 0
    for number, (name, data) in enumerate(MUTABLE.items()):
        for mutant in mutants(data, 1000 * seed + number, 4):
            try:
                after = clean(mutant).data
            except ImageError:
                continue
            survived += 1
            assert clean(after).data == after, name
            if outcome(mutant) != "unreadable":
                assert outcome(after) == outcome(mutant), name
    assert survived > 50


@pytest.mark.parametrize("name", MUTABLE)
def test_cut_files_are_refused_or_show_the_same(name: str) -> None:
    data = MUTABLE[name]
    for size in range(1, len(data), max(1, len(data) // 40)):
        try:
            after = clean(data[:size]).data
        except ImageError:
            continue
        assert outcome(after) == outcome(data[:size]), size


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"GIF89a", b"\xff\xd8\xff", b"II*\0", b"BM", b"RIFF\4\0\0\0WEBP", b"<svg>"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        clean(data)
    with pytest.raises(ImageError):
        left_over(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_smaller_version_on_a_page_of_its_own_goes(order: str) -> None:
    data = tiff_file(order, preview=True)
    cleaned = clean(data)
    assert SECRET not in cleaned.data
    assert cleaned.removed == ("smaller versions",)
    assert len(shown(data)) == 2
    assert shown(cleaned.data) == shown(data)[:1]


def test_a_tiff_with_a_jpeg_inside_is_refused() -> None:
    with pytest.raises(ImageError, match="JPEG inside"):
        clean(saved("TIFF", compression="jpeg"))


def test_a_bitmap_keeps_an_honest_version_5_header() -> None:
    data = bmp_version_5(b"", kind=b"BGRs")
    cleaned = bytearray(data)
    cleaned[126:138] = bytes(12)
    assert clean(data).data == bytes(cleaned)


def avif(**options: Any) -> bytes:
    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    return saved("AVIF", **options)


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def with_alpha() -> bytes:
    image = Image.fromarray(drawn(41, 55)).convert("RGBA")
    image.putalpha(Image.fromarray(drawn(41, 55)[..., 0]))
    return avif(picture=image)


def test_a_bare_avif_is_passed_on() -> None:
    for data in (avif(), avif(icc_profile=PROFILE), avif(**frames()), with_alpha()):
        assert left_over(data) == ()
        assert clean(data).data == data
        assert clean(data, Policy.ALL).data == data
        with pytest.raises(ImageError, match="encode the picture anew"):
            clean(data, Policy.NONE)


@pytest.mark.parametrize(
    ("word", "data"),
    [
        ("EXIF", lambda: avif(exif=small_exif(1))),
        ("XMP", lambda: avif(xmp=xmp())),
        ("data of one maker", lambda: avif() + box(b"uuid", SECRET)),
        ("other boxes", lambda: avif() + box(b"free", SECRET)),
        ("bytes that belong to no item", lambda: avif() + box(b"mdat", SECRET)),
        ("names of items", lambda: avif().replace(b"Color", b"Alice")),
        ("user data", lambda: avif(**frames()) + box(b"moov", box(b"trak", box(b"udta", SECRET)))),
        ("auxiliary pictures", lambda: with_alpha().replace(b"auxiliary:alpha", b"auxiliary:depth")),
    ],
)
def test_an_avif_with_more_than_its_picture_is_refused(word: str, data: Any) -> None:
    file = data()
    assert word in left_over(file)
    with pytest.raises(ImageError, match=word):
        clean(file)


def test_a_damaged_avif_is_one_clear_error() -> None:
    files = [avif(), avif(exif=small_exif(6)), avif(**frames())]
    refused = 0
    for number, data in enumerate(files):
        for mutant in mutants(data, number, 150):
            try:
                left_over(mutant)
            except ImageError:
                refused += 1
    assert refused > 50
    elsewhere = box(b"iloc", b"\1\0\0\0\x44\0\0\1" + b"\0\1\0\1\0\0\0\0")
    with pytest.raises(ImageError, match="unknown place"):
        left_over(box(b"ftyp", b"avif" + bytes(4)) + box(b"meta", bytes(4) + elsewhere))
    nested = b""
    for _ in range(3000):
        nested = box(b"moov", nested)
    with pytest.raises(ImageError, match="too deep"):
        left_over(avif() + nested)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_that_shares_its_bytes_among_pages_is_no_bomb(order: str) -> None:
    """Sixty pages, each with the same strip: the file is small, what it would become is not."""
    plain = tiff_file(order)
    strip = (273, 4, 1, struct.pack(f"{order}I", len(plain) - 600))
    facts = [(256, 30), (257, 20), (258, 8), (259, 1), (262, 1), (277, 1), (278, 20), (279, 600)]
    tags = [strip, *((tag, 3, 1, struct.pack(f"{order}H", value)) for tag, value in facts)]
    data, end = bytearray(plain), 8 + 2 + 9 * 12
    for _ in range(60):
        struct.pack_into(f"{order}I", data, end, len(data))
        end = len(data) + 2 + 9 * 12
        data += directory(order, len(data), tags)
    assert len(shown(bytes(data))) == 61
    with pytest.raises(ImageError, match="again and again"):
        clean(bytes(data))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def bmp_of(header: bytes, rest: bytes = b"") -> bytes:
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(rest), 0, 0, start) + header + rest


def bmp_info(bits: int, compression: int, *, size: int = 0, colours: int = 0) -> bytes:
    return struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, bits, compression, size, 0, 0, colours, 0)


LEVELS = bytes(drawn(20, 30)[..., 0].tobytes())
GREY_HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
BOMB = zlib.compress(bytes(3 << 20))
REFUSED = {
    "png-no-header-first": (png_of(chunk(b"tEXt", b"a\0b"), GREY_HEADER), "start with its header"),
    "png-no-picture": (png_of(GREY_HEADER), "without a picture"),
    "png-twice": (png_with(chunk(b"gAMA", b"\0\0\1\0"), chunk(b"gAMA", b"\0\0\1\0")), "two chunks gAMA"),
    "png-length": (png_with(chunk(b"gAMA", b"\0\0\1\0" + SECRET)), "damaged chunk gAMA"),
    "png-critical": (png_with(chunk(b"NEED", SECRET)), "unknown kind"),
    "png-bomb": (png_with(chunk(b"iCCP", b"ICC Profile\0\0" + BOMB)), "more than 1 MiB"),
    "png-checksum": (png_with(chunk(b"tEXt", b"a\0b")[:-1] + b"?"), "damaged chunk"),
    "bmp-header": (bmp_of(struct.pack("<I", 64) + bytes(60)), "header of an unknown kind"),
    "bmp-compression": (bmp_of(bmp_info(24, 4), bytes(64)), "compression of an unknown kind"),
    "bmp-run-lengths": (bmp_of(bmp_info(8, 1), bytes(1100)), "size of its pixels"),
    "bmp-palette": (bmp_of(bmp_info(8, 0, colours=900), bytes(4000)), "impossible palette"),
    "bmp-depth": (bmp_of(bmp_info(7, 0), bytes(400)), "impossible size"),
    "gif-control": (gif_with(gif_block(0xF9, SECRET)), "damaged frame control"),
    "gif-cut": (gif_with()[:12], "ends inside a block"),
    "gif-cut-extension": (gif_with(b"\x21")[: 13 + 192 + 1], "ends inside a block"),
    "webp-header": (riff((b"VP8X", b"\0")), "damaged header"),
    "webp-no-picture": (riff((b"VP8X", bytes(10))), "without a picture"),
    "webp-frame": (riff((b"VP8X", b"\2" + bytes(9)), (b"ANMF", b"short")), "damaged frame"),
    "webp-tail": (b"RIFF\x0a\0\0\0WEBPVP8X\1\0", "damaged chunk"),
    "jpeg-two-frames": (
        saved("JPEG").replace(b"\xff\xc4", b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xc4", 1),
        "FFC0",
    ),
    "jpeg-reserved": (jpeg_with(b"\xff\x05"), "unexpected marker FF05"),
    "jpeg-in-jpeg": (jpeg_with(b"\xff\xd8"), "unexpected marker FFD8"),
    "jpeg-no-picture": (b"\xff\xd8\xff\xd9", "without a picture"),
    "jpeg-long-table": (jpeg_with(segment(0xDD, b"\0\0" + SECRET)), "damaged segment FFDD"),
    "tiff-twice": (tiff_file("<", (256, 3, 1, b"\x1e\0")), "same tag twice"),
    "tiff-circle": (tiff_file("<").replace(bytes(4) + LEVELS[:4], b"\x08\0\0\0" + LEVELS[:4]), "circle"),
    "tiff-long-tag": (tiff_file("<", (282, 5, 4, SECRET[:32])), "impossible length"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_damage_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        clean(data)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
@pytest.mark.parametrize("packed", [zlib.compress(xmp(6)), b"no stream"])
def test_packed_xmp_is_read_for_its_orientation(name: bytes, packed: bytes) -> None:
    body = b"XML:com.adobe.xmp\0" + (b"\0" if name == b"zTXt" else b"\1\0\0\0") + packed
    after = clean(png_with(chunk(name, body)))
    assert after.removed == ("XMP",)
    orientation = Image.open(BytesIO(after.data)).getexif().get(274, 1)
    assert orientation == (6 if packed != b"no stream" else 1)


def test_a_raw_profile_of_no_digits_tells_nothing() -> None:
    body = b"Raw profile type exif\0\nexif\n  4\nno digits"
    assert clean(png_with(chunk(b"tEXt", body))).data == saved("PNG")


def test_a_profile_packed_in_an_unknown_way_goes() -> None:
    assert clean(png_with(chunk(b"iCCP", b"name\0\1" + SECRET))).data == saved("PNG")


@pytest.mark.parametrize("bits", [1, 8, 24])
def test_bitmaps_of_os2_stay(bits: int) -> None:
    palette = bytes(range(256))[: 3 * 2**bits].ljust(3 * 2**bits, b"\7") if bits <= 8 else b""
    start = 26 + len(palette)
    pixels = bytes(range(96))[: (5 * bits + 31) // 32 * 4 * 4]
    head = struct.pack("<IHHIIHHHH", start + len(pixels), 0, 0, start, 12, 5, 4, 1, bits)
    data = b"BM" + head + palette + pixels
    assert clean(data).data == data
    assert clean(data + SECRET).data == data
    assert outcome(data) != "unreadable"


def test_run_lengths_end_where_the_header_says() -> None:
    runs = b"\4\1\0\0" * 4 + b"\0\1"
    info = bmp_info(8, 1, size=len(runs), colours=2)
    palette = b"\0\0\0\0\xff\xff\xff\0"
    data = b"BM" + struct.pack("<IHHI", 62 + len(runs), 0, 0, 62) + info + palette + runs
    assert clean(data + SECRET).data == data
    assert shown(clean(data + SECRET).data) == shown(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiles_stay(order: str) -> None:
    facts = [(256, 30), (257, 20), (258, 8), (259, 1), (262, 1), (277, 1), (322, 16), (323, 32)]
    tags = [(tag, 3, 1, struct.pack(f"{order}H", value)) for tag, value in facts]

    def page(at: int) -> bytes:
        places = struct.pack(f"{order}II", at, at + 512)
        lengths = struct.pack(f"{order}II", 512, 512)
        return directory(order, 8, [*tags, (324, 4, 2, places), (325, 4, 2, lengths)])

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    pixels = np.random.default_rng(0).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    data = head + page(8 + len(page(0))) + pixels
    assert clean(data).data == data
    assert clean(data + SECRET).data == data
    assert len(shown(data)[0][2]) == 600
    with pytest.raises(ImageError, match="size of their pixels"):
        clean(data.replace(struct.pack(f"{order}II", 512, 512), struct.pack(f"{order}II", 512, 500)))
