"""Whether covered area decides which arm is wrong: conditional logistic regression on pairs of arms.

The model of a run and an image in one arm is

    logit P(wrong) = c[image, run] + [arm is not the reference] (a + b area)

with an effect of its own for every image in every run, and so for every category. Conditional on exactly one
arm of a pair being wrong these effects drop out (Cox 1958, Journal of the Royal Statistical Society B 20(2);
Breslow and Day 1980, IARC Scientific Publications 32, chapter 7):

    P(the arm is the wrong one | one of the two is) = 1 / (1 + exp(-(a + b area)))

so only discordant pairs count. Fitted by Newton's method; variances are of the sandwich, clustered by image,
since the runs of one image are no independent evidence about area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AREA_UNIT = 0.1
"""Slopes are per tenth of the image covered."""

_ROUNDS = 50
_CLOSE = 1e-10
_MOST_ODDS = 30.0
"""Log odds beyond which the arms are separated: the likelihood has no maximum."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """A coefficient, in log odds; NaN where it cannot be had.

    Attributes:
        estimate: the coefficient.
        ci_low, ci_high: normal interval with the variance of the sandwich.
        p_value: two-sided, of zero.
    """

    estimate: float
    ci_low: float
    ci_high: float
    p_value: float


@dataclass(frozen=True)
class AreaEffect:
    """What covered area does to the odds that the arm is the wrong one of two.

    Attributes:
        intercept: at no covered area.
        slope: per `AREA_UNIT` of the image.
        n_images: with at least one discordant pair.
        n_pairs: discordant pairs.
    """

    intercept: Effect
    slope: Effect
    n_images: int
    n_pairs: int


def area_effect(
    lost: NDArray[np.int64], gained: NDArray[np.int64], area: Floats, *, confidence: float = 0.95
) -> AreaEffect:
    """Fit the regression.

    Args:
        lost: (n,) runs in which the image was right in the reference and wrong in the arm.
        gained: (n,) runs in which it was the other way round.
        area: (n,) share of the image that is covered, 0..1; images of unknown area (NaN) are left out.
        confidence: of the intervals.

    Returns:
        NaN effects where all discordant images have one area, or the arms are separated by it.
    """
    pairs = lost + gained
    counts = (pairs > 0) & ~np.isnan(area)
    lost, pairs, x = lost[counts], pairs[counts], area[counts] / AREA_UNIT
    design = np.stack([np.ones(len(x)), x], axis=1)
    found = _fit(design, lost.astype(np.float64), pairs.astype(np.float64))
    if found is None:
        nothing = Effect(*[float("nan")] * 4)
        return AreaEffect(nothing, nothing, len(x), int(pairs.sum()))
    effects = [_effect(*parts, confidence) for parts in zip(*found, strict=True)]
    return AreaEffect(effects[0], effects[1], len(x), int(pairs.sum()))


def _fit(design: Floats, lost: Floats, pairs: Floats) -> tuple[Floats, Floats] | None:
    """Coefficients and their standard errors, each (2,); None where the likelihood has no maximum."""
    if len(np.unique(design[:, 1])) < 2:
        return None
    beta = np.zeros(2)
    for _ in range(_ROUNDS):
        eta = beta[0] + beta[1] * design[:, 1]
        if np.abs(eta).max() > _MOST_ODDS:
            return None
        chance = 1 / (1 + np.exp(-eta))
        score = design * (lost - pairs * chance)[:, None]
        information = _products(design, design * (pairs * chance * (1 - chance))[:, None])
        step = _step(information, score.sum(axis=0))
        if step is None:
            return None
        if np.abs(step).max() < _CLOSE:
            return beta, _sandwich(information, score)
        beta = beta + step
    return None


def _step(information: Floats, score: Floats) -> Floats | None:
    """Newton's step, cut to two units of log odds so that a first step does not overshoot."""
    try:
        step = np.linalg.solve(information, score)
    except np.linalg.LinAlgError:
        return None
    found: Floats = step * min(1.0, 2.0 / max(np.abs(step).max(), _CLOSE))
    return found


def _sandwich(information: Floats, score: Floats) -> Floats:
    bread = np.linalg.inv(information)
    n = len(score)
    errors: Floats = np.sqrt(np.diag(bread @ _products(score, score) @ bread) * n / max(1, n - 1))
    return errors


def _products(one: Floats, other: Floats) -> Floats:
    """Sums over images of products of columns, (2, 2), in a fixed order."""
    return np.asarray(np.einsum("ni,nj->ij", one, other, optimize=False))


def _effect(estimate: float, error: float, confidence: float) -> Effect:
    if not error > 0:  # every image is fitted exactly: nothing is known of how images vary
        return Effect(float(estimate), *[float("nan")] * 3)
    half = float(stats.norm.ppf((1 + confidence) / 2) * error)
    p = float(2 * stats.norm.sf(abs(estimate) / error))
    return Effect(float(estimate), float(estimate) - half, float(estimate) + half, p)
