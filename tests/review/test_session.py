"""A review as people see it: what they are given, what is kept, and what they cannot do to each other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sfumato.errors import BusyError, TableError, UsageError
from sfumato.faces import Faces
from sfumato.review import MergeOptions, ReviewSettings, Session, Submission, merge
from sfumato.review.log import read_records
from tests.review.small import BOX, FREE, OTHER, Clocked, Review, table

WRONG = ((60.0, 50.0, 90.0, 75.0),)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    Clocked.now = 0.0
    yield
    while Review.opened:
        Review.opened.pop().session.close()


def records(review: Review) -> list[Any]:
    return list(read_records(review.folder / "reviews.jsonl"))


GOLD_IDS = ("apple/01.png", "apple/02.png", "pear/03.png")


def test_one_person_sees_each_image_once(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    assert sorted(review.everything(ann)) == review.ids
    assert review.session.next(ann) is None
    assert review.session.status()["done"] == 10


def test_the_order_comes_from_the_seed(tmp_path: Path) -> None:
    orders = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        review = Review(tmp_path / name, replace(FREE, seed=seed))
        orders.append(review.everything(review.person("Ann")))
        review.session.close()
    assert orders[0] == orders[1] != orders[2]


def test_reloading_gives_the_same_image_and_moving_gives_neighbours(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    first = review.session.next(ann)
    assert first is not None
    again = review.session.next(ann)
    assert again is not None
    assert (again.image_id, again.base, again.position) == (first.image_id, first.base, 1)
    review.say(ann, first)
    second = review.session.next(ann, after=first.image_id)
    assert second is not None
    assert second.position == 2
    back = review.session.previous(ann, second.image_id)
    assert back is not None
    assert back.image_id == first.image_id
    assert review.session.previous(ann, first.image_id) is None
    forth = review.session.next(ann, after=first.image_id)
    assert forth is not None
    assert forth.image_id == second.image_id


def test_two_people_do_not_get_one_image_until_a_lease_runs_out(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, lease_seconds=60))
    ann, bob = review.person("Ann"), review.person("Bob")
    hers, his = review.session.next(ann), review.session.next(bob)
    assert hers is not None
    assert his is not None
    assert hers.image_id != his.image_id
    Clocked.now = 61
    review.say(bob, his)
    taken = review.session.next(bob, after=his.image_id)
    assert taken is not None
    assert taken.image_id == hers.image_id
    assert review.say(ann, hers).kind == "taken"
    assert review.say(bob, taken, [OTHER]).kind == "saved"
    outcome = review.say(ann, hers, [BOX])
    assert outcome.kind == "stale"
    assert outcome.mine is not None
    assert outcome.theirs is not None
    assert outcome.mine.xyxy.tolist() == [list(BOX)]
    assert outcome.theirs.xyxy.tolist() == [list(OTHER)]
    assert len(records(review)) == 2
    mine = review.session.save(ann, Submission(hers.image_id, outcome.base, outcome.mine))
    assert mine.kind == "saved"
    following = review.session.next(ann, after=hers.image_id)
    assert following is not None
    assert following.image_id not in (hers.image_id, his.image_id)


def test_undo_across_saves_is_a_new_save(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    item = review.session.next(ann)
    assert item is not None
    review.say(ann, item, [BOX, OTHER], comment="two", state="flagged")
    later = review.session.item(ann, item.image_id)
    assert (len(later.faces), later.comment, later.state) == (2, "two", "flagged")
    assert review.say(ann, item).kind == "stale"  # the version before is no longer the base
    assert review.say(ann, later, item.faces).kind == "saved"
    assert [(r.n, r.parent, len(r.faces)) for r in records(review)] == [(1, 0, 2), (2, 1, 1)]
    assert review.session.status()["done"] == 1


def test_sources_are_the_servers_to_say(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    item = review.session.next(ann)
    assert item is not None
    faces = Faces.of([BOX, (-5, 20, 40, 200)], source=["liar", "liar"], kind=["photo", "face"])
    review.say(ann, item, faces)
    assert records(review)[0].faces == (
        (*BOX, "photo", "net"),
        (0.0, 20.0, 40.0, 80.0, "face", "Ann"),
    )


@pytest.mark.parametrize(
    ("faces", "words"),
    [
        (Faces.of([BOX], kind="cat"), "'cat' is no kind"),
        (Faces.of([BOX], kind="start"), "'start' is no kind"),
        (Faces.of([(100, 0, 120, 20)]), "no area inside"),
    ],
)
def test_boxes_that_cannot_be_are_refused(tmp_path: Path, faces: Faces, words: str) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    item = review.session.next(ann)
    assert item is not None
    with pytest.raises(UsageError, match=words):
        review.say(ann, item, faces)
    assert records(review) == []


def test_unknown_images_people_and_folders_are_refused(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    with pytest.raises(UsageError, match="no image"):
        review.session.item(ann, "../etc/passwd")
    assert review.session.reviewer("guess") is None
    with pytest.raises(UsageError, match="no name"):
        review.session.add_reviewer(" ")
    review.session.close()
    other = replace(review.table, manifest=replace(review.table.manifest, key="other"))
    with pytest.raises(UsageError, match="another face table"):
        Session.open(other, review.dataset, review.folder)


def test_skipped_images_are_for_others(tmp_path: Path) -> None:
    review = Review(tmp_path, n=1)
    ann, bob = review.person("Ann"), review.person("Bob")
    item = review.session.next(ann)
    assert item is not None
    review.say(ann, item, [BOX, OTHER], state="skipped")
    assert review.session.status()["done"] == 0
    assert item.image_id in review.everything(bob, lambda item: item.faces)
    last = [r for r in records(review) if r.image_id == item.image_id][-1]
    assert len(last.faces) == 1  # what was drawn before skipping is Ann's


def test_with_overlap_people_answer_independently(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, overlap=2), n=3)
    ann, bob, cid = (review.person(name) for name in ("Ann", "Bob", "Cid"))
    assert sorted(review.everything(ann, lambda item: [OTHER])) == review.ids
    assert review.session.status()["done"] == 0
    seen: list[Any] = []

    def look(item: Any) -> Any:
        seen.append(item.faces.xyxy.tolist())
        return item.faces

    assert sorted(review.everything(bob, look)) == review.ids
    assert seen == [[list(BOX)]] * 6  # not what Ann made of them
    assert review.session.next(cid) is None
    assert {r.task for r in records(review) if r.reviewer == "Bob"} == {"second"}
    status = review.session.status()
    assert (status["done"], status["disagreements"]) == (6, 6)
    assert status["reviewers"][0]["agreement"] == 0


def test_an_arbiter_decides_where_others_disagree(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, overlap=2), n=2)
    ann, bob = review.person("Ann"), review.person("Bob")
    review.everything(ann)
    strange = review.ids[2]
    review.everything(bob, lambda item: [BOX, OTHER] if item.image_id == strange else item.faces)
    judge = review.person("Judge", arbiter=True)
    item = review.session.next(judge)
    assert item is not None
    assert item.image_id == strange
    assert (item.position, item.total) == (1, 1)
    assert len(item.faces) == 2  # a box that half of them have is kept
    review.say(judge, item, [BOX])
    assert review.session.next(judge, after=strange) is None
    assert review.session.status()["disagreements"] == 0


def gold_review(tmp_path: Path, **more: Any) -> Review:
    settings = replace(FREE, gold_share=0.5, max_restarts=1, **more)
    truth = {f"apple/{number:02d}.png": Faces.of([OTHER]) for number in range(4)}
    return Review(tmp_path, settings, truth=truth)


def fail(review: Review, who: Any) -> Any:
    """Go on until a gold image comes, and fail it."""
    item = review.session.next(who)
    while item is not None:
        outcome = review.say(who, item)
        if outcome.kind != "saved":
            return item, outcome
        item = review.session.next(who, after=item.image_id)
    raise AssertionError("no gold image came")


def test_a_gold_image_looks_like_any_other_until_it_is_failed(tmp_path: Path) -> None:
    review = gold_review(tmp_path)
    ann = review.person("Ann")
    item, outcome = fail(review, ann)
    assert outcome.kind == "gold_failed"
    assert outcome.lives == 1
    assert outcome.right.xyxy.tolist() == [list(OTHER)]
    assert item.faces.xyxy.tolist() == [list(BOX)]
    assert item.faces.source == ("net",)
    every = [review.session.item(ann, name) for name in review.ids]
    assert not any(list(OTHER) in one.faces.xyxy.tolist() for one in every if one.image_id != item.image_id)
    crops = [crop.image_id for crop in review.session.grid(size=100)]
    assert not {f"apple/{number:02d}.png" for number in range(4)} & set(crops)
    again = review.session.next(ann)
    assert again is None or again.image_id != item.image_id or again.base != item.base
    fixed = review.session.save(ann, Submission(item.image_id, outcome.base, outcome.right))
    assert (fixed.kind, fixed.lives) == ("saved", 1)


def test_two_failures_begin_again_and_the_work_is_set_aside(tmp_path: Path) -> None:
    review = gold_review(tmp_path)
    ann = review.person("Ann")
    item, outcome = fail(review, ann)
    done = review.session.status()["done"]
    outcome = review.session.save(ann, Submission(item.image_id, outcome.base, Faces.of(WRONG)))
    assert (outcome.kind, outcome.lives) == ("restart", 0)
    assert outcome.right is not None
    status = review.session.status()
    assert status["done"] == 0 <= done
    row = status["reviewers"][0]
    assert (row["restarts"], row["lives"], row["gold_asked"], row["gold_right"]) == (1, 2, 1, 0)
    first = review.session.next(ann)
    assert first is not None
    assert first.position == 1
    assert (
        sum(not r.gold or r.gold.passed for r in records(review)) == len(records(review)) - 2
    )  # still there


def test_who_fails_again_is_set_aside(tmp_path: Path) -> None:
    review = gold_review(tmp_path)
    ann = review.person("Ann")
    kinds = []
    for _ in range(4):
        kinds.append(fail(review, ann)[1].kind)
    assert kinds == ["gold_failed", "restart", "gold_failed", "set_aside"]
    assert review.session.next(ann) is None
    assert review.person("Ann").set_aside
    assert review.session.save(ann, Submission(review.ids[9], "", Faces.of())).kind == "set_aside"
    bob = review.person("Bob")
    seen = review.everything(bob, lambda item: [OTHER])
    assert {name for name in seen if name.startswith("pear")} == {
        n for n in review.ids if n.startswith("pear")
    }
    review.again()
    assert review.session.next(review.person("Ann")) is None


def test_wrong_starts_and_those_of_the_truth(tmp_path: Path) -> None:
    truth = {
        "apple/00.png": Faces.of([OTHER, WRONG[0]], kind=["face", "start"]),
        "apple/01.png": Faces.of([OTHER, (0, 0, 0, 0)], kind=["face", "start"]),
        "apple/02.png": Faces.of([OTHER]),
    }
    review = Review(tmp_path, replace(FREE, gold_start="wrong"), truth=truth)
    ann = review.person("Ann")
    shown = [review.session.item(ann, name).faces for name in sorted(truth)]
    assert shown[0].xyxy.tolist() == [list(WRONG[0])]
    assert len(shown[1]) == 0
    assert shown[2].xyxy.tolist() != [list(OTHER)]
    assert set(shown[2].source) <= {"net"}


def test_the_audit_is_a_second_look_by_somebody_else(tmp_path: Path) -> None:
    settings = replace(FREE, audit_share=0.25, overlap=1)
    review = Review(tmp_path, settings, n=20)
    ann, bob = review.person("Ann"), review.person("Bob")
    review.everything(ann, lambda item: [OTHER])
    seen: list[Any] = []

    def look(item: Any) -> Any:
        seen.append(item.faces.xyxy.tolist())
        return item.faces

    review.everything(bob, look)
    said = records(review)
    audits = {r.image_id: r.reviewer for r in said if r.task == "audit"}
    queue = {r.image_id: r.reviewer for r in said if r.task == "queue"}
    assert set(queue) == set(review.ids)
    assert 8 <= len(audits) <= 14
    assert all(queue[name] != audits[name] for name in audits)
    assert seen == [[list(BOX)]] * len(seen)  # the audit begins with the face table, not with Ann's


def test_a_page_that_outlived_the_server_saves_what_it_has(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.3), n=10)
    ann = review.person("Ann")
    tasks = []
    for _ in range(12):
        item = review.session.next(ann)
        assert item is not None
        review.again()
        ann = review.person("Ann")
        assert review.say(ann, item, [OTHER]).kind == "saved"
        tasks.append(records(review)[-1].task)
    other = Review(tmp_path / "other", replace(FREE, audit_share=0.3), n=10)
    other.everything(other.person("Ann"))
    assert tasks == [record.task for record in records(other)][:12]
    assert {"audit", "queue"} == set(tasks)


def test_after_a_crash_the_next_image_is_another_one(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.3), n=10)
    first = review.session.next(review.person("Ann"))
    assert first is not None
    review.again()
    ann = review.person("Ann")
    ahead = review.session.next(ann, after=first.image_id)  # the page looks ahead before it saves
    assert ahead is not None
    assert ahead.image_id != first.image_id
    assert review.say(ann, first).kind == "saved"
    again = review.session.next(ann, after=first.image_id)
    assert again is not None
    assert again.image_id == ahead.image_id


def test_the_total_does_not_tell_what_an_image_is_for(tmp_path: Path) -> None:
    settings = replace(FREE, audit_share=0.2, gold_share=0.15)
    review = Review(tmp_path, settings, n=30, truth={name: Faces.of([BOX]) for name in GOLD_IDS})
    ann, bob = review.person("Ann"), review.person("Bob")
    totals = []

    def look(item: Any) -> Any:
        totals.append(item.total)
        return item.faces

    seen = review.everything(ann, look)
    assert {record.task for record in records(review)} == {"queue", "audit", "gold"}
    assert len(set(totals[:45])) == 1
    assert len(seen) <= totals[0] <= 1.3 * len(seen)
    assert review.session.next(bob) is not None  # the audit of what Ann did


def test_who_audits_what_they_reviewed_is_told_what_that_is_worth(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.25), n=10)
    review.everything(review.person("Ann"))
    status = review.session.status()
    assert 0 < status["same_eyes"] == status["missed"]["n_images"]
    two = Review(tmp_path / "two", replace(FREE, audit_share=0.25), n=10)
    ann, bob = two.person("Ann"), two.person("Bob")
    two.everything(ann)
    two.everything(bob)
    status = two.session.status()
    assert status["same_eyes"] == 0
    assert status["missed"]["n_images"] > 0


def test_only_an_arbiter_sees_who_was_asked_what(tmp_path: Path) -> None:
    truth = {name: Faces.of([BOX]) for name in GOLD_IDS}
    review = Review(tmp_path, replace(FREE, gold_share=0.5), n=10, truth=truth)
    ann, owner = review.person("Ann"), review.person("owner", arbiter=True)

    def rows(viewer: Any) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in review.session.status(viewer)["reviewers"]}

    before = review.session.status(ann)
    review.everything(ann)
    assert rows(owner)["Ann"]["gold_asked"] == len(truth)
    assert not any("gold" in name for name in rows(ann)["Ann"])
    assert review.session.status(ann) == before  # a figure that moves with a save would tell
    Clocked.now += 61
    assert rows(ann)["Ann"]["saved"] == 20
    assert not any("gold" in name for name in rows(ann)["Ann"])


def test_alone_one_person_audits_too(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.25), n=10)
    seen = review.everything(review.person("Ann"))
    assert set(seen) == set(review.ids)
    assert len(seen) > 20
    assert review.session.status()["missed"]["n_images"] == len(seen) - 20


def test_the_audit_goes_on_until_the_target_is_met(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.1, audit_until_target=True), n=10)
    review.everything(review.person("Ann"))
    missed = review.session.status()["missed"]
    assert (missed["n_images"], missed["upper"], missed["reached"]) == (20, 0.0, True)


def test_the_grid_throws_out_and_brings_back(tmp_path: Path) -> None:
    boxes = {"apple/00.png": [BOX, OTHER], "pear/01.png": [BOX]}
    review = Review(tmp_path, boxes=boxes)
    ann = review.person("Ann")
    cells = review.session.grid(order="score")
    assert len(cells) == review.session.grid_total(order="score") == 3
    assert len(review.session.grid(order="no-faces")) == 8
    item = review.session.item(ann, "apple/00.png")
    outcome = review.session.reject(ann, [(cell.image_id, cell.index, cell.base) for cell in cells])
    assert (outcome.kind, outcome.n_saved, outcome.stale) == ("saved", 2, ())
    assert all(cell.rejected and cell.index == -1 for cell in review.session.grid(order="score"))
    assert review.say(ann, item).kind == "stale"
    outcome = review.session.reject(ann, [(cells[0].image_id, cells[0].index, cells[0].base)])
    assert (outcome.n_saved, outcome.stale) == (0, (cells[0].image_id,))
    cell = review.session.grid(order="score")[0]
    assert review.session.restore(ann, [(cell.image_id, cell.row, cell.base)]).n_saved == 1
    back = review.session.grid(order="score")[0]
    assert (back.xyxy, back.rejected) == (cell.xyxy, False)
    assert review.session.status()["done"] == 0  # nobody saw the images whole
    for bad in (("apple/00.png", 7), ("apple/00.png", -1)):
        with pytest.raises(UsageError, match="none with the number"):
            review.session.reject(ann, [(*bad, review.session.item(ann, bad[0]).base)])
    with pytest.raises(UsageError, match="unknown order"):
        review.session.grid(order="beauty")


def test_opened_again_everything_is_as_it_was(tmp_path: Path) -> None:
    review = gold_review(tmp_path, overlap=2, audit_share=0.2)
    ann, bob = review.person("Ann"), review.person("Bob")
    fail(review, ann)
    fail(review, bob)
    cell = review.session.grid()[0]
    review.session.reject(bob, [(cell.image_id, cell.index, cell.base)])

    def seen() -> Any:
        everyone = [review.person("Ann"), review.person("Bob")]
        items = [
            (i.image_id, i.base, i.position, i.lives, i.state, i.comment, i.faces.xyxy.tolist())
            for person in everyone
            for i in (review.session.item(person, name) for name in review.ids)
        ]
        return items, review.session.status(), review.session.grid(size=100)

    before = seen()
    here = [review.session.next(person) for person in (ann, bob)]
    review.again()
    assert seen() == before
    after = [review.session.next(review.person(name)) for name in ("Ann", "Bob")]
    assert [i and (i.image_id, i.position) for i in here] == [i and (i.image_id, i.position) for i in after]


def test_a_torn_line_is_told_of_and_work_goes_on(tmp_path: Path) -> None:
    review = Review(tmp_path)
    item = review.session.next(review.person("Ann"))
    assert item is not None
    review.say(review.person("Ann"), item)
    review.session.close()
    with (review.folder / "reviews.jsonl").open("ab") as file:
        file.write(b'{"n":2,"time":"20')
    review.session = Session.open(review.table, review.dataset, review.folder)
    assert "cut short" in review.session.warnings[0]
    assert review.session.status()["done"] == 1
    assert len(review.everything(review.person("Ann"))) == 9
    assert [record.n for record in records(review)] == list(range(1, 11))


def test_two_processes_cannot_have_one_folder(tmp_path: Path) -> None:
    review = Review(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from sfumato.errors import BusyError; from sfumato.records import locked\n"
        "try:\n    with locked(Path(sys.argv[1])): print('free')\n"
        "except BusyError: print('busy')\n"
    )
    command = [sys.executable, "-c", code, str(review.folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "busy"
    with pytest.raises(BusyError):
        Session.open(review.table, review.dataset, review.folder)
    review.session.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "free"


def test_read_only_reads_beside_a_writer(tmp_path: Path) -> None:
    review = Review(tmp_path)
    ann = review.person("Ann")
    item = review.session.next(ann)
    assert item is not None
    review.say(ann, item, [OTHER])
    settings = replace(FREE, read_only=True)
    other = Session.open(review.table, review.dataset, review.folder, settings)
    guest = other.reviewer(other.add_reviewer("Guest"))
    assert guest is not None
    seen = other.item(guest, item.image_id)
    assert seen.faces.xyxy.tolist() == [list(OTHER)]
    for write in (
        lambda: other.save(guest, Submission(seen.image_id, seen.base, seen.faces)),
        lambda: other.reject(guest, []),
        lambda: other.set_aside("Ann"),
    ):
        with pytest.raises(UsageError, match="read-only"):
            write()
    other.close()
    assert review.say(ann, review.session.item(ann, item.image_id)).kind == "saved"


def test_images_that_could_not_be_read_are_left_out(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, audit_share=0.3, overlap=2, overlap_share=0.5), n=10)
    review.session.close()
    rows = review.table.images.to_pylist()
    rows[3] |= {"status": "failed", "error": "no picture", "width": None, "height": None}
    del rows[7]
    images = pa.Table.from_pylist(rows, schema=review.table.images.schema)
    gone = review.ids[7]
    faces = review.table.faces.filter(pc.not_equal(review.table.faces["image_id"], gone))
    review.table = replace(review.table, images=images, faces=faces)
    review.session = Session.open(review.table, review.dataset, review.folder)
    people = [review.person("Ann"), review.person("Bob")]
    seen = {name for person in people for name in review.everything(person)}
    assert seen == set(review.ids) - {review.ids[3], gone}
    with pytest.raises(UsageError, match="not examined or could not be read"):
        review.session.item(people[0], gone)
    status = review.session.status()
    assert (status["images"], status["done"], status["not_examined"]) == (18, 18, 2)
    merged = merge(review.table, records(review), MergeOptions(review.session.settings))
    assert merged.images.equals(images)
    # Without the image that was never examined the same are in the sample, and need two people.
    assert merged.status["missed"] == status["missed"]
    assert merged.status["done"] == 18


def test_where_two_detectors_disagree_comes_first(tmp_path: Path) -> None:
    review = Review(tmp_path)
    review.session.close()
    second = table(review.dataset, {name: [BOX] for name in review.ids if name != "pear/03.png"})
    review.session = Session.open((review.table, second), review.dataset, review.folder)
    item = review.session.next(review.person("Ann"))
    assert item is not None
    assert item.image_id == "pear/03.png"


def test_people_at_once_share_the_work(tmp_path: Path) -> None:
    review = Review(tmp_path, n=20)
    people = [review.person(name) for name in ("Ann", "Bob", "Cid", "Dan")]
    with ThreadPoolExecutor(4) as pool:
        seen = [name for names in pool.map(review.everything, people) for name in names]
    assert sorted(seen) == review.ids
    assert [(r.n, r.parent) for r in records(review)] == [(n, 0) for n in range(1, 41)]
    before = review.session.status()
    review.again()
    assert review.session.status() == before


def test_settings_stay_with_the_folder(tmp_path: Path) -> None:
    settings = ReviewSettings(seed=3, overlap=2, kinds=("face", "plate"), instructions='Look "twice"\n')
    review = Review(tmp_path, settings)
    review.again()
    assert review.session.settings == settings
    review.session.close()
    text = (review.folder / "review.toml").read_text()
    (review.folder / "review.toml").write_text(text.replace("overlap = 2", "overlap = 0"))
    with pytest.raises(UsageError, match="overlap must be at least 1"):
        Session.open(review.table, review.dataset, review.folder)


def test_tokens_are_not_written_down(tmp_path: Path) -> None:
    review = Review(tmp_path)
    first, second = review.session.add_reviewer("Ann"), review.session.add_reviewer("Ann")
    review.again()
    assert review.session.reviewer(first) == review.session.reviewer(second) == review.person("Ann")
    assert first not in (review.folder / "reviewers.json").read_text()
    (review.folder / "reviewers.json").write_text("{}")
    review.session.close()
    with pytest.raises(TableError, match="damaged"):
        Session.open(review.table, review.dataset, review.folder)
