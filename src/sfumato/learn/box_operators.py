"""torchvision's operators for detectors, written in torch: for where its compiled ones do not load.

`nms` is by blocks and `roi_align` one weighted sum of rows, so that neither loops over boxes in Python.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 128
"""Boxes looked at together. More compares boxes that fall away, fewer spends the time on calls."""


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        dets: boxes (n, 4), columns x0, y0, x1, y1.
        scores: theirs, (n,); boxes with the same score count in the order given.
        iou_threshold: a box falls away that overlaps one that stays, with a better score, by more than this.
            Empty boxes overlap nothing.

    Returns:
        Indices of the boxes that stay, best score first, (k,) int64.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = _wide(dets)[order]
    left = torch.arange(len(order), device=order.device)
    kept = [left[:0]]
    while len(left):
        block, left = left[:_BLOCK], left[_BLOCK:]
        block = block[_first_come(_overlapping(boxes[block], boxes[block], iou_threshold))]
        left = left[~_overlapping(boxes[block], boxes[left], iou_threshold).any(dim=0)]
        kept.append(block)
    return order[torch.cat(kept)]


def _overlapping(first: Tensor, second: Tensor, iou_threshold: float) -> Tensor:
    """Whether each of n boxes overlaps each of m by more than the threshold, (n, m) bool."""
    x0, y0, x1, y1 = first.T[:, :, None]
    left, top, right, bottom = second.T.contiguous()
    area, other = (x1 - x0) * (y1 - y0), (right - left) * (bottom - top)
    shared = torch.minimum(x1, right).sub_(torch.maximum(x0, left)).clamp_(min=0)
    shared *= torch.minimum(y1, bottom).sub_(torch.maximum(y0, top)).clamp_(min=0)
    # 0/0 of two empty boxes is NaN, which is above nothing: both stay.
    return torch.gt(shared / (area + other).sub_(shared), iou_threshold)


def _first_come(overlapping: Tensor) -> Tensor:
    """Who stays, (n,) bool, where each falls away that overlaps an earlier one that stays; (n, n) bool.

    Starting with all, those stay that overlap no earlier one of those that stayed so far, until nothing
    changes. After k rounds the first k are right, since they depend on earlier ones only.
    """
    earlier = overlapping.triu(1)
    stays = torch.ones(len(earlier), dtype=torch.bool, device=earlier.device)
    while True:
        now = ~earlier[stays].any(dim=0)
        if torch.equal(now, stays):
            return stays
        stays = now


def roi_align(  # noqa: PLR0913 - the parameters are torchvision's
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """What feature maps have in boxes, each box cut into a grid of bins (He et al. 2017, arXiv 1703.06870).

    A bin's value is the mean over points in it, each interpolated between four pixels. So it is a weighted
    sum of pixels, whose weights are products of those along the two axes.

    Args:
        input: feature maps (n, c, h, w); gradients flow to them.
        rois: (k, 5): index of the image, then x0, y0, x1, y1 in pixels of the image.
        spatial_scale: side of a pixel of the image in pixels of the feature map.
        pooled_height, pooled_width: number of bins.
        sampling_ratio: points in a bin along each axis; 0 or less for one each pixel of the feature map.
        aligned: pixels have their centres at halves; otherwise at whole numbers, and boxes are at least one
            pixel long.

    Returns:
        (k, c, pooled_height, pooled_width), as `input` in its type.
    """
    _, channels, height, width = input.shape
    corners = _wide(rois.detach())[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start, length = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        length = length.clamp(min=1)
    columns, across = _axis(start[:, 0], length[:, 0], (pooled_width, width), sampling_ratio)
    rows, down = _axis(start[:, 1], length[:, 1], (pooled_height, height), sampling_ratio)
    rows = rows + height * rois[:, 0].long()[:, None, None]
    pixels = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    table = _wide(input).permute(0, 2, 3, 1).reshape(-1, channels)
    bins = functional.embedding_bag(
        pixels.flatten(3).flatten(0, 2),
        table,
        mode="sum",
        per_sample_weights=weights.flatten(3).flatten(0, 2).to(table.dtype),
    )
    pooled = bins.view(len(rois), pooled_height, pooled_width, channels).permute(0, 3, 1, 2)
    return pooled.to(input.dtype)


def _axis(
    start: Tensor, length: Tensor, sizes: tuple[int, int], sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """The pixels that each bin takes along one axis, and how much of each.

    Args:
        start, length: of k boxes, (k,), in pixels of the feature map.
        sizes: number of bins, and of pixels along the axis.
        sampling_ratio: as for `roi_align`.

    Returns:
        Pixels (k, bins, 2 points) int64 and weights of the same shape; points outside the map weigh nothing.
    """
    n_bins, n_pixels = sizes
    bin_length = (length / n_bins)[:, None, None]
    n_points = torch.full_like(bin_length, sampling_ratio) if sampling_ratio > 0 else bin_length.ceil()
    n_points = n_points.clamp(min=1)
    most = int(n_points.max()) if len(n_points) else 1
    point = torch.arange(most, device=start.device)
    first = start[:, None, None] + bin_length * torch.arange(n_bins, device=start.device)[:, None]
    place = first + bin_length * ((point + 0.5) / n_points)
    counts = (place >= -1) & (place <= n_pixels) & (point < n_points)
    weight = counts / n_points
    place = place.clamp(0, n_pixels - 1)
    low = place.floor()
    part = place - low
    pixels = torch.stack([low, (low + 1).clamp(max=n_pixels - 1)], dim=-1).long()
    return pixels.flatten(2), torch.stack([weight * (1 - part), weight * part], dim=-1).flatten(2)


def _wide(values: Tensor) -> Tensor:
    """Values in float32 at least, in which boxes of a few hundred pixels are exact enough."""
    return values if values.dtype == torch.float64 else values.float()
