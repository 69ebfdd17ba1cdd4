"""Import torchvision also where its compiled operators do not load.

torchvision's wheel on the package index is built for CUDA; beside a CPU-only torch its library does not
load, and `import torchvision` then fails because it describes operators that nobody has declared
("operator torchvision::nms does not exist"). So they are declared; those that detectors need are ours, see
`box_operators`.
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
    torchvision = import_module("torchvision")
    if _declared:
        _let_in()
    return torchvision


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
    from torch import library

    from sfumato.learn import box_operators

    new: Any = library.Library  # which has no annotations
    declared = new("torchvision", "DEF")
    for schema in _SCHEMAS:
        declared.define(schema)
    # Made of torch's own operators, so they run where those run; gradients flow through the second.
    declared.impl("nms", box_operators.nms, "CompositeExplicitAutograd")
    declared.impl("roi_align", box_operators.roi_align, "CompositeImplicitAutograd")
    _declared.append(declared)


def _let_in() -> None:
    """Make torchvision call the operators: it refuses to where its own library is not there."""
    for name in ("boxes", "roi_align"):
        module: Any = import_module(f"torchvision.ops.{name}")
        module._has_ops = lambda: True
        module._assert_has_ops = lambda: None
