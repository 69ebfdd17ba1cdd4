"""The ILSVRC hierarchy and other groups of categories."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data.groups import read_groups
from sfumato.data.ilsvrc import (
    STUDY_SUPERCATEGORIES,
    all_supercategories,
    ilsvrc_categories,
    supercategory,
)
from sfumato.errors import TableError, UnknownName

PUBLISHED_SIZES = {
    "clothing.n.01": 49,
    "musical_instrument.n.01": 26,
    "wheeled_vehicle.n.01": 44,
    "insect.n.01": 27,
    "bird.n.01": 59,
}


def test_a_thousand_categories_in_the_order_of_their_labels() -> None:
    categories = ilsvrc_categories()
    wnids = [category.wnid for category in categories]
    assert len(set(wnids)) == 1000
    assert wnids == sorted(wnids)
    assert len({category.synset for category in categories}) == 1000
    # Labels that everybody uses: 0 tench, 277 red fox, 999 toilet tissue.
    assert [categories[label].names[0] for label in (0, 277, 999)] == ["tench", "red fox", "toilet tissue"]
    assert categories[277].wnid == "n02119022"
    assert categories[277].synset == "red_fox.n.03"


@pytest.mark.parametrize(("name", "size"), PUBLISHED_SIZES.items())
def test_supercategories_have_the_published_size(name: str, size: int) -> None:
    assert len(supercategory(name)) == size


def test_the_supercategories_of_the_study_share_no_category() -> None:
    assert set(STUDY_SUPERCATEGORIES) == set(PUBLISHED_SIZES)
    for first, second in itertools.combinations(STUDY_SUPERCATEGORIES, 2):
        assert not supercategory(first) & supercategory(second)


@pytest.mark.parametrize(
    ("synset", "wnid"),
    [
        ("eskimo_dog.n.01", "n02109961"),
        ("siberian_husky.n.01", "n02110185"),
        ("projectile.n.01", "n04008634"),
        ("missile.n.01", "n03773504"),
        ("tub.n.02", "n04493381"),
        ("bathtub.n.01", "n02808440"),
        ("american_chameleon.n.01", "n01682714"),
        ("green_lizard.n.01", "n01693334"),
    ],
)
def test_synsets_are_named_as_the_study_names_them(synset: str, wnid: str) -> None:
    assert supercategory(synset) == {wnid}


def test_a_closure_holds_its_synset_and_follows_every_path() -> None:
    by_name = {category.names[0]: category for category in ilsvrc_categories()}
    pug = by_name["pug"].closure
    assert {"pug.n.01", "dog.n.01", "canine.n.02", "domestic_animal.n.01", "entity.n.01"} <= pug
    assert supercategory("pug.n.01") == {by_name["pug"].wnid}
    cranes = {category.synset for category in ilsvrc_categories() if category.names == ("crane",)}
    assert cranes == {"crane.n.04", "crane.n.05"}
    assert len(supercategory("dog.n.01")) == 118


def test_closures_are_closed() -> None:
    text = resources.files("sfumato.data").joinpath("ilsvrc_synsets.csv").read_text("utf-8")
    above = {row["synset"]: set(row["hypernyms"].split()) for row in csv.DictReader(text.splitlines())}
    for category in ilsvrc_categories():
        assert category.synset in category.closure
        assert set().union(*(above[synset] for synset in category.closure)) <= category.closure
        # Nothing but what is above: each other member is above some member.
        assert category.closure - {category.synset} <= set().union(
            *(above[synset] for synset in category.closure)
        )


def test_an_unknown_synset_is_named_with_some_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"'dog\.n\.99'.*mammal\.n\.01"):
        supercategory("dog.n.99")


def test_supercategories_hold_at_least_two_and_the_widest_comes_first() -> None:
    names = all_supercategories()
    sizes = [len(supercategory(name)) for name in names]
    assert (names[0], sizes[0]) == ("entity.n.01", 1000)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 2
    assert set(STUDY_SUPERCATEGORIES) < set(names)


def test_the_licence_lies_beside_the_data() -> None:
    text = resources.files("sfumato.data").joinpath("WORDNET-LICENSE.txt").read_text("utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in text
    assert "Permission to use, copy, modify and distribute this software" in text
    assert text.rstrip().endswith("Princeton University and LICENSEE agrees to preserve same.")


WORDNET = Path("/usr/share/wordnet")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that built the data file; it stands in the checkout, not in the package."""
    path = Path(__file__).parents[2] / "scripts" / "build_ilsvrc.py"
    spec = importlib.util.spec_from_file_location("build_ilsvrc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_ilsvrc"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_the_script_reads_wordnets_files(script: ModuleType, tmp_path: Path) -> None:
    # A toy of four synsets: fox has two parents, and is the second sense of its first lemma.
    (tmp_path / "data.noun").write_text(
        "  1 The licence  \n  2   \n  3 ends.  \n"
        "00000100 03 n 01 thing 0 001 ~ 00000200 n 0000 | what is  \n"
        "00000200 05 n 02 animal 0 Beast 1 002 @ 00000100 n 0000 ~ 00000400 n 0000 | it lives | so\n"
        "00000300 05 n 01 pet 0 002 @ 00000100 n 0000 + 00000900 v 0101 | kept  \n"
        "00000400 05 n 02 Red_Fox 0 Vulpes 0 003 @ 00000200 n 0000 @ 00000300 n 0000 @i 00000100 n 0000 | r\n"
    )
    (tmp_path / "index.noun").write_text(
        "  1 The licence  \n"
        "thing n 1 1 ~ 1 0 00000100  \nanimal n 1 2 @ ~ 1 1 00000200  \npet n 1 1 @ 1 0 00000300  \n"
        "red_fox n 2 1 @ 2 1 00000999 00000400  \n"
    )
    rows, notice = script.table([400], tmp_path)
    assert rows.splitlines() == [
        "wnid,synset,is_category,lemmas,hypernyms",
        "n00000100,thing.n.01,0,thing,",
        "n00000200,animal.n.01,0,animal; Beast,thing.n.01",
        "n00000300,pet.n.01,0,pet,thing.n.01",
        "n00000400,red_fox.n.02,1,Red Fox; Vulpes,animal.n.01 pet.n.01",
    ]
    assert notice.endswith("The licence\n\nends.\n")


@pytest.mark.skipif(not (WORDNET / "data.noun").is_file(), reason="Debian's wordnet-base is not installed")
def test_the_script_makes_the_data_that_is_shipped(script: ModuleType) -> None:
    rows, notice = script.table([int(one.wnid[1:]) for one in ilsvrc_categories()], WORDNET)
    data = resources.files("sfumato.data")
    assert rows == data.joinpath("ilsvrc_synsets.csv").read_text("utf-8")
    assert notice == data.joinpath("WORDNET-LICENSE.txt").read_text("utf-8")


def test_groups_of_ilsvrc() -> None:
    assert {name: len(found) for name, found in read_groups("ilsvrc").items()} == PUBLISHED_SIZES
    assert list(read_groups("ilsvrc:dog.n.01, bird.n.01")) == ["dog.n.01", "bird.n.01"]
    assert list(read_groups("ilsvrc:all")) == list(all_supercategories())
    with pytest.raises(UnknownName):
        read_groups("ilsvrc:bird.n.02")


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@given(st.dictionaries(names, st.sets(names, min_size=1, max_size=4), min_size=1, max_size=4))
def test_groups_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, groups: dict[str, set[str]]
) -> None:
    path = tmp_path_factory.mktemp("groups") / "groups.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "supercategory", "category"])
        writer.writerows(["", group, category] for group, members in groups.items() for category in members)
    assert read_groups(path) == groups
    assert list(read_groups(path)) == list(groups)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "category and supercategory is missing"),
        (b"category;supercategory\na;b\n", "is missing"),
        (b"category,group\na,b\n", "supercategory is missing"),
        (b"category,supercategory\n", "no category in it"),
        (b"category,supercategory\na,b\nc\n", "line 3 lacks"),
        (b"category,supercategory\na,b\n,b\n", "line 3 lacks"),
        (b'category,supercategory\n"a,b\n', "not a CSV file"),
        (b"category,supercategory\n\xff\xfe,b\n", "not text in UTF-8"),
    ],
)
def test_what_is_no_grouping_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=message) as caught:
        read_groups(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.csv: cannot be read"):
        read_groups(tmp_path / "none.csv")
