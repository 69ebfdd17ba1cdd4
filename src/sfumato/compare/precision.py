"""Average precision of each category, one against the rest.

Average precision is sum_k (R_k - R_(k-1)) P_k over the distinct scores as thresholds, without interpolation,
as `sklearn.metrics.average_precision_score` has it; equal scores are one threshold. With s_k the score of the
k-th of P images of the category, TP_k of them and N_k of all images scoring at least s_k, it is the mean of
TP_k / N_k. Scores are float16: a column is 16-bit codes in the order of the scores, sorted by radix, and
looked up at the few places where the category's own images stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEMORY = 768 * 2**20
"""Bytes that codes and sums of a block of categories may take; more categories are done block by block."""

_CHUNK = 2**21
"""Scores read at a time."""
NO_SCORE = 0
"""Code of a score that is NaN: below every other, and counted nowhere."""

Codes = NDArray[np.uint16]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scored:
    """One run's scores, and where each compared image stands in them.

    Attributes:
        scores: (rows, n_categories) float16, memory-mapped or not; NaN where an image failed.
        rows: (n,) row of each image.
    """

    scores: NDArray[np.float16]
    rows: Ints


@dataclass(frozen=True, eq=False)
class Precision:
    """Average precision of one run.

    Attributes:
        values: (n_categories,) NaN for a category without images.
        n_images: (n_categories,) images of each category.
        n_left_out: images with a score that is NaN, which is in no category's list.
    """

    values: Floats
    n_images: Ints
    n_left_out: int


def average_precision(run: Scored, label: Ints, *, memory: int = MEMORY) -> Precision:
    """Average precision of each category of one run.

    Args:
        run: its scores.
        label: (n,) category of each image.
        memory: bytes for the codes held at a time.
    """
    order = Order(label, run.scores.shape[1])
    values = np.full(order.n_categories, np.nan)
    left_out = np.zeros(len(label), dtype=bool)
    step = max(1, memory // max(1, 2 * len(label)))
    for start in range(0, order.n_categories, step):
        stop = min(start + step, order.n_categories)
        codes = codes_of(run, order.images, slice(start, stop))
        left_out |= (codes == NO_SCORE).any(axis=0)
        for column, category in enumerate(range(start, stop)):
            values[category] = Column(codes[column], order.of(category)).value
    return Precision(values, order.counts, int(left_out.sum()))


class Order:
    """Images sorted by category, so that those of one lie side by side."""

    def __init__(self, label: Ints, n_categories: int) -> None:
        self.images = np.argsort(label, kind="stable")
        self.n_categories = n_categories
        self.counts = np.bincount(label, minlength=n_categories)
        ends = np.cumsum(self.counts)
        self._ranges = list(zip((ends - self.counts).tolist(), ends.tolist(), strict=True))
        present = self.counts > 0
        self.starts = (ends - self.counts)[present]
        self.sizes = self.counts[present]

    def of(self, category: int) -> slice:
        """Where the images of a category stand."""
        return slice(*self._ranges[category])

    def squares(self, values: NDArray[np.float32]) -> Floats:
        """Sum of squares about the mean within each category, times m / (m - 1), over all: (rows,).

        Args:
            values: (rows, n) in this order.
        """
        # float32 would do but for the difference of two sums of squares.
        sums = np.add.reduceat(values, self.starts, axis=1, dtype=np.float64)
        squares = np.add.reduceat(np.square(values), self.starts, axis=1, dtype=np.float64)
        within = np.maximum(0, squares - sums**2 / self.sizes)
        total: Floats = (within * (self.sizes / np.maximum(1, self.sizes - 1))).sum(axis=1)
        return total


def codes_of(run: Scored, images: Ints, columns: slice) -> Codes:
    """Scores of some categories as codes that sort as they do, (columns, n); images in the order given.

    The bits of a float are turned so that they sort as the number does: all of a negative one, the sign of
    another. -0 and 0 are one score.
    """
    rows = run.rows[images]
    codes = np.empty((columns.stop - columns.start, len(rows)), dtype=np.uint16)
    step = max(1, _CHUNK // max(1, len(codes)))
    for start in range(0, len(rows), step):
        bits = _rows_of(run.scores, rows[start : start + step], columns).view(np.uint16)
        sign = (bits.view(np.int16) >> 15).view(np.uint16)
        sortable = bits ^ (sign | np.uint16(0x8000))
        sortable[bits == 0x8000] = 0x8000
        sortable[(bits & 0x7FFF) > 0x7C00] = NO_SCORE
        codes[:, start : start + step] = sortable.T
    return codes


def _rows_of(scores: NDArray[np.float16], rows: Ints, columns: slice) -> NDArray[np.float16]:
    """Some rows and columns as an array of its own; side by side on disk they are read in one go."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return np.ascontiguousarray(scores[first : last + 1, columns])
    return np.ascontiguousarray(scores[rows, columns])


class Column:
    """The list of one category: its average precision, and what each image does to it."""

    def __init__(self, codes: Codes, own: slice) -> None:
        mine = np.sort(codes[own])
        self._mine = mine[np.searchsorted(mine, NO_SCORE, side="right") :]
        self._codes, self._own = codes, own
        everyone = np.sort(codes, kind="stable")  # 16 bits: a radix sort
        self._above = len(codes) - np.searchsorted(everyone, self._mine)
        self._true = len(self._mine) - np.searchsorted(self._mine, self._mine)
        self.value = float((self._true / self._above).mean()) if len(self._mine) else float("nan")

    def influence(self) -> NDArray[np.float32]:
        """Derivative of the average precision by the weight of each image, (n,); zero without images."""
        count = len(self._mine)
        if not count:
            return np.zeros(len(self._codes), dtype=np.float32)
        fall = np.cumsum(self._true / self._above**2) / count
        others = np.concatenate([[0.0], -fall]).astype(np.float32)
        found: NDArray[np.float32] = np.repeat(others, self._gaps())[self._codes]
        found[self._own] = self._own_influence(fall)
        return found

    def _gaps(self) -> Ints:
        """How many codes lie below the first of the category's own, between each and the next, and above."""
        return np.diff(np.concatenate([[0], self._mine.astype(np.int64), [2**16]]))

    def _own_influence(self, fall: Floats) -> Floats:
        count = len(self._mine)
        mine = self._codes[self._own]
        last = np.searchsorted(self._mine, mine, side="right") - 1
        gain = self._true / self._above - self.value + np.cumsum(1 / self._above)
        return np.where(mine == NO_SCORE, 0.0, gain[last] / count - fall[last])
