"""Dataset: samples as rows, pixels on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import DatasetError
from sfumato.images import Pixels, read_image

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a data set.

    Attributes:
        image_id: stable posix path below the root, "train/n02119022/0012.jpg".
        split: "train", "val", "test", or "all" where the data set has no splits.
        label: index into the data set's categories; -1 where unlabelled.
    """

    image_id: str
    split: str
    label: int


@dataclass(frozen=True)
class Dataset:
    """Labelled (or not) images below one folder.

    Attributes:
        root: folder that every `image_id` is relative to.
        samples: one row an image, sorted by `image_id`.
        categories: names, sorted; empty for a data set without labels.
        fingerprint: changes when images, labels or splits change.
        arm: "original", or what a variant's manifest says was done to it ("blur(strength=0.2)").
    """

    root: Path
    samples: Sequence[Sample]
    categories: tuple[str, ...]
    fingerprint: str
    arm: str = "original"

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that occur, sorted."""
        return tuple(sorted({sample.split for sample in self.samples}))

    @property
    def evaluation_split(self) -> str:
        """The split that models are evaluated on: "val", else "test".

        Raises:
            DatasetError: there is neither, or nothing to train on.
        """
        for name in ("val", "test"):
            if name in self.splits and "train" in self.splits:
                return name
        found = ", ".join(self.splits) or "none"
        raise DatasetError(
            f"{self.root}: training needs a train and a val (or test) split, found {found}; "
            "have one made with --val-fraction 0.2"
        )

    def path(self, image_id: str) -> Path:
        """Where an image lies."""
        return self.root / image_id

    def read(self, image_id: str) -> Pixels:
        """Pixels of an image, upright RGB (height, width, 3); raises ImageError."""
        return read_image(self.path(image_id))

    def subset(self, split: str) -> Dataset:
        """The samples of one split, everything else equal."""
        kept = tuple(sample for sample in self.samples if sample.split == split)
        return replace(self, samples=kept, fingerprint=f"{self.fingerprint}/{split}")

    def without(self, image_ids: Iterable[str]) -> Dataset:
        """The data set without some images; the fingerprint says which were left out."""
        dropped = set(image_ids)
        if not dropped:
            return self
        kept = tuple(sample for sample in self.samples if sample.image_id not in dropped)
        digest = hashlib.sha256("\0".join(sorted(dropped)).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return replace(self, samples=kept, fingerprint=f"{self.fingerprint}-without-{digest}")

    def need_categories(self) -> None:
        """Check that there is something to learn.

        Raises:
            DatasetError: fewer than two categories.
        """
        if len(self.categories) < 2:
            found = f"only one category ('{self.categories[0]}')" if self.categories else "no categories"
            raise DatasetError(
                f"{self.root}: {found}; training compares categories, one sub-folder each "
                "(finding and hiding faces works without them: sfumato detect, sfumato obfuscate)"
            )


def labels_of(samples: Iterable[Sample]) -> NDArray[np.int64]:
    """Labels of samples in order, shape (n,)."""
    return np.array([sample.label for sample in samples], dtype=np.int64)
