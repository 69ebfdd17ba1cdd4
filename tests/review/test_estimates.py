"""Estimates: closed forms against another library, and rates against people whose mistakes are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sfumato.faces import Faces, FaceTable, faces_rows
from sfumato.faces.table import tables
from sfumato.records import Manifest
from sfumato.review import MergeOptions, Record, ReviewSettings, merge
from sfumato.review.estimates import (
    Counts,
    chapman,
    clustered_share,
    looks,
    missed,
    missed_upper,
    precision,
    recall,
)
from sfumato.review.intervals import (
    beta_cdf,
    clopper_pearson,
    hypergeometric_cdf,
    hypergeometric_upper,
    normal_quantile,
)
from sfumato.review.queue import audit_order

SHARE = st.floats(0.001, 0.999)
SIZE = st.floats(0.05, 2000)


@given(SHARE, SIZE, SIZE)
def test_beta_is_that_of_scipy(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-9)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_clopper_pearson_is_that_of_scipy(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-8)


@given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.95]))
def test_hypergeometric_bound_is_the_largest_that_fits(total: int, data: Any, confidence: float) -> None:
    drawn = data.draw(st.integers(0, total))
    found = data.draw(st.integers(0, drawn))
    possible = range(found, total - (drawn - found) + 1)
    tails = {marked: stats.hypergeom(total, marked, drawn).cdf(found) for marked in possible}
    for marked in possible:
        assert hypergeometric_cdf(found, drawn, total, marked) == pytest.approx(tails[marked], abs=1e-9)
    upper = hypergeometric_upper(found, drawn, total, confidence)
    assert all(
        (marked <= upper) == (tails[marked] > 1 - confidence - 1e-9) for marked in possible if marked > found
    )


def test_chapman_on_a_worked_example() -> None:
    # 10 marked, 15 caught later, 5 of them marked: Chapman 1951; interval of Sadinle 2009, by its formula.
    found = chapman(10, 15, 5)
    assert found.total == pytest.approx(11 * 16 / 6 - 1)
    spread = 1.959964 * math.sqrt(1 / 5.5 + 1 / 5.5 + 1 / 10.5 + 5.5 / (5.5 * 10.5))
    assert (found.low, found.high) == pytest.approx(
        (19.5 + 10.5 / math.exp(spread), 19.5 + 10.5 * math.exp(spread))
    )
    assert (round(found.low), round(found.high)) == (22, 65)
    assert found.unseen == pytest.approx(found.total - 20)
    assert normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-6)
    assert chapman(0, 0, 0).total == 0


def test_shares_of_nothing_and_of_everything() -> None:
    empty = clustered_share(np.zeros(0, int), np.zeros(0, int))
    assert math.isnan(empty.value)
    assert (empty.low, empty.high) == (0.0, 1.0)
    # Faces of one image may all be missed together: ten in one image are worth one, ten in ten are worth ten.
    together, apart = np.array([10]), np.ones(10, dtype=int)
    assert clustered_share(together, together).low == pytest.approx(0.025)
    assert clustered_share(apart, apart).low == pytest.approx(0.025**0.1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40))
def test_an_interval_holds_its_estimate_and_whole_samples_leave_no_doubt(rows: Any) -> None:
    truth = np.array([max(row) for row in rows])
    matched = np.array([min(row) for row in rows])
    counts = Counts(truth, truth, matched)
    share = recall(counts)
    assert not share.n or share.low <= share.value <= share.high
    assert share.n_effective <= share.n
    lost = counts.missed / max(1, int(truth.sum()))
    assert missed_upper(counts, len(counts), 0.95) == lost
    assert missed_upper(counts, 10 * len(counts), 0.95) >= lost - 1e-9
    all_of_them = missed(counts, len(counts), 0.5)
    assert all_of_them.reached == (lost <= 0.5)
    assert all_of_them.upper <= 1


def test_looks_are_few_and_end_with_everything() -> None:
    assert looks(49, 1000) == []
    assert looks(399, 1000) == [50, 100, 200]
    assert looks(1000, 1000) == [50, 100, 200, 400, 800, 1000]
    assert looks(7, 7) == [7]


def covers(hits: int, n: int, rate: float) -> bool:
    """Whether so few hits of n are believable at this rate: not in the worst 1e-4 of counts."""
    return bool(stats.binom.cdf(hits, n, rate) > 1e-4)


def images(rng: np.random.Generator, n: int) -> Any:
    """Numbers of faces in n images, as in a data set with people in a third of it."""
    return np.where(rng.random(n) < 0.35, rng.geometric(0.45, n), 0)


@pytest.mark.parametrize(("rate", "spread"), [(0.05, None), (0.25, None), (0.25, 2.0), (0.6, 0.5)])
def test_recall_and_precision_cover_the_truth_at_their_rate(rate: float, spread: float | None) -> None:
    """Mistakes that are independent, and mistakes that come together in images (beta-binomial)."""
    rng, n_times = np.random.default_rng(7), 400
    hits = np.zeros(3, dtype=int)
    for _ in range(n_times):
        truth = images(rng, 500)
        chance = rate if spread is None else rng.beta(rate * spread, (1 - rate) * spread, 500)
        counts = Counts(truth, truth, truth - rng.binomial(truth, chance))
        for at, share in enumerate((recall(counts), precision(counts))):
            hits[at] += share.low <= 1 - rate <= share.high
        hits[2] += missed_upper(counts, 10**7, 0.95) >= rate
    # Exact for independent mistakes; for others the variance is estimated, which costs a little.
    nominal = 0.95 if spread is None else 0.93
    assert all(covers(int(count), n_times, nominal) for count in hits), hits


def test_the_images_bound_covers_at_its_rate_without_replacement() -> None:
    rng, n_times = np.random.default_rng(8), 600
    with_miss = np.zeros(400, dtype=int)
    with_miss[:30] = 1
    found = [
        missed(Counts(np.ones(90, int), np.ones(90, int), 1 - rng.permutation(with_miss)[:90]), 400, 0.01)
        for _ in range(n_times)
    ]
    hits = sum(one.images_high >= 30 for one in found)
    assert covers(hits, n_times, 0.95)
    assert hits < n_times  # it is no bound that always holds


@pytest.mark.parametrize("people", [(0.7, 0.6), (0.9, 0.5)])
def test_capture_recapture_covers_at_its_rate(people: tuple[float, float]) -> None:
    rng, n_times, total = np.random.default_rng(9), 1000, 120
    hits, estimates = 0, []
    for _ in range(n_times):
        first, second = (rng.random(total) < share for share in people)
        found = chapman(int(first.sum()), int(second.sum()), int((first & second).sum()))
        hits += found.low <= total <= found.high
        estimates.append(found.total)
    assert covers(hits, n_times, 0.94)
    assert abs(np.mean(estimates) - total) < 5 * np.std(estimates) / math.sqrt(n_times) + 0.5


def test_stopping_is_rarely_wrong_however_often_one_looks() -> None:
    """Just above the target, who stops at the first good number must be wrong at most one time in twenty."""
    rng, n_times, target = np.random.default_rng(10), 150, 0.05
    stopped = hasty = 0
    for _ in range(n_times):
        truth = np.minimum(images(rng, 1600), 6)
        counts = Counts(truth, truth, truth - rng.binomial(truth, target * 1.02))
        stopped += missed(counts, 10**6, target).reached  # at this look or at any before
        hasty += any(missed_upper(counts[:size], 10**6, 0.95) <= target for size in range(100, 1601, 100))
    assert covers(n_times - stopped, n_times, 0.95)
    assert not covers(n_times - hasty, n_times, 0.95)  # what the rule guards against is real
    good = Counts(truth, truth, truth)
    assert missed(good, 10**6, target).reached


# People whose mistakes are known, through records and merging.

FOUND, LOST, FALSE = 0.7, 0.15, 0.1
"""Shares: of faces that the detector has, of others that a person loses, of false alarms they let stand."""


class World:
    """Images with faces on a grid of places, so that who has which face is known."""

    def __init__(self, seed: int, n: int = 200) -> None:
        self.rng = np.random.default_rng(seed)
        self.ids = [f"{number:04d}.jpg" for number in range(n)]
        self.faces = {
            name: list(range(min(9, count)))
            for name, count in zip(self.ids, images(self.rng, n), strict=True)
        }
        self.found = {
            name: [at for at in here if self.rng.random() < FOUND] for name, here in self.faces.items()
        }
        self.false = {name: [9] if self.rng.random() < 0.2 else [] for name in self.ids}

    def boxes(self, places: list[int]) -> Any:
        return [(30.0 * at, 0.0, 30.0 * at + 20, 20.0) for at in places]

    def table(self) -> FaceTable:
        faces = [
            row
            for name in self.ids
            for row in faces_rows(
                name, Faces.of(self.boxes(self.found[name] + self.false[name]), source="net")
            )
        ]
        blank = {"split": "all", "label": 0, "width": 400, "height": 400, "status": "ok", "frames": 1}
        rows = tables(faces, [{"image_id": name, **blank} for name in self.ids])
        return FaceTable(*rows, Manifest("faces", "world", {}, {}, facts={"categories": ["all"]}))

    def answer(self, name: str, lost: float = LOST) -> list[int]:
        """What a person hands in: shown faces, those of the others that they see, and some false alarms."""
        new = [at for at in self.faces[name] if at not in self.found[name] and self.rng.random() >= lost]
        return self.found[name] + new + [at for at in self.false[name] if self.rng.random() < FALSE]

    def record(self, n: int, who: str, name: str, places: list[int], task: Any) -> Record:
        rows = tuple((*box, "face", who) for box in self.boxes(places))
        return Record(n, "", who, name, task, "", 0, rows)

    def records(self, audited: int, overlap: bool) -> Iterator[Record]:
        n = 0
        for name in self.ids:
            for who, task in (("Ann", "queue"), ("Bob", "second"))[: 1 + overlap]:
                n += 1
                yield self.record(n, who, name, self.answer(name), task)
        every = np.ones(len(self.ids), dtype=bool)
        for number in audit_order(every, every, 0)[:audited].tolist():
            n += 1
            name = self.ids[number]
            yield self.record(n, "Eve", name, self.faces[name], "audit")

    def missed_by(self, records: list[Record]) -> float:
        """Share of all faces that nobody has who did the queue: of two people's boxes half are enough."""
        there = {(r.image_id, row[0]) for r in records if r.task != "audit" for row in r.faces}
        every = [(name, 30.0 * at) for name, here in self.faces.items() for at in here]
        return sum(face not in there for face in every) / len(every)


