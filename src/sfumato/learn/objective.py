"""What a model learns: how images are cut, what it is told beside the pixels, how wrong it was."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sfumato.data.tasks import Objects, TaskData
from sfumato.learn.chance import Keys
from sfumato.learn.index import Images
from sfumato.learn.recipes import Recipe
from sfumato.learn.views import Windows, training_windows, whole_windows

Mirrored = NDArray[np.bool_]
Targets = torch.Tensor | Sequence[dict[str, Any]]
"""What a model is told of n images: a tensor whose first axis is n, or n dictionaries of tensors."""


@dataclass(frozen=True, eq=False)
class Views:
    """Which parts of which n images a batch shows.

    Attributes:
        rows: of the images, (n,).
        windows: in pixels of pictures of `Images.shapes`, (n, 4).
        mirrored: (n,).
        size: side of the squares in pixels.
    """

    rows: NDArray[np.int64]
    windows: Windows
    mirrored: Mirrored
    size: int


class Objective(ABC):
    """What is learned of the images of one split."""

    counts_right: ClassVar[bool] = True
    """Whether `judge` says how many images were right."""

    def windows(
        self, shapes: NDArray[np.int64], recipe: Recipe, keys: Keys, *, seed: int, epoch: int
    ) -> tuple[Windows, Mirrored]:
        """What is seen of n images in an epoch: windows (n, 4), and which are mirrored, (n,)."""
        return training_windows(shapes, recipe, keys, seed=seed, epoch=epoch)

    @abstractmethod
    def targets(self, views: Views) -> Targets:
        """What the model is told of these views; may be called in another thread."""

    def call(self, model: Callable[..., Any], images: torch.Tensor, targets: Targets) -> Any:  # noqa: ARG002
        """What the model makes of normalised images (n, 3, size, size); called within autocast."""
        return model(images)

    @abstractmethod
    def judge(self, found: Any, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss over the images, and how many of them were right (perhaps in parts)."""


