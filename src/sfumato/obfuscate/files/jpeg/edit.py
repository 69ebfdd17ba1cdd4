"""Change the touched blocks of a JPEG and no others."""

from __future__ import annotations

from sfumato.images import Pixels
from sfumato.obfuscate.files.jpeg.blocks import changed_mcus, make_patches
from sfumato.obfuscate.files.jpeg.header import (
    DAC,
    DHT,
    DRI,
    CannotEdit,
    Header,
    read_header,
    read_segments,
)
from sfumato.obfuscate.files.jpeg.transform import transcode

_CODING = (DHT, DRI, DAC)
"""Segments that say how the picture data is coded: these come from the writer."""


def edit_jpeg(
    data: bytes, before: Pixels, after: Pixels, *, orientation: int, header: Header | None = None
) -> bytes:
    """The JPEG with other coefficients in exactly those MCUs that hold a changed pixel.

    A touched MCU is computed anew as a whole, all its components, from `after`; in every other MCU each
    coefficient stays what it was. Tables, sampling, baseline or progressive mode, restart interval, and every
    segment before the picture data (EXIF, profiles, comments) stay as they are, byte for byte; comments
    between scans, and whatever follows the end marker, are left behind. Decoders that smooth chroma blend
    one chroma sample over the border of a touched MCU.

    The output is checked as it is made, not decoded again: each row of new blocks is crossed off when the
    writer takes it, and the edit is refused when one is left over, when libjpeg warns of damage anywhere in
    the stream, or when what it writes has another frame or restart interval than the source.

    Baseline files are written with the Huffman tables of T.81, annex K.3: fitting them to the picture would
    take as long again, for files smaller by a few per cent. A progressive file gets libjpeg's order of scans.

    Args:
        data: the file.
        before: its upright picture, (height, width, 3) uint8 RGB.
        after: the same with faces hidden.
        orientation: EXIF orientation of the stored pixels, 1 to 8.
        header: of the file, where it was read already.

    Raises:
        CannotEdit: arithmetic coding, 12 bit, lossless, damaged, no JPEG, unusual sampling, a picture of
            another size, or no TurboJPEG library on this machine.
    """
    header = header or read_header(data)
    size = (header.height, header.width) if orientation < 5 else (header.width, header.height)
    if orientation not in range(1, 9) or before.shape != (*size, 3) or after.shape != before.shape:
        raise CannotEdit("its header has another size than the picture")
    patches = make_patches(after, orientation, header, changed_mcus(before, after, orientation, header))
    return _join(data, header, transcode(data[: header.end], header, patches))


def _join(data: bytes, header: Header, written: bytes) -> bytes:
    """The source's segments, and the writer's coding tables and picture data."""
    segments = read_segments(written)
    frames = [s for s in segments if s.payload == header.frame.payload and 0xC0 <= s.marker <= 0xC2]
    restart = [int.from_bytes(s.payload, "big") for s in segments if s.marker == DRI]
    if len(frames) != 1 or (frames[0].marker == 0xC2) != header.progressive:
        raise CannotEdit("its frame cannot be written again")
    if restart != ([header.restart] if header.restart else []):
        raise CannotEdit("its restart interval cannot be kept")
    kept = [data[s.start : s.end] for s in header.segments[:-1] if s.marker not in _CODING]
    coding = [written[s.start : s.end] for s in segments if s.marker in _CODING]
    return b"".join([data[:2], *kept, *coding, written[segments[-1].start :]])
