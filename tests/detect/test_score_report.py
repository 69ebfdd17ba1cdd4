"""The report of a score: against the plain score, a precision curve made slowly, and scikit-learn."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score

from sfumato.data import read_dataset
from sfumato.detect import score
from sfumato.detect.contact_sheet import CAPTION, COLUMNS, GAP, MOST_TILES, TILE, contact_sheets
from sfumato.detect.score_report import (
    BY_SIZE_SCHEMA,
    METRICS_SCHEMA,
    SIZE_EDGES,
    ScoreReport,
    ScoreSettings,
    average_precision,
    score_report,
    summary,
    write_score,
)
from sfumato.errors import OutputExists, TableError, UsageError
from sfumato.faces import Faces
from sfumato.faces.gold import by_image_id, read_gold, read_truth
from sfumato.records import read_manifest, read_table

QUICK = ScoreSettings(rounds=20)


def metric(report: ScoreReport, level: str, name: str) -> dict[str, Any]:
    (row,) = [row for row in report.metrics.to_pylist() if (row["level"], row["metric"]) == (level, name)]
    return dict(row)


@st.composite
def faces(draw: Any, kinds: list[str]) -> Faces:
    n = draw(st.integers(0, 4))
    start = draw(st.lists(st.tuples(*[st.integers(0, 30)] * 2), min_size=n, max_size=n))
    size = draw(st.lists(st.tuples(*[st.integers(2, 60)] * 2), min_size=n, max_size=n))
    boxes = [[x, y, x + w, y + h] for (x, y), (w, h) in zip(start, size, strict=True)]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=n, max_size=n))
    # Few levels, so that scores tie within an image and between images.
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=n, max_size=n))
    return Faces.of(boxes, scores, kind=chosen)


@st.composite
def search(draw: Any, truth: Faces) -> Faces:
    """What a detector may find: most of the known boxes, a little off, and some that are wrong."""
    wrong = draw(faces(["face"]))
    rows = [row for row in range(len(truth)) if draw(st.integers(0, 3))]
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=len(rows), max_size=len(rows)))
    near = truth.xyxy[rows] + np.array([0, 0, 1, 1], dtype=np.float32)
    return Faces.of(np.concatenate([near, wrong.xyxy]), [*scores, *wrong.score])


def slow_average_precision(found: Mapping[str, Faces], truth: Mapping[str, Faces], min_size: float) -> float:
    """Score at every threshold on its own, then sum recall steps times the best precision to their right."""
    levels = sorted({float(value) for one in found.values() for value in one.score}, reverse=True)
    curve = []
    for level in levels:
        kept = {name: one.select(min_score=level) for name, one in found.items()}
        at = score(kept, truth, min_size=min_size)
        curve.append((at.recall, 0.0 if math.isnan(at.precision) else at.precision))
    total, before = 0.0, 0.0
    for place, (recall, _) in enumerate(curve):
        total += (recall - before) * max(precision for _, precision in curve[place:])
        before = recall
    return total


@settings(max_examples=120, deadline=None)
@given(st.data(), st.integers(1, 4), st.sampled_from([0.0, 12.0]))
def test_the_report_agrees_with_the_plain_score(data: Any, n_images: int, min_size: float) -> None:
    ids = [str(number) for number in range(n_images)]
    truth = {name: data.draw(faces(["face", "ignore"])) for name in ids}
    found = {name: data.draw(search(truth[name])) for name in ids}
    report = score_report(found, truth, settings=ScoreSettings(min_size=min_size, rounds=5))
    plain = score(found, truth, min_size=min_size)
    for level, name, value in (
        ("face", "recall", plain.recall),
        ("face", "precision", plain.precision),
        ("image", "recall", plain.image_recall),
        ("image", "precision", plain.image_precision),
        ("image", "accuracy", plain.image_accuracy),
    ):
        row = metric(report, level, name)
        if math.isnan(value):
            assert (row["value"], row["ci_low"], row["n"]) == (None, None, 0)
        else:
            assert row["value"] == pytest.approx(value)
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
    area = metric(report, "face", "average_precision")["value"]
    if plain.n_truth:
        assert area == pytest.approx(slow_average_precision(found, truth, min_size))
    else:
        assert area is None
    sizes = report.by_size.to_pydict()
    assert sum(sizes["n_truth"]) == plain.n_truth
    assert sum(sizes["n_found"]) == plain.n_found
    assert sum(sizes["n_recalled"]) == sum(sizes["n_right"]) == plain.n_matched


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=20))
def test_average_precision_is_at_least_scikit_learns_and_equal_without_dents(
    rows: list[tuple[float, bool]],
) -> None:
    values, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    n_truth = int(right.sum())
    if not n_truth:
        assert math.isnan(average_precision(values, right, n_truth=0))
        return
    # scikit-learn takes precision as it is: the envelope only lifts it.
    assert average_precision(values, right, n_truth=n_truth) >= average_precision_score(right, values) - 1e-9
    smooth = np.sort(right)[::-1]  # all right ones first: precision only falls
    falling = np.arange(len(rows), 0, -1) / len(rows)
    area = average_precision(falling, smooth, n_truth=2 * n_truth)
    assert area == pytest.approx(average_precision_score(smooth, falling) / 2)
    # A weight is a repetition.
    weight = np.arange(len(rows)) % 3
    repeated = np.repeat(np.arange(len(rows)), weight)
    assert average_precision(values, right, n_truth=9, weight=weight.astype(np.float64)) == pytest.approx(
        average_precision(values[repeated], right[repeated], n_truth=9)
    )


def test_a_curve_worked_by_hand() -> None:
    # Right, wrong, right over 4 faces: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2.
    area = average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), n_truth=4)
    assert area == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    # Wrong, right, right: the better precision at the end lifts the one before it.
    dented = average_precision(np.array([0.9, 0.8, 0.7]), np.array([False, True, True]), n_truth=4)
    assert dented == pytest.approx(0.5 * 2 / 3)
    # The wrong one between two equal scores counts against both.
    tied = average_precision(np.array([0.9, 0.9, 0.9]), np.array([True, False, True]), n_truth=4)
    assert tied == pytest.approx(0.5 * 2 / 3)


def test_faces_fall_into_bins_by_their_longer_side() -> None:
    known = {str(side): Faces.of([[0, 0, side, side / 2]]) for side in (11, 12, 23, 24, 100, 500)}
    found = {name: one for name, one in known.items() if name != "23"} | {
        "11": Faces.of([[200, 200, 230, 230]])
    }
    report = score_report(found, known, settings=QUICK)
    sizes = report.by_size.to_pydict()
    assert tuple(sizes["size_low"]) == SIZE_EDGES
    assert sizes["size_high"] == [*SIZE_EDGES[1:], None]
    assert sizes["n_truth"] == [1, 2, 1, 0, 1, 1]
    assert sizes["n_recalled"] == [0, 1, 1, 0, 1, 1]
    assert sizes["recall"] == [0, 0.5, 1, None, 1, 1]
    assert sizes["n_found"] == [0, 1, 2, 0, 1, 1]
    assert sizes["precision"] == [None, 1, 0.5, None, 1, 1]
    assert report.counts["n_not_examined"] == 1


def test_the_interval_of_average_precision_holds_it_and_comes_again() -> None:
    rng = np.random.default_rng(3)
    truth = {str(number): Faces.of([[0, 0, 50, 50]]) for number in range(60)}
    found = {name: Faces.of([[0, 0, 50, 50 if rng.random() < 0.7 else 9]], [rng.random()]) for name in truth}
    row = metric(score_report(found, truth), "face", "average_precision")
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert 0.1 < row["ci_high"] - row["ci_low"] < 0.5
    assert metric(score_report(found, truth), "face", "average_precision") == row


def test_ids_that_do_not_meet_are_an_error() -> None:
    with pytest.raises(UsageError, match=r"such as 'a\.jpg'.*such as 'train/a\.jpg'"):
        score_report({"train/a.jpg": Faces.of()}, {"a.jpg": Faces.of()})


def test_names_of_the_truth_mean_images_by_their_ends() -> None:
    face, none = Faces.of([[0, 0, 9, 9]]), Faces.of()
    ids = ["train/x/a.jpg", "train/y/b.jpg", "val/y/b.jpg", "c.jpg"]
    moved = by_image_id({"a.jpg": face, "photos/c.jpg": none, "val/y/b.jpg": face, "d.jpg": none}, ids)
    assert list(moved) == ["train/x/a.jpg", "c.jpg", "val/y/b.jpg", "d.jpg"]
    assert moved["train/x/a.jpg"] is face
    with pytest.raises(TableError, match=r"'b\.jpg' may mean 2 images: train/y/b\.jpg, val/y/b\.jpg"):
        by_image_id({"b.jpg": face}, ids)
    with pytest.raises(TableError, match=r"both mean the image 'c\.jpg'"):
        by_image_id({"c.jpg": face, "photos/c.jpg": none}, ids)


def test_the_summary_says_what_the_tables_say() -> None:
    known = {"a": Faces.of([[0, 0, 30, 30], [40, 0, 300, 20]]), "b": Faces.of()}
    text = summary(score_report({"a": Faces.of([[0, 0, 30, 30]])}, known, settings=QUICK))
    assert "images: 2 (1 of them not examined)" in text
    assert "face recall             0.500 [0.095, 0.905]  1 of 2" in text
    assert "24 to 48 px             recall 1.000 [0.207, 1.000] of 1, precision 1.000" in text
    assert "from 192 px             recall 0.000 [0.000, 0.793] of 1, precision unknown of 0" in text


def sheet_of(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def test_sheets_show_misses_and_false_alarms(photos: Path) -> None:
    dataset = read_dataset(photos)
    names = [sample.image_id for sample in dataset.samples]
    truth = {
        names[0]: Faces.of([[5, 5, 25, 25]]),
        names[1]: Faces.of([[0, 0, 30, 40], [40, 0, 64, 9]], kind=["face", "ignore"]),
        "gone.jpg": Faces.of([[0, 0, 10, 10]]),
        names[2]: Faces.of(),
    }
    found = {names[0]: Faces.of([[5, 5, 25, 25], [40, 20, 60, 47]], [0.9, 0.4])}
    found |= {names[2]: Faces.of([[-20, -20, 9, 9]], [0.8])}
    sheets = contact_sheets(found, truth, dataset)
    assert set(sheets) == {"misses.png", "false-alarms.png"}
    misses = sheet_of(sheets["misses.png"])
    height = GAP + TILE + GAP + CAPTION
    assert misses.shape == (height, GAP + 2 * (TILE + GAP), 3)
    # Largest first: the face of 40 pixels, then the one in the image that is not there, a grey tile.
    second = misses[GAP : GAP + TILE, GAP + TILE + GAP : -GAP]
    assert (second == 200).all()
    assert misses[GAP : GAP + TILE, GAP : GAP + TILE].std() > 5
    alarms = sheet_of(sheets["false-alarms.png"])
    assert alarms.shape == misses.shape
    # Best score first: the box over the corner of its image, black beyond it.
    assert (alarms[GAP + 2, GAP + 2] == 0).all()
    assert contact_sheets(truth, truth, dataset) == {}


def test_no_picture_outside_the_data_set_is_read(photos: Path) -> None:
    train = read_dataset(photos).subset("train")
    truth = {"../photos/val/pear/0.jpg": Faces.of([[5, 5, 25, 25]])}
    misses = sheet_of(contact_sheets({}, truth, train)["misses.png"])
    assert (misses[GAP : GAP + TILE, GAP : GAP + TILE] == 200).all()


def test_a_sheet_has_a_limit(photos: Path) -> None:
    dataset = read_dataset(photos)
    name = dataset.samples[0].image_id
    boxes = [[n % 40, n // 40, n % 40 + 9, n // 40 + 9] for n in range(MOST_TILES + 20)]
    sheets = contact_sheets({}, {name: Faces.of(boxes)}, dataset)
    rows = MOST_TILES // COLUMNS
    assert sheet_of(sheets["misses.png"]).shape[0] == GAP + rows * (TILE + GAP + CAPTION)


def test_a_written_score_is_read_back(tmp_path: Path) -> None:
    truth = {"a": Faces.of([[0, 0, 30, 30]]), "b": Faces.of()}
    report = score_report(truth, truth, settings=QUICK)
    out = tmp_path / "score"
    write_score(out, report, inputs={"found": "f", "truth": "t"}, sheets={"misses.png": b"png"})
    assert read_table(out / "metrics.parquet", METRICS_SCHEMA).equals(report.metrics)
    assert read_table(out / "by_size.parquet", BY_SIZE_SCHEMA).equals(report.by_size)
    manifest = read_manifest(out, kind="face-score")
    assert manifest.facts["metrics"]["face average_precision"] == 1
    assert (out / "misses.png").read_bytes() == b"png"
    assert (out / "metrics.csv").read_text().splitlines()[1].startswith('"face","recall",1,')
    with pytest.raises(OutputExists):
        write_score(out, report, inputs={"found": "f", "truth": "other"})


def test_a_gold_standard_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faces.json"
    face = {"x0": 1, "y0": 2.5, "x1": 30, "y1": 40, "kind": "face", "ignore": False, "source": "pooled"}
    images = {
        "a.JPEG": {"width": 50, "height": 60, "faces": [face, face | {"ignore": True, "crowd": True}]},
        "b.JPEG": {"faces": []},
        "c.JPEG": {"faces": [{"x0": 0, "y0": 0, "x1": 1, "y1": 1}]},
    }
    path.write_text(json.dumps({"images": images}, indent=0))
    gold = read_truth(path)
    assert list(gold) == ["a.JPEG", "b.JPEG", "c.JPEG"]
    assert gold["a.JPEG"].xyxy.tolist() == [[1, 2.5, 30, 40]] * 2
    assert gold["a.JPEG"].kind == ("face", "ignore")
    assert len(gold["b.JPEG"]) == 0
    assert (gold["c.JPEG"].kind, gold["c.JPEG"].source) == (("face",), ("faces.json",))
    known = tmp_path / "known.json"
    known.write_text(json.dumps([{"url": "a", "bboxes": []}]))
    assert list(read_truth(known)) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "expected an object with images"),
        ('{"images": []}', "expected an object with images"),
        ('{"images": {"a": {}}}', "image 'a' has no 'faces'"),
        ('{"images": {"a": []}}', "image 'a' is not of the form"),
        ('{"images": {"a": {"faces": [{"x0": 1}]}}}', "image 'a' has no 'y0'"),
        ('{"images": {"a": {"faces": [3]}}}', "image 'a' is not of the form"),
        ('{"images": {"a": {"faces": [{"x0": 5, "y0": 0, "x1": 1, "y1": 1}]}}}', "ends before it starts"),
        ('{"images": {"a": {"faces": [{"x0": "q", "y0": 0, "x1": 1, "y1": 1}]}}}', "image 'a' is not of"),
    ],
)
def test_what_is_no_gold_standard_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "faces.json"
    path.write_text(content)
    with pytest.raises(TableError, match=message) as caught:
        read_truth(path)
    assert str(path) in str(caught.value)
    with pytest.raises(TableError, match="cannot be read"):
        read_gold(tmp_path / "none.json")


SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "imagenet-samples"


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the development images are not beside the checkout")
def test_the_gold_standard_beside_the_checkout_is_read() -> None:
    gold = read_truth(SAMPLES / "faces.json")
    assert len(gold) == 400
    report = score_report(gold, gold, settings=QUICK)
    assert metric(report, "image", "recall")["n"] == 64
    assert metric(report, "face", "recall")["n"] == 107