class OneCategory(Objective):
    """One category an image: cross-entropy.

    Attributes:
        labels: (n,) int64.
        smoothing: see `Recipe.label_smoothing`.
    """

    def __init__(self, labels: NDArray[np.int64], smoothing: float) -> None:
        self.labels, self.smoothing = torch.from_numpy(labels), smoothing

    def targets(self, views: Views) -> Targets:
        """Labels, (n,)."""
        return self.labels[torch.from_numpy(views.rows)]

    def judge(self, found: Any, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Objective`."""
        scores, labels = found.float(), cast(torch.Tensor, targets)
        loss = functional.cross_entropy(scores, labels, label_smoothing=self.smoothing)
        return loss, (scores.argmax(dim=1) == labels).sum()


class Attributes(Objective):
    """Several attributes an image, each there or not: the mean binary cross-entropy over them.

    An image is right in parts: by the share of its attributes that are.

    Attributes:
        truth: (n, n_attributes), 1 or 0.
        smoothing: see `Recipe.label_smoothing`; 0.1 makes 0.95 and 0.05 of 1 and 0.
    """

    def __init__(self, truth: NDArray[np.int8], smoothing: float) -> None:
        self.truth, self.smoothing = torch.from_numpy(truth.astype(np.float32)), smoothing

    def targets(self, views: Views) -> Targets:
        """Attributes, (n, n_attributes) float32."""
        return self.truth[torch.from_numpy(views.rows)]

    def judge(self, found: Any, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Objective`."""
        scores, truth = found.float(), cast(torch.Tensor, targets)
        wanted = truth * (1 - self.smoothing) + self.smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(scores, wanted)
        return loss, ((scores > 0) == (truth > 0.5)).float().mean(dim=1).sum()


class Boxes(Objective):
    """Boxes with a class; images are seen whole, in the upper left corner of the square.

    Objects that are difficult or crowds are not shown to the model.
    """

    counts_right = False

    def __init__(self, objects: Sequence[Objects], shapes: NDArray[np.int64]) -> None:
        self.objects, self.shapes = objects, shapes

    def windows(
        self, shapes: NDArray[np.int64], recipe: Recipe, keys: Keys, *, seed: int, epoch: int
    ) -> tuple[Windows, Mirrored]:
        """The smallest square that holds the whole image; a mirrored one is in its right corner first."""
        _, mirrored = training_windows(shapes, recipe, keys, seed=seed, epoch=epoch)
        return whole_windows(shapes, mirrored), mirrored

    def targets(self, views: Views) -> Targets:
        """For each image "size" (valid height and width in pixels of the square), "boxes", "labels"."""
        return [
            self._target(int(row), bool(mirrored), views.size)
            for row, mirrored in zip(views.rows, views.mirrored, strict=True)
        ]

    def _target(self, row: int, mirrored: bool, size: int) -> dict[str, Any]:
        shown, valid = self.objects[row], valid_size(self.shapes[row], size)
        boxes = shown.boxes * box_scale(shown, valid)
        if mirrored:
            boxes[:, [0, 2]] = valid[1] - boxes[:, [2, 0]]
        boxes = boxes.clip(0, (valid[1], valid[0], valid[1], valid[0]))
        fine = ~shown.difficult & ~shown.crowd & (boxes[:, 2:] - boxes[:, :2] > 0).all(axis=1)
        return {
            "size": valid,
            "boxes": torch.from_numpy(boxes[fine].astype(np.float32)),
            "labels": torch.from_numpy(shown.labels[fine]),
        }

    def call(self, model: Callable[..., Any], images: torch.Tensor, targets: Targets) -> Any:
        """The losses by name."""
        told = cast("Sequence[dict[str, Any]]", targets)
        sizes = [target["size"] for target in told]
        return model(clear_outside(images, sizes), sizes, told)

    def judge(self, found: Any, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        """The sum of the losses."""
        loss: torch.Tensor = torch.stack([part.float() for part in found.values()]).sum()
        return loss, torch.zeros((), device=loss.device)


def objective_of(task: TaskData, images: Images, recipe: Recipe) -> Objective:
    """What is learned of the images of a split of a task."""
    if task.objects is not None:
        return Boxes([task.objects[image_id] for image_id in images.image_ids], images.shapes)
    if task.attributes is not None:
        return Attributes(attributes_of(task, images.image_ids), recipe.label_smoothing)
    return OneCategory(images.labels, recipe.label_smoothing)


def attributes_of(task: TaskData, image_ids: Sequence[str]) -> NDArray[np.int8]:
    """Rows of a task's attributes, (n, n_attributes)."""
    assert task.attributes is not None
    row = {sample.image_id: number for number, sample in enumerate(task.dataset.samples)}
    return task.attributes[[row[image_id] for image_id in image_ids]]


def on_device(targets: Targets, device: str) -> Targets:
    """What a model is told, where it computes."""
    if isinstance(targets, torch.Tensor):
        return targets.to(device, non_blocking=True)
    return [
        {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in each.items()}
        for each in targets
    ]


def valid_size(shape: NDArray[np.int64], size: int) -> tuple[int, int]:
    """Height and width that a whole picture of this shape has in a square of this side, in pixels."""
    height, width = np.maximum(1, np.round(shape * (size / shape.max()))).astype(int).tolist()
    return height, width


def box_scale(objects: Objects, valid: tuple[int, int]) -> NDArray[np.float32]:
    """By which boxes in the image become boxes in the square, (4,)."""
    x, y = valid[1] / objects.width, valid[0] / objects.height
    return np.array([x, y, x, y], dtype=np.float32)


def clear_outside(images: torch.Tensor, sizes: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Normalised images (n, 3, size, size) with zeros right of and below their valid height and width."""
    for image, (height, width) in zip(images, sizes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return images
