"""Colour profiles: told from other bytes that travel under their name."""

from __future__ import annotations

import struct

_HEADER, _ENTRY = 128, 12


def profile(data: bytes) -> bytes:
    """The profile at the start of some bytes; empty where there is none.

    A profile starts with its own size, has "acsp" at byte 36 and a table of tags that lie inside it
    (ICC.1:2022, section 7). Bytes after its end are no part of it.
    """
    if len(data) < _HEADER + 4 or data[36:40] != b"acsp":
        return b""
    (size,) = struct.unpack_from(">I", data)
    (count,) = struct.unpack_from(">I", data, _HEADER)
    if not _HEADER + 4 + _ENTRY * count <= size <= len(data):
        return b""
    for index in range(count):
        _, start, length = struct.unpack_from(">4sII", data, _HEADER + 4 + _ENTRY * index)
        if start + length > size:
            return b""
    return data[:size]
