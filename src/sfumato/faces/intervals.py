"""Intervals of shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Z95 = 1.959963984540054  # 97.5 % point of the standard normal distribution


def wilson(part: ArrayLike, whole: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % Wilson score intervals of shares (Wilson, JASA 22, 1927, 209-212), elementwise.

    Unlike the usual p +- 1.96 s it stays within 0..1 and keeps its width at shares of 0 and 1. It takes the
    counted things to be independent of one another.

    Args:
        part: counts, 0 <= part <= whole.
        whole: counts of the same shape; 0 gives NaN.

    Returns:
        Lower and upper ends.
    """
    k, n = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    n = np.where(n > 0, n, np.nan)
    share, z2 = k / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    # Exactly 0 and 1 at the edges, where rounding would leave a crumb.
    return np.where(k == 0, 0 * n, centre - half), np.where(k == n, 1 + 0 * n, centre + half)


def share(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """`part / whole` elementwise, NaN where `whole` is 0."""
    n = np.asarray(whole, dtype=np.float64)
    return np.asarray(np.asarray(part, dtype=np.float64) / np.where(n > 0, n, np.nan))
