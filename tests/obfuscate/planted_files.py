"""Picture files with a secret in every place besides the picture that their formats have."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

from PIL import Image

from tests.conftest import drawn
from tests.obfuscate.planted_secrets import (
    PROFILE,
    SECRET,
    THUMBNAIL,
    XMP,
    Planted,
    Tag,
    directory,
    exif_block,
    frames,
    saved,
    xmp,
)

# --- JPEG --------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    """A marker segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(*segments: bytes, base: bytes | None = None) -> bytes:
    """A JPEG with segments after its JFIF header."""
    data = base or saved("JPEG")
    at = 20 if data[2:4] == b"\xff\xe0" else 2
    return data[:at] + b"".join(segments) + data[at:]


def between_scans(*segments: bytes) -> bytes:
    """A progressive JPEG with segments before its second scan."""
    data = saved("JPEG", progressive=True)
    second = data.index(b"\xff\xc4", data.index(b"\xff\xda"))
    return data[:second] + b"".join(segments) + data[second:]


def icc_segment(place: int, number: int, body: bytes) -> bytes:
    """One chunk of a colour profile."""
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([place, number]) + body)


def _jpeg() -> dict[str, Planted]:
    jfif = b"JFIF\0\1\2\1\0\x48\0\x48"
    photoshop = b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + struct.pack(">I", 28 + len(THUMBNAIL)) + bytes(28)
    guid = b"0123456789ABCDEF" * 2 + bytes(8)
    video = b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x29mdat" + SECRET
    plain = saved("JPEG")
    made = {
        "exif": (jpeg_with(segment(0xE1, b"Exif\0\0" + exif_block())), "EXIF"),
        "exif-thumbnail": (jpeg_with(segment(0xE1, b"Exif\0\0" + exif_block(">"))), "EXIF thumbnail"),
        "gps": (jpeg_with(segment(0xE1, b"Exif\0\0" + exif_block())), "GPS"),
        "maker-notes": (jpeg_with(segment(0xE1, b"Exif\0\0" + exif_block())), "maker notes"),
        "jfif-thumbnail": (
            b"\xff\xd8" + segment(0xE0, jfif + b"\x0b\1" + SECRET) + plain[20:],
            "JFIF thumbnail",
        ),
        "jfxx": (jpeg_with(segment(0xE0, b"JFXX\0\x10" + THUMBNAIL)), "JFXX thumbnail"),
        "xmp": (jpeg_with(segment(0xE1, XMP + xmp())), "XMP"),
        "extended-xmp": (
            jpeg_with(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + guid + SECRET)),
            "extended XMP",
        ),
        "unknown-app1": (jpeg_with(segment(0xE1, b"XMP\0" + SECRET)), "APP1 data"),
        "mpf": (jpeg_with(segment(0xE2, b"MPF\0" + exif_block())) + THUMBNAIL, "further images (MPF)"),
        "flashpix": (jpeg_with(segment(0xE2, b"FPXR\0" + SECRET)), "other APP2 data"),
        "jumbf": (jpeg_with(segment(0xEB, b"JP\0\1\0\0\0\1" + SECRET)), "provenance (JUMBF)"),
        "gain-map": (jpeg_with(segment(0xEA, b"AROT" + SECRET)), "APP10 data"),
        "ducky": (jpeg_with(segment(0xEC, b"Ducky" + SECRET)), "APP12 data"),
        "photoshop": (jpeg_with(segment(0xED, photoshop + THUMBNAIL)), "Photoshop previews"),
        "adobe": (jpeg_with(segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + SECRET)), "bytes in Adobe's segment"),
        "comment": (jpeg_with(segment(0xFE, SECRET)), "comment"),
        "between-segments": (jpeg_with(SECRET), "bytes between segments"),
        "between-scans": (between_scans(segment(0xFE, SECRET)), "comment"),
        "exif-between-scans": (between_scans(segment(0xE1, b"Exif\0\0" + exif_block())), "APP1 data"),
        "video": (plain + video, "trailer after the end of the image"),
        "second-image": (plain + THUMBNAIL, "trailer after the end of the image"),
        "no-profile": (jpeg_with(icc_segment(1, 1, SECRET)), "colour profile"),
        "half-profile": (jpeg_with(icc_segment(1, 2, PROFILE + SECRET)), "colour profile"),
        "two-profiles": (
            jpeg_with(icc_segment(1, 1, PROFILE), icc_segment(1, 1, PROFILE + SECRET)),
            "colour profile",
        ),
        "after-profile": (jpeg_with(icc_segment(1, 1, PROFILE + SECRET)), "bytes after the colour profile"),
    }
    short = Planted(jpeg_with(segment(0xE0, b"JFIF\0" + SECRET[:8])), "APP0 data", (SECRET[:8],))
    return {f"jpeg-{name}": Planted(*facts) for name, facts in made.items()} | {"jpeg-short-jfif": short}


