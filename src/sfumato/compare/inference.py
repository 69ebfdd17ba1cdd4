"""Tests and intervals as pure functions on arrays: nothing here knows a model or an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


def benjamini_hochberg(p: Values) -> Values:
    """Adjusted p-values: the least false discovery rate at which each test would be a discovery.

    Step-up: with p sorted, q_(i) is the least of p_(j) m / j over j >= i (Benjamini and Hochberg 1995,
    Journal of the Royal Statistical Society B 57(1), in the adjusted form of Yekutieli and Benjamini 1999).

    Args:
        p: any shape; NaN stands for a test that was not made, counts as none and stays NaN.
    """
    q = np.full(p.shape, np.nan)
    made = ~np.isnan(p)
    order = np.argsort(p[made], kind="stable")
    ranks = np.arange(1, len(order) + 1)
    stepped = np.minimum.accumulate((p[made][order] * len(order) / ranks)[::-1])[::-1]
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1)
    q[made] = adjusted
    return q


def interval(difference: float, errors: Values, confidence: float) -> tuple[float, float]:
    """Percentile interval: the ends that leave (1 - confidence) / 2 of difference + error on either side.

    The k-th of n errors is taken as the quantile k / (n + 1), which is right on average also where rounds are
    few (Hyndman and Fan 1996, type 6).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(errors, (tail, 1 - tail), method="weibull")
    return difference + float(low), difference + float(high)


def p_value(difference: float, errors: Values, null: float = 0.0) -> float:
    """Two-sided p of a difference against a null: twice the smaller share of difference + error beyond it.

    Neither share is below 1 / (rounds + 1), which is what so many rounds can show (Davison and Hinkley 1997,
    section 4.2).
    """
    return min(1.0, 2 * min(_tail(difference + errors <= null), _tail(difference + errors >= null)))


def p_equivalence(difference: float, errors: Values, margin: float) -> float:
    """p of two one-sided tests (TOST, Schuirmann 1987): small where the difference lies within the margin.

    The larger of the two shares of difference + error at or below -margin and at or above margin.
    """
    values = difference + errors
    return max(_tail(values <= -margin), _tail(values >= margin))


def _tail(beyond: NDArray[np.bool_]) -> float:
    return float((beyond.sum() + 1) / (len(beyond) + 1))


def no_difference(n: int, margin: float) -> float:
    """p of equivalence where all n images do the same in both arms, so that no variance is seen.

    Were a share `margin` of all images changed, n would show none with probability (1 - margin)^n.
    """
    return float((1 - margin) ** n)


def paired_t(values: Values, confidence: float) -> tuple[float, float, float, float]:
    """Standard error, both ends of the interval, and two-sided p of the mean of paired differences
    (Student's t).

    Args:
        values: (n,) differences, n at least 2.
        confidence: of the interval.
    """
    mean, df = float(values.mean()), len(values) - 1
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * error
    if error == 0:
        return error, mean, mean, 1.0 if mean == 0 else 0.0
    return error, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, df))


def standard_error(values: Values, ddof: int) -> float | None:
    """Standard error of the mean, as `scipy.stats.sem`; None where there are no more values than `ddof`."""
    if len(values) <= ddof:
        return None
    return float(values.std(ddof=ddof) / np.sqrt(len(values)))
