"""Which faces to hide: rules as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfumato.data import read_dataset
from sfumato.errors import TableError, UsageError
from sfumato.faces import Faces, FaceTable
from sfumato.faces.selection import Keep, Selection, Stricter, read_selection, select_faces
from tests.conftest import drawn, face_table

SIZE = (200, 100)
FACES = Faces.of(
    [[0, 0, 10, 20], [50, 50, 90, 90], [100, 0, 200, 100]],
    [0.25, 0.5, 1.0],
    kind=("face", "photo", "face"),
)


def left(selection: Selection, image_id: str = "val/a.jpg") -> list[int]:
    """Rows of the faces that are to be hidden."""
    hidden = FACES[selection.chosen(FACES, image_id, SIZE)].xyxy.tolist()
    return [row for row, box in enumerate(FACES.xyxy.tolist()) if box in hidden]


@pytest.mark.parametrize(
    ("rules", "hidden"),
    [
        ({}, [0, 1, 2]),
        ({"min_size": 20}, [0, 1, 2]),
        ({"min_size": 20.5}, [1, 2]),
        ({"min_share": 0.08}, [1, 2]),
        ({"min_share": 0.5}, [2]),
        ({"min_score": 0.5}, [1, 2]),
        ({"kinds": ["photo"]}, [1]),
        ({"kinds": ["face"], "min_score": 0.9}, [2]),
        ({"keep": [{"image": "val/a.jpg"}]}, []),
        ({"keep": [{"image": "val/*"}]}, []),
        ({"keep": [{"image": "train/*"}]}, [0, 1, 2]),
        ({"keep": [{"region": [60, 60, 80, 80]}]}, [0, 2]),
        ({"keep": [{"region": [0, 0, 0.5, 1], "relative": True}]}, [2]),
        ({"keep": [{"region": [0, 0, 0.5, 1]}]}, [0, 1, 2]),
        ({"keep": [{"region": [70, 70, 80, 80]}]}, [0, 2]),
        ({"keep": [{"region": [60, 60, 70, 70]}]}, [0, 1, 2]),
        ({"keep": [{"region": [0, 0, 9, 19]}, {"region": [140, 40, 160, 60]}]}, [1]),
        ({"keep": [{"image": "train/*", "region": [0, 0, 200, 100]}]}, [0, 1, 2]),
    ],
)
def test_rules_choose_faces(rules: dict[str, Any], hidden: list[int]) -> None:
    assert left(Selection.from_dict(rules)) == hidden


def test_an_id_with_brackets_is_itself() -> None:
    assert left(Selection(keep=(Keep("val/a[1].jpg"),)), "val/a[1].jpg") == []
    assert left(Selection(keep=(Keep("val/a[1].jpg"),)), "val/a1.jpg") == []
    assert left(Selection(keep=(Keep("val/a[1].jpg"),)), "val/a2.jpg") == [0, 1, 2]


share = st.floats(0, 1)
region = st.tuples(share, share, share, share).map(
    lambda r: (min(r[0], r[1]), min(r[2], r[3]), max(r[:2]), max(r[2:]))
)
selections = st.builds(
    Selection,
    min_size=st.floats(0, 100),
    min_share=share,
    min_score=share,
    kinds=st.lists(st.sampled_from(["face", "photo"]), max_size=2).map(tuple),
    keep=st.lists(
        st.builds(Keep, st.sampled_from(["*", "val/*", "train/a.jpg"]), st.none() | region, st.booleans()),
        max_size=3,
    ).map(tuple),
    stricter=st.lists(st.builds(Stricter, share, st.just(("dog", "ape"))), max_size=2).map(tuple),
)


@given(selections)
def test_rules_survive_a_file(selection: Selection) -> None:
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


@given(selections)
def test_choosing_twice_chooses_no_further(selection: Selection) -> None:
    once = FACES[selection.chosen(FACES, "val/a.jpg", SIZE)]
    assert selection.chosen(once, "val/a.jpg", SIZE).all()
    assert len(selection.chosen(Faces.of(), "val/a.jpg", SIZE)) == 0


def test_a_table_is_cut_to_the_faces_to_hide(photos: Path) -> None:
    first, second = "train/apple/0.jpg", "val/pear/2.jpg"
    boxes = {second: [[1, 1, 4, 4], [2, 2, 30, 30]], first: [[0, 0, 40, 40], [5, 5, 8, 8]]}
    table = face_table(read_dataset(photos), boxes)
    cut = select_faces(
        table, Selection(min_size=10, keep=(Keep("train/*", (0, 0, 0.5, 0.5), relative=True),))
    )
    assert cut.of(first).xyxy.tolist() == []
    assert cut.of(second).xyxy.tolist() == [[2, 2, 30, 30]]
    assert cut.status == table.status
    assert cut.manifest.counts["faces_left_visible"] == 3
    assert cut.manifest.key != table.manifest.key
    assert select_faces(table, Selection()) is table
    bare = table.images.set_column(3, "width", pa.nulls(len(table.images), pa.int32()))
    with pytest.raises(TableError, match="faces but no size"):
        select_faces(FaceTable(table.faces, bare, table.manifest), Selection(min_size=1))


def test_some_categories_ask_for_a_higher_score() -> None:
    rules = Selection(min_score=0.3, stricter=(Stricter(0.9, ("dog",)), Stricter(0.5, ("cat", "dog"))))
    chosen = {name: rules.chosen(FACES, "a.jpg", SIZE, name).tolist() for name in ("dog", "cat", "bow tie")}
    assert chosen == {"dog": [False, False, True], "cat": [False, True, True], "bow tie": [False, True, True]}
    assert rules.chosen(FACES, "a.jpg", SIZE).tolist() == [False, True, True]


def test_the_label_of_an_image_decides_whether_a_rule_is_stricter(photos: Path) -> None:
    boxes = {"train/apple/0.jpg": [[0, 0, 40, 40]], "val/pear/2.jpg": [[1, 1, 14, 14]]}
    table = face_table(read_dataset(photos), boxes)
    low = table.faces.set_column(5, "score", pa.array([0.5, 0.5], pa.float32()))
    cut = select_faces(
        FaceTable(low, table.images, table.manifest), Selection(stricter=(Stricter(0.6, ("pear",)),))
    )
    assert cut.image_ids_with_faces() == {"train/apple/0.jpg"}
    assert cut.manifest.settings["selection"]["stricter"] == [{"min_score": 0.6, "categories": ["pear"]}]


def test_images_without_labels_are_of_no_category(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    Image.fromarray(drawn()).save(tmp_path / "flat/a.png")
    table = face_table(read_dataset(tmp_path / "flat"), {"a.png": [[1, 1, 20, 20]]})
    assert len(select_faces(table, Selection(min_size=5)).faces) == 1
    with pytest.raises(UsageError, match="names none of the data set's 0 categories"):
        select_faces(table, Selection(stricter=(Stricter(1.0, ("dog",)),)))


def test_a_rule_for_categories_that_are_not_there_is_refused(photos: Path) -> None:
    table = face_table(read_dataset(photos), {"train/apple/0.jpg": [[0, 0, 40, 40]]})
    with pytest.raises(UsageError, match="named by WordNet id"):
        select_faces(table, Selection(stricter=(Stricter(0.6, ("n02099601",)),)))


def test_groups_of_categories_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("category,supercategory\ndog,animal\nape,animal\nape,primate\n")
    (tmp_path / "s.toml").write_text(
        f'[[stricter]]\ngroups = "{tmp_path}/groups.csv"\nmin_score = 0.6\n'
        '[[stricter]]\ngroups = "ilsvrc:animal.n.01"\nmin_score = 0.4\n'
    )
    own, animals = read_selection(tmp_path / "s.toml").stricter
    assert own == Stricter(0.6, ("ape", "dog"))
    assert len(animals.categories) == 398  # the animals among the 1,000, as ImageNet's users count them
    assert "n02099601" in animals.categories  # golden retriever
    assert "n09835506" not in animals.categories  # ballplayer: a person is no animal of this kind


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'min_size = 12\nkinds = ["face"]\n'
        '[[keep]]\nimage = "val/*"\nregion = [0.1, 0.2, 0.4, 0.5]\nrelative = true\n'
    )
    expected = Selection(
        min_size=12, kinds=("face",), keep=(Keep("val/*", (0.1, 0.2, 0.4, 0.5), relative=True),)
    )
    assert read_selection(tmp_path / "s.toml") == expected
    (tmp_path / "s.json").write_text(json.dumps(expected.to_dict()))
    assert read_selection(tmp_path / "s.json") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("min_size =", r"s\.toml: "),
        ("smallest = 3", "there is no 'smallest'; known: min_size"),
        ("min_size = -1", "min_size is at least 0"),
        ("min_score = 1.5", "min_score is at least 0 and at most 1"),
        ("min_share = nan", "min_share"),
        ('kinds = "face"', "kinds is a list"),
        ('min_size = "large"', r"s\.toml: "),
        ("keep = [3]", r"s\.toml: "),
        ('keep = [{picture = "a"}]', "there is no 'picture'; known: image, region, relative"),
        ("keep = [{region = [1, 2, 3]}]", "a region is x0, y0, x1, y1"),
        ("keep = [{region = [9, 0, 1, 1]}]", "a region ends before it starts"),
        ("stricter = [{min_score = 0.5}]", r"s\.toml: .*categories"),
        ('stricter = [{min_score = 2, categories = ["a"]}]', "min_score is at least 0 and at most 1"),
        ('stricter = [{min_score = 0.5, categories = "a"}]', "categories is a list of names"),
        ('stricter = [{min_score = 0.5, groups = "none.csv"}]', r"none\.csv: cannot be read"),
        (
            'stricter = [{min_score = 0.5, groups = "a", categories = ["b"]}]',
            "groups or categories, not both",
        ),
        ('stricter = [{min_score = 0.5, category = "a"}]', "there is no 'category'"),
    ],
)
def test_broken_rules_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.toml").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_selection(tmp_path / "s.toml")
    assert str(tmp_path / "s.toml") in str(caught.value)


def test_a_file_of_rules_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        read_selection(tmp_path / "none.toml")
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(UsageError, match="expected an object"):
        read_selection(tmp_path / "s.json")