# --- PNG ---------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_with(*chunks: bytes, base: bytes | None = None, late: bool = False) -> bytes:
    """A PNG with chunks after its header, or before its end."""
    data = base or saved("PNG")
    at = len(data) - 12 if late else 33
    return data[:at] + b"".join(chunks) + data[at:]


def _png() -> dict[str, Planted]:
    packed = zlib.compress(SECRET)
    raw = (
        b"\nexif\n" + b"%8d\n" % (6 + len(exif_block())) + (b"Exif\0\0" + exif_block()).hex().encode() + b"\n"
    )
    chunks: dict[str, tuple[bytes, bytes, str]] = {
        "text": (b"tEXt", b"Author\0" + SECRET, "text"),
        "packed-text": (b"zTXt", b"Author\0\0" + packed, "text"),
        "utf8": (b"iTXt", b"Author\0\0\0en\0Autor\0" + SECRET, "text"),
        "packed-utf8": (b"iTXt", b"Author\0\1\0en\0Autor\0" + packed, "text"),
        "xmp": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(), "XMP"),
        "raw-exif": (b"tEXt", b"Raw profile type exif\0" + raw, "EXIF"),
        "exif": (b"eXIf", exif_block(), "EXIF thumbnail"),
        "time": (b"tIME", b"\x07\xe9\x01\x02\x03\x04\x05", "time of the last change"),
        "signature": (b"dSIG", SECRET, "digital signature"),
        "suggested-palette": (b"sPLT", SECRET + b"\0\x08" + bytes(6), "other chunks"),
        "histogram": (b"hIST", SECRET, "other chunks"),
        "private": (b"prVt", SECRET, "other chunks"),
        "jumbf": (b"caBX", SECRET, "provenance (JUMBF)"),
        "long-resolution": (b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\1" + SECRET, "resolution"),
        "profile-name": (
            b"iCCP",
            SECRET + b"\0\0" + zlib.compress(PROFILE),
            "name of the colour profile",
        ),
        "profile-tail": (
            b"iCCP",
            b"ICC Profile\0\0" + zlib.compress(PROFILE) + SECRET,
            "name of the colour profile",
        ),
        "no-profile": (b"iCCP", b"ICC Profile\0\0" + packed, "colour profile"),
    }
    made = {}
    for name, (kind, body, word) in chunks.items():
        secrets = tuple(
            part for part in (SECRET, packed, SECRET.hex().encode(), kind + body) if part in kind + body
        )
        made[f"png-{name}"] = Planted(png_with(chunk(kind, body)), word, secrets)
    made["png-late"] = Planted(png_with(chunk(b"tEXt", b"a\0" + SECRET), late=True), "text")
    made["png-tail"] = Planted(saved("PNG") + SECRET, "trailer after the end of the image")
    return made


