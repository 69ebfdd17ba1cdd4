"""Read image folders: `split/category/image`, `category/image`, or a flat folder without labels."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from sfumato.data.dataset import UNLABELLED, Dataset, Sample
from sfumato.errors import DatasetError, UsageError
from sfumato.images import is_image

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Folder names, in lower case, that are read as splits, and what each is called."""


_SAMPLED = 2048
_UNCOMPRESSED = frozenset({".bmp", ".tif", ".tiff"})


def read_folder(root: Path, *, val_fraction: float = 0.0, seed: int = 0) -> Dataset:
    """Read a folder of images.

    The first folder level is a split where every folder in it has a split's name; the next is the
    category; images may lie deeper. Images directly in the root (or in a split) have no label, and
    are only allowed where there are no category folders beside them.

    Args:
        root: the folder.
        val_fraction: share of each category that becomes the "val" split, where the folder has only "train"
            or no splits. Chosen by a hash of seed and image id, so adding images moves no other image much.
        seed: of that choice.

    Raises:
        DatasetError: no such folder, no image in it, or images beside category folders.
        UsageError: a fraction outside 0..1, or splits are there already.
    """
    root = Path(root)
    if not 0 <= val_fraction < 1:
        raise UsageError(f"--val-fraction must be at least 0 and below 1, not {val_fraction}")
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder")
    ids = sorted(image_ids(root))
    if not ids:
        raise DatasetError(f"{root}: no image found (looked for .jpg, .jpeg, .png, .webp, .bmp, .tif, .gif)")
    samples, categories = _label(root, ids)
    if val_fraction:
        samples = split_samples(root, samples, val_fraction=val_fraction, seed=seed)
    return Dataset(root, tuple(samples), categories, fingerprint(root, samples))


def image_ids(root: Path) -> Iterator[str]:
    """Paths of the images below a folder, relative to it; hidden files and folders are passed over.

    Raises:
        DatasetError: a name is no valid UTF-8.
    """
    seen: set[Path] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        # A folder that links lead to twice, or back to one above it, is read once.
        seen.add(Path(folder).resolve())
        names[:] = [name for name in sorted(names) if not name.startswith(".")]
        names[:] = [name for name in names if Path(folder, name).resolve() not in seen]
        for name in files:
            path = Path(folder, name)
            if is_image(path):
                yield _id(root, path)


def _id(root: Path, path: Path) -> str:
    image_id = path.relative_to(root).as_posix()
    try:
        image_id.encode()
    except UnicodeEncodeError as error:
        shown = image_id.encode("utf-8", "surrogateescape")
        raise DatasetError(f"{root}: the name {shown!r} is not valid UTF-8; rename the file") from error
    return image_id


def _label(root: Path, ids: list[str]) -> tuple[list[Sample], tuple[str, ...]]:
    tops = {PurePosixPath(image_id).parts[0] for image_id in ids if "/" in image_id}
    flat = any("/" not in image_id for image_id in ids)
    has_splits = bool(tops) and not flat and all(top.lower() in SPLIT_NAMES for top in tops)
    if not has_splits:
        _refuse_some_splits(root, ids, tops)
    rows: list[tuple[str, str, str | None]] = []
    for image_id in ids:
        parts = PurePosixPath(image_id).parts
        split, rest = (SPLIT_NAMES[parts[0].lower()], parts[1:]) if has_splits else ("all", parts)
        rows.append((image_id, split, rest[0] if len(rest) > 1 else None))
    named = sorted({category for _, _, category in rows if category is not None})
    loose = [image_id for image_id, _, category in rows if category is None]
    if named and loose:
        raise DatasetError(
            f"{root}: {len(loose)} image(s) lie beside the category folders ('{loose[0]}'); "
            "move them into a category, or into a folder of their own"
        )
    index = {name: number for number, name in enumerate(named)}
    samples = [
        Sample(image_id, split, UNLABELLED if category is None else index[category])
        for image_id, split, category in rows
    ]
    return samples, tuple(named)


def _refuse_some_splits(root: Path, ids: list[str], tops: set[str]) -> None:
    """Folders of categories called train or val beside others would be read as categories: ask instead."""
    nested = {parts[0] for image_id in ids if len(parts := PurePosixPath(image_id).parts) > 2}
    splits = sorted(top for top in nested if top.lower() in SPLIT_NAMES)
    others = sorted(tops - set(splits))
    if splits and others:
        raise DatasetError(
            f"{root}: '{splits[0]}' looks like a split, '{others[0]}' beside it does not; "
            "move one of them away, so that all folders are splits or all are categories"
        )


def split_samples(root: Path, samples: Sequence[Sample], *, val_fraction: float, seed: int) -> list[Sample]:
    """Samples divided into "train" and "val" within each category; see `read_folder`.

    Raises:
        UsageError: they are divided already.
    """
    present = {sample.split for sample in samples}
    if present - {"all", "train"}:
        raise UsageError(
            f"{root} has the splits {', '.join(sorted(present))} already; leave --val-fraction out"
        )
    by_label: dict[int, list[str]] = defaultdict(list)
    for sample in samples:
        by_label[sample.label].append(sample.image_id)
    chosen: set[str] = set()
    for members in by_label.values():
        members.sort(key=lambda image_id: hashlib.sha256(f"{seed}/{image_id}".encode()).digest())
        # At least one image is held back, and one is left to train on, where there are two.
        count = min(max(1, round(val_fraction * len(members))), len(members) - 1)
        chosen.update(members[:count])
    return [
        Sample(sample.image_id, "val" if sample.image_id in chosen else "train", sample.label)
        for sample in samples
    ]


def fingerprint(root: Path, samples: Iterable[Sample]) -> str:
    """What a folder of images is known by: a hash of ids, splits, labels and contents, 16 digits."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.image_id}\0{sample.split}\0{sample.label}\0".encode())
        digest.update(_content(root / sample.image_id))
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    """Size, beginning and end of a file: enough to notice a change, cheap for a million files.

    In a compressed picture a change anywhere moves the end or the size; others are taken whole. What a file
    holds decides, not when it was written, so a copied or checked-out data set has the same fingerprint.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() in _UNCOMPRESSED:
                return hashlib.file_digest(file, "sha256").digest()
            begin = file.read(_SAMPLED)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SAMPLED))
            return b"%d\0" % size + begin + file.read(_SAMPLED)
    except OSError:  # a dangling link: examining it will say so in its row
        return b"unreadable"
