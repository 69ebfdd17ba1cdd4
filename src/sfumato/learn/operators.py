"""Import torchvision also where its compiled operators do not load.

torchvision's wheel on the package index is built for CUDA; beside a CPU-only torch its library does not
load, and `import torchvision` then fails because it describes operators that nobody has declared
("operator torchvision::nms does not exist"). The architectures need none of them, so declaring them is
enough; `nms` is also implemented, since it is a few lines.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from sfumato.errors import MissingExtra

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor",
)
_declared: list[Any] = []  # a torch Library takes its operators along when it is collected


def import_torch() -> ModuleType:
    """The module torch.

    Raises:
        MissingExtra: it is not installed.
    """
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise MissingExtra("train", "training and evaluation")
    return import_module("torch")


def import_torchvision() -> ModuleType:
    """The module torchvision, with its operators declared first where its own library does not load.

    Raises:
        MissingExtra: torch or torchvision is not installed.
    """
    import_torch()
    found = find_spec("torchvision")
    if found is None or found.origin is None:
        raise MissingExtra("train", "the model")
    if not _declared and not _load_operators(Path(found.origin).parent):
        _declare_operators()
    return import_module("torchvision")


def import_timm() -> ModuleType:
    """The module timm, which imports torchvision.

    Raises:
        MissingExtra: torch, torchvision or timm is not installed.
    """
    if find_spec("timm") is None:
        raise MissingExtra("timm", "a model of timm")
    import_torchvision()
    return import_module("timm")


def _load_operators(package: Path) -> bool:
    torch: Any = import_torch()
    if hasattr(torch.ops.torchvision, "nms"):
        return True
    try:
        for path in sorted(package.glob("_C.*")):
            torch.ops.load_library(path)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def _declare_operators() -> None:
    torch: Any = import_torch()
    declared = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        declared.define(schema)
    declared.impl("nms", _nms, "CPU")
    _declared.append(declared)


def _nms(dets: Any, scores: Any, iou_threshold: float) -> Any:
    """Greedy non-maximum suppression: indices of the (n, 4) boxes that stay, best score first."""
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    keep = []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(best)
        start = torch.maximum(dets[best, :2], dets[rest, :2])
        end = torch.minimum(dets[best, 2:], dets[rest, 2:])
        shared = (end - start).clamp(min=0).prod(dim=1)
        overlap = shared / (areas[best] + areas[rest] - shared)  # 0/0 of empty boxes is NaN: both stay
        order = rest[~(overlap > iou_threshold)]
    return torch.stack(keep) if keep else order
