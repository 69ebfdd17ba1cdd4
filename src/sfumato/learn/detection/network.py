"""Faster R-CNN with a feature pyramid (Ren et al. 2015, arXiv 1506.01497; Lin et al. 2017, arXiv 1612.03144).

Proposals, heads and losses are torchvision's, and so are the numbers, but for what `Numbers` and `ANCHORS`
say. What is ours: any classifier is the body, images are squares of one size with padding, and all that
concerns boxes is computed in float32 where the net runs in a shorter format.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import TrainingError
from sfumato.learn.detection.body import Body
from sfumato.learn.detection.cut import find_cut
from sfumato.learn.operators import import_torchvision

Target = dict[str, Tensor]
"""Of one image: "boxes" (m, 4) float and "labels" (m,) int64; of a detection also "scores" (m,)."""


@dataclass(frozen=True)
class Numbers:
    """How large the parts on top of the body are, and how many boxes go through them.

    Attributes:
        channels: of each map of the pyramid.
        hidden: units of the two layers that look at a box.
        candidates: boxes of a level that suppression sees, in training and in evaluation.
        proposals: boxes of an image that it leaves, in training and in evaluation.
        anchors_sampled: anchors of an image in the loss of the proposals.
        proposals_sampled: proposals of an image in the loss of the boxes.
    """

    channels: int
    hidden: int
    candidates: tuple[int, int]
    proposals: tuple[int, int]
    anchors_sampled: int
    proposals_sampled: int


LARGE = Numbers(256, 1024, (2000, 1000), (2000, 1000), 256, 512)
"""torchvision's."""
SMALL = Numbers(128, 512, (600, 600), (300, 300), 256, 128)
"""For images of less than 448 px, which hold fewer objects, and which people train on without a GPU: with
torchvision's numbers these parts take many times as long as a small body."""
_LARGE_FROM = 448

ANCHORS = (32.0, 512.0)
"""Sides of the smallest and the largest anchor in images of 800 px; in others in proportion."""
_ANCHORS_FOR = 800
_RATIOS = (0.5, 1.0, 2.0)  # height to width
_FEWEST_SIZES = 5  # of anchors over all levels, so that each is at most twice the one before

_PROPOSAL_IOU = {"fg_iou_thresh": 0.7, "bg_iou_thresh": 0.3, "nms_thresh": 0.7}
_BOX_IOU = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "nms_thresh": 0.5}
_POOLED, _POINTS = 7, 2  # bins of a box along each side, and points in a bin
LOWEST_SCORE = 0.01
"""Of a detection; low, since average precision looks at all of them."""
MOST_DETECTIONS = 100
"""In an image, as COCO counts them."""


def build_detector(
    classifier: nn.Module, n_classes: int, *, image_size: int, trained: bool, freeze: bool = False
) -> Detector:
    """A detector with a classifier as its body, and new parts on top, random from torch's global generator.

    Args:
        classifier: images (n, 3, h, w) to scores, with its weights; left as it is.
        n_classes: of objects.
        image_size: side of the square images in pixels.
        trained: whether the weights of the classifier are of use. Then batch normalisation keeps its
            statistics and scales, which batches as small as those of a detector would spoil.
        freeze: the body keeps all its weights and statistics.

    Raises:
        TrainingError: the classifier takes no such images, or has no feature maps.
    """
    body = Body(classifier, find_cut(classifier, image_size), still=trained, frozen=freeze)
    return Detector(body, n_classes, image_size)


class Detector(nn.Module):
    """Images to losses in training mode, to boxes in evaluation mode; see `forward`."""

    def __init__(self, body: Body, n_classes: int, image_size: int) -> None:
        super().__init__()
        numbers = LARGE if image_size >= _LARGE_FROM else SMALL
        self.body = body
        self.pyramid = _pyramid(body, numbers)
        self.proposals = _proposals(len(body.levels) + 1, image_size, numbers)
        self.heads = _heads([level.stride for level in body.levels], n_classes, numbers)

    def forward(
        self, images: Tensor, sizes: list[tuple[int, int]], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Target]:
        """Losses of a batch, or what is in each image.

        Args:
            images: (n, 3, side, side), normalised, zero outside of the valid part.
            sizes: height and width of each image's valid part, which begins in the upper left corner.
            targets: in training mode, the objects of each image: boxes with an extent, in pixels of the
                square, and labels from 0.

        Returns:
            In training mode the losses by name, scalars whose sum is to be minimised. In evaluation mode for
            each image boxes (k, 4) in pixels of the square, within the valid part, labels (k,) from 0 and
            scores (k,), best first; at most `MOST_DETECTIONS`, none below `LOWEST_SCORE`.

        Raises:
            TrainingError: a box to be found has no extent.
        """
        maps = self.pyramid(OrderedDict((str(n), found) for n, found in enumerate(self.body(images))))
        truth = None if targets is None else _after_background(targets)
        batch = _Batch(images, sizes)
        boxes, losses = self.proposals(batch, maps, truth)
        detections, more = self.heads(maps, boxes, batch.image_sizes, truth)
        if self.training:
            return {**losses, **more}
        return [{**found, "labels": found["labels"] - 1} for found in detections]


