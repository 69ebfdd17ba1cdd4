"""Prove a variant against its original: every image there, every face hidden, nothing else touched.

What wrote the variant is not asked. Boxes are read from `faces.json`, the method is built from the manifest
and applied to the original's pixels, and what it gives is compared with what the files hold.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from sfumato.data import Dataset, read_dataset
from sfumato.data.dataset import Sample
from sfumato.data.folder import fingerprint
from sfumato.engines import Work, map_parts
from sfumato.errors import ImageError, SfumatoError
from sfumato.faces import Faces, read_known_boxes
from sfumato.images import Pixels
from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.documents.provenance import DOCUMENTS, FACES_JSON, TABLE
from sfumato.obfuscate.files.metadata import left_over
from sfumato.obfuscate.method import Obfuscator, apply, to_be_hidden
from sfumato.obfuscate.proof.agreement import FACES, OUTSIDE, Finding, Pair, disagreements
from sfumato.obfuscate.stage import VARIANT_SCHEMA, WAYS
from sfumato.records import MANIFEST, Manifest, file_sha256, make_key, read_manifest, read_table

FINDINGS_SCHEMA = pa.schema([("image_id", pa.string()), ("check", pa.string()), ("detail", pa.string())])
"""One row a failed check: the image, or "" for the whole variant; which check (`CHECKS`); what is wrong."""

CHECKS: Mapping[str, str] = {
    "manifest": "the manifest agrees with itself, with the table, and with the original",
    "documents": "faces.json, croissant.json, the data card and the table are those that were written",
    "accounted": "every image of the original has a row; every file has a row, and every row its file",
    "hash": "each file is the one that was written",
    "copy": "images without faces are the original's, byte for byte",
    FACES: "every box is changed as the method demands",
    OUTSIDE: "everything else is as it was",
    "metadata": "no preview and no metadata is left in files with hidden faces",
}
"""What is checked, by the word in the column `check`."""

_AS_THEY_ARE = {"copied", "linked"}


@dataclass(frozen=True, eq=False)
class Verification:
    """What came of a check.

    Attributes:
        findings: rows of `FINDINGS_SCHEMA`; none where all is well.
        counts: number of images, of images with faces, of faces, of failed images, and of findings.
    """

    findings: pa.Table
    counts: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not len(self.findings)


@dataclass(frozen=True)
class _Claim:
    """What the table and the boxes say about one image; `faces` is None where faces.json has no record."""

    image_id: str
    written: str
    sha256: str
    n_faces: int
    faces: Faces | None


def verify(variant: Path, original: Path, *, work: Work = Work()) -> Verification:
    """Check every image of a variant, and the documents beside them, against the original.

    Args:
        variant: what `obfuscate` wrote.
        original: the data set that it was made from; nothing is written into either.
        work: processes and progress.

    Returns:
        What is wrong, a row each. A damaged picture is a row, too.

    Raises:
        ManifestError, TableError, DatasetError: one of the two is no variant or data set at all.
        SpecError, UnknownName: the manifest names a method that cannot be built here.
    """
    variant, original = Path(variant), Path(original)
    manifest = read_manifest(variant, kind="variant")
    read_dataset(variant)  # refuses unfinished variants, and ids that lead out of the folder
    dataset = read_dataset(original)
    rows = read_table(variant / TABLE, VARIANT_SCHEMA).to_pylist()
    method = METHODS.build(str(manifest.settings["method"]))
    boxes, findings = _boxes(variant)
    findings += [*_manifest(manifest, rows, dataset), *_documents(variant, manifest)]
    findings += [*_rows(rows, dataset), *_files(variant, rows)]
    claims = _claims(variant, rows, dataset, boxes)
    check = partial(_check_images, _Places(variant, original, manifest, method))
    found = _mapped(check, claims, work)
    table = pa.concat_tables([_table(findings), found])
    return Verification(table, _counts(rows, len(table)))


def _counts(rows: Sequence[Mapping[str, Any]], findings: int) -> dict[str, int]:
    return {
        "images": len(rows),
        "with_faces": sum(row["n_faces"] > 0 for row in rows),
        "faces": sum(row["n_faces"] for row in rows),
        "failed": sum(row["status"] != "ok" for row in rows),
        "findings": findings,
    }


def _table(findings: Sequence[tuple[str, str, str]]) -> pa.Table:
    names = FINDINGS_SCHEMA.names
    return pa.Table.from_pylist(
        [dict(zip(names, item, strict=True)) for item in findings], schema=FINDINGS_SCHEMA
    )


def _mapped(check: Any, claims: Sequence[_Claim], work: Work) -> pa.Table:
    if not claims:
        return _table([])
    with TemporaryDirectory(prefix="sfumato-verify-") as folder:
        return map_parts(check, claims, Path(folder), stage="verify", work=work)


# --- the variant as a whole --------------------------------------------------------------------------------


def _boxes(variant: Path) -> tuple[Mapping[str, Faces], list[tuple[str, str, str]]]:
    try:
        return read_known_boxes(variant / FACES_JSON), []
    except (SfumatoError, OSError) as error:
        return {}, [("", "documents", str(error).replace(f"{variant}/", ""))]


def _manifest(
    manifest: Manifest, rows: Sequence[Mapping[str, Any]], dataset: Dataset
) -> Iterator[tuple[str, str, str]]:
    def wrong(detail: str) -> tuple[str, str, str]:
        return "", "manifest", detail

    if make_key("variant", manifest.inputs, manifest.settings) != manifest.key:
        yield wrong("its key is not that of its inputs and settings")
    if manifest.facts.get("arm") != manifest.settings["method"]:
        yield wrong("its arm is not its method")
    counted = {
        "images": len(rows),
        **{way: sum(row["written"] == way for row in rows) for way in WAYS},
        "failed": sum(row["status"] != "ok" for row in rows),
        "faces": sum(row["n_faces"] for row in rows),
    }
    for name, number in counted.items():
        if manifest.counts.get(name) != number:
            yield wrong(f"it counts {manifest.counts.get(name)} {name}, the table {number}")
    if list(manifest.facts.get("categories", ())) != list(dataset.categories):
        yield wrong("its categories are not those of the original")
    if _fingerprint(rows, dataset) != str(manifest.inputs.get("dataset", "")).partition("/")[0]:
        yield wrong("it was made from another data set, or with other splits or labels, than this original")


def _fingerprint(rows: Sequence[Mapping[str, Any]], dataset: Dataset) -> str:
    """The original's, with the splits and labels of the variant's table: they may have been made for it."""
    if dataset.arm != "original":
        return dataset.fingerprint
    samples = [Sample(row["image_id"], row["split"], row["label"]) for row in rows]
    return fingerprint(dataset.root, sorted(samples, key=lambda sample: sample.image_id))


def _documents(variant: Path, manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    known = manifest.facts.get("documents") or {}
    for name in DOCUMENTS:
        path = variant / name
        if not path.is_file():
            yield "", "documents", f"{name} is missing"
        elif known.get(name) != file_sha256(path):
            yield "", "documents", f"{name} is not the one that was written with the variant"


def _rows(rows: Sequence[Mapping[str, Any]], dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """The table against the samples of the original."""
    samples = {sample.image_id: sample for sample in dataset.samples}
    known = [row["image_id"] for row in rows]
    for image_id in sorted(samples.keys() - set(known)):
        yield image_id, "accounted", "an image of the original that the table does not name"
    if len(set(known)) != len(known):
        yield "", "accounted", "the table names an image twice"
    has_splits = len(dataset.splits) > 1  # else they may have been made for the variant
    for row in rows:
        for detail in (*_sample(row, samples.get(row["image_id"]), has_splits), *_state(row)):
            yield row["image_id"], "accounted", detail


def _sample(row: Mapping[str, Any], sample: Sample | None, has_splits: bool) -> Iterator[str]:
    if sample is None:
        yield "the original has no such image"
        return
    if row["label"] != sample.label:
        yield f"its label is {row['label']}, in the original {sample.label}"
    if has_splits and row["split"] != sample.split:
        yield f"its split is {row['split']}, in the original {sample.split}"


def _state(row: Mapping[str, Any]) -> Iterator[str]:
    if row["status"] not in ("ok", "failed"):
        yield f"its status is {row['status']}"
    if row["status"] == "failed" and not row["error"]:
        yield "it failed without a reason"
    if row["status"] == "ok" and row["written"] not in WAYS:
        yield f"nobody knows how it was written ({row['written']})"


def _files(variant: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """The table against the files."""
    status = {row["image_id"]: row["status"] for row in rows}
    there: set[str] = set()
    for path in _walk(variant):
        name = path.relative_to(variant).as_posix()
        there.add(name)
        if path.is_symlink():
            yield name, "accounted", "a link that leads elsewhere instead of a file"
        elif status.get(name) == "failed":
            yield name, "accounted", "a file, though the table says that it failed"
        elif name not in status and name not in {*DOCUMENTS, MANIFEST}:
            yield name, "accounted", "a file that the table does not name"
    for image_id in sorted(name for name, state in status.items() if state == "ok" and name not in there):
        yield image_id, "accounted", "the table names it, but there is no file"


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder, links to folders included."""
    for above, names, files in os.walk(folder):
        names.sort()
        links = [name for name in names if Path(above, name).is_symlink()]
        yield from (Path(above, name) for name in sorted([*files, *links]))


