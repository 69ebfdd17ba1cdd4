"""How good the annotation is, and how much is still missed: shares, two passes, and when to stop.

Everything in here is a pure function of counts. `Counts` come from a random sample of images that somebody
looked at once more, the audit; what the auditor says is taken to be true.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.review.intervals import clopper_pearson, hypergeometric_upper, normal_quantile

FIRST_LOOK = 50
"""Audited images after which the stopping rule is asked for the first time; then at every doubling."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counts:
    """Faces of sampled images, one entry an image.

    Attributes:
        truth: faces that there are.
        found: faces that the annotation has.
        matched: pairs of both.
    """

    truth: Ints
    found: Ints
    matched: Ints

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | Ints) -> Counts:
        return Counts(self.truth[rows], self.found[rows], self.matched[rows])

    @property
    def missed(self) -> int:
        """False negatives."""
        return int((self.truth - self.matched).sum())

    @property
    def false(self) -> int:
        """False positives."""
        return int((self.found - self.matched).sum())


@dataclass(frozen=True)
class Share:
    """A share with its interval.

    Attributes:
        value: the estimate; NaN where nothing was counted.
        low, high: of the interval.
        n: things counted.
        n_effective: as many independent ones would be worth as much.
    """

    value: float
    low: float
    high: float
    n: int
    n_effective: float


def recall(counts: Counts, confidence: float = 0.95) -> Share:
    """Share of the faces that the annotation has; see `clustered_share`."""
    return clustered_share(counts.matched, counts.truth, confidence)


def precision(counts: Counts, confidence: float = 0.95) -> Share:
    """Share of the annotation's faces that are faces; see `clustered_share`."""
    return clustered_share(counts.matched, counts.found, confidence)


def clustered_share(part: Ints, whole: Ints, confidence: float = 0.95) -> Share:
    """A share of things that come in clusters: faces in images.

    Clopper-Pearson's interval at an effective number of things (Korn and Graubard, Survey Methodology 24,
    1998, 193-201): n over the design effect, which is the variance of the ratio over sampled images against
    that of independent things. It is exact where things are independent and holds its rate where mistakes
    come together in images. Where all or none are counted the variance says nothing; then the things of an
    image are taken to be one (Kish): (sum n)^2 / sum n^2.

    Args:
        part, whole: counts by image, shape (images,); part <= whole.
        confidence: two-sided.
    """
    n = int(whole.sum())
    if not n:
        return Share(math.nan, 0.0, 1.0, 0, 0.0)
    k = int(part.sum())
    effective = effective_size(part, whole)
    low, high = clopper_pearson(effective * k / n, effective, confidence)
    return Share(k / n, low, high, n, effective)


def effective_size(part: Ints, whole: Ints) -> float:
    """As many independent things as are worth the clustered ones; see `clustered_share`."""
    n, images = float(whole.sum()), int((whole > 0).sum())
    k = float(part.sum())
    alike = n**2 / float((whole.astype(np.float64) ** 2).sum())
    if k in (0.0, n) or images < 2:
        return alike
    share = k / n
    spread = float(((part - share * whole) ** 2).sum()) * images / (images - 1) / n**2
    return n if spread == 0 else min(n, max(1.0, share * (1 - share) / spread))


@dataclass(frozen=True)
class Missed:
    """What the audit says of faces that are still missed, and whether one may stop.

    Attributes:
        n_images: images in the sample.
        n_population: images that it was drawn from.
        n_faces: faces in the sample.
        n_missed: of these, missed by the annotation.
        value: estimated share of missed faces.
        low, high: its two-sided interval, at the sample as it is now.
        images_high: with one-sided confidence, at most so many of all images have a missed face.
        upper: with one-sided confidence at most this share of faces is missed, however often one looked.
        target: what it should be at most.
        confidence: of the intervals and of the bounds.
        reached: `upper` is at most `target`.
        next_look: sample size at which the bound is asked for next.
    """

    n_images: int
    n_population: int
    n_faces: int
    n_missed: int
    value: float
    low: float
    high: float
    images_high: int
    upper: float
    target: float
    confidence: float
    reached: bool
    next_look: int


