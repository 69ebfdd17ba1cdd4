from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import boxes as geometry
from sfumato.errors import MissingExtra
from sfumato.learn import box_operators, operators

BOXES = st.lists(
    # Few places, so that there are identical, empty and touching boxes, and an IoU is exactly a threshold.
    st.tuples(
        *[st.integers(0, 6)] * 2, *[st.integers(0, 5)] * 2, st.sampled_from([-np.inf, 0, 1, 2, np.inf])
    ),
    max_size=24,
)


def naive_nms(boxes: np.ndarray, scores: np.ndarray, max_iou: float) -> list[int]:
    """By the book: each box in turn, against all that were kept."""
    kept: list[int] = []
    for new in sorted(range(len(boxes)), key=lambda number: (-scores[number], number)):
        if all(naive_iou(boxes[new], boxes[old]) <= np.float32(max_iou) for old in kept):
            kept.append(new)
    return kept


def naive_iou(first: np.ndarray, second: np.ndarray) -> np.float32:
    width, height = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = max(width, 0) * max(height, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - shared
    return np.float32(0) if union == 0 else np.float32(shared / union)


@settings(max_examples=150, deadline=None)
@given(BOXES, st.sampled_from([0.0, 0.25, 0.3, 0.5, 1.0]), st.integers(1, 8))
def test_nms_equals_the_greedy_loop(rows: list[tuple[float, ...]], max_iou: float, block: int) -> None:
    values = np.array(rows, dtype=np.float32).reshape(-1, 5)
    boxes, scores = np.hstack([values[:, :2], values[:, :2] + values[:, 2:4]]), values[:, 4]
    with patch.object(box_operators, "_BLOCK", block):
        kept = box_operators.nms(torch.from_numpy(boxes), torch.from_numpy(scores), max_iou)
    assert kept.dtype == torch.int64
    assert kept.tolist() == naive_nms(boxes, scores, max_iou)


@pytest.mark.parametrize("max_iou", [0.3, 0.7])
def test_nms_of_many_boxes_equals_ours(max_iou: float) -> None:
    rng = np.random.default_rng(3)
    centre = rng.uniform(0, 100, (700, 2))
    half = rng.uniform(1, 30, (700, 2))
    boxes = np.hstack([centre - half, centre + half]).astype(np.float32)
    scores = rng.integers(0, 50, 700).astype(np.float32)
    kept = box_operators.nms(torch.from_numpy(boxes), torch.from_numpy(scores), max_iou)
    assert kept.tolist() == geometry.nms(boxes, scores, max_iou=max_iou).tolist()


def naive_roi_align(
    maps: np.ndarray, rois: np.ndarray, scale: float, sizes: tuple[int, int], ratio: int, aligned: bool
) -> np.ndarray:
    """After the loops of torchvision's own operator for the CPU, point by point."""
    _, channels, height, width = maps.shape
    out = np.zeros((len(rois), channels, *sizes))
    for k, (image, *corners) in enumerate(rois):
        x0, y0, x1, y1 = (corner * scale - (0.5 if aligned else 0) for corner in corners)
        size = np.array([y1 - y0, x1 - x0])
        bins = (size if aligned else np.maximum(size, 1)) / sizes
        points = np.full(2, ratio) if ratio > 0 else np.ceil(bins).astype(int)
        for row, column, i, j in np.ndindex(*sizes, *points):
            y = y0 + (row + (i + 0.5) / points[0]) * bins[0]
            x = x0 + (column + (j + 0.5) / points[1]) * bins[1]
            if -1 <= y <= height and -1 <= x <= width:
                out[k, :, row, column] += naive_bilinear(maps[int(image)], y, x) / points.prod()
    return out


def naive_bilinear(values: np.ndarray, y: float, x: float) -> np.ndarray:
    y, x = (min(max(place, 0), side - 1) for place, side in zip((y, x), values.shape[1:], strict=True))
    low, left = int(y), int(x)
    high, right = min(low + 1, values.shape[1] - 1), min(left + 1, values.shape[2] - 1)
    upper = values[:, low, left] * (1 - x + left) + values[:, low, right] * (x - left)
    lower = values[:, high, left] * (1 - x + left) + values[:, high, right] * (x - left)
    found: np.ndarray = upper * (1 - y + low) + lower * (y - low)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.sampled_from([-1, 1, 2]), st.booleans())
def test_roi_align_equals_the_loops(seed: int, n_rois: int, ratio: int, aligned: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 3, *rng.integers(1, 8, 2)))
    start = rng.uniform(-20, 60, (n_rois, 2))
    rois = np.hstack([rng.integers(0, 2, (n_rois, 1)), start, start + rng.uniform(0, 50, (n_rois, 2))])
    arguments = (0.2, (2, 3), ratio, aligned)
    operators.import_torchvision()
    pooled = torch.ops.torchvision.roi_align(
        torch.from_numpy(maps), torch.from_numpy(rois), 0.2, 2, 3, ratio, aligned
    )
    assert np.allclose(pooled.numpy(), naive_roi_align(maps, rois, *arguments), atol=1e-9)


def test_roi_align_and_its_gradients_equal_those_of_torchvision_in_python() -> None:
    operators.import_torchvision()
    theirs = import_module("torchvision.ops.roi_align")._roi_align.__wrapped__  # not compiled
    dice = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 8, 20, 20, generator=dice, requires_grad=True)
    start = torch.rand(30, 2, generator=dice) * 40
    rois = torch.cat(
        [torch.arange(30.0)[:, None] % 2, start, start + torch.rand(30, 2, generator=dice) * 40], dim=1
    )
    weights = torch.randn(30, 8, 7, 7, generator=dice)
    found = []
    for align in (box_operators.roi_align, theirs):
        pooled = align(maps, rois, 0.25, 7, 7, 2, False)
        found.append((pooled, *torch.autograd.grad((pooled * weights).sum(), maps)))
    for ours, other in zip(*found, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)


def test_gradients_of_roi_align_are_those_of_its_values() -> None:
    maps = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, -2, 1, 9, 12.0], [0, 3, 3, 4, 4]], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda values: box_operators.roi_align(values, rois, 0.5, 2, 2, 2, True), maps
    )


def test_detectors_of_torchvision_find_the_operators() -> None:
    ops = operators.import_torchvision().ops
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert ops.batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 0, 2]
    maps = torch.randn(1, 2, 20, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = ops.roi_align(maps.bfloat16(), [boxes], 3, 0.5, 2)
    assert (pooled.dtype, pooled.shape) == (torch.bfloat16, (3, 2, 3, 3))
    pooled.sum().backward()
    assert maps.grad is not None
    assert maps.grad.sum().item() == pytest.approx(3 * 2 * 3 * 3, rel=0.01)  # a mean has weights of sum 1
    assert ops.roi_align(maps, [boxes[:0]], 3, 0.5, 2).shape == (0, 2, 3, 3)


def test_torchvision_can_be_imported_twice_and_after_the_user_did() -> None:
    code = (
        "from sfumato.learn.operators import import_torchvision as load\n"
        "first = load(); assert load() is first; import torchvision; assert torchvision is first\n"
        "print(type(first.models.resnet18).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "function"), done.stderr


@pytest.mark.parametrize("missing", ["torch", "safetensors", "torchvision"])
def test_what_is_not_installed_is_said(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_spec
    monkeypatch.setattr(operators, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MissingExtra, match=r"pip install 'sfumato\[train\]'"):
        operators.import_torchvision()
