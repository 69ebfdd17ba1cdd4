"""Import: what a file says about the images of a data set, as a face table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import IMAGES_SCHEMA, Dataset
from sfumato.engines import Work, clear_parts, map_parts
from sfumato.errors import ImageError, TableError
from sfumato.faces.exchange.annotations import Annotations
from sfumato.faces.exchange.catalogue import BoxFormat
from sfumato.faces.names import NameIndex
from sfumato.faces.table import FACES_SCHEMA, FaceTable, read_faces
from sfumato.images import Frame, read_frame
from sfumato.orientation import Orientation, check_orientation, stored_size, to_upright
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
from sfumato.specs import to_spec

EXTRA = pa.field("extra", pa.string())
"""Column of both tables: JSON object of the fields that only the file's format knows, or null."""

_FRAME_SCHEMA = pa.schema(
    [*(IMAGES_SCHEMA.field(name) for name in ("image_id", "width", "height", "error", "sha256"))]
).append(pa.field("orientation", pa.int32()))


@dataclass(frozen=True)
class ImportOptions:
    """How the boxes of a file become faces of a data set.

    Attributes:
        orientation: what the boxes are drawn on: the "upright" picture, or pixels as "stored" in files that
            have an EXIF orientation (the study's and any annotator's that ignores it).
        allow_unmatched: leave out records of images that the data set does not have.
        absent_is_empty: an image without a record was examined and has no face.
        kinds: import boxes of these kinds only; empty for all.
    """

    orientation: Orientation = "upright"
    allow_unmatched: bool = False
    absent_is_empty: bool = False
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_orientation(self.orientation)


@dataclass(frozen=True)
class BoxFile:
    """A file (or folder) of boxes and its format."""

    path: Path
    format: BoxFormat


def import_boxes(
    dataset: Dataset,
    source: BoxFile,
    out: Path,
    *,
    options: ImportOptions = ImportOptions(),
    work: Work = Work(),
) -> FaceTable:
    """Write the face table of a data set from a file of boxes.

    An image with a record was examined: status "ok", even without a box. An image without one has no row. An
    image whose file cannot be read, or whose size is not the one that the record was made for, is a row with
    status "failed" and its reason. Only headers are decoded. Killed work resumes.

    Args:
        dataset: images that the boxes belong to.
        source: the file and its format.
        out: folder to write, as `sfumato detect` writes it; where it holds the finished result, that is read
            back. Both tables have a column more, `extra`.
        options, work: how.

    Raises:
        TableError: the file is not of the format; a record belongs to no image (unless allowed), to several,
            or two belong to the same; no image could be used.
        OutputExists, BusyError: as `sfumato.detect.detect`.
    """
    out = Path(out)
    annotations = source.format.read(Path(source.path))
    rows = match_images(annotations, [sample.image_id for sample in dataset.samples])
    _check_matched(annotations, rows, dataset, options)
    inputs = {"dataset": dataset.fingerprint, "boxes": annotations.digest()}
    settings = {"format": to_spec(source.format), **asdict(options)}
    key = make_key("faces", inputs, settings)
    with locked(out):
        if not prepare_output(out, "faces", key, overwrite=work.overwrite):
            faces, images, counts = _tables(dataset, annotations, rows, _Way(out, options, work))
            write_table(out / "faces.parquet", faces)
            write_table(out / "images.parquet", images)
            facts = {
                "categories": list(dataset.categories),
                "dataset": dataset.root.name,
                "arm": dataset.arm,
                "format": source.format.name,
                "file_extra": dict(annotations.file_extra),
            }
            finish(out, Manifest("faces", key, inputs, settings, counts, facts, versions()))
            clear_parts(out)
        return read_faces(out)


def match_images(annotations: Annotations, image_ids: Sequence[str]) -> NDArray[np.int64]:
    """For each record the index of its image, or -1; shape (number of records,).

    A record belongs to the image whose id is its name; else to the one whose id ends with it or that it ends
    with, cut at slashes; in formats without file endings, these are left out of the comparison. An image
    that a record names exactly is not given to another.

    Raises:
        TableError: a record may belong to several images, or two belong to the same.
    """
    index = {image_id: row for row, image_id in enumerate(image_ids)}
    rows = np.array([index.get(name, -1) for name in annotations.names], dtype=np.int64)
    missing = np.flatnonzero(rows < 0).tolist()
    if missing:
        taken = set(rows[rows >= 0].tolist())
        ways = [NameIndex(image_ids)] + ([NameIndex(image_ids, stems=True)] if annotations.by_stem else [])
        for record in missing:
            found = _alike(annotations, record, ways)
            if found is not None and index[found] not in taken:
                rows[record] = index[found]
    _check_once(annotations, rows, image_ids)
    return rows