# --- WebP --------------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of chunks."""
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a WebP file."""
    out, at = [], 12
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        out.append((name, data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return out


def webp_with(*chunks: tuple[bytes, bytes], flags: int = 0) -> bytes:
    """A WebP file with an extended header, further chunks behind the picture, flags set."""
    head, *picture = riff_chunks(saved("WEBP", icc_profile=PROFILE))
    return riff((b"VP8X", bytes([head[1][0] | flags]) + head[1][1:]), *picture, *chunks)


def _webp() -> dict[str, Planted]:
    plain = riff_chunks(saved("WEBP"))
    extended = riff_chunks(saved("WEBP", icc_profile=PROFILE))
    moving = riff_chunks(saved("WEBP", **frames()))
    frame = moving[2][1] + b"priv" + struct.pack("<I", len(SECRET) + 1) + SECRET + b"\0"
    head = extended[0][1]
    made = {
        "exif": (webp_with((b"EXIF", exif_block()), flags=8), "EXIF thumbnail"),
        "hidden-exif": (webp_with((b"EXIF", exif_block())), "EXIF"),
        "xmp": (webp_with((b"XMP ", xmp()), flags=4), "XMP"),
        "private": (webp_with((b"priv", SECRET)), "other chunks"),
        "second-exif": (webp_with((b"EXIF", exif_block()), (b"EXIF", SECRET), flags=8), "EXIF"),
        "simple": (riff(*plain, (b"EXIF", exif_block())), "EXIF"),
        "tail": (saved("WEBP") + SECRET, "trailer after the end of the image"),
        "in-frame": (riff(*moving[:2], (b"ANMF", frame), *moving[3:]), "other chunks"),
        "no-profile": (
            riff((b"VP8X", head), (b"ICCP", SECRET), *extended[2:]),
            "colour profile",
        ),
        "after-profile": (
            riff((b"VP8X", head), (b"ICCP", PROFILE + SECRET), *extended[2:]),
            "bytes after the colour profile",
        ),
    }
    return {f"webp-{name}": Planted(*facts) for name, facts in made.items()}


# --- GIF ---------------------------------------------------------------------------------------------------


def gif_block(label: int, *parts: bytes) -> bytes:
    """An extension of sub-blocks."""
    return bytes([0x21, label]) + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def gif_with(*blocks: bytes) -> bytes:
    """A GIF with extensions behind its palette."""
    data = saved("GIF", Image.fromarray(drawn(41, 55)).quantize(64))
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + b"".join(blocks) + data[at:]


def gif_xmp(orientation: int = 0) -> bytes:
    """XMP as Adobe puts it into a GIF: no sub-blocks, but a tail that leads any reader to the end."""
    tail = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return b"\x21\xff\x0bXMP DataXMP" + xmp(orientation) + tail


def _gif() -> dict[str, Planted]:
    screen = bytes(12)
    loop = (b"NETSCAPE2.0", b"\1\0\0")
    made = {
        "comment": (gif_with(gif_block(0xFE, SECRET)), "comment"),
        "plain-text": (gif_with(gif_block(0x01, screen, SECRET)), "plain text"),
        "xmp": (gif_with(gif_xmp()), "XMP"),
        "application": (gif_with(gif_block(0xFF, b"SECRETAP1.0", SECRET)), "application data"),
        "after-loop": (gif_with(gif_block(0xFF, *loop, SECRET)), "application data"),
        "unknown": (gif_with(gif_block(0x77, SECRET)), "extension"),
        "tail": (gif_with() + SECRET, "trailer after the end of the image"),
    }
    return {f"gif-{name}": Planted(*facts) for name, facts in made.items()}


# --- TIFF --------------------------------------------------------------------------------------------------


def tiff_file(order: str, *more: Tag, preview: bool = False) -> bytes:
    """A hand-made TIFF of grey levels with further tags, and with a preview page where one is asked for."""
    levels = bytes(drawn(20, 30)[..., 0].tobytes())

    def page(start: int, pixels: int, tags: Sequence[Tag], following: int) -> bytes:
        def pack(letter: str, number: int) -> bytes:
            return struct.pack(order + letter, number)

        facts = [(256, 30), (257, 20), (258, 8), (259, 1), (262, 1), (277, 1), (278, 20)]
        own = [(tag, 3, 1, pack("H", value)) for tag, value in facts]
        own += [(273, 4, 1, pack("I", pixels)), (279, 4, 1, pack("I", len(levels)))]
        return directory(order, start, [*own, *tags], following)

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    at = 8 + len(page(8, 0, more, 0))
    if not preview:
        return head + page(8, at, more, 0) + levels
    small: list[Tag] = [(254, 4, 1, struct.pack(f"{order}I", 1))]
    second = at + len(levels)
    behind = second + len(page(second, 0, small, 0))
    hidden = (SECRET * 20)[: len(levels)]
    return b"".join([head, page(8, at, more, second), levels, page(second, behind, small, 0), hidden])


_TIFF_TAGS = {
    "description": (270, 2, "description"),
    "artist": (315, 2, "artist"),
    "software": (305, 2, "software"),
    "copyright": (33432, 2, "other tags"),
    "xmp": (700, 1, "XMP"),
    "iptc": (33723, 7, "IPTC"),
    "photoshop": (34377, 7, "Photoshop previews"),
    "image-source-data": (37724, 7, "other tags"),
    "private": (60000, 7, "other tags"),
    "no-profile": (34675, 7, "colour profile"),
}


def _tiff() -> dict[str, Planted]:
    made = {}
    for order, letter in (("<", "little"), (">", "big")):
        for name, (tag, kind, word) in _TIFF_TAGS.items():
            data = tiff_file(order, (tag, kind, len(SECRET), SECRET))
            made[f"tiff-{letter}-{name}"] = Planted(data, word)
        plain = tiff_file(order)
        at = struct.pack(f"{order}I", len(plain))
        for name, tag, word in (("exif", 34665, "EXIF"), ("gps", 34853, "GPS"), ("sub", 330, "sub-images")):
            behind = directory(
                order, len(tiff_file(order, (tag, 4, 1, at))), [(0x9286, 7, len(SECRET), SECRET)]
            )
            made[f"tiff-{letter}-{name}"] = Planted(tiff_file(order, (tag, 4, 1, at)) + behind, word)
        made[f"tiff-{letter}-tail"] = Planted(plain + SECRET, "bytes that no tag points to")
        tail: Tag = (34675, 7, len(PROFILE) + len(SECRET), PROFILE + SECRET)
        made[f"tiff-{letter}-after-profile"] = Planted(
            tiff_file(order, tail), "bytes after the colour profile"
        )
    return made


# --- BMP ---------------------------------------------------------------------------------------------------


def bmp_version_5(tail: bytes, kind: bytes = b"KNIL") -> bytes:
    """A BMP with a version 5 header that names a profile behind the pixels."""
    pixels = saved("BMP")[54:]
    info = struct.pack("<IiiHHIIiiII", 124, 55, 41, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    rest = bytes(16) + kind + bytes(48) + struct.pack("<IIII", 4, 124 + len(pixels), len(tail), 0)
    return (
        b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(tail), 0, 0, 138) + info + rest + pixels + tail
    )


def _bmp() -> dict[str, Planted]:
    plain = saved("BMP")
    gap = plain[:10] + struct.pack("<I", 54 + len(SECRET)) + plain[14:54] + SECRET + plain[54:]
    made = {
        "tail": (plain + SECRET, "trailer after the end of the image"),
        "gap": (gap, "bytes before the pixels"),
        "profile-path": (bmp_version_5(SECRET), "colour profile"),
    }
    return {f"bmp-{name}": Planted(*facts) for name, facts in made.items()}


def all_planted() -> dict[str, Planted]:
    """Every case by name."""
    makers: list[Callable[[], dict[str, Planted]]] = [_jpeg, _png, _webp, _gif, _tiff, _bmp]
    return {name: case for maker in makers for name, case in maker().items()}
