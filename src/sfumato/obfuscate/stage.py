"""Write a variant: the data set again, same names and labels, with the faces hidden."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from sfumato.data import IMAGES_SCHEMA, Dataset, Sample
from sfumato.engines import Work, clear_parts, map_parts
from sfumato.errors import DatasetError, ImageError, UsageError
from sfumato.faces import Faces, FaceTable
from sfumato.images import Pixels, picture_count
from sfumato.obfuscate.documents.provenance import DOCUMENTS, write_provenance
from sfumato.obfuscate.files.metadata import Policy, clean
from sfumato.obfuscate.files.place import Link, as_link, place
from sfumato.obfuscate.files.rewrite import rewrite
from sfumato.obfuscate.method import Obfuscator, apply, to_be_hidden
from sfumato.records import (
    MANIFEST,
    Manifest,
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
"""`IMAGES_SCHEMA`, and: the number of faces in the image; how it was written: "copied" or "linked" byte for
byte, "cleaned" of metadata only, "edited" (a JPEG's blocks under the faces), "encoded" anew, or null where it
failed; what the format cannot keep, or null. sha256 is of the new file."""

WAYS = ("copied", "linked", "cleaned", "edited", "encoded")
"""How an image may be written, the words of the column `written`."""


@dataclass(frozen=True)
class FileOptions:
    """How the files of a variant are written.

    Attributes:
        metadata: what besides the picture is kept in files with hidden faces; see `Policy`.
        metadata_everywhere: the same in files without faces, which are else passed on byte for byte.
        link: how those get into the variant; see `sfumato.obfuscate.files.place.Link`.
    """

    metadata: Policy = Policy.SAFE
    metadata_everywhere: bool = False
    link: Link = "auto"

    @classmethod
    def of(cls, metadata: str, link: str, *, everywhere: bool = False) -> FileOptions:
        """Options from words.

        Raises:
            UsageError: there is no such policy or way.
        """
        try:
            return cls(Policy(metadata), everywhere, as_link(link))
        except ValueError as error:
            known = ", ".join(Policy)
            raise UsageError(f"unknown policy '{metadata}' for metadata; known: {known}") from error

    def settings(self) -> dict[str, str | bool]:
        """What changes bytes; the way in which equal bytes get there does not."""
        return {"metadata": str(self.metadata), "metadata_everywhere": self.metadata_everywhere}


@dataclass(frozen=True)
class _Job:
    sample: Sample
    faces: Faces
    sha256: str | None
    frames: int
    error: str | None


def obfuscate(  # noqa: PLR0913  each is a thing of its own
    dataset: Dataset,
    faces: FaceTable,
    method: Obfuscator,
    out: Path,
    *,
    files: FileOptions = FileOptions(),
    work: Work = Work(),
) -> Manifest:
    """Write a variant of a data set into `out`; resumes unfinished work, skips finished.

    Images without faces are passed on byte for byte, but for further frames or pages that nobody examined.
    Images with faces are written again in their own format, the control arm `none` too, with as little
    changed as the format allows (see `sfumato.obfuscate.files.rewrite`). An image that cannot be read, that
    nobody examined, or that changed since it was examined, is a row with status "failed" and its reason, and
    is *not* in the variant: nothing unobfuscated is written under a variant's name.

    Args:
        dataset: the original.
        faces: what `detect` found in it.
        method: how to hide.
        out: folder of the variant: images at their ids, images.parquet (`VARIANT_SCHEMA`), manifest.json, and
            the documents of `sfumato.obfuscate.documents.provenance`.
        files: metadata, links.
        work: processes, progress, overwriting.

    Returns:
        The manifest; its `counts` say how many images were written in which way, and how many failed.

    Raises:
        UsageError: `out` is the data set itself or holds something else; a folder of the data set has the
            name of
            a file of a variant.
        DatasetError: no image of the data set could be written.
    """
    check_apart(dataset.root, out)
    _check_names(dataset)
    settings = {"method": to_spec(method), **files.settings()}
    inputs = {"dataset": dataset.fingerprint, "faces": faces.manifest.key}
    key = make_key("variant", inputs, settings)
    with locked(out):
        if not prepare_output(out, "variant", key, overwrite=work.overwrite):
            task, jobs = _Write(dataset.root, method, out, files), _Jobs(dataset.samples, faces)
            table = map_parts(task, jobs, out, stage=f"obfuscate {method.name}", work=work)
            _check_some(table, out)
            write_table(out / "images.parquet", _with_sizes(table, faces))
            facts = {"arm": settings["method"], "categories": list(dataset.categories)}
            counts = _counts(table) | _elsewhere(dataset, faces)
            manifest = Manifest("variant", key, inputs, settings, counts, facts, versions())
            finish(out, write_provenance(out, faces, method, manifest))
            clear_parts(out)
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


def _check_names(dataset: Dataset) -> None:
    taken = {*DOCUMENTS, MANIFEST}
    for sample in dataset.samples:
        top = sample.image_id.partition("/")[0]
        if top in taken:
            raise UsageError(
                f"{dataset.root / top}: a variant has a file of its own of this name; rename the folder"
            )


def _job(sample: Sample, faces: FaceTable) -> _Job:
    status = faces.status.get(sample.image_id)
    error = None
    if status is None:
        error = "not examined: detect faces in it first (sfumato detect)"
    elif status != "ok":
        error = faces.errors.get(sample.image_id) or "could not be examined"
    frames = faces.frames.get(sample.image_id, 1)
    return _Job(sample, faces.of(sample.image_id), faces.sha256.get(sample.image_id), frames, error)


@dataclass(frozen=True, eq=False)
class _Jobs(Sequence[_Job]):
    """The work in the order of the data set; a job is made when it is asked for, so that few are there."""

    samples: Sequence[Sample]
    faces: FaceTable

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> _Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[_Job]: ...
    def __getitem__(self, index: int | slice) -> _Job | list[_Job]:
        if isinstance(index, slice):
            return [_job(sample, self.faces) for sample in self.samples[index]]
        return _job(self.samples[index], self.faces)


@dataclass(frozen=True)
class _Write:
    """The task of one part: jobs to rows, files on the way."""

    root: Path
    method: Obfuscator
    out: Path
    files: FileOptions

    def __call__(self, jobs: Sequence[_Job]) -> pa.Table:
        return pa.Table.from_pylist([self._row(job) for job in jobs], schema=VARIANT_SCHEMA)

    def _row(self, job: _Job) -> dict[str, Any]:
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
            return row | {"status": "ok"} | self._write(job)
        except ImageError as error:
            # An attempt that was interrupted may have written it before it changed.
            (self.out / sample.image_id).unlink(missing_ok=True)
            # The table is meant to be passed on: no path of this machine in it.
            return row | {"status": "failed", "error": str(error).replace(f"{self.root}/", "")}

    def _write(self, job: _Job) -> dict[str, Any]:
        source, target = self.root / job.sample.image_id, self.out / job.sample.image_id
        before = _state(source)
        row = self._pass_on(source, target, job)
        if _state(source) != before:  # it is read more than once: what was written may be another picture
            raise ImageError(f"{source}: changed while it was read; detect faces again")
        return row

    def _pass_on(self, source: Path, target: Path, job: _Job) -> dict[str, Any]:
        try:
            data = source.read_bytes()
        except OSError as error:
            raise ImageError(f"{source}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != job.sha256:
            raise ImageError(f"{source}: changed since it was examined; detect faces again")
        # Frames and pages that nobody examined are not carried over.
        if len(job.faces) or picture_count(source, data) > job.frames:
            return self._rewrite(source, target, job)
        if self.files.metadata_everywhere:
            return self._clean(source, data, target, job)
        written = place(source, data, target, self.files.link)
        return {"sha256": job.sha256, "written": written, "frames": job.frames}

    def _rewrite(self, source: Path, target: Path, job: _Job) -> dict[str, Any]:
        def hide(image: Pixels) -> Pixels:
            return apply(self.method, job.sample.image_id, image, job.faces)

        faces = to_be_hidden(self.method, job.faces)
        made = rewrite(source, hide, policy=self.files.metadata, faces=faces, frames=job.frames)
        write_atomic(target, made.data, durable=False)
        return {
            "sha256": hashlib.sha256(made.data).hexdigest(),
            "written": made.written,
            "note": made.note or None,
            "width": made.width,
            "height": made.height,
            "frames": made.frames,
        }

    def _clean(self, source: Path, data: bytes, target: Path, job: _Job) -> dict[str, Any]:
        try:
            cleaned = clean(data, self.files.metadata).data
        except ImageError:  # a container that cannot be taken apart: new bytes have nothing else in them
            return self._rewrite(source, target, job)
        if cleaned == data:
            written = place(source, data, target, self.files.link)
        else:
            write_atomic(target, cleaned, durable=False)
            written = "cleaned"
        return {"sha256": hashlib.sha256(cleaned).hexdigest(), "written": written, "frames": job.frames}


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written or replaced: its number, size and time."""
    try:
        found = path.stat()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_some(table: pa.Table, out: Path) -> None:
    errors = table["error"].drop_null()
    if len(errors) == len(table):
        clear_parts(out)  # what was wrong may be put right: the next call tries again
        raise DatasetError(f"{out}: none of the {len(table)} images could be written; the first: {errors[0]}")


def _counts(table: pa.Table) -> dict[str, int]:
    written = table["written"].to_pylist()
    return {
        "images": len(table),
        **{way: written.count(way) for way in WAYS},
        "failed": written.count(None),
        "faces": pc.sum(table["n_faces"]).as_py() or 0,
    }


def _elsewhere(dataset: Dataset, faces: FaceTable) -> dict[str, int]:
    """Faces of images that the data set does not have: a part of it was meant, or another data set."""
    absent = faces.image_ids_with_faces() - {sample.image_id for sample in dataset.samples}
    return {"faces_of_absent_images": sum(len(faces.rows_of(name)) for name in absent)} if absent else {}


def _with_sizes(table: pa.Table, faces: FaceTable) -> pa.Table:
    """Sizes of copied images are known from the examination; they were not decoded here."""
    at = pc.index_in(table["image_id"], faces.images["image_id"])
    written = pc.equal(table["status"], "ok")
    for name in ("width", "height"):
        sizes = pc.if_else(written, faces.images[name].take(at), table[name])
        table = table.set_column(table.schema.get_field_index(name), VARIANT_SCHEMA.field(name), sizes)
    return table
