"""Small ONNX files with the inputs and outputs of published detectors, and weights drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Nodes = list[Any]


class _Graph:
    """Nodes and weights, gathered."""

    def __init__(self, seed: int, *, grey: float) -> None:
        """`grey` is what the input has for a middling pixel: it becomes 0, so that both signs occur."""
        self.grey = grey
        self.nodes: Nodes = []
        self.stored: Nodes = []
        self.outputs: Nodes = []
        self.rng = np.random.default_rng(seed)

    def weight(self, name: str, value: Any) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **options: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **options))
        return output

    def cells(self, stride: int, name: str, values: int, shape: Sequence[int], scale: float) -> str:
        """Means of squares of pixels, mixed at random: the values of each cell by row and column."""
        pooled = self.node(
            "AveragePool", ["input"], f"{name}_mean", kernel_shape=[stride] * 2, strides=[stride] * 2
        )
        mix = self.rng.normal(0, scale, (values, 3, 1, 1)).astype(np.float32)
        bias = -np.float32(self.grey) * mix.sum(axis=(1, 2, 3))
        weights = [self.weight(f"{name}_w", mix), self.weight(f"{name}_b", bias)]
        mixed = self.node("Conv", [pooled, *weights], f"{name}_map", kernel_shape=[1, 1])
        last = self.node("Transpose", [mixed], f"{name}_last", perm=[0, 2, 3, 1])
        return self.node(
            "Reshape", [last, self.weight(f"{name}_shape", np.array(shape, np.int64))], f"{name}_rows"
        )

    def output(self, name: str, rank: int) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank))

    def save(self, path: Path, shape: Sequence[int | str]) -> Path:
        source = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "small", [source], self.outputs, self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path


def yunet_file(path: Path, *, height: int, width: int, seed: int = 0) -> Path:
    """A file like YuNet 2023mar's: input of a fixed size, twelve named outputs."""
    graph = _Graph(seed, grey=128)
    for part, values, scale in (("cls", 1, 0.05), ("obj", 1, 0.05), ("bbox", 4, 0.01), ("kps", 10, 0.01)):
        for stride in (8, 16, 32):
            name = f"{part}_{stride}"
            rows = graph.cells(stride, f"_{name}", values, (1, -1, values), scale)
            graph.node("Sigmoid" if part in ("cls", "obj") else "Identity", [rows], name)
            graph.output(name, 3)
    return graph.save(path, [1, 3, height, width])


def scrfd_file(path: Path, *, strides: Sequence[int] = (8, 16, 32), landmarks: bool = True) -> Path:
    """A file like SCRFD's: free sides, outputs by kind and stride, anchors by cell, no picture axis."""
    graph = _Graph(1, grey=0)
    anchors = 2 if len(strides) == 3 else 1
    for values in (1, 4, 10) if landmarks else (1, 4):
        for stride in strides:
            name = f"_{values}_{stride}"
            rows = graph.cells(stride, name, values * anchors, (-1, values), 4.0 if values == 1 else 1.0)
            graph.node("Sigmoid" if values == 1 else "Identity", [rows], f"out{values}_{stride}")
            graph.output(f"out{values}_{stride}", 2)
    return graph.save(path, [1, 3, "height", "width"])


def changed(data: bytes, path: Path, change: Callable[[Any], None]) -> Path:
    """An ONNX file with its model changed in place."""
    model = onnx.load_from_string(data)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path
