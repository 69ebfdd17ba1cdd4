"""Detectors with a file of the user's: YuNet, SCRFD, CenterFace, RetinaFace by path."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sfumato.boxes import iou
from sfumato.data import read_folder
from sfumato.detect import DETECTORS, Weights, detect
from sfumato.detect.networks import centerface, retinaface, scrfd
from sfumato.detect.networks.runtime import providers
from sfumato.detect.networks.yunet import YuNetNetwork
from sfumato.engines import Work
from sfumato.errors import SfumatoError, SpecError, UsageError
from tests.detect.onnx_files import changed, scrfd_file, yunet_file
from tests.detect.pictures import portrait

RNG = np.random.default_rng(5)
NOISE = cv2.resize(
    RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8), (192, 128), interpolation=cv2.INTER_CUBIC
)


def packaged_file(weights: Weights, path: Path) -> Path:
    path.write_bytes(weights.read())
    return path


@pytest.mark.parametrize("seed", range(4))
def test_yunet_finds_what_opencv_finds_with_the_same_file(tmp_path: Path, seed: int) -> None:
    path = yunet_file(tmp_path / "yunet.onnx", height=128, width=192, seed=seed)
    # 1.0 keeps what overlaps, so that all candidates are compared.
    model: Any = cv2.FaceDetectorYN.create(str(path), "", (192, 128), 0.5, 1.0, 5000)
    _, rows = model.detect(np.ascontiguousarray(NOISE[..., ::-1]))
    network = YuNetNetwork(Weights.of_file(path, "yunet"))
    assert network.sides == (128, 192)
    (found,) = network(NOISE[None], min_score=0.5)
    assert len(found) == len(rows) > 20
    ours = np.hstack([found.xyxy[:, :2], found.xyxy[:, 2:] - found.xyxy[:, :2]])
    ours = np.hstack([ours, found.points.reshape(-1, 10), found.score[:, None]])
    order, theirs = np.lexsort(ours[:, :3].T.round(1)), np.lexsort(rows[:, :3].T.round(1))
    np.testing.assert_allclose(ours[order], rows[theirs], rtol=1e-3, atol=0.02)


@pytest.mark.parametrize(
    ("strides", "landmarks"), [((8, 16, 32), True), ((8, 16, 32), False), ((8, 16, 32, 64, 128), True)]
)
def test_scrfd_decodes_as_a_loop_over_anchors_does(
    tmp_path: Path, strides: tuple[int, ...], landmarks: bool
) -> None:
    path = scrfd_file(tmp_path / "scrfd.onnx", strides=strides, landmarks=landmarks)
    network = scrfd.ScrfdNetwork(Weights.of_file(path, "scrfd"))
    picture = np.asarray(cv2.resize(NOISE, (256, 128)))
    (found,) = network(picture[None], min_score=0.5)
    pixels = (picture.astype(np.float32).transpose(2, 0, 1)[None] - np.float32(127.5)) / np.float32(128)
    raw = dict(zip(network.graph.outputs, network.graph.run(pixels), strict=True))
    expected: list[Any] = []
    for stride in strides:
        per_cell = 2 if len(strides) == 3 else 1
        row = 0
        for y in range(0, 128, stride):
            for x in range(0, 256, stride):
                for _ in range(per_cell):
                    score = float(raw[f"out1_{stride}"][row, 0])
                    left, up, right, down = raw[f"out4_{stride}"][row] * stride
                    points = (
                        raw[f"out10_{stride}"][row].reshape(5, 2) * stride + [x, y] if landmarks else None
                    )
                    if score >= 0.5:
                        expected.append(((x - left, y - up, x + right, y + down), score, points))
                    row += 1
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found.xyxy, [box for box, _, _ in expected], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.score, [score for _, score, _ in expected], rtol=1e-6)
    if landmarks:
        theirs = np.array([points for _, _, points in expected])
        np.testing.assert_allclose(found.points, theirs, rtol=1e-4, atol=1e-3)
    else:
        assert np.isnan(found.points).all()


def test_boxes_of_a_network_of_fixed_size_lie_where_the_picture_has_them(tmp_path: Path) -> None:
    path = yunet_file(tmp_path / "y.onnx", height=64, width=96)
    detector = DETECTORS.build(f"yunet(path={str(path)!r}, min_score=0.5)")
    small = np.asarray(cv2.resize(NOISE, (96, 64), interpolation=cv2.INTER_AREA))
    large = small.repeat(3, axis=0).repeat(3, axis=1)  # shrunk to the network's size it is the small one
    ((first,), (second,)) = detector([small]), detector([large])
    assert len(first) > 5
    np.testing.assert_allclose(second.xyxy, first.xyxy * 3, atol=1e-3)
    np.testing.assert_array_equal(second.score, first.score)


@pytest.mark.parametrize(
    ("name", "weights"), [("centerface", centerface.WEIGHTS), ("retinaface", retinaface.WEIGHTS)]
)
def test_a_file_of_the_same_weights_finds_the_same(tmp_path: Path, name: str, weights: Weights) -> None:
    path = packaged_file(weights, tmp_path / "own.onnx")
    picture, _ = portrait(256)
    own = DETECTORS.build(f"{name}(path={str(path)!r})")
    (first,), (second,) = own([picture]), DETECTORS.build(name)([picture])
    assert first.xyxy.tolist() == second.xyxy.tolist()
    assert own.weights[0].licence == "MIT"  # known by its hash
    assert own.inputs == {"weights": weights.sha256}


def test_the_hash_of_a_file_stands_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(NOISE).save(tmp_path / "photos/a.png")
    path = yunet_file(tmp_path / "own.onnx", height=64, width=96)
    detector = DETECTORS.build(f"yunet(path={str(path)!r})")
    table = detect(read_folder(tmp_path / "photos"), detector, tmp_path / "faces", work=Work(1))
    (weights,) = table.manifest.facts["weights"]
    assert weights["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights["file"] == "own.onnx"
    assert weights["licence"] == "unknown"
    assert table.manifest.facts["providers_asked"] == list(providers("auto"))
    assert "own.onnx" in table.manifest.settings["detector"]
    assert str(tmp_path) not in table.manifest.settings["detector"]
    key = json.loads((tmp_path / "faces/manifest.json").read_text())["key"]
    yunet_file(path, height=64, width=96, seed=9)  # other weights under the same name are other work
    again = detect(
        read_folder(tmp_path / "photos"), detector, tmp_path / "faces", work=Work(1, overwrite=True)
    )
    assert again.manifest.key != key


def test_what_is_no_file_of_the_family_is_refused_by_name(tmp_path: Path) -> None:
    picture, _ = portrait(96)
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"not a network")
    wrong = yunet_file(tmp_path / "wrong.onnx", height=64, width=96)
    for name in ("centerface", "retinaface", "scrfd"):
        with pytest.raises(SfumatoError, match=rf"wrong\.onnx: not a {name} network: expected .*; it has"):
            DETECTORS.build(f"{name}(path={str(wrong)!r})")([picture])
    for name in ("centerface", "retinaface", "scrfd", "yunet"):
        with pytest.raises(SfumatoError, match=r"noise\.onnx: no ONNX network"):
            DETECTORS.build(f"{name}(path={str(noise)!r})")([picture])
        with pytest.raises(SfumatoError, match=r"none\.onnx: cannot be read .* path must name an ONNX file"):
            DETECTORS.build(f"{name}(path={str(tmp_path / 'none.onnx')!r})")([picture])
    with pytest.raises(SfumatoError, match=r"not a yunet network: expected cls_8"):
        DETECTORS.build(f"yunet(path={str(scrfd_file(tmp_path / 's.onnx'))!r})")([picture])


@pytest.mark.parametrize("name", ["yunet", "scrfd"])
def test_detectors_without_weights_ask_for_a_file(name: str) -> None:
    with pytest.raises(SpecError, match=r"give path='file\.onnx'"):
        DETECTORS.build(name)


def test_a_file_for_ten_pictures_at_once_is_refused(tmp_path: Path) -> None:
    def ten(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10

    data = yunet_file(tmp_path / "one.onnx", height=64, width=96).read_bytes()
    path = changed(data, tmp_path / "ten.onnx", ten)
    with pytest.raises(SfumatoError, match="takes 10 pictures at once"):
        DETECTORS.build(f"yunet(path={str(path)!r})")([NOISE])


def test_confidences_without_soft_maximum_are_understood() -> None:
    scores = np.array([[[2.0, -1.0], [0.0, 3.0]]], dtype=np.float32)
    shares = retinaface._as_shares(scores)
    np.testing.assert_allclose(shares[0, :, 1], [1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))], rtol=1e-6)
    assert retinaface._as_shares(shares) is shares


def test_a_device_that_onnxruntime_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown device 'tpu'; known: auto, cpu"):
        providers("tpu")
    assert providers("cpu") == ("CPUExecutionProvider",)


def test_a_missing_provider_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match=r"cannot compute on cuda .* onnxruntime-gpu"):
        providers("cuda")
    assert providers("auto") == ("CPUExecutionProvider",)
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    assert providers("auto") == providers("cuda") == tuple(both)


def test_known_faces_overlap_with_what_the_file_finds(tmp_path: Path) -> None:
    picture, truth = portrait(256)
    path = packaged_file(centerface.WEIGHTS, tmp_path / "c.onnx")
    (found,) = DETECTORS.build(f"centerface(path={str(path)!r}, long_side=320)")([picture])
    assert iou(found.xyxy, truth.astype(np.float32))[0, 0] > 0.6
