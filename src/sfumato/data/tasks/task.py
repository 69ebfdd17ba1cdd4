"""What a downstream task is: images with what is to be predicted of them, and how that is scored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.data.dataset import Dataset

TaskKind = Literal["categories", "attributes", "objects"]
"""One category an image; several attributes an image, each there or not; boxes with a class."""

METRICS: Mapping[TaskKind, tuple[str, ...]] = {
    "categories": ("top1_accuracy", "top5_accuracy"),
    "attributes": ("mean_average_precision",),
    "objects": ("coco_ap", "coco_ap50"),
}
"""What each kind is scored by, the main one first; a task may have more."""

VOC_METRICS = ("voc2007_ap", "voc2010_ap", "coco_ap", "coco_ap50")
"""Of PASCAL VOC: mean over classes of the 11-point AP at IoU 0.5, of the area under the curve, and COCO's."""


@dataclass(frozen=True, eq=False)
class Objects:
    """What is to be found in one image; n objects.

    Attributes:
        boxes: (n, 4) float32: x0, y0, x1, y1 in pixels of the upright image, half open, x from 0.
        labels: (n,) int64, indices into the classes.
        difficult: (n,) bool: neither finding nor missing it counts (VOC's difficult).
        crowd: (n,) bool: a box around many; as difficult, and may be found many times (COCO's iscrowd).
        height, width: of the upright image as the file itself says, in pixels.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class TaskData:
    """A downstream task's images and what is known of them.

    Attributes:
        name: "cifar10", "sun397-01" (partition; "sun397-half01" where there was no official one), "celeba",
            "celeba-wild", "voc2007", "voc2007+2012" ("voc2007-val" where its list test is missing), "coco",
            "yolo", or that of an image folder; goes into names of folders and into keys.
        title: for people: "CIFAR-10".
        kind: what is predicted.
        dataset: samples in the splits "train" and "test" (or "val"). Its categories are the categories,
            attributes or classes of objects; its labels are -1 but for kind "categories". Its fingerprint
            changes when annotations do.
        metrics: names, the main one first.
        attributes: (n_samples, n_attributes) int8, 1 or 0, rows as `dataset.samples`; for "attributes" only.
        objects: by image id, every sample has an entry; for "objects" only.
        facts: what else to record: version, partition, source of images.
    """

    name: str
    title: str
    kind: TaskKind
    dataset: Dataset
    metrics: Sequence[str]
    attributes: NDArray[np.int8] | None = None
    objects: Mapping[str, Objects] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def without(self, image_ids: Collection[str]) -> TaskData:
        """The task without some images; the fingerprint says which were left out."""
        if not image_ids:
            return self
        kept = [sample.image_id not in image_ids for sample in self.dataset.samples]
        attributes = None if self.attributes is None else self.attributes[np.array(kept, dtype=bool)]
        return replace(self, dataset=self.dataset.without(image_ids), attributes=attributes)


@dataclass(frozen=True)
class TaskOptions:
    """Which of several versions of a task is meant.

    Attributes:
        partition: of SUN397, 1 to 10.
        wild: CelebA's images as they were found, not the aligned ones.
        years: of VOC: ("2007",) trains on trainval 2007, ("2007", "2012") on both; evaluated on test 2007,
            see `sfumato.data.tasks.voc`. Of COCO: 2014 or 2017, where both are there.
        download: fetch with torchvision's own downloader what is not there, where there is one.
    """

    partition: int = 1
    wild: bool = False
    years: tuple[str, ...] = ("2007",)
    download: bool = False