def missed(counts: Counts, n_population: int, target: float, confidence: float = 0.95) -> Missed:
    """What the audit says of missed faces, and the stopping rule.

    "With 95 % confidence at most x % of faces are missed" is said where the upper bound of `missed_upper`, at
    one of the sizes of `looks`, is at most x %. To look again and again and stop at the first good number
    would be wrong too often; so each look gets a part of the 5 %: alpha / (j (j + 1)) at the j-th, in all
    alpha (Bonferroni). Every look's bound is about the annotation as it is now, so the least of them holds.

    Args:
        counts: of the sampled images, in the order in which they were drawn.
        n_population: images that they were drawn from.
        target, confidence: of the statement.
    """
    alpha = 1 - confidence
    bounds = [
        missed_upper(counts[:size], n_population, 1 - alpha / (j * (j + 1)))
        for j, size in enumerate(looks(len(counts), n_population), start=1)
    ]
    share = clustered_share(counts.truth - counts.matched, counts.truth, confidence)
    upper = min(bounds, default=1.0)
    wrong = int((counts.truth > counts.matched).sum())
    return Missed(
        n_images=len(counts),
        n_population=n_population,
        n_faces=share.n,
        n_missed=counts.missed,
        value=share.value,
        low=share.low,
        high=share.high,
        images_high=hypergeometric_upper(wrong, len(counts), n_population, confidence),
        upper=upper,
        target=target,
        confidence=confidence,
        reached=upper <= target,
        next_look=next(look for look in _sizes(n_population) if look > len(counts) or look == n_population),
    )


def looks(n: int, n_population: int) -> list[int]:
    """Sample sizes up to n at which the stopping rule is asked: 50, 100, 200, …, and the whole population."""
    return [size for size in _sizes(n_population) if size <= n]


def _sizes(n_population: int) -> Iterator[int]:
    size = FIRST_LOOK
    while size < n_population:
        yield size
        size *= 2
    yield n_population


def missed_upper(counts: Counts, n_population: int, confidence: float) -> float:
    """One-sided upper bound of the share of faces that are missed, in 0..1, outside of the sample too.

    Hypergeometric (`hypergeometric_upper`): faces of the sample are drawn without replacement from those of
    the population, whose number is taken to be in proportion to the images. Faces that miss together count as
    their effective number (`effective_size`), rounded so that the bound can only grow. 1 where the sample has
    no face.

    Args:
        counts: of the sampled images.
        n_population: images that they were drawn from.
        confidence: one-sided.
    """
    n = int(counts.truth.sum())
    if len(counts) >= n_population:
        return counts.missed / n if n else 0.0
    if not n:
        return 1.0
    effective = effective_size(counts.truth - counts.matched, counts.truth)
    drawn = max(1, math.floor(effective + 1e-9))
    found = math.ceil(effective * counts.missed / n - 1e-9)
    total = max(drawn, round(drawn * n_population / len(counts)))
    return hypergeometric_upper(min(found, drawn), drawn, total, confidence) / total


@dataclass(frozen=True)
class Recapture:
    """How many there are, from two independent passes.

    Attributes:
        first, second, both: found by the first, by the second, and by both.
        total: estimate of how many there are.
        low, high: its interval.
        unseen: of these, estimated to be seen by neither.
        unseen_high: at most, by the interval.
    """

    first: int
    second: int
    both: int
    total: float
    low: float
    high: float
    unseen: float
    unseen_high: float


def chapman(first: int, second: int, both: int, confidence: float = 0.95) -> Recapture:
    """Capture-recapture: how many faces there are, if two people found them independently of each other.

    Chapman's estimator (n1 + 1)(n2 + 1)/(m + 1) - 1 (University of California Publications in Statistics 1,
    1951, 131-160), nearly unbiased where n1 + n2 is at least the total, with the transformed logit interval
    of Sadinle (Communications in Statistics, Simulation and Computation 38, 2009, 1909-1924). Faces that are
    hard for both make passes alike, and the estimate too small: a lower bound in practice.

    Args:
        first, second: found by each.
        both: found by both; at most either.
        confidence: two-sided.
    """
    total = (first + 1) * (second + 1) / (both + 1) - 1
    seen = first + second - both
    a, b, c = both + 0.5, first - both + 0.5, second - both + 0.5
    spread = normal_quantile((1 + confidence) / 2) * math.sqrt(1 / a + 1 / b + 1 / c + a / (b * c))
    low, high = (seen - 0.5 + b * c / a * math.exp(sign * spread) for sign in (-1, 1))
    low = max(float(seen), low)
    return Recapture(first, second, both, total, low, high, max(0.0, total - seen), max(0.0, high - seen))