def test_simulated_reviewers_are_judged_at_the_nominal_rate() -> None:
    n_times, hits, before = 30, np.zeros(3, dtype=int), 0
    for seed in range(n_times):
        world = World(seed)
        faces, records = world.table(), list(world.records(80, overlap=True))
        options = MergeOptions(ReviewSettings(overlap=2))
        status = merge(faces, records, options).status
        truth = world.missed_by(records)
        said = status["missed"]
        assert said["n_images"] == 80
        hits[0] += said["low"] <= truth <= said["high"]
        hits[1] += truth <= said["upper"]
        passes = status["two_passes"]
        new = sum(at not in world.found[name] for name, here in world.faces.items() for at in here)
        hits[2] += passes["low"] <= new <= passes["high"]
        row = next(r for r in status["estimates"] if (r["group"], r["stage"]) == ("all", "before"))
        before += row["recall_ci_low"] <= FOUND <= row["recall_ci_high"]
    assert all(covers(int(count), n_times, 0.93) for count in (*hits, before)), (hits, before)


def test_the_table_counts_the_mistakes_that_were_made() -> None:
    world = World(3)
    faces, records = world.table(), list(world.records(len(world.ids), overlap=False))
    merged = merge(faces, records, MergeOptions(ReviewSettings(), groups={"every": ["all"], "none": ["x"]}))
    rows = {(row["group"], row["stage"]): row for row in merged.estimates.to_pylist()}
    n_faces = sum(map(len, world.faces.values()))
    n_found = sum(map(len, world.found.values()))
    before, after = rows["all", "before"], rows["all", "after"]
    assert (before["n_images"], before["n_faces"]) == (200, n_faces)
    assert before["false_negatives"] == n_faces - n_found
    assert before["false_positives"] == sum(map(len, world.false.values()))
    usual = [record for record in records if record.task == "queue"]
    n_said = sum(len(record.faces) for record in usual)
    n_false = sum(any(row[0] == 270.0 for row in record.faces) for record in usual)
    assert after["false_positives"] == n_false
    assert after["false_negatives"] == n_faces - (n_said - n_false)
    assert after["recall"] == pytest.approx((n_said - n_false) / n_faces)
    assert rows["every", "after"] == after | {"group": "every"}
    assert rows["none", "after"]["n_images"] == 0
    assert rows["none", "after"]["recall"] is None
