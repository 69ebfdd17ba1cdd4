"""The data sets that a plan trains and evaluates on, one an arm: divided alike, all of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.data import Dataset, Sample, read_dataset
from sfumato.errors import DatasetError, UsageError
from sfumato.obfuscate import read_failures

DEFAULT_VAL_FRACTION = 0.2
"""Share of each category that is held back where a data set has no split to evaluate on."""


@dataclass(frozen=True)
class Arms:
    """Data sets that differ by what was done to their images, and by nothing else.

    Attributes:
        datasets: by arm, as the variants' manifests name it; the untouched images are "original".
        failed: reason by image id, for images that some arm lacks; they are in none.
        val_fraction: share that was held back; 0 where the data sets have splits of their own.
    """

    datasets: Mapping[str, Dataset]
    failed: Mapping[str, str]
    val_fraction: float


def open_divided(root: Path, val_fraction: float | None, *, seed: int) -> tuple[Dataset, float]:
    """A data set that can be trained and evaluated on, and the share of it that was held back for that.

    Args:
        root: folder of images, or a variant.
        val_fraction: as `read_dataset`; None holds back 0.2 where the data set has no splits.
        seed: of that choice.

    Raises:
        DatasetError, UsageError: as `read_dataset`; one category; a category without images to train on.
    """
    if val_fraction is None:
        val_fraction = 0.0 if _is_divided(read_dataset(root)) else DEFAULT_VAL_FRACTION
    dataset = read_dataset(root, val_fraction=val_fraction, seed=seed)
    dataset.need_categories()
    evaluated = {sample.label for sample in dataset.subset(dataset.evaluation_split).samples}
    trained = {sample.label for sample in dataset.subset("train").samples}
    lacking = [dataset.categories[label] for label in sorted(evaluated - trained)]
    if lacking:
        raise DatasetError(
            f"{dataset.root}: {len(lacking)} categories are evaluated but have nothing to train on "
            f"('{lacking[0]}' first); add images to train, or remove them"
        )
    return dataset, val_fraction


def open_arms(photos: Path, variants: Sequence[Path], val_fraction: float | None, *, seed: int) -> Arms:
    """The arms of a plan: images that failed or are missing in one of them are left out of all.

    Args:
        photos: the untouched images.
        variants: folders that `sfumato obfuscate` wrote.
        val_fraction, seed: as `open_divided`; variants of a divided data set are divided already.

    Raises:
        DatasetError, UsageError, TableError, ManifestError: as `open_divided` and `align`; a folder that is
            no variant; two of one arm.
    """
    original, val_fraction = open_divided(photos, val_fraction, seed=seed)
    found = {original.arm: original}
    failed: dict[str, str] = {}
    for folder in variants:
        dataset = read_dataset(folder)
        if dataset.arm == original.arm and original.arm == "original":
            raise UsageError(
                f"{folder} is no variant: it has no manifest of sfumato obfuscate; "
                "the untouched images are named by photos"
            )
        if dataset.arm in found:
            raise UsageError(
                f"{folder} and {found[dataset.arm].root} are both of the arm {dataset.arm}; name one of them"
            )
        if val_fraction and not _is_divided(dataset):
            dataset = read_dataset(folder, val_fraction=val_fraction, seed=seed)
        found[dataset.arm] = dataset
        failed = _deleted(dataset) | read_failures(folder) | failed
    datasets, absent = align(found)
    failed = absent | failed
    return Arms({arm: each.without(failed) for arm, each in datasets.items()}, failed, val_fraction)


def align(datasets: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """The data sets without images that one of them lacks, and the reason by image id for each of those.

    Raises:
        DatasetError: other categories, another label of the same image, or another division into splits.
    """
    first = next(iter(datasets.values()))
    samples = {
        arm: {sample.image_id: sample for sample in dataset.samples} for arm, dataset in datasets.items()
    }
    failed: dict[str, str] = {}
    moved: dict[str, str] = {}
    for arm, dataset in datasets.items():
        _need_same_categories(first, dataset)
        mine, theirs = samples[arm], samples[first.arm]
        for image_id in mine.keys() ^ theirs.keys():
            failed[image_id] = f"not in {first.root if image_id in mine else dataset.root}"
        for image_id in mine.keys() & theirs.keys():
            if mine[image_id] != theirs[image_id]:
                _need_same_label(first, theirs[image_id], dataset, mine[image_id])
                moved[image_id] = (
                    f"in {theirs[image_id].split} of {first.root}, {mine[image_id].split} of {dataset.root}"
                )
    if len(moved) > len(failed):  # one image less may move another over the border of a split, but no more
        image_id, where = next(iter(sorted(moved.items())))
        raise DatasetError(
            f"{len(moved)} images are divided differently: '{image_id}' is {where}; "
            "give the val_fraction and split_seed that the variant was made with"
        )
    failed |= moved
    return {arm: dataset.without(failed) for arm, dataset in datasets.items()}, dict(sorted(failed.items()))


def _is_divided(dataset: Dataset) -> bool:
    return bool({"val", "test"} & set(dataset.splits))


def _deleted(variant: Dataset) -> dict[str, str]:
    """Images that the table of a variant has and its folder no longer."""
    return {
        sample.image_id: f"no longer in {variant.root}"
        for sample in variant.samples
        if not variant.path(sample.image_id).is_file()
    }


def _need_same_categories(first: Dataset, other: Dataset) -> None:
    if first.categories == other.categories:
        return
    odd = sorted(set(first.categories) ^ set(other.categories))
    raise DatasetError(
        f"{other.root} has {len(other.categories)} categories, {first.root} has {len(first.categories)} "
        f"(only in one: {', '.join(odd[:5])}); arms are variants of one data set, make it again"
    )


def _need_same_label(first: Dataset, sample: Sample, other: Dataset, theirs: Sample) -> None:
    if sample.label != theirs.label:
        names = [each.categories[row.label] for each, row in ((first, sample), (other, theirs))]
        raise DatasetError(
            f"'{sample.image_id}' is {names[0]} in {first.root} but {names[1]} in {other.root}; "
            "arms are variants of one data set, make it again"
        )
