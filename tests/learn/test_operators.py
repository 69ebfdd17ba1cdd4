from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import boxes as geometry
from sfumato.errors import MissingExtra
from sfumato.learn import operators


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_nms_equals_ours(n: int, seed: int, max_iou: float) -> None:
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 50, (n, 2))
    boxes = np.hstack([start, start + rng.uniform(1, 30, (n, 2))]).astype(np.float32).reshape(-1, 4)
    score = rng.permutation(n).astype(np.float32)
    kept = operators._nms(torch.from_numpy(boxes), torch.from_numpy(score), max_iou)
    assert kept.dtype == torch.int64
    assert kept.tolist() == geometry.nms(boxes, score, max_iou=max_iou).tolist()


def test_nms_of_torchvision_works_whoever_implements_it() -> None:
    operators.import_torchvision()
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    assert torch.ops.torchvision.nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]


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
