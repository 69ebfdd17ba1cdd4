"""Merging: a pure function of what was said, whatever its order; and the artefact that it becomes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import OutputExists, TableError, UsageError
from sfumato.faces import Faces, read_faces
from sfumato.records import read_table
from sfumato.review import MergeOptions, Record, ReviewSettings, Session, merge, write_merged
from sfumato.review.consensus import MERGED, consensus, heads
from sfumato.review.log import read_records
from sfumato.review.merging import DISAGREEMENTS_SCHEMA
from sfumato.review.model import GoldResult, Reviewer
from tests.review.small import BOX, FREE, OTHER, Review, photos, table

FAR = (5.0, 60.0, 25.0, 78.0)


def said(n: int, who: str, *boxes: Any, **more: Any) -> Record:
    kinds = more.pop("kinds", ["face"] * len(boxes))
    rows = tuple((*map(float, box), kind, who) for box, kind in zip(boxes, kinds, strict=True))
    known: dict[str, Any] = {"image_id": "apple/00.png", "task": "queue", "base": "", "parent": 0, **more}
    return Record(n=n, time="", reviewer=who, faces=rows, **known)


def boxes(faces: Faces) -> list[tuple[float, ...]]:
    return sorted(map(tuple, faces.xyxy.tolist()))


SHOWN = Faces.of([BOX], [0.7], source="net")


def test_what_one_person_says_holds_and_nothing_said_changes_nothing() -> None:
    assert consensus(SHOWN, []).faces is SHOWN
    assert boxes(consensus(SHOWN, [said(1, "Ann", OTHER)]).faces) == [OTHER]
    assert boxes(consensus(SHOWN, [said(1, "Ann", OTHER, state="skipped")]).faces) == [BOX]


def test_half_of_the_votes_hold_a_box_and_less_does_not() -> None:
    two = [said(1, "Ann", BOX, FAR), said(2, "Bob", BOX)]
    found = consensus(SHOWN, two)
    assert boxes(found.faces) == [FAR, BOX]
    (only,) = found.disagreements
    assert (only.reason, only.xyxy, only.voters, only.n_asked, only.kept) == ("box", FAR, ("Ann",), 2, True)
    three = consensus(SHOWN, [*two, said(3, "Cid", BOX)])
    assert boxes(three.faces) == [BOX]
    assert not three.disagreements[0].kept


def test_boxes_are_fused_with_the_weights_of_their_people() -> None:
    two = [said(1, "Ann", (10, 10, 30, 30)), said(2, "Bob", (12, 10, 32, 30), kinds=["photo"])]
    plain = consensus(SHOWN, two)
    assert boxes(plain.faces) == [(11, 10, 31, 30)]
    assert plain.faces.source == (MERGED,)
    assert [d.reason for d in plain.disagreements] == ["kind"]
    weighted = consensus(SHOWN, two, weights={"Ann": 0.75, "Bob": 0.25})
    assert boxes(weighted.faces) == [(10.5, 10, 30.5, 30)]
    same = consensus(SHOWN, [said(1, "Ann", (0.1, 0.2, 9.3, 9.7)), said(2, "Bob", (0.1, 0.2, 9.3, 9.7))])
    assert same.faces.xyxy.tolist() == Faces.of([(0.1, 0.2, 9.3, 9.7)]).xyxy.tolist()


def test_two_faces_side_by_side_stay_two() -> None:
    side = [(0, 0, 20, 20), (21, 0, 41, 20)]
    moved = [(1, 0, 21, 20), (20, 0, 40, 20)]
    assert len(consensus(SHOWN, [said(1, "Ann", *side), said(2, "Bob", *moved)]).faces) == 2


def test_an_arbiter_has_the_last_word() -> None:
    both = [said(1, "Ann", BOX), said(2, "Bob", BOX, FAR), said(3, "Judge", OTHER, task="arbiter")]
    found = consensus(SHOWN, both)
    assert boxes(found.faces) == [OTHER]
    assert found.decided
    assert found.disagreements == ()
    late = [*both, said(4, "Cid", FAR)]
    assert boxes(consensus(SHOWN, late).faces) == [OTHER]


def test_flagged_images_are_for_the_arbiter() -> None:
    (only,) = consensus(SHOWN, [said(1, "Ann", BOX, state="flagged")]).disagreements
    assert (only.reason, only.voters) == ("flagged", ("Ann",))
    assert all(math.isnan(value) for value in only.xyxy)


def test_what_was_gone_on_from_gives_way() -> None:
    first, second = said(1, "Ann", BOX), said(2, "Bob", OTHER, parent=1)
    assert [r.n for r in heads([first, second])] == [2]
    assert [r.n for r in heads([first, said(2, "Ann", OTHER)])] == [2]
    assert [r.n for r in heads([first, said(2, "Bob", OTHER)])] == [1, 2]
    # Bob went on from Ann's, Cid from Bob's; that Bob is set aside does not bring Ann's back.
    third = said(3, "Cid", FAR, parent=2)
    assert [r.n for r in heads([first, third], [second])] == [3]


def test_who_threw_out_crops_speaks_of_these_only() -> None:
    shown = Faces.of([BOX, OTHER], source="net")
    rows = tuple((*box, "face", "net") for box in (BOX, OTHER))
    grid = replace(said(1, "Ann", task="grid"), faces=rows[1:])
    assert boxes(consensus(shown, [grid]).faces) == [OTHER]
    whole = [replace(said(n, who), faces=rows) for n, who in ((2, "Bob"), (3, "Cid"))]
    found = consensus(shown, [grid, *whole])
    assert boxes(found.faces) == [BOX, OTHER]
    (only,) = found.disagreements
    assert (only.xyxy, only.voters, only.n_asked) == (BOX, ("Bob", "Cid"), 3)


POINT = st.integers(0, 40)
ANY_BOX = st.tuples(POINT, POINT, st.integers(5, 40), st.integers(5, 39)).map(
    lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])
)
ANY_RECORD = st.fixed_dictionaries(
    {
        "who": st.sampled_from(["Ann", "Bob", "Cid"]),
        "boxes": st.lists(ANY_BOX, max_size=3),
        "task": st.sampled_from(["queue", "queue", "audit", "grid", "arbiter", "crowd"]),
        "state": st.sampled_from(["done", "done", "skipped", "flagged"]),
        "image_id": st.sampled_from(["apple/00.png", "pear/00.png"]),
        "gold": st.sampled_from([None, None, None, GoldResult(0.0, False, 0), GoldResult(0.9, True, 2)]),
    }
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    dataset = photos(tmp_path_factory.mktemp("photos") / "photos", 2)
    return table(dataset, {"apple/00.png": [BOX], "apple/01.png": [BOX, OTHER]}, {"apple/00.png": [0.5]})


def plain(merged: Any) -> Any:
    tables = (merged.faces, merged.disagreements, merged.estimates)
    return [repr(one.to_pylist()) for one in tables], repr(merged.status)


@given(st.lists(ANY_RECORD, max_size=7), st.randoms())
def test_the_order_of_records_makes_no_difference(faces: Any, given_: list[Any], random: Any) -> None:
    records = [
        said(n, one["who"], *one["boxes"], **{k: v for k, v in one.items() if k not in ("who", "boxes")})
        for n, one in enumerate(given_, start=1)
    ]
    shuffled = random.sample(records, len(records))
    merged = merge(faces, records)
    assert plain(merge(faces, shuffled)) == plain(merged)
    untouched = [row for row in merged.faces.to_pylist() if row["image_id"] == "apple/01.png"]
    assert untouched == [row for row in faces.faces.to_pylist() if row["image_id"] == "apple/01.png"]


@given(
    st.permutations(["Ann", "Bob", "Cid"]), st.lists(st.lists(ANY_BOX, max_size=3), min_size=3, max_size=3)
)
def test_nor_does_who_saved_first(faces: Any, people: list[str], given_: list[Any]) -> None:
    answers = dict(zip(("Ann", "Bob", "Cid"), given_, strict=True))
    first = [said(n, who, *answers[who]) for n, who in enumerate(("Ann", "Bob", "Cid"), start=1)]
    second = [said(n, who, *answers[who]) for n, who in enumerate(people, start=5)]
    one, two = merge(faces, first), merge(faces, second)
    assert one.faces.equals(two.faces)
    assert repr(one.disagreements.to_pylist()) == repr(two.disagreements.to_pylist())


def test_what_was_done_before_beginning_again_does_not_count(faces: Any) -> None:
    lost = said(2, "Ann", image_id="apple/01.png", task="gold", gold=GoldResult(0.1, False, 0))
    records = [said(1, "Ann", OTHER), lost]
    assert merge(faces, records).n_changed == 0
    after = [*records, said(3, "Ann", FAR)]
    assert boxes_of(merge(faces, after), "apple/00.png") == [FAR]
    out = MergeOptions(people=(Reviewer("Ann", set_aside=True),))
    assert merge(faces, after, out).n_changed == 0


def boxes_of(merged: Any, image_id: str) -> Any:
    rows = [row for row in merged.faces.to_pylist() if row["image_id"] == image_id]
    return sorted((row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows)


def test_known_answers_hold_whatever_people_said(faces: Any) -> None:
    truth = {"apple/00.png": Faces.of([FAR, OTHER], kind=["face", "start"])}
    merged = merge(faces, [said(1, "Ann", OTHER, task="gold")], MergeOptions(truth=truth))
    assert boxes_of(merged, "apple/00.png") == [FAR]


def test_records_that_cannot_be_merged_are_named(faces: Any) -> None:
    with pytest.raises(TableError, match="same number"):
        merge(faces, [said(1, "Ann"), said(1, "Bob")])
    with pytest.raises(TableError, match=r"'plum\.png'"):
        merge(faces, [said(1, "Ann", image_id="plum.png")])


def truth_of(number: int) -> list[tuple[float, float, float, float]]:
    return [[], [BOX], [BOX, OTHER], [FAR]][number % 4]


@pytest.fixture
def review(tmp_path: Path) -> Any:
    review = Review(tmp_path, replace(FREE, overlap=2), n=4)
    right = {name: truth_of(number) for number, name in enumerate(review.ids)}
    review.everything(review.person("Ann"), lambda item: right[item.image_id])
    review.everything(review.person("Bob"), lambda item: right[item.image_id])
    yield review
    review.session.close()
    Review.opened.clear()


def test_the_next_revision_is_the_truth_when_people_say_it(review: Review, tmp_path: Path) -> None:
    merged = write_merged(review.table, review.folder, tmp_path / "out")
    for number, name in enumerate(review.ids):
        assert boxes(merged.of(name)) == sorted(map(tuple, truth_of(number)))
    assert merged.manifest.counts["images_reviewed"] == 8
    assert merged.manifest.facts["revision"] == 1
    assert merged.images.equals(review.table.images)
    assert len(read_table(tmp_path / "out" / "disagreements.parquet", DISAGREEMENTS_SCHEMA)) == 0
    estimates = pyarrow.csv.read_csv(tmp_path / "out" / "estimates.csv").to_pylist()
    assert {(row["group"], row["stage"]) for row in estimates} >= {("all", "before"), ("all", "after")}
    status = json.loads((tmp_path / "out" / "review.json").read_text())
    assert status == json.loads(json.dumps(review.session.status()))
    # It is a face table like any other: it can be reviewed again, in a folder of its own.
    second = Session.open(read_faces(tmp_path / "out"), review.dataset, tmp_path / "second")
    assert second.status()["done"] == 0
    second.close()


def test_a_finished_result_is_read_back_and_another_is_refused(review: Review, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_merged(review.table, review.folder, out)
    written = (out / "faces.parquet").stat().st_mtime_ns
    assert write_merged(review.table, review.folder, out).manifest == first.manifest
    assert (out / "faces.parquet").stat().st_mtime_ns == written
    ann = review.person("Ann")
    review.say(ann, review.session.item(ann, review.ids[0]), [BOX])
    with pytest.raises(OutputExists):
        write_merged(review.table, review.folder, out)
    again = write_merged(review.table, review.folder, out, overwrite=True)
    assert again.manifest.key != first.manifest.key
    assert again.manifest.counts["images_with_disagreements"] == 1
    other = replace(review.table, manifest=replace(review.table.manifest, key="other"))
    with pytest.raises(UsageError, match="another face table"):
        write_merged(other, review.folder, out)
    with pytest.raises(UsageError, match="sfumato review wrote"):
        write_merged(review.table, tmp_path / "nothing", out)


def test_columns_that_only_a_format_knows_stay_with_untouched_faces(tmp_path: Path) -> None:
    review = Review(tmp_path, n=2)
    extra = review.table.faces.append_column("extra", [[f"{n}" for n in range(len(review.table.faces))]])
    faces = replace(review.table, faces=extra)
    merged = merge(faces, [said(1, "Ann", FAR)], MergeOptions(ReviewSettings()))
    assert merged.faces["extra"].to_pylist() == [None, "1", "2", "3"]
    assert merged.faces["image_id"].to_pylist() == review.ids
    review.session.close()
    Review.opened.clear()


def test_the_log_and_the_session_agree_with_the_pure_function(review: Review) -> None:
    records = list(read_records(review.folder / "reviews.jsonl"))
    merged = merge(
        review.table, records, MergeOptions(review.settings, people=review.session.reviewers.people)
    )
    assert merged.status == review.session.status()
