"""What stands before the picture data of a JPEG (ITU-T T.81, annex B), and where that data ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import SfumatoError

SOI, EOI, SOS, DQT, DHT, DAC, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD
APP0, APP14 = 0xE0, 0xEE

_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FRAMES = {*range(0xC0, 0xD0)} - {DHT, 0xC8, DAC}
_PROGRESSIVE = 0xC2
_EDITABLE = {0xC0, 0xC1, _PROGRESSIVE}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_ARITHMETIC = range(0xC9, 0xD0)

_AFTER_DATA = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker that ends a run of entropy-coded bytes: neither a stuffed zero, nor fill, nor a restart."""

# The place of each value of a stored quantisation table in its 8x8 block (T.81, figure A.6).
_ZIGZAG = np.array(
    sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8)),
    dtype=np.intp,
)


class CannotEdit(SfumatoError):
    """A file whose coefficients cannot be edited; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Segment:
    """A marker and what belongs to it.

    Attributes:
        marker: its second byte.
        start, end: places in the file: of the first byte 0xFF, and after the last byte.
        payload: the bytes after the length field.
    """

    marker: int
    start: int
    end: int
    payload: bytes


@dataclass(frozen=True)
class Component:
    """One plane of samples.

    Attributes:
        number: its identifier in the file.
        across, down: blocks in an MCU.
        table: quantiser steps, (64,) int64, rows of the block after one another.
    """

    number: int
    across: int
    down: int
    table: NDArray[np.int64]


@dataclass(frozen=True)
class Header:
    """A JPEG that can be edited.

    Attributes:
        segments: all before the picture data, the first start of scan included.
        end: place after the end marker of the picture; what follows is no part of it.
        frame: the start-of-frame segment.
        width, height: of the stored picture, in pixels.
        components: one (grey), three or four.
        colour: "grey", "ycc", "rgb", "cmyk" or "ycck": what the components mean.
        restart: MCUs between restart markers; 0 for none.
    """

    segments: tuple[Segment, ...]
    end: int
    frame: Segment
    width: int
    height: int
    components: tuple[Component, ...]
    colour: str
    restart: int

    @property
    def progressive(self) -> bool:
        """Whether the picture data refines the picture scan by scan."""
        return self.frame.marker == _PROGRESSIVE

    @property
    def mcu(self) -> tuple[int, int]:
        """Height and width of an MCU in blocks of luma resolution."""
        return max(c.down for c in self.components), max(c.across for c in self.components)


def read_header(data: bytes) -> Header:
    """The header of a JPEG file.

    Raises:
        CannotEdit: no JPEG, damaged, or of a kind whose blocks cannot be edited.
    """
    segments = read_segments(data)
    frame = _frame(segments)
    height, width = (int.from_bytes(frame.payload[at : at + 2], "big") for at in (1, 3))
    if not height or not width:
        raise CannotEdit("its size stands behind the picture data")
    return Header(
        segments=segments,
        end=_end(data, segments[-1].end),
        frame=frame,
        width=width,
        height=height,
        components=_components(frame, _tables(segments)),
        colour=_colour(segments, frame),
        restart=_restart(segments),
    )


def read_segments(data: bytes) -> tuple[Segment, ...]:
    """The segments after the start marker, up to and with the first start of scan.

    Raises:
        CannotEdit: no JPEG, or damaged before its picture data.
    """
    if data[:2] != bytes([0xFF, SOI]):
        raise CannotEdit("not a JPEG")
    segments: list[Segment] = []
    while not segments or segments[-1].marker != SOS:
        segments.append(_segment(data, segments[-1].end if segments else 2))
    return tuple(segments)


def _segment(data: bytes, start: int) -> Segment:
    at = start
    while data[at : at + 2] == b"\xff\xff":  # fill bytes
        at += 1
    if data[at : at + 1] != b"\xff" or at + 1 >= len(data):
        raise CannotEdit("damaged before its picture data")
    marker = data[at + 1]
    if marker in _WITHOUT_LENGTH or marker in (0, SOI, EOI):
        raise CannotEdit("damaged before its picture data")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if end > len(data) or end < at + 4:
        raise CannotEdit("damaged before its picture data")
    return Segment(marker, start, end, data[at + 4 : end])


def _frame(segments: tuple[Segment, ...]) -> Segment:
    frames = [segment for segment in segments if segment.marker in _FRAMES]
    if len(frames) != 1:
        raise CannotEdit("not one picture with one header")
    (frame,) = frames
    if frame.marker not in _EDITABLE:
        raise CannotEdit(f"{_kind(frame.marker)} JPEG")
    if len(frame.payload) < 6 or len(frame.payload) != 6 + 3 * frame.payload[5]:
        raise CannotEdit("damaged header")
    if frame.payload[0] != 8:
        raise CannotEdit(f"JPEG of {frame.payload[0]} bit")
    return frame


def _kind(marker: int) -> str:
    if marker in _LOSSLESS:
        return "lossless"
    return "arithmetic-coded" if marker in _ARITHMETIC else "hierarchical"


def _components(frame: Segment, tables: dict[int, NDArray[np.int64]]) -> tuple[Component, ...]:
    found = []
    for number, sampling, table in zip(*(frame.payload[6 + i :: 3] for i in range(3)), strict=True):
        if table not in tables:
            raise CannotEdit("damaged header (a quantisation table is missing)")
        found.append(Component(number, sampling >> 4, sampling & 15, tables[table]))
    if len(found) not in (1, 3, 4):
        raise CannotEdit(f"JPEG of {len(found)} components")
    if len(found) == 1:  # a lone component is not interleaved: its MCU is one block (T.81, A.2.2)
        found = [Component(found[0].number, 1, 1, found[0].table)]
    for word in ("across", "down"):
        counts = [getattr(component, word) for component in found]
        if not all(1 <= count <= 4 and max(counts) % count == 0 for count in counts):
            raise CannotEdit("unusual chroma sampling")
    return tuple(found)


def _tables(segments: tuple[Segment, ...]) -> dict[int, NDArray[np.int64]]:
    tables = {}
    for segment in segments:
        at = 0
        while segment.marker == DQT and at < len(segment.payload):
            size, slot = 1 + (segment.payload[at] >> 4), segment.payload[at] & 15
            values = segment.payload[at + 1 : at + 1 + 64 * size]
            if len(values) != 64 * size or size > 2:
                raise CannotEdit("damaged header (quantisation table)")
            steps = np.frombuffer(values, dtype=">u2" if size == 2 else np.uint8)
            if not steps.all():
                raise CannotEdit("damaged header (quantiser step 0)")
            tables[slot] = np.empty(64, dtype=np.int64)
            tables[slot][_ZIGZAG] = steps
            at += 1 + 64 * size
    return tables


def _colour(segments: tuple[Segment, ...], frame: Segment) -> str:
    """What the components mean, by the rules of libjpeg (`default_decompress_parms` in jdapimin.c)."""
    count, numbers = frame.payload[5], frame.payload[6::3]
    transform = _adobe_transform(segments)
    if count == 1:
        return "grey"
    if count == 4:
        return "ycck" if transform else "cmyk"
    if any(s.marker == APP0 and s.payload[:5] == b"JFIF\0" and len(s.payload) >= 14 for s in segments):
        return "ycc"
    if transform is not None:
        return "ycc" if transform else "rgb"
    return "rgb" if numbers == b"RGB" else "ycc"


def _adobe_transform(segments: tuple[Segment, ...]) -> int | None:
    found = [
        segment.payload[11]
        for segment in segments
        if segment.marker == APP14 and segment.payload[:5] == b"Adobe" and len(segment.payload) >= 12
    ]
    return found[-1] if found else None


def _restart(segments: tuple[Segment, ...]) -> int:
    found = [int.from_bytes(segment.payload, "big") for segment in segments if segment.marker == DRI]
    return found[-1] if found else 0


def _end(data: bytes, at: int) -> int:
    """Place after the end marker, from a place in the first scan.

    Raises:
        CannotEdit: there is none, or a scan changes what the header said.
    """
    while found := _AFTER_DATA.search(data, at):
        marker = data[found.start() + 1]
        if marker == EOI:
            return found.end()
        if marker in (SOI, DQT, DRI, 0xDC, 0x01) or marker in _FRAMES:
            raise CannotEdit("its header goes on behind the picture data")
        at = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    raise CannotEdit("truncated")