def _alike(annotations: Annotations, record: int, ways: Sequence[NameIndex]) -> str | None:
    name = annotations.names[record]
    found: list[str] = next(filter(None, (way.alike(name) for way in ways)), [])
    if len(found) > 1:
        raise TableError(
            f"{annotations.origin}: the record of {name} may belong to {len(found)} images: "
            f"{', '.join(found[:3])}; write their ids in full"
        )
    return found[0] if found else None


def _check_once(annotations: Annotations, rows: NDArray[np.int64], image_ids: Sequence[str]) -> None:
    used, counts = np.unique(rows, return_counts=True)
    twice = (counts > 1) & (used >= 0)
    if twice.any():
        row = int(used[twice.argmax()])
        names = [annotations.names[record] for record in np.flatnonzero(rows == row)[:3]]
        raise TableError(
            f"{annotations.origin}: several records belong to {image_ids[row]}: {', '.join(names)}; leave one"
        )


def _check_matched(
    annotations: Annotations, rows: NDArray[np.int64], dataset: Dataset, options: ImportOptions
) -> None:
    lost = np.flatnonzero(rows < 0)
    if len(rows) and len(lost) == len(rows):
        raise TableError(
            f"{annotations.origin}: none of {len(rows)} record(s) belongs to an image of {dataset.root} "
            f"(the first is of {annotations.names[0]}); is it the right data set?"
        )
    if len(lost) and not options.allow_unmatched:
        raise TableError(
            f"{annotations.origin}: {len(lost)} of {len(rows)} records are of no image in {dataset.root} "
            f"(the first: {annotations.names[int(lost[0])]}); give --allow-unmatched to leave them out"
        )


@dataclass(frozen=True)
class _Way:
    out: Path
    options: ImportOptions
    work: Work


@dataclass(frozen=True)
class _Frames:
    """The task of one part: image ids to what their files' headers say."""

    root: Path

    def __call__(self, image_ids: Sequence[str]) -> pa.Table:
        return pa.Table.from_pylist([self._frame(image_id) for image_id in image_ids], schema=_FRAME_SCHEMA)

    def _frame(self, image_id: str) -> dict[str, Any]:
        path = self.root / image_id
        try:
            frame = read_frame(path)
            return {"image_id": image_id, "sha256": file_sha256(path), **asdict(frame)}
        except (ImageError, OSError) as error:
            return {"image_id": image_id, "error": str(error).removeprefix(f"{path}: ")}


