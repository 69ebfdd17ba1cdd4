"""Statistics of faces: against a count image by image, closed forms, and the study's published table."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.data import IMAGES_SCHEMA
from sfumato.data.groups import read_groups
from sfumato.data.ilsvrc import ilsvrc_categories
from sfumato.errors import ManifestError, OutputExists, UsageError
from sfumato.faces import FACES_SCHEMA, Faces, FaceTable, faces_rows
from sfumato.faces.intervals import wilson
from sfumato.faces.statistics import statistics
from sfumato.faces.statistics_tables import (
    SCHEMAS,
    FaceStatistics,
    read_statistics,
    summary,
    write_statistics,
)
from sfumato.faces.table import tables
from sfumato.records import Manifest
from sfumato.report.face_figures import face_figures

SIDE = 20  # pixels of the small images below
CATEGORIES = ("apple", "pear", "plum")


def image(image_id: str, label: int = 0, **changes: Any) -> dict[str, Any]:
    row = {"image_id": image_id, "split": "train", "label": label, "width": SIDE, "height": SIDE}
    return row | {"status": "ok"} | changes


def table(images: Sequence[Mapping[str, Any]], boxes: Mapping[str, Any]) -> FaceTable:
    rows = [row for image_id, xyxy in boxes.items() for row in faces_rows(image_id, Faces.of(xyxy))]
    return FaceTable(*tables(rows, map(dict, images)), Manifest("faces", "key", {}, {}))


def totals(found: FaceStatistics) -> dict[str, Any]:
    (row,) = found.totals.to_pylist()
    return dict(row)


# One image: label, split, status, and whole-numbered boxes that may leave the image.
corner = st.integers(-4, SIDE + 2)
side = st.integers(0, SIDE)
box = st.tuples(corner, corner, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
an_image = st.tuples(
    st.integers(-1, 2),
    st.sampled_from(["train", "val"]),
    st.sampled_from(["ok", "ok", "failed"]),
    st.lists(box, max_size=5),
)


def painted_share(boxes: Sequence[Sequence[int]]) -> float:
    """Share of an image that boxes cover, by painting its pixels."""
    pixels = np.zeros((SIDE, SIDE), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return float(pixels.mean())


@settings(max_examples=150, deadline=None)
@given(st.lists(an_image, max_size=12), st.sampled_from([None, "train"]))
def test_numbers_equal_a_count_image_by_image(rows: list[Any], split: str | None) -> None:
    rows = [*rows, (0, "train", "ok", [])]  # so that the split occurs
    images = [
        image(str(n), label, split=name, status=status) for n, (label, name, status, _) in enumerate(rows)
    ]
    boxes = {str(n): row[3] for n, row in enumerate(rows)} | {"elsewhere": [[0, 0, 9, 9]]}
    groups = {"fruit": CATEGORIES, "stone": ["plum", "cherry"]}
    found = statistics(table(images, boxes), categories=CATEGORIES, groups=groups, split=split)

    seen = [row for row in rows if split in (None, row[1])]
    ok = [row for row in seen if row[2] == "ok"]
    with_faces = [row for row in ok if row[3]]
    total = totals(found)
    assert (total["n_images"], total["n_examined"]) == (len(seen), len(ok))
    assert total["n_failed"] == len(seen) - len(ok)
    assert total["n_with_faces"] == len(with_faces)
    assert total["n_faces"] == sum(len(row[3]) for row in ok)
    assert total["mean_area_share"] == pytest.approx(np.mean([painted_share(row[3]) for row in ok]), abs=1e-9)
    if with_faces:
        covered = [painted_share(row[3]) for row in with_faces]
        assert total["mean_area_share_with_faces"] == pytest.approx(np.mean(covered), abs=1e-9)
        assert total["faces_per_face_image"] == pytest.approx(total["n_faces"] / len(with_faces))
    else:
        assert total["mean_area_share_with_faces"] is None
    for label, row in enumerate(found.by_category.to_pylist()):
        own = [one for one in ok if one[0] == label]
        assert (row["category"], row["label"]) == (CATEGORIES[label], label)
        assert row["n_images"] == len(own)
        assert row["n_with_faces"] == sum(bool(one[3]) for one in own)
        assert row["n_faces"] == sum(len(one[3]) for one in own)
        assert (row["share_with_faces"] is None) == (not own)
    fruit, stone = found.by_supercategory.to_pylist()
    assert (fruit["n_categories"], stone["n_categories"]) == (3, 1)
    assert fruit["n_images"] == sum(row[0] >= 0 for row in ok)
    assert stone["n_with_faces"] == sum(row[0] == 2 and bool(row[3]) for row in ok)
    for row in found.histogram.to_pylist():
        assert row["n_images"] == sum(len(one[3]) == row["n_faces_low"] for one in ok)


@given(st.integers(0, 60), st.integers(0, 60))
def test_wilson_ends_are_the_shares_that_a_score_test_just_keeps(part: int, more: int) -> None:
    whole = part + more
    low, high = (float(end) for end in wilson(part, whole))
    if not whole:
        assert np.isnan([low, high]).all()
        return
    z = NormalDist().inv_cdf(0.975)
    for end in (low, high):
        assert (part / whole - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / whole, abs=1e-12)
    assert 0 <= low <= part / whole <= high <= 1
    assert (low == 0) == (part == 0)
    assert (high == 1) == (more == 0)
    assert low < high


def test_a_published_wilson_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263.
    low, high = wilson([81, 15], [263, 148])
    assert (round(float(low[0]), 4), round(float(high[0]), 4)) == (0.2553, 0.3662)
    assert (round(float(low[1]), 4), round(float(high[1]), 4)) == (0.0624, 0.1605)


def test_many_faces_stand_apart_and_every_image_is_counted_once() -> None:
    boxes = {str(n): [[0, 0, 1, 1]] * n for n in (1, 9, 10, 11, 40)}
    found = statistics(table([image(name) for name in ("0", *boxes)], boxes), categories=CATEGORIES)
    rows = {(row["n_faces_low"], row["n_faces_high"]): row["n_images"] for row in found.histogram.to_pylist()}
    assert {key for key, count in rows.items() if count} == {(0, 0), (1, 1), (9, 9), (10, 10), (11, None)}
    assert rows[11, None] == 2
    assert sum(rows.values()) == 6


def test_marks_count_categories_strictly_above() -> None:
    # apple 1 of 4 (25 %), pear 2 of 4 (50 %), plum 3 of 4; quince has no image.
    images = [image(f"{label}-{n}", label) for label in range(3) for n in range(4)]
    boxes = {f"{label}-{n}": [[0, 0, 5, 5]] for label in range(3) for n in range(label + 1)}
    found = totals(statistics(table(images, boxes), categories=(*CATEGORIES, "quince")))
    assert found["n_categories"] == 3
    assert found["n_categories_above_25_percent"] == 2
    assert found["n_categories_above_50_percent"] == 1


def test_images_of_unknown_size_are_left_out_of_the_area_only() -> None:
    images = [image("a"), image("b", width=None, height=None), image("c", width=None, height=None)]
    found = totals(
        statistics(table(images, {"a": [[0, 0, 10, 20]], "b": [[0, 0, 9, 9]]}), categories=CATEGORIES)
    )
    assert (found["n_examined"], found["n_of_known_size"], found["n_with_faces"]) == (3, 1, 2)
    assert found["mean_area_share"] == pytest.approx(0.5)
    without = totals(statistics(table(images[1:], {"b": [[0, 0, 9, 9]]}), categories=CATEGORIES))
    assert without["mean_area_share"] is None
    assert without["n_faces"] == 1


def test_only_the_kinds_asked_for_count() -> None:
    faces = Faces.of([[0, 0, 5, 5], [5, 5, 9, 9]], kind=["face", "depicted"])
    both = FaceTable(*tables(faces_rows("a", faces), [image("a")]), Manifest("faces", "key", {}, {}))
    assert totals(statistics(both, categories=CATEGORIES))["n_faces"] == 2
    assert totals(statistics(both, categories=CATEGORIES, kinds=["depicted"]))["n_faces"] == 1
    assert totals(statistics(both, categories=CATEGORIES, kinds=["photo"]))["n_with_faces"] == 0


def test_an_empty_table_has_no_share() -> None:
    found = statistics(table([], {}), categories=())
    assert totals(found)["n_examined"] == 0
    assert totals(found)["share_with_faces"] is None
    assert list(face_figures(found)) == ["faces_per_image.svg"]
    assert "with faces: 0 = unknown" in summary(found)


def test_wrong_requests_are_named() -> None:
    some = table([image("a", 1)], {})
    with pytest.raises(UsageError, match=r"no split 'dev'; it has: train"):
        statistics(some, categories=CATEGORIES, split="dev")
    with pytest.raises(UsageError, match=r"a group has 'n01', the data set 'apple'"):
        statistics(some, categories=CATEGORIES, groups={"bird": ["n01"]})
    with pytest.raises(UsageError, match=r"label 1, but only 1 categories"):
        statistics(some, categories=["apple"])


PUBLISHED = {
    # supercategory: categories, training images, of these with faces, percentage as printed
    "clothing.n.01": (49, 62_471, 36_797, "58.9025"),
    "musical_instrument.n.01": (26, 33_779, 16_091, "47.6361"),
    "wheeled_vehicle.n.01": (44, 57_055, 20_139, "35.2975"),
    "insect.n.01": (27, 35_097, 634, "1.80642"),
    "bird.n.01": (59, 76_536, 1_292, "1.68809"),
}
N_IMAGES, N_TRAIN, N_WITH_FACES, N_FACES = 1_431_093, 1_281_167, 243_198, 562_626


def spread(total: int, places: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A total over places, as evenly as whole numbers allow."""
    return total // places + (np.arange(places) < total % places)


