"""The arms of a plan: the same images in each, divided alike; what differs is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import Dataset, Sample, read_dataset
from sfumato.errors import DatasetError, UsageError
from sfumato.learn import align, open_arms, open_divided

Make = Callable[..., Dataset]
Variant = Callable[..., Path]


def test_arms_are_named_by_their_manifests_and_hold_the_same_images(colours: Make, variant: Variant) -> None:
    photos = colours().root
    folders = [variant(photos, "none", "one"), variant(photos, "overlay", "two")]
    arms = open_arms(photos, folders, None, seed=0)
    assert [arm.partition("(")[0] for arm in arms.datasets] == ["original", "none", "overlay"]
    assert {dataset.samples for dataset in arms.datasets.values()} == {read_dataset(photos).samples}
    assert (arms.failed, arms.val_fraction) == ({}, 0.0)


def test_a_data_set_without_splits_is_divided_alike_in_every_arm(colours: Make, variant: Variant) -> None:
    photos = colours().root / "train"
    undivided, divided = variant(photos, "none", "a"), variant(photos, "overlay", "b", val_fraction=0.2)
    arms = open_arms(photos, [undivided, divided], None, seed=0)
    assert arms.val_fraction == 0.2
    assert len({dataset.samples for dataset in arms.datasets.values()}) == 1
    assert {sample.split for sample in arms.datasets["original"].samples} == {"train", "val"}
    with pytest.raises(DatasetError, match=r"divided differently.*give the val_fraction and split_seed"):
        open_arms(photos, [undivided, divided], 0.5, seed=0)


def test_what_failed_or_is_gone_in_one_arm_is_left_out_of_all(colours: Make, variant: Variant) -> None:
    dataset = colours()
    photos, ids = dataset.root, [sample.image_id for sample in dataset.samples]
    dataset.path(ids[3]).write_bytes(b"no picture")
    folder = variant(photos, "overlay", "v")
    (folder / ids[5]).unlink()
    dataset.path(ids[7]).unlink()
    arms = open_arms(photos, [folder], None, seed=0)
    assert sorted(arms.failed) == [ids[3], ids[5], ids[7]]
    assert "not a picture" in arms.failed[ids[3]]
    assert arms.failed[ids[5]] == f"no longer in {folder}"
    assert arms.failed[ids[7]] == f"not in {photos}"
    kept = [image_id for image_id in ids if image_id not in arms.failed]
    for each in arms.datasets.values():
        assert [sample.image_id for sample in each.samples] == kept
        assert "without" in each.fingerprint


def test_arms_that_cannot_be_compared_are_refused(colours: Make, variant: Variant) -> None:
    photos = colours().root
    folder = variant(photos, "overlay", "v")
    with pytest.raises(UsageError, match=r"is no variant.*named by photos"):
        open_arms(photos, [photos], None, seed=0)
    with pytest.raises(UsageError, match="both of the arm overlay"):
        open_arms(photos, [folder, variant(photos, "overlay", "again")], None, seed=0)
    with pytest.raises(DatasetError, match=r"has 2 categories.*has 3 .only in one: red"):
        open_arms(colours("more", n_categories=3).root, [folder], None, seed=0)


def test_a_category_without_images_to_train_on_is_named(colours: Make) -> None:
    dataset = colours()
    for path in (dataset.root / "train/green").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"nothing to train on .'green' first.; add images to train"):
        open_divided(dataset.root, None, seed=0)


def test_other_labels_of_an_image_are_refused(colours: Make) -> None:
    dataset = colours()
    first = dataset.samples[0]
    other = replace(dataset, arm="none", samples=(replace(first, label=1), *dataset.samples[1:]))
    with pytest.raises(DatasetError, match=f"'{first.image_id}' is blue in .* but green in"):
        align({"original": dataset, "none": other})


IDS = st.sets(st.integers(0, 30), min_size=1)


@given(st.lists(IDS, min_size=1, max_size=4))
def test_aligned_arms_hold_what_all_have_and_failed_is_the_rest(sets: list[set[int]]) -> None:
    datasets = {
        f"arm{number}": Dataset(
            Path(f"/{number}"),
            tuple(Sample(f"{image:02d}", "train", image % 2) for image in sorted(ids)),
            ("a", "b"),
            f"key{number}",
            f"arm{number}",
        )
        for number, ids in enumerate(sets)
    }
    aligned, failed = align(datasets)
    common = {f"{image:02d}" for image in set.intersection(*sets)}
    anywhere = {f"{image:02d}" for image in set.union(*sets)}
    for each in aligned.values():
        assert {sample.image_id for sample in each.samples} == common
    assert set(failed) == anywhere - common
