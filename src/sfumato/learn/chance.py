"""Randomness as a function: of seed, epoch and image id only.

Neither the other images, the batch size, the number of threads nor an interruption changes what is drawn for
an image, so a resumed run equals an unbroken one, and two arms of a study see the same order and the same
crops with the same seed, even where one of them lost an image.

Numbers come from one SplitMix64 stream an image (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
number generators").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1

Keys = NDArray[np.uint64]


def keys_of(image_ids: Iterable[str]) -> Keys:
    """A number for each image id, shape (n,)."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8) for text in image_ids)
    return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], dtype=np.uint64)


def uniforms(keys: Keys, seed: int, epoch: int, *, count: int) -> NDArray[np.float64]:
    """Independent uniform numbers in [0, 1) for each key, shape (n, count)."""
    state = _mix(keys ^ _mix(np.array([_stream(seed, epoch)], dtype=np.uint64)))
    offsets = np.array([(position * _GOLDEN) & _MASK for position in range(count)], dtype=np.uint64)
    bits = _mix(state[:, None] + offsets[None, :]) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def order(keys: Keys, seed: int, epoch: int) -> NDArray[np.int64]:
    """A random order of the images for one epoch: indices, shape (n,)."""
    state = _mix(_mix(keys) ^ _mix(np.array([_stream(seed, epoch)], dtype=np.uint64)))
    return np.argsort(state, kind="stable")


def torch_seed(seed: int, epoch: int) -> int:
    """A seed for torch's own generator (dropout) in one epoch; epoch -1 is for the first weights."""
    mixed = _mix(np.array([_stream(seed, epoch)], dtype=np.uint64))
    return int(mixed[0] >> np.uint64(1))


def _stream(seed: int, epoch: int) -> int:
    return (seed * 0x2545F4914F6CDD1D + (epoch + 1) * 0xD1342543DE82EF95) & _MASK


def _mix(values: Keys) -> Keys:
    z = values + np.uint64(_GOLDEN)  # arrays of uint64 wrap around, as meant
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
