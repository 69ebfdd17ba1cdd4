"""Exact intervals of shares and counts, in plain floating point: beta and hypergeometric quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

_STEPS = 200


def clopper_pearson(part: float, whole: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval of a binomial share (Clopper and Pearson, Biometrika 26, 1934, 404-413).

    Its ends are quantiles of beta distributions, so that counts may be effective ones, with fractions.

    Args:
        part: 0 <= part <= whole.
        whole: number of trials; 0 gives (0, 1), since nothing is known.
        confidence: at least this share of such intervals hold the true share.
    """
    if whole <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if part <= 0 else beta_quantile(tail, part, whole - part + 1)
    high = 1.0 if part >= whole else beta_quantile(1 - tail, part + 1, whole - part)
    return low, high


def beta_quantile(p: float, a: float, b: float) -> float:
    """The value below which a beta(a, b) variable stays with probability p, by bisection."""
    return _bisect(lambda x: beta_cdf(x, a, b) >= p, 0.0, 1.0)


def _bisect(above: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if above(middle) else (middle, high)
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """Probability that a beta(a, b) variable is at most x: the regularized incomplete beta function.

    By its continued fraction (Abramowitz and Stegun 26.5.8, evaluated after Lentz 1976).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges quickly on the other side
        return 1 - beta_cdf(1 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 x / (1 + d2 x / (1 + …)), from the front."""
    value, upper, lower = 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1)) * x
        else:
            term = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m)) * x
        lower = 1 / ((1 + term * lower) or 1e-300)
        upper = (1 + term / upper) or 1e-300
        value *= lower * upper
        if abs(lower * upper - 1) < 1e-15:
            break
    return value


def hypergeometric_upper(found: int, drawn: int, total: int, confidence: float = 0.95) -> int:
    """The most marked items that a population may hold, with this confidence, after a sample from it.

    The largest K with P(X <= found) > 1 - confidence, where X is the number of marked ones in a sample drawn
    without replacement (exact; Wright, "Exact confidence bounds when sampling from small finite universes",
    1991).

    Args:
        found: marked items in the sample.
        drawn: items in the sample.
        total: items in the population.
        confidence: one-sided.
    """
    low, high = found, total - (drawn - found)  # possible numbers of marked items
    tail = (1 - confidence) * (1 - 1e-9)  # where both are equal, rounding shall not make the bound smaller
    while low < high:
        middle = (low + high + 1) // 2
        if hypergeometric_cdf(found, drawn, total, middle) > tail:
            low = middle
        else:
            high = middle - 1
    return low


def hypergeometric_cdf(found: int, drawn: int, total: int, marked: int) -> float:
    """Probability of at most `found` marked items in a sample of `drawn`, from `total` with `marked`."""
    least = max(0, drawn - (total - marked))
    if found < least:
        return 0.0
    most = min(found, drawn, marked)
    log = _log_choose(total, drawn)
    terms = [
        _log_choose(marked, k) + _log_choose(total - marked, drawn - k) - log for k in range(least, most + 1)
    ]
    return min(1.0, float(np.exp(terms).sum()))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def normal_quantile(p: float) -> float:
    """The value below which a standard normal variable stays with probability p."""
    return NormalDist().inv_cdf(p)