@pytest.fixture(scope="module")
def published() -> FaceTable:
    """Annotations of as many images, face images and faces as were published, all of known labels.

    The images of the five supercategories are spread evenly over their categories, the other training images
    over the others; the rest is validation and test.
    """
    labels = {category.wnid: label for label, category in enumerate(ilsvrc_categories())}
    n_images, n_with_faces = np.zeros(1000, dtype=np.int64), np.zeros(1000, dtype=np.int64)
    for name, members in read_groups("ilsvrc").items():
        _, images, with_faces, _ = PUBLISHED[name]
        own = sorted(labels[wnid] for wnid in members)
        n_images[own] = spread(images, len(own))
        n_with_faces[own] = spread(with_faces, len(own))
    others = np.flatnonzero(n_images == 0)
    n_images[others] = spread(N_TRAIN - int(n_images.sum()), len(others))
    n_with_faces[others] = spread(200_000 - int(n_with_faces.sum()), len(others))
    first = np.arange(N_TRAIN) - np.repeat(np.cumsum(n_images) - n_images, n_images)
    label = np.repeat(np.arange(1000), n_images)
    rest = N_IMAGES - N_TRAIN
    has = np.concatenate([first < n_with_faces[label], np.arange(rest) < N_WITH_FACES - 200_000])
    label = np.concatenate([label, np.arange(rest) % 1000])
    owner = np.repeat(np.flatnonzero(has), spread(N_FACES, N_WITH_FACES))
    ids = pa.array([f"{number:07d}.JPEG" for number in range(N_IMAGES)])
    nothing = pa.nulls(N_IMAGES, pa.string())
    size = pa.nulls(N_IMAGES, pa.int32())  # the released file has none
    split = pa.array(["train", "val"]).take(pa.array((np.arange(N_IMAGES) >= N_TRAIN).astype(np.int64)))
    ok = pa.array(np.full(N_IMAGES, "ok"))
    images = pa.table(
        [ids, split, label.astype(np.int32), size, size, ok, nothing, nothing, size], schema=IMAGES_SCHEMA
    )
    edges = [pa.array(np.full(N_FACES, value, dtype=np.float32)) for value in (10, 10, 50, 60, 1)]
    words = [pa.array(np.full(N_FACES, word)) for word in ("face", "study")]
    faces = pa.table([ids.take(pa.array(owner)), *edges, *words], schema=FACES_SCHEMA)
    return FaceTable(faces, images, Manifest("faces", "published", {}, {}))


