"""The stage "merge": the next revision of a face table, and what is known of its mistakes, as an artefact."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sfumato.errors import UsageError
from sfumato.faces import FaceTable, read_faces
from sfumato.faces.gold import read_gold
from sfumato.records import (
    Manifest,
    finish,
    locked,
    make_key,
    prepare_output,
    versions,
    write_csv,
    write_json,
    write_table,
)
from sfumato.review.log import line_of, read_records
from sfumato.review.merging import Merged, MergeOptions, merge
from sfumato.review.model import Record
from sfumato.review.opening import GOLD, LOG, PEOPLE, SETTINGS
from sfumato.review.reviewers import Reviewers
from sfumato.review.settings import read_settings

_ASIDE = ("instructions", "lease_seconds", "read_only")
"""Settings that change no result."""


def write_merged(
    faces: FaceTable,
    reviews: Path,
    out: Path,
    *,
    groups: Mapping[str, Collection[str]] | None = None,
    overwrite: bool = False,
) -> FaceTable:
    """Write the next revision of a face table from a review folder, as `sfumato detect` writes one.

    Beside `faces.parquet` and `images.parquet` lie `disagreements.parquet` and `.csv` (see
    `sfumato.review.merging.DISAGREEMENTS_SCHEMA`), `estimates.csv` (`sfumato.review.audit.ESTIMATES_SCHEMA`)
    and `review.json` (progress, people, what is still missed). The folder may be under review meanwhile: what
    is on the disk counts.

    Args:
        faces: the table that was reviewed.
        reviews: the review folder.
        out: folder to write; where it holds the finished result already, that is read back.
        groups: categories of each group of the table of estimates.
        overwrite: replace a face table there that was made from something else.

    Raises:
        UsageError: no review folder, or one of another face table.
        TableError: a damaged record, or one of an image that the table does not have.
        OutputExists, BusyError: as `sfumato.detect.detect`.
    """
    reviews, out = Path(reviews), Path(out)
    options = _options(faces, reviews, groups or {})
    records = list(read_records(reviews / LOG))
    inputs = {"faces": faces.manifest.key, "reviews": _digest(records)}
    settings = _settings(options)
    key = make_key("faces", inputs, settings)
    with locked(out):
        if not prepare_output(out, "faces", key, overwrite=overwrite):
            merged = merge(faces, records, options)
            _write_tables(out, merged)
            facts = {
                **faces.manifest.facts,
                "revision": int(faces.manifest.facts.get("revision", 0)) + 1,
                "missed": merged.status["missed"],
            }
            counts = _counts(merged, len(records))
            finish(out, Manifest("faces", key, inputs, settings, counts, facts, versions()))
        return read_faces(out)


def _options(faces: FaceTable, reviews: Path, groups: Mapping[str, Collection[str]]) -> MergeOptions:
    if not (reviews / SETTINGS).is_file():
        raise UsageError(f"{reviews}: no {SETTINGS} in it; name the folder that sfumato review wrote")
    settings, faces_key = read_settings(reviews / SETTINGS)
    if faces_key != faces.manifest.key:
        raise UsageError(
            f"{reviews}: is a review of another face table (key {faces_key}, not {faces.manifest.key})"
        )
    truth = read_gold(reviews / GOLD) if (reviews / GOLD).is_file() else {}
    return MergeOptions(settings, truth, groups, Reviewers(reviews / PEOPLE).people)


def _digest(records: list[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(line_of(record))
    return digest.hexdigest()


def _settings(options: MergeOptions) -> dict[str, Any]:
    known = {name: value for name, value in asdict(options.settings).items() if name not in _ASIDE}
    truth = {image_id: [faces.xyxy.tolist(), faces.kind] for image_id, faces in sorted(options.truth.items())}
    return {
        "review": known,
        "truth": hashlib.sha256(repr(truth).encode()).hexdigest(),
        "groups": {name: sorted(members) for name, members in options.groups.items()},
        "set_aside": sorted(person.name for person in options.people if person.set_aside),
    }


def _write_tables(out: Path, merged: Merged) -> None:
    write_table(out / "faces.parquet", merged.faces)
    write_table(out / "images.parquet", merged.images)
    write_table(out / "disagreements.parquet", merged.disagreements)
    write_csv(out / "disagreements.csv", merged.disagreements)
    write_csv(out / "estimates.csv", merged.estimates)
    write_json(out / "review.json", merged.status)


def _counts(merged: Merged, n_records: int) -> dict[str, int]:
    failed = merged.images["status"].to_pylist().count("failed")
    return {
        "images": len(merged.images),
        "ok": len(merged.images) - failed,
        "failed": failed,
        "faces": len(merged.faces),
        "images_with_faces": len(set(merged.faces["image_id"].to_pylist())),
        "images_reviewed": merged.n_changed,
        "images_with_disagreements": len(set(merged.disagreements["image_id"].to_pylist())),
        "records": n_records,
    }
