"""How a data set must lie on disk: the tree that is expected, and what of it is missing, in one message."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sfumato.data.dataset import Dataset, Sample
from sfumato.data.folder import fingerprint
from sfumato.errors import DatasetError


@dataclass(frozen=True)
class Layout:
    """The files of a data set as its publishers hand them out.

    Attributes:
        title: of the data set, for people.
        tree: its folders and files, a line each, as it is shown where something is missing.
        archives: what is handed out packed; found where files are missing, it is named.
    """

    title: str
    tree: str
    archives: tuple[str, ...] = ()

    def find(self, root: Path, folders: Iterable[Path], parts: Sequence[str]) -> Path:
        """The first of some folders that has all the parts.

        Args:
            root: what the user named, for the message.
            folders: where the data set may lie.
            parts: paths below such a folder; one that ends with "/" is a folder.

        Raises:
            DatasetError: none has all; the message is about the one that lacks least.
        """
        lacking: dict[Path, list[str]] = {}
        for folder in folders:
            lacking[folder] = [part for part in parts if not _is_there(folder, part)]
            if not lacking[folder]:
                return folder
        nearest = min(lacking, key=lambda folder: (len(lacking[folder]), not folder.is_dir(), folder == root))
        raise self.error(root, [shown(root, nearest / part) + _slash(part) for part in lacking[nearest]])

    def error(self, root: Path, missing: Sequence[str], *, why: str = "") -> DatasetError:
        """The error to raise where parts are missing.

        Args:
            root: what the user named.
            missing: what is not there.
            why: a sentence that explains more.
        """
        if not root.exists():
            missing, why = [], "no such folder"
        lines = [f"{root}: not laid out as {self.title} is{f' ({why})' if why else ''}"]
        lines += [f"missing: {', '.join(missing)}"] if missing else []
        packed = [path for name in self.archives for path in (root, root / name, *root.glob(f"*/{name}"))]
        lines += [
            f"to be unpacked: {path}" for path in packed if path.name in self.archives and path.is_file()
        ]
        return DatasetError(
            "\n".join([*lines, "expected:", *(f"  {line}" for line in self.tree.splitlines())])
        )


def _is_there(folder: Path, part: str) -> bool:
    path = folder / part
    return path.is_dir() if part.endswith("/") else path.is_file()


def shown(root: Path, path: Path) -> str:
    """A path as a message shows it: relative to what the user named, where it lies below."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _slash(part: str) -> str:
    return "/" if part.endswith("/") else ""


def need_all(told_by: Path, paths: Iterable[Path]) -> None:
    """Check that files which a list or annotations name are there.

    Args:
        told_by: the list, for the message.
        paths: of the files.

    Raises:
        DatasetError: some are not; the message has the first and the count.
    """
    refuse_any(told_by, [path for path in paths if not path.is_file()], "are not there")


def refuse_any(told_by: Path, wrong: Sequence[object], what: str) -> None:
    """Raise a DatasetError with the count and the first of what is wrong, where anything is."""
    if wrong:
        raise DatasetError(f"{told_by}: {len(wrong)} file(s) that it names {what} (the first: {wrong[0]})")


def need_once(told_by: Path, names: Iterable[str]) -> None:
    """Check that no image is listed twice, or in two splits.

    Raises:
        DatasetError: one is; the message has the first and the count.
    """
    refuse_any(told_by, [name for name, count in Counter(names).items() if count > 1], "are listed twice")


def below(told_by: Path, name: str) -> str:
    """A path that a file names, checked: it must stay below the folder of the data set.

    Raises:
        DatasetError: it is empty, absolute, or leads out.
    """
    # A path is taken apart only where there is something to take apart: lists hold 200,000 plain names.
    path = PurePosixPath(name) if "/" in name or name in (".", "") else None
    parts = (name,) if path is None else path.parts
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        raise DatasetError(f"{told_by}: {name!r} is no path below the data set")
    return name if path is None else path.as_posix()


def annotated(
    root: Path, samples: Sequence[Sample], categories: Sequence[str], *annotations: bytes
) -> Dataset:
    """A data set whose fingerprint depends on images, names of categories and annotations.

    Args:
        root: folder of the image ids.
        samples: sorted by image id.
        categories: of the data set.
        annotations: whatever else is known of the images, in the order of the samples.

    Raises:
        DatasetError: there is no image to train on, or none to evaluate on.
    """
    splits = {sample.split for sample in samples}
    for purpose, names in (("train", {"train"}), ("evaluate", {"val", "test"})):
        if not splits & names:
            raise DatasetError(f"{root}: no image to {purpose} on is listed")
    digest = hashlib.sha256(fingerprint(root, samples).encode())
    for part in ("\0".join(categories).encode(), *annotations):
        digest.update(b"%d\0" % len(part) + part)
    return Dataset(root, tuple(samples), tuple(categories), digest.hexdigest()[:16])