def test_the_published_table_comes_out(published: FaceTable) -> None:
    wnids = [category.wnid for category in ilsvrc_categories()]
    found = statistics(published, categories=wnids, groups=read_groups("ilsvrc"), split="train")
    rows = {row["supercategory"]: row for row in found.by_supercategory.to_pylist()}
    assert list(rows) == list(PUBLISHED)
    for name, (n_categories, n_images, n_with_faces, percent) in PUBLISHED.items():
        row = rows[name]
        assert (row["n_categories"], row["n_images"], row["n_with_faces"]) == (
            n_categories,
            n_images,
            n_with_faces,
        )
        assert f"{100 * row['share_with_faces']:.6g}" == percent
        assert row["ci_low"] < row["share_with_faces"] < row["ci_high"]
    assert totals(found)["n_images"] == N_TRAIN
    printed = [line.split() for line in summary(found).splitlines()]
    for name, (n_categories, n_images, _, percent) in PUBLISHED.items():
        assert [name, str(n_categories), f"{n_images:,}", percent] in [line[:4] for line in printed]


def test_the_published_totals_come_out(published: FaceTable) -> None:
    wnids = [category.wnid for category in ilsvrc_categories()]
    found = totals(statistics(published, categories=wnids))
    assert found["n_examined"] == N_IMAGES
    assert found["n_with_faces"] == N_WITH_FACES
    assert found["n_faces"] == N_FACES
    assert f"{100 * found['share_with_faces']:.2f}" == "16.99"
    assert f"{found['faces_per_face_image']:.3f}" == "2.313"
    assert found["mean_area_share"] is None