def _tables(
    dataset: Dataset, annotations: Annotations, rows: NDArray[np.int64], way: _Way
) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    """Both tables and the counts; rows are of images with a record, in the order of the data set."""
    record_of = np.full(len(dataset), -1, dtype=np.int64)
    record_of[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    examined = np.arange(len(dataset)) if way.options.absent_is_empty else np.flatnonzero(record_of >= 0)
    ids = [dataset.samples[row].image_id for row in examined.tolist()]
    if not ids:
        raise TableError(f"{annotations.origin}: no record, so no image was examined")
    frames = map_parts(_Frames(dataset.root), ids, way.out, stage="import", work=way.work)
    image_of = np.full(len(annotations), -1, dtype=np.int64)
    found = record_of[examined]
    image_of[found[found >= 0]] = np.flatnonzero(found >= 0)
    placed = _Placed(annotations, image_of, way.options)
    images = _images(dataset, examined, frames, placed)
    ok = np.array([error is None for error in images["error"].to_pylist()], dtype=bool)
    _check_some(annotations, images, ok, out=way.out)
    faces, outside = _faces(frames, ok, placed)
    counts = {
        "images": len(images),
        "ok": int(ok.sum()),
        "failed": int((~ok).sum()),
        "faces": len(faces),
        "images_with_faces": len(set(faces["image_id"].to_pylist())),
        "not_examined": len(dataset) - len(images),
        "unmatched_records": int((rows < 0).sum()),
        "faces_outside_image": outside,
    }
    return faces, images, counts


def _check_some(annotations: Annotations, images: pa.Table, ok: NDArray[np.bool_], *, out: Path) -> None:
    if ok.any():
        return
    clear_parts(out)  # nothing in there is worth resuming
    first = images.slice(0, 1).to_pylist()[0]
    raise TableError(
        f"{annotations.origin}: none of {len(ok)} image(s) could be used; "
        f"the first, {first['image_id']}: {first['error']}"
    )


@dataclass(frozen=True)
class _Placed:
    """Annotations, and the row of the examined images that each record belongs to, or -1."""

    annotations: Annotations
    image_of: NDArray[np.int64]
    options: ImportOptions


def _images(dataset: Dataset, examined: NDArray[np.int64], frames: pa.Table, placed: _Placed) -> pa.Table:
    annotations = placed.annotations
    width, height, turn = (_numbers(frames, name) for name in ("width", "height", "orientation"))
    extra: list[str | None] = [None] * len(frames)
    error = frames["error"].to_pylist()
    for record, text in annotations.image_extra.items():
        if (at := int(placed.image_of[record])) >= 0:
            extra[at] = text
    for record, declared in annotations.sizes.items():
        if (at := int(placed.image_of[record])) >= 0 and error[at] is None:
            frame = Frame(int(width[at]), int(height[at]), int(turn[at]))
            error[at] = _size_error(declared, frame, placed)
    samples = [dataset.samples[at] for at in examined.tolist()]
    failed = np.array([reason is not None for reason in error], dtype=bool)
    columns = {
        "image_id": frames["image_id"],
        "split": [sample.split for sample in samples],
        "label": [sample.label for sample in samples],
        "width": pa.array(width.astype(np.int32), mask=failed),
        "height": pa.array(height.astype(np.int32), mask=failed),
        "status": np.where(failed, "failed", "ok").tolist(),
        "error": error,
        "sha256": frames["sha256"],
        # A record is of the picture that a person saw: further frames of an animation count as not examined.
        "frames": pa.array(np.ones(len(failed), dtype=np.int32), mask=failed),
        "extra": extra,
    }
    return pa.table(columns, schema=IMAGES_SCHEMA.append(EXTRA)).combine_chunks()


def _size_error(declared: tuple[int, int], frame: Frame, placed: _Placed) -> str | None:
    """Why boxes that were drawn on an image of the declared size do not fit this one."""
    turned = frame.orientation >= 5
    as_stored = turned and placed.options.orientation == "stored"
    expected = (frame.height, frame.width) if as_stored else (frame.width, frame.height)
    # Fractions fit a copy of any size, but not one that lies on its side.
    if declared == expected or (placed.annotations.relative and declared != expected[::-1]):
        return None
    reason = (
        f"the record is of an image of {declared[0]} x {declared[1]} pixels, "
        f"this one has {expected[0]} x {expected[1]}"
    )
    if turned and not as_stored and declared == expected[::-1]:
        reason += "; were the boxes drawn on the stored pixels (orientation 'stored')?"
    return reason


def _faces(frames: pa.Table, ok: NDArray[np.bool_], placed: _Placed) -> tuple[pa.Table, int]:
    """Rows of faces in images that are ok, and how many of them share no pixel with their image."""
    annotations = placed.annotations
    owner = placed.image_of[annotations.owner]
    kept = np.flatnonzero((owner >= 0) & ok[owner] & _of_kinds(annotations, placed.options.kinds))
    kept = kept[np.argsort(owner[kept], kind="stable")]
    owner = owner[kept]
    size = np.stack([_numbers(frames, name)[owner] for name in ("width", "height")], axis=1)
    turn = _numbers(frames, "orientation")[owner]
    xyxy = annotations.xyxy[kept]
    stored = placed.options.orientation == "stored"
    if annotations.relative:
        frame = stored_size(size, turn) if stored else size
        xyxy = xyxy * np.hstack([frame, frame])
    if stored:
        xyxy = to_upright(xyxy, turn, size)
    outside = (xyxy[:, :2] >= size).any(axis=1) | (xyxy[:, 2:] <= 0).any(axis=1)
    columns = {
        "image_id": frames["image_id"].combine_chunks().take(pa.array(owner)),
        **{name: xyxy[:, at].astype(np.float32) for at, name in enumerate(("x0", "y0", "x1", "y1"))},
        "score": annotations.score[kept].astype(np.float32),
        "kind": [annotations.kind[at] for at in kept.tolist()],
        "source": [annotations.origin] * len(kept),
        "extra": [annotations.extra.get(at) for at in kept.tolist()],
    }
    return pa.table(columns, schema=FACES_SCHEMA.append(EXTRA)), int(outside.sum())


def _of_kinds(annotations: Annotations, kinds: tuple[str, ...]) -> NDArray[np.bool_]:
    if not kinds:
        return np.ones(len(annotations.kind), dtype=bool)
    return np.array([kind in kinds for kind in annotations.kind], dtype=bool)


def _numbers(frames: pa.Table, name: str) -> NDArray[np.int64]:
    return np.asarray(frames[name].fill_null(0).to_numpy(), dtype=np.int64)
