"""The network of YuNet with weights drawn at random: for speed where the published file is not at hand.

Layers as in Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 2023
(variant n), batch normalisation folded into the convolutions. Its 75,856 parameters, the number that the
authors give, are counted with the folded ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

N_PARAMETERS = 75_856
_BATCH_NORM = 2
"""Parameters of batch normalisation for each channel, which are folded away here."""


class _Network:
    """Nodes and weights of the graph, and the number of parameters before folding."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.outputs: list[Any] = []
        self.n_parameters = 0
        self._rng = np.random.default_rng(0)

    def node(self, kind: str, *inputs: str, **options: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **options))
        return name

    def stored(self, value: Any) -> str:
        name = f"stored_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def convolution(
        self, source: str, shape: tuple[int, int, int], *, stride: int = 1, groups: int = 1
    ) -> str:
        """Inputs, outputs and side of the kernel."""
        n_in, n_out, side = shape
        kernel = self._rng.normal(0, (2 / (n_in * side * side)) ** 0.5, (n_out, n_in // groups, side, side))
        self.n_parameters += kernel.size + n_out
        weights = [self.stored(kernel.astype(np.float32)), self.stored(np.zeros(n_out, np.float32))]
        options = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [side // 2] * 4}
        return self.node("Conv", source, *weights, group=groups, **options)

    def relu(self, source: str, channels: int) -> str:
        self.n_parameters += _BATCH_NORM * channels
        return self.node("Relu", source)

    def unit(self, source: str, n_in: int, n_out: int, *, plain: bool = False) -> str:
        """A pointwise and a depthwise convolution."""
        mixed = self.convolution(source, (n_in, n_out, 1))
        seen = self.convolution(mixed, (n_out, n_out, 3), groups=n_out)
        return seen if plain else self.relu(seen, n_out)

    def block(self, source: str, n_in: int, n_out: int) -> str:
        return self.unit(self.unit(source, n_in, n_in), n_in, n_out)

    def halved(self, source: str) -> str:
        return self.node("MaxPool", source, kernel_shape=[2, 2], strides=[2, 2])

    def doubled(self, source: str) -> str:
        scales = self.stored(np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", source, self.stored(np.zeros(0, np.float32)), scales, mode="nearest")

    def head(self, source: str, part: str, values: int, stride: int) -> None:
        last = self.node("Transpose", self.unit(source, 64, values, plain=True), perm=[0, 2, 3, 1])
        rows = self.node("Reshape", last, self.stored(np.array([1, -1, values], np.int64)))
        kind = "Sigmoid" if part in ("cls", "obj") else "Identity"
        self.nodes.append(helper.make_node(kind, [rows], [f"{part}_{stride}"]))
        self.outputs.append(
            helper.make_tensor_value_info(f"{part}_{stride}", TensorProto.FLOAT, [1, None, values])
        )


def write_yunet(path: Path, *, height: int = 640, width: int = 640) -> Path:
    """Write the network for an input of this size, which OpenCV changes as it likes.

    Raises:
        ValueError: the layers are not the published ones.
    """
    net = _Network()
    found = net.relu(net.convolution("input", (3, 16, 3), stride=2), 16)
    found = net.block(net.halved(net.unit(found, 16, 16)), 16, 64)
    found = net.halved(net.block(found, 64, 64))
    maps = []
    for stride in (8, 16, 32):
        found = net.block(found, 64, 64)
        maps.append(found)
        found = net.halved(found) if stride < 32 else found
    for level in (2, 1, 0):
        maps[level] = net.unit(maps[level], 64, 64)
        if level:
            maps[level - 1] = net.node("Add", maps[level - 1], net.doubled(maps[level]))
    shared = [net.unit(level, 64, 64) for level in maps]
    for part, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for source, stride in zip(shared, (8, 16, 32), strict=True):
            net.head(source, part, values, stride)
    if net.n_parameters != N_PARAMETERS:
        raise ValueError(f"{net.n_parameters} parameters instead of {N_PARAMETERS}")
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(net.nodes, "yunet", [source], net.outputs, net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    path.write_bytes(model.SerializeToString())
    return path
