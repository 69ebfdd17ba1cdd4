"""Crowd tasks in the study's format: out, back, and into the log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import TableError, UsageError
from sfumato.faces import Faces
from sfumato.review.crowd import (
    CrowdImage,
    TaskPlan,
    crowd_records,
    read_results,
    read_tasks,
    tasks,
    write_results,
    write_tasks,
)
from sfumato.review.log import read_records
from tests.review.small import BOX, FREE, OTHER, Review

NUMBER = st.floats(0, 4000, width=32)
FACES = st.lists(
    st.tuples(NUMBER, NUMBER, NUMBER, NUMBER).map(
        lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
    ),
    max_size=3,
).map(Faces.of)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
TASKS = st.lists(
    st.lists(st.builds(CrowdImage, WORD, FACES, st.none() | FACES, st.booleans()), min_size=1, max_size=4),
    max_size=3,
)


def plain(found: list[list[CrowdImage]], *, change: bool) -> Any:
    return [
        [
            (
                i.url,
                i.faces.xyxy.tolist(),
                None if i.truth is None else i.truth.xyxy.tolist(),
                i.change if change else None,
            )
            for i in task
        ]
        for task in found
    ]


@settings(max_examples=40)
@given(TASKS)
def test_tasks_and_results_come_back(tmp_path_factory: pytest.TempPathFactory, found: Any) -> None:
    path = tmp_path_factory.mktemp("crowd") / "tasks"
    write_tasks(path, found)
    assert plain(read_tasks(path), change=False) == plain(found, change=False)
    write_results(path, found)
    assert plain(read_results(path), change=True) == plain(found, change=True)


def test_the_files_have_the_studys_fields(tmp_path: Path) -> None:
    gold = CrowdImage("https://x/a.jpg", Faces.of([BOX]), Faces.of([OTHER]), change=True)
    write_tasks(tmp_path / "in", [[gold, replace(gold, truth=None)]])
    box, other = (dict(zip(("x0", "y0", "x1", "y1"), xyxy, strict=True)) for xyxy in (BOX, OTHER))
    assert json.loads((tmp_path / "in").read_text()) == [
        {"url": "https://x/a.jpg", "bboxes": [box], "ground_truth_bboxes": [other]},
        {"url": "https://x/a.jpg", "bboxes": [box]},
    ]
    write_results(tmp_path / "out", [[gold]])
    assert json.loads((tmp_path / "out").read_text()) == [
        {"url": "https://x/a.jpg", "refined_bboxes": [box], "change": True, "ground_truth_bboxes": [other]}
    ]


def test_each_task_has_its_gold_images_somewhere() -> None:
    shown = {f"{number:03d}.jpg": Faces.of([BOX]) for number in range(100)}
    truth = {f"{number:03d}.jpg": Faces.of([OTHER, BOX], kind=["face", "start"]) for number in range(5)}
    found = tasks(shown, truth, TaskPlan("https://x/", per_task=20, gold_per_task=3))
    assert [len(task) for task in found] == [20] * 5 + [13]
    assert all(sum(image.truth is not None for image in task) == 3 for task in found)
    answer = next(image.truth for image in found[0] if image.truth is not None)
    assert answer.xyxy.tolist() == [list(OTHER)]
    places = {at for task in found for at, image in enumerate(task) if image.truth is not None}
    assert len(places) > 5
    urls = [image.url for task in found for image in task if image.truth is None]
    assert urls == [f"https://x/{name}" for name in shown if name not in truth]
    with pytest.raises(UsageError, match="cannot have 3 gold"):
        TaskPlan(per_task=3)


def test_results_become_records_of_the_crowd(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, overlap=2), n=2)
    right = [CrowdImage(f"https://x/{name}", Faces.of([OTHER]), change=True) for name in review.ids[:2]]
    gold = CrowdImage("https://x/gold.png", Faces.of([BOX]), Faces.of([BOX]), change=False)
    careless = replace(gold, truth=Faces.of([OTHER]))
    again = CrowdImage(f"https://x/{review.ids[0]}", Faces.of([BOX]), change=False)
    write_results(tmp_path / "out", [[*right, gold], [right[0], careless], [again]])
    outcome = review.session.import_crowd(read_results(tmp_path / "out"))
    assert outcome.n_saved == 3
    records = list(read_records(review.folder / "reviews.jsonl"))
    assert [(r.reviewer, r.image_id, r.extra["change"]) for r in records] == [
        ("crowd", review.ids[0], True),
        ("crowd", review.ids[1], True),
        ("crowd 2", review.ids[0], False),
    ]
    status = review.session.status()
    assert (status["done"], status["disagreements"]) == (1, 1)
    review.again()
    assert review.session.status() == status
    review.session.close()
    Review.opened.clear()


def test_a_file_that_comes_twice_counts_once(tmp_path: Path) -> None:
    review = Review(tmp_path, replace(FREE, overlap=3), n=2)
    first, second = (
        CrowdImage(f"https://x/{name}", Faces.of([OTHER]), change=True) for name in review.ids[:2]
    )

    def bring(*tasks: list[CrowdImage]) -> tuple[int, int]:
        outcome = review.session.import_crowd(tasks)
        return outcome.n_saved, outcome.n_known

    # Two workers said the same of one task: both count, however often their file is brought.
    assert bring([first, second], [first, second]) == (4, 0)
    status = review.session.status()
    assert bring([first, second], [first, second]) == (0, 2)
    review.again()
    assert bring([first, second], [first, second]) == (0, 2)
    assert review.session.status() == status
    # The file comes again with more in it, which is a third person's word and not the first one's again.
    assert bring([first, second], [first, second], [replace(first, faces=Faces.of([BOX]))]) == (1, 2)
    records = list(read_records(review.folder / "reviews.jsonl"))
    assert [r.reviewer for r in records if r.image_id == review.ids[0]] == ["crowd", "crowd 2", "crowd 3"]
    assert review.session.status()["done"] == 1
    review.session.close()
    Review.opened.clear()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", "task 1"),
        ('[{"url": "a.jpg"}]\n', "task 1"),
        ('[{"url": 3, "refined_bboxes": []}]', "url is no text"),
        ('[{"url": "a", "refined_bboxes": [{"x0": 3, "y0": 0, "x1": 1, "y1": 1}]}]', "ends before"),
        ('[{"url": "a", "refined_bboxes": [{"x0": 3}]}]', "'y0'"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "out").write_text(text)
    with pytest.raises(TableError, match=words):
        read_results(tmp_path / "out")


def test_other_ways_to_write_results_are_read(tmp_path: Path) -> None:
    image = {"url": "a.jpg", "refined_bboxes": []}
    for value, n in ([image, image], 1), ([[image], [image]], 2), ({"output": [image]}, 1):
        (tmp_path / "out").write_text(json.dumps(value))
        assert len(read_results(tmp_path / "out")) == n
    (tmp_path / "out").write_text("")
    assert read_results(tmp_path / "out") == []


def test_a_result_of_no_image_is_refused() -> None:
    with pytest.raises(TableError, match="no image"):
        crowd_records([[CrowdImage("https://x/b.jpg", Faces.of())]], ["a.jpg"])
    with pytest.raises(TableError, match="2 images"):
        crowd_records([[CrowdImage("a.jpg", Faces.of())]], ["x/a.jpg", "y/a.jpg"])
