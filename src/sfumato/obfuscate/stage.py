"""Write a variant: the data set again, same names and labels, with the faces hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.data import IMAGES_SCHEMA, Dataset, Sample
from sfumato.engines import Work, clear_parts, map_parts
from sfumato.errors import DatasetError, ImageError, UsageError
from sfumato.faces import Faces, FaceTable
from sfumato.obfuscate.files.encode import encode, has_more_frames, read_source
from sfumato.obfuscate.method import Obfuscator
from sfumato.records import (
    Manifest,
    file_sha256,
    finish,
    locked,
    make_key,
    prepare_output,
    read_manifest,
    read_table,
    versions,
    write_atomic,
    write_table,
)
from sfumato.specs import to_spec

VARIANT_SCHEMA = pa.schema(
    [*IMAGES_SCHEMA, ("n_faces", pa.int32()), ("written", pa.string()), ("note", pa.string())]
)
"""`IMAGES_SCHEMA`, and: the number of faces in the image; how it was written: "copied" byte for byte,
"encoded" anew, or null where it failed; what the format cannot keep, or null. sha256 is of the new file."""


@dataclass(frozen=True)
class _Job:
    sample: Sample
    faces: Faces
    sha256: str | None
    error: str | None


def obfuscate(
    dataset: Dataset, faces: FaceTable, method: Obfuscator, out: Path, *, work: Work = Work()
) -> Manifest:
    """Write a variant of a data set into `out`; resumes unfinished work, skips finished.

    Images without faces are copied byte for byte, but for files of several frames or pages, of which only the
    first was examined and is written. Images with faces are decoded, changed and encoded in their
    own format; for the control arm `none` too, so that arms differ by the hiding only. An image that cannot
    be read, that nobody examined, or that changed since it was examined, is a row with status "failed" and
    its reason, and is *not* in the variant: nothing unobfuscated is written under a variant's name.

    Args:
        dataset: the original.
        faces: what `detect` found in it.
        method: how to hide.
        out: folder of the variant: images at their ids, images.parquet (`VARIANT_SCHEMA`), manifest.json.
        work: processes, progress, overwriting.

    Returns:
        The manifest; its `counts` say how many images were copied, encoded, and failed.

    Raises:
        UsageError: `out` is the data set itself or holds something else.
        DatasetError: no image of the data set could be written.
    """
    check_apart(dataset.root, out)
    settings = {"method": to_spec(method)}
    key = make_key("variant", {"dataset": dataset.fingerprint, "faces": faces.manifest.key}, settings)
    with locked(out):
        if not prepare_output(out, "variant", key, overwrite=work.overwrite):
            jobs = [_job(sample, faces) for sample in dataset.samples]
            task = partial(_write_images, dataset, method, out)
            table = map_parts(task, jobs, out, stage=f"obfuscate {method.name}", work=work)
            _close(faces, table, out)
            finish(out, _manifest(dataset, faces, table, settings))
    return read_manifest(out, kind="variant")


def read_failures(variant: Path) -> dict[str, str]:
    """Reason by image id, for the images that are not in a variant.

    Raises:
        TableError: no variant, or a damaged one.
    """
    rows = read_table(variant / "images.parquet", VARIANT_SCHEMA).select(["image_id", "error"]).to_pylist()
    return {row["image_id"]: row["error"] for row in rows if row["error"] is not None}


def check_apart(original: Path, out: Path) -> None:
    """Check that an output folder is neither the data set, nor inside it, nor around it.

    Raises:
        UsageError: it is.
    """
    source, target = original.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise UsageError(
            f"{out} and the data set {original} lie in one another; name an --out folder apart from it"
        )


def _job(sample: Sample, faces: FaceTable) -> _Job:
    status = faces.status.get(sample.image_id)
    error = None
    if status is None:
        error = "not examined: detect faces in it first (sfumato detect)"
    elif status != "ok":
        error = faces.errors.get(sample.image_id) or "could not be examined"
    return _Job(sample, faces.of(sample.image_id), faces.sha256.get(sample.image_id), error)


def _write_images(dataset: Dataset, method: Obfuscator, out: Path, jobs: Sequence[_Job]) -> pa.Table:
    return pa.Table.from_pylist(
        [_write_image(dataset, method, out, job) for job in jobs], schema=VARIANT_SCHEMA
    )


def _write_image(dataset: Dataset, method: Obfuscator, out: Path, job: _Job) -> dict[str, Any]:
    sample = job.sample
    row: dict[str, Any] = {
        "image_id": sample.image_id,
        "split": sample.split,
        "label": sample.label,
        "n_faces": len(job.faces),
    }
    try:
        if job.error is not None:
            raise ImageError(job.error)
        return (
            row | {"status": "ok"} | _write(dataset.path(sample.image_id), out / sample.image_id, job, method)
        )
    except ImageError as error:
        # The table is meant to be passed on: no path of this machine in it.
        return row | {"status": "failed", "error": str(error).replace(f"{dataset.root}/", "")}


def _write(source_path: Path, target: Path, job: _Job, method: Obfuscator) -> dict[str, Any]:
    try:
        changed = file_sha256(source_path) != job.sha256
    except OSError as error:
        raise ImageError(f"{source_path}: cannot be read ({error.strerror})") from error
    if changed:
        raise ImageError(f"{source_path}: changed since it was examined; detect faces again")
    # Only the first frame was examined: the others are not carried over unseen.
    if not len(job.faces) and not has_more_frames(source_path):
        write_atomic(target, source_path.read_bytes(), durable=False)
        return {"sha256": job.sha256, "written": "copied"}
    source = read_source(source_path)
    data = encode(source, method(source.rgb, job.faces))
    write_atomic(target, data, durable=False)
    height, width = source.rgb.shape[:2]
    facts = {"width": width, "height": height, "note": source.note or None}
    return facts | {"sha256": file_sha256(target), "written": "encoded"}


def _close(faces: FaceTable, table: pa.Table, out: Path) -> None:
    errors = table["error"].drop_null()
    if len(errors) == len(table):
        clear_parts(out)  # what was wrong may be put right: the next call tries again
        raise DatasetError(f"{out}: none of the {len(table)} images could be written; the first: {errors[0]}")
    write_table(out / "images.parquet", _with_sizes(table, faces))
    clear_parts(out)


def _manifest(dataset: Dataset, faces: FaceTable, table: pa.Table, settings: dict[str, str]) -> Manifest:
    inputs = {"dataset": dataset.fingerprint, "faces": faces.manifest.key}
    written = table["written"].to_pylist()
    counts = {
        "images": len(table),
        "copied": written.count("copied"),
        "encoded": written.count("encoded"),
        "failed": written.count(None),
        "faces": sum(table["n_faces"].to_pylist()),
    }
    facts = {"arm": settings["method"], "categories": list(dataset.categories)}
    key = make_key("variant", inputs, settings)
    return Manifest("variant", key, inputs, settings, counts, facts, versions())


def _with_sizes(table: pa.Table, faces: FaceTable) -> pa.Table:
    """Sizes of copied images are known from the examination; they were not decoded here."""
    sizes = {row["image_id"]: row for row in faces.images.select(["image_id", "width", "height"]).to_pylist()}
    rows = table.to_pylist()
    for row in rows:
        if row["status"] == "ok":
            row["width"], row["height"] = sizes[row["image_id"]]["width"], sizes[row["image_id"]]["height"]
    return pa.Table.from_pylist(rows, schema=VARIANT_SCHEMA)