# --- one image at a time -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    variant: Path
    original: Path
    manifest: Manifest
    method: Obfuscator


def _claims(
    variant: Path, rows: Sequence[Mapping[str, Any]], dataset: Dataset, boxes: Mapping[str, Faces]
) -> list[_Claim]:
    """What is to be checked: rows with a file in both places; the others are findings already."""
    known = {sample.image_id for sample in dataset.samples}
    return [
        _Claim(name, row["written"], row["sha256"], row["n_faces"], boxes.get(name))
        for row in rows
        if row["status"] == "ok"
        and (name := row["image_id"]) in known
        and row["written"] in WAYS
        and (variant / name).is_file()
        and not (variant / name).is_symlink()
    ]


def _check_images(places: _Places, claims: Sequence[_Claim]) -> pa.Table:
    found = []
    for claim in claims:
        found += [(claim.image_id, check, detail) for check, detail in _check(places, claim)]
    return _table(found)


def _check(places: _Places, claim: _Claim) -> Iterator[Finding]:
    source, path = places.original / claim.image_id, places.variant / claim.image_id
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != claim.sha256:
            yield "hash", "the file is not the one that was written"
        yield from _faces_told(claim)
        if claim.written in _AS_THEY_ARE:
            if source.read_bytes() != data:
                yield "copy", f"it was {claim.written}, but the original is another file"
            return
        yield from _left_over(places.manifest, data)
        faces = Faces.of() if claim.faces is None else claim.faces
        hide = partial(_hide, places.method, claim)
        hidden = to_be_hidden(places.method, faces)
        yield from disagreements(Pair(source, path, hide, claim.written, hidden))
    except (ImageError, OSError) as error:
        told = str(error).replace(f"{places.variant}/", "").replace(f"{places.original}/", "original: ")
        yield OUTSIDE, f"it cannot be compared: {told}"


def _faces_told(claim: _Claim) -> Iterator[Finding]:
    if claim.faces is None:
        yield FACES, f"{FACES_JSON} has no record of it"
        return
    if len(claim.faces) != claim.n_faces:
        yield FACES, f"{FACES_JSON} has {len(claim.faces)} faces in it, the table {claim.n_faces}"
    if claim.written in {*_AS_THEY_ARE, "cleaned"} and len(claim.faces):
        yield FACES, f"it was {claim.written}, and {FACES_JSON} has {len(claim.faces)} faces in it"


def _hide(method: Obfuscator, claim: _Claim, image: Pixels) -> Pixels:
    return apply(method, claim.image_id, image, claim.faces if claim.faces is not None else Faces.of())


def _left_over(manifest: Manifest, data: bytes) -> Iterator[Finding]:
    if manifest.settings.get("metadata", "safe") == "all":
        return
    try:
        kept = left_over(data)
    except ImageError as error:
        yield "metadata", f"nobody can tell what is left in it: {error}"
    else:
        if kept:
            yield "metadata", f"left in the file: {', '.join(kept)}"
