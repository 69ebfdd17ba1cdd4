"""SUN397: scenes, with ten official partitions into halves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sfumato.data.dataset import Sample
from sfumato.data.folder import image_ids, split_samples
from sfumato.data.tasks.layout import Layout, annotated, below, need_all, need_once, refuse_any
from sfumato.data.tasks.task import METRICS, TaskData, TaskOptions
from sfumato.errors import DatasetError, UsageError
from sfumato.text_files import read_text

PARTITIONS = range(1, 11)
_NAMES = "ClassName.txt"
_WORDS = {"train": "Training", "test": "Testing"}

LAYOUT = Layout(
    "SUN397",
    "SUN397/\n"
    "  a/abbey/sun_*.jpg …                a folder for each letter\n"
    "Partitions/                          (from Partitions.zip; beside SUN397/ or in it)\n"
    "  ClassName.txt\n"
    "  Training_01.txt … Training_10.txt\n"
    "  Testing_01.txt … Testing_10.txt",
    ("SUN397.tar.gz", "Partitions.zip"),
)


def read_sun397(root: Path, options: TaskOptions, cache: Path) -> TaskData:  # noqa: ARG001
    """SUN397 in one of its official partitions: 50 training and 50 test images of each category.

    Where no partition file lies there at all (torchvision's download brings none), half of each category is
    held back, chosen by a hash of the partition's number and the image: name and facts say that this is no
    official partition.

    Args:
        root: the folder `SUN397`, or the one that it lies in.
        options: `partition`.
        cache: not used.

    Raises:
        UsageError: no such partition.
        DatasetError: the layout is another, some partition files are there but not this one, images are
            missing, or the lists do not agree.
    """
    number = options.partition
    if number not in PARTITIONS:
        raise UsageError(f"SUN397 has the partitions 1 to 10, not {number}")
    folder = LAYOUT.find(root, (root, root / "SUN397"), ("a/",))
    lists = _lists(root, folder)
    if lists is None:
        return _own_halves(root, folder, number)
    samples, categories = _official(root, folder, lists, number)
    source = f"official partition {number:02d}"
    return _task(f"sun397-{number:02d}", folder, samples, categories, {"partition": number, "source": source})


def _task(
    name: str, folder: Path, samples: list[Sample], categories: list[str], facts: dict[str, object]
) -> TaskData:
    dataset = annotated(folder, samples, categories)
    dataset.need_categories()
    counts = {f"n_{split}": sum(sample.split == split for sample in samples) for split in dataset.splits}
    return TaskData(name, "SUN397", "categories", dataset, METRICS["categories"], facts={**facts, **counts})


def _lists(root: Path, folder: Path) -> Path | None:
    """The folder with the partitions' files, whichever of them it holds; None where there is none."""
    places = (folder.parent / "Partitions", folder / "Partitions", folder.parent, folder, root)
    for place in places:
        if any(re.fullmatch(r"(Training|Testing)_\d\d\.txt", path.name) for path in place.glob("*.txt")):
            return place
    if (folder / "Partitions").is_dir() or (folder.parent / "Partitions").is_dir():
        raise LAYOUT.error(root, ["Training_01.txt and all others in Partitions/"])
    return None


def _official(root: Path, folder: Path, lists: Path, number: int) -> tuple[list[Sample], list[str]]:
    paths = {split: lists / f"{word}_{number:02d}.txt" for split, word in _WORDS.items()}
    LAYOUT.find(root, [lists], [path.name for path in paths.values()])
    listed: list[tuple[str, str]] = []
    for split, path in paths.items():
        names = [
            below(path, line.strip().lstrip("/")) for line in read_text(path).splitlines() if line.strip()
        ]
        refuse_any(path, [name for name in names if name.count("/") < 2], "lie in no folder of a category")
        need_all(path, (folder / name for name in names))
        if not names:
            raise DatasetError(f"{path}: names no image")
        listed += [(name, split) for name in names]
    need_once(lists, (name for name, _ in listed))
    known = _categories((lists, folder), (name for name, _ in listed))
    refuse_any(
        lists / _NAMES,
        [name for name, _ in listed if _category(name) not in known],
        f"are of no category in {_NAMES}",
    )
    index = {name: at for at, name in enumerate(known)}
    return [Sample(name, split, index[_category(name)]) for name, split in sorted(listed)], known


def _own_halves(root: Path, folder: Path, number: int) -> TaskData:
    ids = sorted(image_id for image_id in image_ids(folder) if image_id.count("/") >= 2)
    if not ids:
        raise LAYOUT.error(root, ["a/abbey/sun_*.jpg"])
    categories = sorted({_category(image_id) for image_id in ids})
    index = {name: at for at, name in enumerate(categories)}
    whole = [Sample(image_id, "all", index[_category(image_id)]) for image_id in ids]
    samples = split_samples(folder, whole, val_fraction=0.5, seed=number)
    source = "no official partition was there: half of each category held back, by a hash of number and image"
    return _task(
        f"sun397-half{number:02d}", folder, samples, categories, {"partition": None, "source": source}
    )


def _categories(places: Iterable[Path], image_ids: Iterable[str]) -> list[str]:
    """Names of the categories, sorted: of the list of names, else those that occur."""
    path = next((place / _NAMES for place in places if (place / _NAMES).is_file()), None)
    if path is None:
        return sorted({_category(image_id) for image_id in image_ids})
    return sorted({_category(f"{line.strip()}/*") for line in read_text(path).splitlines() if line.strip()})


def _category(image_id: str) -> str:
    """ "outhouse/indoor" of "o/outhouse/indoor/sun_a.jpg": the letter is only for the folders."""
    return "/".join(PurePosixPath(image_id.lstrip("/")).parts[1:-1])