def small() -> FaceStatistics:
    images = [image(f"{label}-{n}", label) for label in range(3) for n in range(8)]
    boxes = {f"{label}-{n}": [[0, 0, 5, 5]] * (n + 1) for label in range(3) for n in range(4 * label)}
    return statistics(table(images, boxes), categories=CATEGORIES, groups={"round": ["apple", "plum"]})


def test_what_is_written_is_read_back_and_nothing_else_is_replaced(tmp_path: Path) -> None:
    found = small()
    out = tmp_path / "statistics"
    with pytest.raises(ManifestError):
        read_statistics(tmp_path)
    write_statistics(out, found, figures=face_figures(found))
    again = read_statistics(out)
    assert again.named() == found.named()
    assert again.manifest.counts["n_with_faces"] == 12
    names = {f"{name}.{ending}" for name in SCHEMAS for ending in ("parquet", "csv")}
    figures = {"share_by_category.svg", "faces_per_image.svg"}
    assert {path.name for path in out.iterdir()} == names | figures | {"manifest.json"}
    assert (out / "by_supercategory.csv").read_text().splitlines()[1].startswith('"round",2,16,8,0.5,')
    write_statistics(out, found)  # the same again: nothing to do
    other = statistics(table([image("a")], {}), categories=CATEGORIES)
    with pytest.raises(OutputExists):
        write_statistics(out, other)
    write_statistics(out, other, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(OutputExists):
        write_statistics(tmp_path / "mine", found, overwrite=True)
    assert read_statistics(out).manifest.counts["n_images"] == 1
    assert not (out / "faces_per_image.svg").exists()


def test_settings_that_change_the_numbers_change_the_key() -> None:
    some = table([image("a", 1)], {"a": [[0, 0, 5, 5]]})
    keys = [
        statistics(some, categories=CATEGORIES, **settings).manifest.key
        for settings in (
            {},
            {"split": "train"},
            {"kinds": ["face"]},
            {"groups": {"a": ["pear"]}},
            {"groups": {"a": ["plum"]}},
        )
    ]
    assert len(set(keys)) == len(keys)


def test_figures_are_svg_the_same_each_time_and_show_what_they_should() -> None:
    found = small()
    figures = face_figures(found)
    assert figures == face_figures(found)
    for content in figures.values():
        assert ET.fromstring(content).tag.endswith("svg")
    # One bar for each of 1 to 8 faces, and one for 9 and 10 together.
    bars = ET.fromstring(figures["faces_per_image.svg"]).iter("{http://www.w3.org/2000/svg}path")
    assert sum("fill: #7a8699" in (path.get("style") or "") for path in bars) == 9
