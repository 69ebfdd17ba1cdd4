"""Predictions in, a folder of tables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from sfumato.compare.by_group import Grouping
from sfumato.compare.further import Beside, further_tables
from sfumato.compare.pairing import Outcomes, cell, in_order, pair
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import KIND, Tables, read_tables, write_tables
from sfumato.compare.tabulate import HasFaces, tabulate
from sfumato.compare.verdict import judge, write_verdict
from sfumato.engines import Work
from sfumato.faces import FaceTable
from sfumato.predictions import Predictions
from sfumato.records import Manifest, finish, locked, make_key, prepare_output, read_manifest, versions


def compare(  # noqa: PLR0913 -- the options of a command
    predictions: Sequence[Predictions],
    out: Path,
    *,
    faces: FaceTable | None = None,
    groups: Sequence[Grouping] = (),
    settings: CompareSettings = CompareSettings(),
    work: Work = Work(),
) -> Tables:
    """Compare runs; write tables (parquet and CSV), `verdict.json` and a manifest.

    Args:
        predictions: of every model, arm and seed; paired by image, and by seed within a model.
        out: folder for the tables; a finished one of the same inputs and settings is only read.
        faces: tells images with faces from those without, and how much they cover; None leaves that out.
        groups: ways to group the images, each treated like categories.
        settings: of the bootstrap.
        work: progress and overwriting; the comparison runs in this process.

    Raises:
        UsageError: predictions that cannot be paired (see `sfumato.compare.pairing.pair`), or a grouping that
            does not fit the images.
        OutputExists: `out` holds something else.
        TableError, ManifestError: an input is damaged.
    """
    predictions = in_order(predictions)
    outcomes = pair(predictions, allow_single_seed=settings.allow_single_seed)
    inputs = {"/".join(map(str, cell(item.facts))): read_manifest(item.folder).key for item in predictions}
    if faces is not None:
        inputs["faces"] = faces.manifest.key
    inputs |= {f"groups {grouping.name}": grouping.key() for grouping in groups}
    key = make_key(KIND, inputs, asdict(settings))
    with locked(out):
        if prepare_output(out, KIND, key, overwrite=work.overwrite):
            return read_tables(out)
        has_faces = None if faces is None else _has_faces(outcomes, faces)
        tables = tabulate(outcomes, has_faces, settings=settings, progress=work.progress)
        beside = Beside(predictions, faces, groups)
        tables = replace(
            tables, **further_tables(outcomes, beside, settings=settings, progress=work.progress)
        )
        manifest = Manifest(
            kind=KIND,
            key=key,
            inputs=inputs,
            settings=asdict(settings),
            counts=_counts(outcomes, has_faces),
            facts=_facts(outcomes, predictions),
            versions=versions(),
        )
        tables = replace(tables, manifest=manifest)
        write_tables(out, tables)
        write_verdict(out, judge(tables))
        finish(out, manifest)
    return tables


def _has_faces(outcomes: Outcomes, faces: FaceTable) -> HasFaces:
    found = faces.image_ids_with_faces()
    status = faces.status
    return np.array(
        [
            int(image_id in found) if status.get(image_id) == "ok" else -1
            for image_id in outcomes.image_ids.tolist()
        ],
        dtype=np.int8,
    )


def _counts(outcomes: Outcomes, has_faces: HasFaces | None) -> dict[str, int | None]:
    return {
        "n_images": len(outcomes.image_ids),
        "n_excluded": len(outcomes.excluded),
        "n_with_faces": None if has_faces is None else int((has_faces == 1).sum()),
        "n_without_faces": None if has_faces is None else int((has_faces == 0).sum()),
        "n_faces_unknown": None if has_faces is None else int((has_faces < 0).sum()),
    }


def _facts(outcomes: Outcomes, predictions: Sequence[Predictions]) -> dict[str, object]:
    return {
        "models": outcomes.models,
        "arms": outcomes.arms(),
        "seeds": outcomes.seeds,
        "categories": outcomes.categories,
        "split": predictions[0].facts.get("split"),
        "recipes": sorted({str(item.facts.get("recipe")) for item in predictions}),
    }
