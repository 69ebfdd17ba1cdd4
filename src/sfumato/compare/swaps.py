"""Swaps: two categories whose gains and losses are one confusion flipped; and losses that are real.

Categories a and b are confused in both arms. Where the arm tips the balance from a to b, images of a are
called b more often than before *and* images of b are called a less often: a loses what b gains, though the
model sees as much as before. (The published study: Eskimo dog -12.8 points, Siberian husky +16.9, while top-5
and average precision hold.) A real loss raises one flow only.

The test of a pair is the intersection of two paired tests (Berger 1982, Technometrics 24(4)): the change of
the share of a's images that are called b, and that of b's images called a, must have opposite signs, and the
pair's p-value is the greater of the two (`sfumato.compare.components`, over the flows of all candidates). The
level holds whatever the other flow does, so that a real loss of one alone is found at most as often as chance
would have it. q-values are Benjamini-Hochberg over the candidates: pairs whose two flows, averaged over both
arms, are both at least `least_flow`. That average is as good as independent of the change when there is none,
so choosing by it does not spoil the level (Bourgon, Gentleman and Huber 2010, PNAS 107(21)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.components import Changes, changes, group_changes, joined, run_weights, variance_of
from sfumato.compare.inference import benjamini_hochberg
from sfumato.errors import UsageError

SWAPS_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("reference", pa.string()),
        ("loser", pa.string()),
        ("winner", pa.string()),
        ("loser_label", pa.int64()),
        ("winner_label", pa.int64()),
        ("n_images_loser", pa.int64()),
        ("n_images_winner", pa.int64()),
        ("loser_called_winner_reference", pa.float64()),
        ("loser_called_winner", pa.float64()),
        ("loser_called_winner_difference", pa.float64()),
        ("winner_called_loser_reference", pa.float64()),
        ("winner_called_loser", pa.float64()),
        ("winner_called_loser_difference", pa.float64()),
        ("p_value", pa.float64()),
        ("q_value_benjamini_hochberg", pa.float64()),
        ("loser_top1_difference", pa.float64()),
        ("winner_top1_difference", pa.float64()),
        ("kind", pa.string()),
    ]
)
"""One row a candidate pair, the surest first. The loser is the category whose images are called the other
more often in the arm. Flows are shares of a category's images, means over models and seeds. `kind` is "swap";
"swap and loss" where top-5 accuracy or average precision of one of the two falls as well; or "" where the
q-value is above the level or no p-value could be had."""

SWAP, SWAP_AND_LOSS = "swap", "swap and loss"

FALL_SHARE = 0.25
"""A fall of top-5 accuracy or average precision counts where it is at least this share of the loss in
top-1."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Predicted = NDArray[np.int32]


@dataclass(frozen=True)
class SwapSettings:
    """What counts as a swap.

    Attributes:
        level: false discovery rate for pairs, and for categories that lose; also the level of the tests
            whether top-5 accuracy and average precision fall (Bonferroni over those of one question).
        least_flow: share of a category's images that must be called the other, on average over both arms and
            in both directions, for a pair to be a candidate.
        confidence: of intervals.
    """

    level: float = 0.05
    least_flow: float = 0.01
    confidence: float = 0.95


@dataclass(frozen=True, eq=False)
class PairedRuns:
    """The best category of every image in two arms, run by run, and the images' own.

    Attributes:
        label: (n,) the image's own category.
        reference, arm: (runs, n) best category of each image, -1 where there is none; row r of both is the
            same
            model and seed.
        models: (runs,) number of the model of each row.
        categories: names.
    """

    label: Ints
    reference: Predicted
    arm: Predicted
    models: tuple[int, ...]
    categories: tuple[str, ...]

    @classmethod
    def of(
        cls,
        predicted: Mapping[tuple[str, str], Predicted],
        label: Ints,
        categories: Sequence[str],
        contrast: tuple[str, str],
    ) -> PairedRuns:
        """Pair what (model, arm) to (seeds, n) holds, for an (arm, reference), over every model that has
        both.

        Raises:
            UsageError: no model has both.
        """
        arm, reference = contrast
        names = [m for m, a in predicted if a == arm and (m, reference) in predicted]
        if not names:
            raise UsageError(f"no model was trained in both arms, '{arm}' and '{reference}'")
        models = [number for number, name in enumerate(names) for _ in predicted[name, arm]]
        before, after = (np.concatenate([predicted[name, one] for name in names]) for one in (reference, arm))
        return cls(label, before, after, tuple(models), tuple(categories))

    def top1_changes(self, confidence: float = 0.95) -> Changes:
        """Change of the top-1 accuracy of each category."""
        right = [(found == self.label).astype(np.float32) for found in (self.arm, self.reference)]
        return group_changes(
            right[0] - right[1], self.label, len(self.categories), models=self.models, confidence=confidence
        )


