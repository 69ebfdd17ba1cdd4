"""Predictions in, a folder of tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sfumato.compare.by_group import Grouping
from sfumato.compare.further import Beside, further_tables, tables_of_measured
from sfumato.compare.kinds import CATEGORIES, checked, kind_of
from sfumato.compare.measured import Measured
from sfumato.compare.outcomes import Outcomes, Valued
from sfumato.compare.pairing import align, cell, in_order
from sfumato.compare.settings import CompareSettings
from sfumato.compare.tables import KIND, Tables, read_tables, write_tables
from sfumato.compare.tabulate import HasFaces, tabulate
from sfumato.compare.verdict import judge, write_verdict
from sfumato.engines import Work
from sfumato.errors import UsageError
from sfumato.faces import FaceTable
from sfumato.predictions import Evaluated, Predictions
from sfumato.records import Manifest, finish, locked, make_key, prepare_output, read_manifest, versions


def compare(  # noqa: PLR0913 -- the options of a command
    predictions: Sequence[Evaluated],
    out: Path,
    *,
    faces: FaceTable | None = None,
    groups: Sequence[Grouping] = (),
    settings: CompareSettings = CompareSettings(),
    work: Work = Work(),
) -> Tables:
    """Compare runs; write tables (parquet and CSV), `verdict.json` and a manifest.

    Args:
        predictions: of every model, arm and seed, and of one kind; paired by image, and by seed within a
            model.
        out: folder for the tables; a finished one of the same inputs and settings is only read.
        faces: tells images with faces from those without, and how much they cover; None leaves that out.
        groups: ways to group the images, each treated like categories.
        settings: of the bootstrap.
        work: progress and overwriting; the comparison runs in this process.

    Raises:
        UsageError: predictions that cannot be paired (see `sfumato.compare.pairing.align`), a grouping that
            does not fit the images, or faces or groups with attributes or objects.
        OutputExists: `out` holds something else.
        TableError, ManifestError: an input is damaged.
        MissingExtra: predictions of objects without the extra "objects".
    """
    predictions = in_order(predictions)
    kind = kind_of(predictions)
    if kind != CATEGORIES and (faces is not None or groups):
        raise UsageError(
            f"{predictions[0].folder}: average precision of {kind} is no mean over images, so images with "
            "faces and groups of images are not told apart; leave --faces, --groups and --supercategories out"
        )
    paired = align(predictions, allow_single_seed=settings.allow_single_seed)
    valued = checked(paired, predictions)
    inputs = _inputs(predictions, faces, groups)
    key = make_key(KIND, inputs, asdict(settings))
    with locked(out):
        if prepare_output(out, KIND, key, overwrite=work.overwrite):
            return read_tables(out)
        outcomes = valued(work.progress)
        has_faces = None if faces is None else _has_faces(outcomes, faces)
        tables = tabulate(outcomes, has_faces, settings=settings, progress=work.progress)
        beside = Beside([item for item in predictions if isinstance(item, Predictions)], faces, groups)
        tables = replace(tables, **_of_kind(outcomes, beside, settings, work))
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


def _inputs(
    predictions: Sequence[Evaluated], faces: FaceTable | None, groups: Sequence[Grouping]
) -> dict[str, str]:
    inputs = {"/".join(map(str, cell(item.facts))): read_manifest(item.folder).key for item in predictions}
    if faces is not None:
        inputs["faces"] = faces.manifest.key
    return inputs | {f"groups {grouping.name}": grouping.key() for grouping in groups}


def _of_kind(
    outcomes: Valued, beside: Beside, settings: CompareSettings, work: Work
) -> Mapping[str, pa.Table]:
    """The tables that there are of one kind of prediction only."""
    if isinstance(outcomes, Measured):
        return tables_of_measured(outcomes, settings=settings)
    if isinstance(outcomes, Outcomes):
        return further_tables(outcomes, beside, settings=settings, progress=work.progress)
    return {}


def _has_faces(outcomes: Valued, faces: FaceTable) -> HasFaces:
    found = faces.image_ids_with_faces()
    status = faces.status
    return np.array(
        [
            int(image_id in found) if status.get(image_id) == "ok" else -1
            for image_id in outcomes.image_ids.tolist()
        ],
        dtype=np.int8,
    )


def _counts(outcomes: Valued, has_faces: HasFaces | None) -> dict[str, int | None]:
    return {
        "n_images": len(outcomes.image_ids),
        "n_excluded": len(outcomes.excluded),
        "n_with_faces": None if has_faces is None else int((has_faces == 1).sum()),
        "n_without_faces": None if has_faces is None else int((has_faces == 0).sum()),
        "n_faces_unknown": None if has_faces is None else int((has_faces < 0).sum()),
    }


def _facts(outcomes: Valued, predictions: Sequence[Evaluated]) -> dict[str, object]:
    facts: dict[str, object] = {
        "models": outcomes.models,
        "arms": outcomes.arms(),
        "seeds": outcomes.seeds,
        "categories": outcomes.categories,
        "split": predictions[0].facts.get("split"),
        "recipes": sorted({str(item.facts.get("recipe")) for item in predictions}),
    }
    if outcomes.task is not None:
        facts |= {"task": outcomes.task, "start_seeds": _start_seeds(predictions)}
    if outcomes.task is not None or isinstance(outcomes, Measured):
        facts["metrics"] = outcomes.metrics
    if isinstance(outcomes, Measured):
        facts |= {
            "not_counted": outcomes.not_counted,
            "too_common": outcomes.too_common,
            "fewest": outcomes.least,
        }
    return facts


def _start_seeds(predictions: Sequence[Evaluated]) -> dict[str, dict[str, list[int | None]]]:
    """Seed of pre-training of each seed, by model and arm; null where unknown, or nothing was pre-trained."""
    found: dict[str, dict[str, list[int | None]]] = {}
    for item in predictions:
        model, arm, _ = cell(item.facts)
        found.setdefault(model, {}).setdefault(arm, []).append(item.facts.get("start_seed"))
    return found
