"""Attributes of images: the average precision of each, and the mean over them.

Average precision is the mean over an attribute's positives of the precision at their rank, equal scores being
one threshold (`sfumato.compare.precision`, as `sklearn.metrics.average_precision_score`). Its influences are
those of `sfumato.compare.precision_comparison`, over all images: that the number of positives varies too is
in them, as the term -AP of a positive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.measured import Measured, Measurement
from sfumato.compare.outcomes import Indices, Paired
from sfumato.compare.pairing import by_run, one_truth, runs_of
from sfumato.compare.precision import NO_SCORE, Column, Scored, codes_of
from sfumato.errors import TableError, UsageError
from sfumato.predictions import AttributePredictions
from sfumato.progress import Progress

METRIC = "mean_average_precision"

FEWEST = 10
"""An attribute that fewer of the images have, or lack, is not in the mean: a precision at so few images is
chance more than anything else, and where nearly all have it, it is near one whatever the scores are."""

Truth = NDArray[np.int8]


def attribute_runs(
    paired: Paired, predictions: Sequence[AttributePredictions]
) -> Callable[[Progress], Measured]:
    """Check the runs; what comes back measures the mean average precision of each.

    Args:
        paired: the runs and images.
        predictions: of these runs.

    Raises:
        UsageError: runs that give an image different attributes; none of them can be counted.
        TableError: truth that is none; when measured, a score that is missing or no number.
    """
    runs = runs_of(predictions)
    truth = one_truth(paired, runs, _truth, "attributes")
    counted = counted_attributes(truth)

    def measure(item: AttributePredictions, rows: Indices) -> Measurement:
        return _measurement(item, rows, truth, counted)

    return lambda progress: Measured(
        **vars(paired),
        measurements=by_run(paired, runs, measure, progress=progress),
        n_positives=truth.sum(axis=0, dtype=np.int64),
        counted=counted,
        least=FEWEST,
    )


def counted_attributes(truth: Truth) -> NDArray[np.bool_]:
    """Which attributes are in the mean, (k,): those that `FEWEST` images have and as many lack.

    Args:
        truth: (n, k), 1 or 0.

    Raises:
        UsageError: none is.
    """
    n_positives = truth.sum(axis=0, dtype=np.int64)
    counted: NDArray[np.bool_] = np.minimum(n_positives, len(truth) - n_positives) >= FEWEST
    if not counted.any():
        raise UsageError(
            f"none of the {len(counted)} attributes has {FEWEST} images with it and {FEWEST} without it "
            f"among the {len(truth)} images evaluated; evaluate on more images"
        )
    return counted


def _truth(item: AttributePredictions, rows: Indices) -> Truth:
    lists = item.table["truth"].take(pa.array(rows)).combine_chunks()
    wanted = len(item.facts["categories"])
    if not pc.all(pc.fill_null(pc.equal(pc.list_value_length(lists), wanted), False)).as_py():
        raise TableError(
            f"{item.folder}: an image has not {wanted} attributes; evaluate again with --overwrite"
        )
    values = lists.flatten()
    if not pc.all(pc.fill_null(pc.is_in(values, pa.array([0, 1], values.type)), False)).as_py():
        raise TableError(f"{item.folder}: an attribute is neither 1 nor 0; evaluate again with --overwrite")
    return np.asarray(values.to_numpy(), dtype=np.int8).reshape(len(rows), wanted)


def _measurement(
    item: AttributePredictions, rows: Indices, truth: Truth, counted: NDArray[np.bool_]
) -> Measurement:
    n, k = truth.shape
    codes = codes_of(Scored(item.scores(), rows), np.arange(n), slice(0, k))
    if (codes == NO_SCORE).any():
        raise TableError(f"{item.folder}: an image with status ok has a score that is no number")
    values, influences = np.full(k, np.nan), np.zeros((k, n), dtype=np.float32)
    for place, of_attribute in enumerate(codes):
        order = np.argsort(truth[:, place] == 0, kind="stable")  # positives first
        column = Column(of_attribute[order], slice(0, int(truth[:, place].sum())))
        values[place], influences[place, order] = column.value, column.influence()
    mean = {METRIC: float(values[counted].mean())}
    return Measurement(mean, {METRIC: influences[counted].mean(axis=0, dtype=np.float64)}, values, influences)