def best_categories(table: pa.Table, rows: Ints | None = None) -> Predicted:
    """The best category of each image of a table of predictions, (n,); -1 where it failed.

    Args:
        table: as `sfumato.predictions.PREDICTIONS_SCHEMA`.
        rows: of the images wanted, in order; None for all.
    """
    column = table["top5"] if rows is None else table["top5"].take(pa.array(rows))
    if not len(column):
        return np.zeros(0, dtype=np.int32)
    best = pc.list_element(column.combine_chunks(), 0)
    return np.asarray(pc.fill_null(best, -1).to_numpy(zero_copy_only=False), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Swaps:
    """Candidate pairs; every array is (pairs,).

    Attributes:
        loser, winner: labels.
        before, after: (pairs, 2) share of the loser's images called winner, and of the winner's called loser.
        p_value, q_value: NaN where no test could be made.
        kind: "swap", "swap and loss" or "".
    """

    loser: Ints
    winner: Ints
    before: Floats
    after: Floats
    p_value: Floats
    q_value: Floats
    kind: tuple[str, ...]

    def named(self) -> Ints:
        """Which pairs are swaps."""
        return np.flatnonzero(np.array(self.kind, dtype=object) != "")


def find_swaps(
    runs: PairedRuns,
    *,
    top1: Changes,
    others: Sequence[Changes] = (),
    settings: SwapSettings = SwapSettings(),
) -> Swaps:
    """Pairs of categories that are confused, and which of them are swaps.

    Args:
        runs: of one arm and its reference.
        top1: change of each category's top-1 accuracy, of these runs.
        others: changes of its top-5 accuracy and its average precision, or those of them that are known.
        settings: levels.
    """
    before, after = (_flows(runs, found) for found in (runs.reference, runs.arm))
    one, two = _candidates((before + after) / 2, settings.least_flow)
    turned = (after - before)[one, two] < (after - before)[two, one]
    loser, winner = np.where(turned, two, one), np.where(turned, one, two)
    shares = [np.stack([flow[loser, winner], flow[winner, loser]], axis=1) for flow in (before, after)]
    p = _p_values(runs, loser, winner, shares[1] - shares[0])
    q = benjamini_hochberg(p)
    kind = [
        _kind_of_pair((a, b), top1, others, settings.level) if value <= settings.level else ""
        for a, b, value in zip(loser.tolist(), winner.tolist(), q.tolist(), strict=True)
    ]
    order = np.lexsort((-np.abs(shares[1] - shares[0]).sum(axis=1), np.nan_to_num(p, nan=2)))
    return Swaps(
        loser[order],
        winner[order],
        shares[0][order],
        shares[1][order],
        p[order],
        q[order],
        tuple(kind[place] for place in order),
    )


def _flows(runs: PairedRuns, predicted: Predicted) -> Floats:
    """Share of each category's images that is called each category, (categories, categories), over all
    runs."""
    n = len(runs.categories)
    flow = np.zeros(n * n)
    for weight, row in zip(run_weights(runs.models), predicted, strict=True):
        seen = row >= 0
        flow += weight * np.bincount(runs.label[seen] * n + row[seen], minlength=n * n)
    counts = np.bincount(runs.label, minlength=n)
    shares: Floats = flow.reshape(n, n) / np.maximum(1, counts)[:, None]
    return shares


def _candidates(mean: Floats, least: float) -> tuple[Ints, Ints]:
    enough = (mean >= least) & (mean > 0)
    one, two = np.nonzero(np.triu(enough & enough.T, 1))
    return one, two


def _p_values(runs: PairedRuns, loser: Ints, winner: Ints, change: Floats) -> Floats:
    """The greater p-value of the two flows of each pair; 1 where they do not go opposite ways."""
    if not len(loser):
        return np.zeros(0)
    p = _flow_p(runs, np.concatenate([loser, winner]), np.concatenate([winner, loser]))
    opposite = (change[:, 0] > 0) & (change[:, 1] < 0)
    return np.where(opposite, np.maximum(*p.reshape(2, -1)), 1.0)


def _flow_p(runs: PairedRuns, own: Ints, called: Ints) -> Floats:
    """p-value of the change of each flow, from the images of `own` to `called`; 1 where it is not known."""
    images = _images_of(runs.label, len(runs.categories))
    order = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.diff(own[order], prepend=-1))
    parts = []
    for flows in np.split(order, starts[1:]):
        columns = images[own[flows[0]]]
        arm, reference = (found[None][:, :, columns] for found in (runs.arm, runs.reference))
        there = called[flows][:, None, None]
        d = (arm == there).astype(np.float32) - (reference == there)
        parts.append(variance_of(d, runs.models))
    found = changes(np.concatenate([mean for mean, _ in parts]), joined([part for _, part in parts]), 0.95)
    p = np.empty(len(own))
    p[order] = np.where(np.isnan(found.p_value), 1.0, found.p_value)
    return p