@dataclass(frozen=True)
class _Batch:
    """Images with their valid sizes, as torchvision's parts ask for them."""

    tensors: Tensor
    image_sizes: list[tuple[int, int]]


class Anchors(nn.Module):
    """Boxes to start from, at every pixel of every level.

    torchvision's are rounded to whole pixels, which takes the extent of those of small images, and have the
    number format of the maps, in which larger coordinates are not exact.
    """

    def __init__(self, sizes: list[list[float]]) -> None:
        """Anchors of these sides, several a level, each in three shapes of the same area."""
        super().__init__()
        self.sizes = sizes

    def forward(self, images: _Batch, maps: list[Tensor]) -> list[Tensor]:
        """For each image all anchors (k, 4): by level, row, column, then shape and size."""
        height, width = images.tensors.shape[-2:]
        levels = []
        for found, sizes in zip(maps, self.sizes, strict=True):
            rows, columns = found.shape[-2:]
            y = torch.arange(rows, device=found.device) * (height / rows)
            x = torch.arange(columns, device=found.device) * (width / columns)
            y, x = torch.meshgrid(y, x, indexing="ij")
            shapes = torch.tensor(_shapes(sizes), device=found.device)
            levels.append((torch.stack([x, y, x, y], dim=-1)[:, :, None] + shapes).view(-1, 4))
        return [torch.cat(levels)] * len(images.image_sizes)


class _Float32(nn.Module):
    """Another module with its output, a sequence of tensors or of such sequences, in float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        """As the other."""
        return _as_float32(self.inner(x))


def _pyramid(body: Body, numbers: Numbers) -> nn.Module:
    import_torchvision()
    from torchvision.ops import feature_pyramid_network as parts

    channels = [level.channels for level in body.levels]
    pyramid: nn.Module = parts.FeaturePyramidNetwork(channels, numbers.channels, parts.LastLevelMaxPool())
    return pyramid


def _proposals(n_levels: int, image_size: int, numbers: Numbers) -> nn.Module:
    import_torchvision()
    from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

    sizes = anchor_sizes(n_levels, image_size)
    head = RPNHead(numbers.channels, len(sizes[0]) * len(_RATIOS))
    proposals: nn.Module = RegionProposalNetwork(
        Anchors(sizes),
        _Float32(head),
        batch_size_per_image=numbers.anchors_sampled,
        positive_fraction=0.5,
        pre_nms_top_n=_by_mode(numbers.candidates),
        post_nms_top_n=_by_mode(numbers.proposals),
        **_PROPOSAL_IOU,
    )
    return proposals


def _heads(strides: list[int], n_classes: int, numbers: Numbers) -> nn.Module:
    import_torchvision()
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.roi_heads import RoIHeads

    heads: nn.Module = RoIHeads(
        _pool(strides),
        TwoMLPHead(numbers.channels * _POOLED**2, numbers.hidden),
        _Float32(FastRCNNPredictor(numbers.hidden, n_classes + 1)),
        batch_size_per_image=numbers.proposals_sampled,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=LOWEST_SCORE,
        detections_per_img=MOST_DETECTIONS,
        **_BOX_IOU,
    )
    return heads


def _pool(strides: list[int]) -> nn.Module:
    """What the pyramid has in boxes, each box from the level for its size."""
    from torchvision.ops import poolers

    pool: Any = poolers.MultiScaleRoIAlign([str(n) for n in range(len(strides))], _POOLED, _POINTS)
    # Else it takes them from the sizes of the first batch, which say nothing of them where there is padding.
    pool.scales = [1 / stride for stride in strides]
    pool.map_levels = poolers.initLevelMapper(round(math.log2(strides[0])), round(math.log2(strides[-1])))
    found: nn.Module = pool
    return found


def _by_mode(numbers: tuple[int, int]) -> dict[str, int]:
    return dict(zip(("training", "testing"), numbers, strict=True))


def anchor_sizes(n_levels: int, image_size: int) -> list[list[float]]:
    """Sides of the anchors of each level in pixels: as many at each, from the smallest to the largest."""
    per_level = math.ceil(_FEWEST_SIZES / n_levels)
    smallest, largest = (side * image_size / _ANCHORS_FOR for side in ANCHORS)
    last = per_level * n_levels - 1
    sizes = [smallest * (largest / smallest) ** (number / last) for number in range(last + 1)]
    return [sizes[start : start + per_level] for start in range(0, last + 1, per_level)]


def _shapes(sizes: list[float]) -> list[list[float]]:
    """Boxes around 0, each size in each shape: half of the width and height to both sides."""
    halves = [
        (size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for ratio in _RATIOS for size in sizes
    ]
    return [[-x, -y, x, y] for x, y in halves]


def _as_float32(values: Any) -> Any:
    if isinstance(values, Tensor):
        return values.float()
    return [_as_float32(value) for value in values]


def _after_background(targets: list[Target]) -> list[Target]:
    """Targets with labels from 1, as torchvision counts: 0 is the background."""
    boxes = torch.cat([target["boxes"] for target in targets])
    if bool((boxes[:, 2:] <= boxes[:, :2]).any()):
        raise TrainingError("a box to be found has no extent, so it cannot be learnt; leave it out")
    return [{"boxes": target["boxes"].float(), "labels": target["labels"] + 1} for target in targets]
