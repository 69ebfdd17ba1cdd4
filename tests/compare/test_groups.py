"""Groups of images: what a person may bring, and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.compare.groups import group_strata, read_image_groups, supercategory_strata
from sfumato.data.groups import read_groups
from sfumato.data.ilsvrc import ilsvrc_categories
from sfumato.errors import TableError, UsageError

IDS = ["val/a/1.jpg", "val/a/2.jpg", "val/b/1.jpg", "val/b/2.jpg"]


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "images.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "image_id,region,camera",
        *(f"{name},{region},x" for name, region in zip(IDS, ["Nord", "", "Süd", "Nord"], strict=True)),
    )
    parquet = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image_id": IDS, "region": ["Nord", None, "Süd", "Nord"]}), parquet)
    expected = dict(zip(IDS, ["Nord", None, "Süd", "Nord"], strict=True))
    assert read_image_groups(path, "region") == expected
    assert read_image_groups(parquet, "region") == expected


def test_numbers_and_truth_values_are_names_too(tmp_path: Path) -> None:
    path = csv(tmp_path, "image_id,tone,night,size", "1,3,true,1.5", "2,,false,2.0")
    assert read_image_groups(path, "tone") == {"1": "3", "2": None}
    assert read_image_groups(path, "night") == {"1": "True", "2": "False"}
    with pytest.raises(TableError, match="'size' holds numbers with a fraction"):
        read_image_groups(path, "size")
    parquet = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image_id": ["1", "2"], "tone": [3.0, None]}), parquet)
    assert read_image_groups(parquet, "tone") == {"1": "3", "2": None}


def test_what_is_wrong_with_a_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such table"):
        read_image_groups(tmp_path / "images.csv", "region")
    with pytest.raises(TableError, match="no column 'region'; it has: image_id, camera"):
        read_image_groups(csv(tmp_path, "image_id,camera", "a,x"), "region")
    with pytest.raises(TableError, match="no column 'image_id'; it has: url, region"):
        read_image_groups(csv(tmp_path, "url,region", "a,x"), "region")
    repeated = [f"{name},x" for name in "abcdefg" for _ in range(2)]
    with pytest.raises(TableError, match="occur twice: 'a', 'b', 'c', 'd', 'e' and 2 more"):
        read_image_groups(csv(tmp_path, "image_id,region", *repeated), "region")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 but not really")
    with pytest.raises(TableError, match=r"broken\.parquet: not a readable"):
        read_image_groups(broken, "region")
    with pytest.raises(TableError, match="not a readable"):
        read_image_groups(csv(tmp_path, "image_id,region", "a,b,c"), "region")


@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=1, max_size=30))
def test_strata_part_the_images_that_are_in_a_group(names: list[str | None]) -> None:
    ids = [f"{number}.jpg" for number in range(len(names))]
    groups = {**dict(zip(ids, names, strict=True)), "elsewhere.jpg": "w"}
    if not any(names):
        with pytest.raises(UsageError, match="none of the images compared is in a group"):
            group_strata(ids, groups, "images.csv, region")
        return
    found = group_strata(ids, groups, "images.csv, region")
    assert list(found) == sorted({name for name in names if name})
    for name, columns in found.items():
        assert [names[column] for column in columns] == [name] * names.count(name)


def test_missing_images_are_listed() -> None:
    with pytest.raises(
        UsageError, match=r"images.csv, region: lacks 2 of the 4 .*'val/a/2.jpg', 'val/b/2.jpg'"
    ):
        group_strata(IDS, {IDS[0]: "x", IDS[2]: None}, "images.csv, region")


def test_supercategories_hold_the_images_of_their_categories() -> None:
    label = np.array([0, 1, 2, 1, 0])
    found = supercategory_strata(
        label, ["drum", "flute", "mask"], {"music": ["drum", "flute", "harp"], "all": ["mask", "drum"]}
    )
    assert {name: columns.tolist() for name, columns in found.items()} == {
        "music": [0, 1, 3, 4],
        "all": [0, 2, 4],
    }
    with pytest.raises(UsageError, match=r"none of the 2 categories .* called like 'drum'"):
        supercategory_strata(label, ["drum"], {"birds": ["robin", "wren"]})


def test_the_studys_supercategories() -> None:
    categories = [category.wnid for category in ilsvrc_categories()]
    found = supercategory_strata(np.arange(1000), categories, read_groups("ilsvrc"))
    assert {name: len(columns) for name, columns in found.items()} == {
        "clothing.n.01": 49,
        "musical_instrument.n.01": 26,
        "wheeled_vehicle.n.01": 44,
        "insect.n.01": 27,
        "bird.n.01": 59,
    }