def _images_of(label: Ints, n: int) -> list[Ints]:
    return np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label, minlength=n))[:-1])


def _kind_of_pair(pair: tuple[int, int], top1: Changes, others: Sequence[Changes], level: float) -> str:
    loss = float(np.abs(top1.difference[list(pair)]).max())
    fell = any(falls(label, loss, others, level / 2) for label in pair)
    return SWAP_AND_LOSS if fell else SWAP


def falls(label: int, loss: float, others: Sequence[Changes], level: float) -> bool:
    """Whether top-5 accuracy or average precision of a category falls.

    Args:
        label: the category.
        loss: in top-1 accuracy, positive; a fall below `FALL_SHARE` of it does not count.
        others: changes of the other measures; each is tested at `level` by their number.
        level: of the question.
    """
    return any(
        bool(item.p_value[label] * len(others) <= level and -item.difference[label] >= FALL_SHARE * loss)
        for item in others
    )


def swaps_table(
    swaps: Swaps, top1: Changes, *, categories: Sequence[str], counts: Ints, contrast: tuple[str, str]
) -> pa.Table:
    """Rows of `SWAPS_SCHEMA`.

    Args:
        swaps: pairs.
        top1: change of each category's top-1 accuracy.
        categories: names.
        counts: images of each category.
        contrast: arm and reference.
    """
    names = np.asarray(categories, dtype=object)
    difference = swaps.after - swaps.before
    n = len(swaps.loser)
    columns = {
        "arm": [contrast[0]] * n,
        "reference": [contrast[1]] * n,
        "loser": names[swaps.loser],
        "winner": names[swaps.winner],
        "loser_label": swaps.loser,
        "winner_label": swaps.winner,
        "n_images_loser": counts[swaps.loser],
        "n_images_winner": counts[swaps.winner],
        "loser_called_winner_reference": swaps.before[:, 0],
        "loser_called_winner": swaps.after[:, 0],
        "loser_called_winner_difference": difference[:, 0],
        "winner_called_loser_reference": swaps.before[:, 1],
        "winner_called_loser": swaps.after[:, 1],
        "winner_called_loser_difference": difference[:, 1],
        "p_value": swaps.p_value,
        "q_value_benjamini_hochberg": swaps.q_value,
        "loser_top1_difference": top1.difference[swaps.loser],
        "winner_top1_difference": top1.difference[swaps.winner],
        "kind": list(swaps.kind),
    }
    return pa.table(
        [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in SWAPS_SCHEMA],
        schema=SWAPS_SCHEMA,
    )
