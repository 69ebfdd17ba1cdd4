"""The stage "detect": every image of a data set examined, faces and failures written down."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc

from sfumato.boxes import nms
from sfumato.data import IMAGES_SCHEMA, Dataset, Sample
from sfumato.detect.catalogue import DETECTORS
from sfumato.detect.detector import Detector, DetectorById
from sfumato.detect.networks.runtime import providers, use_device
from sfumato.engines import Work, clear_parts, map_parts
from sfumato.errors import DatasetError, ImageError
from sfumato.faces import FACES_SCHEMA, Faces, FaceTable, faces_rows, read_faces
from sfumato.images import Pixels, frame_count, open_frames, read_image, to_rgb
from sfumato.records import (
    Manifest,
    file_sha256,
    finish,
    locked,
    make_key,
    prepare_output,
    versions,
    write_table,
)
from sfumato.specs import Spec, parse, to_spec

BATCH_PIXELS = 4_000_000
"""Images are handed to the detector together until they hold this many pixels, so that memory is bounded."""

SAME_PLACE = 0.8
"""Boxes of two frames that overlap more than this are one; every frame is hidden under all boxes."""

_FACE = pa.struct([field for field in FACES_SCHEMA if field.name != "image_id"])
_PART_SCHEMA = IMAGES_SCHEMA.append(pa.field("faces", pa.list_(_FACE)))


def detect(
    dataset: Dataset, detector: Detector, out: Path, *, device: str = "auto", work: Work = Work()
) -> FaceTable:
    """Examine every image of a data set and write `faces.parquet`, `images.parquet` and a manifest.

    An image that cannot be read, or that the detector refuses, is a row with status "failed" and its reason.
    Killed work resumes; the files are the same to the byte whatever the number of workers.

    Args:
        dataset: what to examine.
        detector: picklable, with a `name` and literal fields (see `Detector`).
        out: folder to write; where it holds the finished result already, that is read back.
        device: where networks compute: "auto" (a graphics card where onnxruntime can use one), "cpu", or
            another name of `sfumato.detect.networks.runtime.PROVIDERS`. Scores may differ in the last digits.
        work: how.

    Raises:
        UsageError: onnxruntime cannot compute there.
        OutputExists: the folder was made from something else.
        BusyError: another process works in it.
        DatasetError: not one image could be examined; the message has the first reason.
    """
    out = Path(out)
    inputs = {"dataset": dataset.fingerprint, **_provider(detector), **getattr(detector, "inputs", {})}
    settings = {"detector": _without_place(to_spec(detector))}
    weights = [item.described() for item in getattr(detector, "weights", ())]
    asked = list(providers(device)) if weights else []
    key = make_key("faces", inputs, settings)
    with locked(out):
        if not prepare_output(out, "faces", key, overwrite=work.overwrite):
            if isinstance(detector, DetectorById):
                detector.check_ids([sample.image_id for sample in dataset.samples])
            rows = map_parts(
                _Examine(dataset.root, detector, device), dataset.samples, out, stage="detect", work=work
            )
            faces, images = _split(rows)
            _check_some(dataset, images, out)
            write_table(out / "faces.parquet", faces)
            write_table(out / "images.parquet", images)
            facts = {
                "categories": list(dataset.categories),
                "dataset": dataset.root.name,
                "arm": dataset.arm,
                "weights": weights,
                "providers_asked": asked,
            }
            counts = _counts(faces, images)
            finish(out, Manifest("faces", key, inputs, settings, counts, facts, versions()))
            clear_parts(out)
        return read_faces(out)


def _provider(detector: Detector) -> dict[str, str]:
    """Package and version of a plug-in: another version may find others."""
    provider = DETECTORS.provider(getattr(detector, "name", ""))
    return {} if provider == "sfumato" else {"provider": provider}


def _without_place(spec: str) -> str:
    """A spec with the name of a file only: what is in it counts, and its hash is among the inputs."""
    parsed = parse(spec)
    if not parsed.options.get("path"):
        return spec
    return str(Spec(parsed.name, {**parsed.options, "path": Path(parsed.options["path"]).name}))


@dataclass(frozen=True)
class _Examine:
    """The task of one part: samples to rows of images, each with its faces."""

    root: Path
    detector: Detector
    device: str

    def __call__(self, samples: Sequence[Sample]) -> pa.Table:
        if multiprocessing.parent_process() is not None:
            cv2.setNumThreads(1)  # one process a core: threads would only fight
        use_device(self.device)
        rows = [_image_row(sample) for sample in samples]
        for batch in self._batches(rows):
            self._examine(batch)
        return pa.Table.from_pylist(rows, schema=_PART_SCHEMA)

    def _batches(self, rows: Sequence[dict[str, Any]]) -> Iterator[list[tuple[dict[str, Any], Pixels]]]:
        batch: list[tuple[dict[str, Any], Pixels]] = []
        pixels = 0
        for row in rows:
            try:
                path = self.root / row["image_id"]
                row["sha256"] = file_sha256(path)
                image = read_image(path)
            except (ImageError, OSError) as error:
                _fail(row, error, self.root)
                continue
            row["height"], row["width"] = image.shape[:2]
            row["frames"] = 1
            batch.append((row, image))
            pixels += image.shape[0] * image.shape[1]
            if pixels >= BATCH_PIXELS:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def _examine(self, batch: Sequence[tuple[dict[str, Any], Pixels]]) -> None:
        for (row, image), found in zip(batch, self._together(batch), strict=True):
            try:
                faces = self._of_image(row["image_id"], image) if found is None else found
                _succeed(row, self._with_frames(row, faces))
            except ImageError as error:
                _fail(row, error, self.root)

    def _together(self, batch: Sequence[tuple[dict[str, Any], Pixels]]) -> Sequence[Faces | None]:
        """Faces of a batch, or None for each where it must be gone through one by one."""
        if not isinstance(self.detector, DetectorById):
            try:
                return self.detector([image for _, image in batch])
            except ImageError:
                pass  # one of them
        return [None] * len(batch)

    def _with_frames(self, row: dict[str, Any], first: Faces) -> Faces:
        """The faces of all frames of an animation, near duplicates left out; else those of the picture."""
        path = self.root / row["image_id"]
        # Whoever knows images by name also knows how many frames somebody looked at.
        if isinstance(self.detector, DetectorById):
            row["frames"] = min(self.detector.frames_of(row["image_id"]), frame_count(path))
            return first
        if frame_count(path) == 1:
            return first
        parts = [first]
        for number, frame in enumerate(open_frames(path)):
            if number:
                parts += self.detector([to_rgb(frame)])
        row["frames"] = len(parts)
        faces = Faces.joined(parts)
        return faces[nms(faces.xyxy, faces.score, max_iou=SAME_PLACE)]

    def _of_image(self, image_id: str, image: Pixels) -> Faces:
        if isinstance(self.detector, DetectorById):
            return self.detector.of_image(image_id, image)
        return self.detector([image])[0]


def _image_row(sample: Sample) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_PART_SCHEMA.names)
    return row | {"image_id": sample.image_id, "split": sample.split, "label": sample.label}


def _succeed(row: dict[str, Any], faces: Faces) -> None:
    if not ((faces.score >= 0) & (faces.score <= 1)).all():
        raise ImageError("the detector gave a score that is no number in 0..1")
    row["status"] = "ok"
    row["faces"] = faces_rows(row["image_id"], faces)


def _fail(row: dict[str, Any], error: Exception, root: Path) -> None:
    row["status"] = "failed"
    # The row names the image; the place of the data set is no fact about it.
    row["error"] = str(error).removeprefix(f"{root / row['image_id']}: ") or type(error).__name__
    row["width"] = row["height"] = row["frames"] = None
    row["faces"] = []


def _split(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    images = rows.drop_columns(["faces"]).cast(IMAGES_SCHEMA).combine_chunks()
    nested = rows["faces"].combine_chunks()
    owners = pc.take(rows["image_id"], pc.list_parent_indices(nested))
    flat = pa.Table.from_struct_array(pc.list_flatten(nested))
    faces = flat.add_column(0, FACES_SCHEMA.field("image_id"), owners).cast(FACES_SCHEMA)
    return faces.combine_chunks(), images


def _check_some(dataset: Dataset, images: pa.Table, out: Path) -> None:
    if "ok" in images["status"].to_pylist():
        return
    clear_parts(out)  # nothing in there is worth resuming
    first = images.slice(0, 1).to_pylist()[0]
    raise DatasetError(
        f"{dataset.root}: none of {len(images)} image(s) could be examined; "
        f"the first, {first['image_id']}: {first['error']}"
    )


def _counts(faces: pa.Table, images: pa.Table) -> Mapping[str, int]:
    failed = images["status"].to_pylist().count("failed")
    return {
        "images": len(images),
        "ok": len(images) - failed,
        "failed": failed,
        "faces": len(faces),
        "images_with_faces": len(set(faces["image_id"].to_pylist())),
    }
