"""Sums that come out the same to the last bit, however many threads the linear algebra uses.

A matrix product adds up in an order that may depend on the number of threads and on the size of the caches,
and then its last bits do too. Here either the order is fixed, or every partial sum is exact, so that no order
matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

STEP = 2.0**-30
"""What values are rounded to, so that whole multiples of them add up exactly: sums below 2^22 are then whole
numbers of steps below 2^52."""


def weighted_sum(weights: NDArray[Any], rows: NDArray[Any]) -> Values:
    """`weights @ rows` in a fixed order: (..., r) and (r, n) to (..., n)."""
    return np.asarray(np.einsum("...r,rn->...n", weights, rows, optimize=False), dtype=np.float64)


def in_steps(values: NDArray[Any]) -> Values:
    """Values rounded to multiples of `STEP`, by 5e-10 at most."""
    return np.asarray(np.rint(np.asarray(values, dtype=np.float64) / STEP) * STEP)
