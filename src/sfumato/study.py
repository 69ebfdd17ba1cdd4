"""The whole flow: find, hide, train, evaluate, compare, report. What is done already is skipped."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sfumato.compare import CompareSettings, Tables, Verdict, compare, judge, read_tables
from sfumato.data import Dataset, read_dataset
from sfumato.detect import DETECTORS, detect
from sfumato.engines import Work
from sfumato.errors import DatasetError, ManifestError, OutputExists, UsageError
from sfumato.faces import FaceTable, read_faces
from sfumato.learn import (
    RunConfig,
    Runs,
    cells_of,
    check_training,
    evaluation_arms,
    find_model,
    find_recipe,
    open_divided,
    run_all,
)
from sfumato.obfuscate import METHODS, check_apart, obfuscate, read_failures
from sfumato.plan import ORIGINAL, PLAN_FILE, Plan, read_plan, write_plan
from sfumato.predictions import read_predictions
from sfumato.records import locked, read_json, read_manifest, write_json
from sfumato.report import ReportInputs, SelfCheck, find_transfer, write_report
from sfumato.specs import slug

Check = Callable[[FaceTable, Tables], Sequence[SelfCheck]]
"""What a known truth says about found faces and a comparison."""

CHECKS_FILE = "selfcheck.json"

TRANSFER = "transfer"
"""Folder of a study for what its models were transferred to."""


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        folder: where it lies.
        report: the HTML file.
        verdict: what the comparison says.
        n_images: number of images of the data set.
        failed: reason by image id, for images that could not be used in every arm.
        n_faces: number of faces found.
        tables: of the comparison.
    """

    folder: Path
    report: Path
    verdict: Verdict
    n_images: int
    failed: dict[str, str]
    n_faces: int
    tables: Tables


@dataclass(frozen=True)
class StudyOptions:
    """What does not change a study's result.

    Attributes:
        work: processes and progress.
        device: "auto", "cpu", "cuda" or "mps".
        show_originals: put pictures with visible faces into the report.
        transfer: folders with comparisons on downstream tasks for the report, beside the study's own, which
            lie in its folder `transfer`.
    """

    work: Work = field(default_factory=Work)
    device: str = "auto"
    show_originals: bool = False
    transfer: Sequence[Path] = ()


@dataclass(frozen=True)
class Materials:
    """What a report is made from, on disk.

    Attributes:
        plan: of the study.
        dataset: the original, images that failed anywhere left out.
        faces: found faces.
        variants: data set by arm, without "original".
        failed: reason by image id.
        tables: of the comparison.
    """

    plan: Plan
    dataset: Dataset
    faces: FaceTable
    variants: dict[str, Dataset]
    failed: dict[str, str]
    tables: Tables = field(repr=False)


def study(
    plan: Plan, out: Path, *, options: StudyOptions = StudyOptions(), check: Check | None = None
) -> Study:
    """Run a study into a folder, or finish one; finished work with the same inputs is not done again.

    Args:
        plan: what to do; written to `out/study.toml` with every default.
        out: folder of the study: faces, variants, runs, tables, report.html.
        options: how.
        check: for a data set with known truth: what it says about the tool; shown in the report.

    Raises:
        UsageError: unknown names, impossible settings, a folder inside the photos' or around it.
        OutputExists: the folder holds something that is no study.
        DatasetError: no images, one category, no split to evaluate on.
        BusyError: another process works in the folder.
        TrainingError: a run cannot go on.
    """
    single = len(plan.seeds) == 1
    settings = CompareSettings(
        plan.rounds, plan.confidence, allow_single_seed=single, margin=plan.margin / 100
    )
    _check_names(plan)
    check_training(options.device)
    dataset, plan = open_photos(plan)
    check_apart(plan.photos, out)
    with locked(out):
        _check_folder(out)
        write_plan(out / PLAN_FILE, plan)
        # Inside its own folder a study replaces what was made from another plan.
        work = replace(options.work, overwrite=True)
        # onnxruntime's build need not know the device that torch knows; where it does, it is taken.
        device = "cpu" if options.device == "cpu" else "auto"
        faces = detect(dataset, DETECTORS.build(plan.detector), out / "faces", device=device, work=work)
        if not len(faces.faces):
            raise DatasetError(
                f"no face found in the {len(dataset)} images of {dataset.root}: there is nothing to hide; "
                "look harder with --detector high-recall, or give known boxes with "
                "--detector \"oracle(path='boxes.json')\""
            )
        arms = _hide(plan, dataset, faces, out=out, work=work)
        made = _learn(plan, arms, faces, out, options=replace(options, work=work))
        predictions = [read_predictions(folder) for folder in made]
        tables = compare(predictions, out / "tables", faces=faces, settings=settings, work=work)
        if check is not None:
            write_checks(out, check(faces, tables))
        return report(out, options=options)


def report(out: Path, *, options: StudyOptions = StudyOptions()) -> Study:
    """Write the report of a finished study again.

    Args:
        out: folder of the study.
        options: how; `show_originals` decides what pictures are shown, `transfer` what else is told.

    Raises:
        UsageError, ManifestError: the folder is no study, or its comparison is not finished; or a folder of
            `options.transfer` has no finished comparison on a downstream task.
    """
    options.work.progress("report", 0, 1)
    parts = read_materials(out)
    page = write_report(
        ReportInputs(
            title=f"{parts.plan.photos.name}: what hiding faces costs",
            tables=out / "tables",
            faces=parts.faces,
            original=parts.dataset,
            variants=parts.variants,
            settings=_shown(parts.plan, out),
            command=f"sfumato study {PLAN_FILE}",
            selfcheck=read_checks(out),
            transfer=_transfers(out, options.transfer),
        ),
        out,
        show_originals=options.show_originals,
    )
    options.work.progress("report", 1, 1)
    n_images = len(parts.dataset) + len(parts.failed)
    return Study(out, page, judge(parts.tables), n_images, parts.failed, len(parts.faces.faces), parts.tables)


def _transfers(out: Path, further: Sequence[Path]) -> list[Path]:
    """Comparisons on downstream tasks: the study's own, then those of other folders."""
    found = find_transfer(out / TRANSFER)
    for folder in further:
        more = find_transfer(folder)
        if not more:
            raise UsageError(
                f"{folder}: no finished comparison on a downstream task in it; make one with sfumato transfer"
            )
        found += more
    return found


def read_materials(out: Path) -> Materials:
    """What a finished study left in its folder.

    Raises:
        UsageError, ManifestError, TableError: the folder is no study, or something in it is missing.
    """
    if not (out / PLAN_FILE).is_file():
        raise ManifestError(f"{out}: no {PLAN_FILE}; not the folder of a study (make one with sfumato study)")
    plan = read_plan(out / PLAN_FILE)
    dataset, _ = open_photos(plan)
    variants = {arm: read_dataset(variant_folder(out, arm)) for arm in plan.arms if arm != ORIGINAL}
    faces = read_faces(out / "faces")
    failed = _failed(out, plan, faces)
    kept = {arm: variant.without(failed) for arm, variant in variants.items()}
    return Materials(plan, dataset.without(failed), faces, kept, failed, read_tables(out / "tables"))


def open_photos(plan: Plan) -> tuple[Dataset, Plan]:
    """The data set of a plan, ready to train on, and the plan with its split decided.

    Raises:
        DatasetError, UsageError: as `sfumato.learn.open_divided`.
    """
    dataset, fraction = open_divided(plan.photos, plan.val_fraction, seed=plan.split_seed)
    return dataset, replace(plan, val_fraction=fraction)


def variant_folder(out: Path, arm: str) -> Path:
    """Where a study keeps the variant of an arm."""
    return out / "variants" / slug(arm)


def plan_of(source: Path, out: Path | None) -> tuple[Plan, Path]:
    """The plan that a person means by a folder of photos or a plan file, and the study's folder.

    Photos whose study is in `out` already mean that study's plan, with whatever was changed in it since.

    Raises:
        UsageError: photos without an `out`, or a plan that cannot be read.
        OutputExists: `out` has a study of other photos.
    """
    if source.suffix == ".toml":
        return read_plan(source), out or source.absolute().parent
    if out is None:
        raise UsageError("name a folder for the study with --out")
    if not (out / PLAN_FILE).is_file():
        return Plan(source), out
    plan = read_plan(out / PLAN_FILE)
    if plan.photos.resolve() != source.resolve():
        raise OutputExists(f"{out} has a study of {plan.photos} already; name another --out")
    return plan, out


def _check_folder(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / PLAN_FILE).is_file():
        raise OutputExists(f"{out} exists already and is no study; name another --out")


def _check_names(plan: Plan) -> None:
    find_recipe(plan.recipe).with_overrides(**plan.change)
    DETECTORS.build(plan.detector)
    for model in plan.models:
        find_model(model)


def _hide(plan: Plan, dataset: Dataset, faces: FaceTable, *, out: Path, work: Work) -> dict[str, Dataset]:
    """Data set by arm, all of the same images: what failed in one arm is left out of all."""
    arms = {ORIGINAL: dataset}
    for arm in plan.arms:
        if arm != ORIGINAL:
            obfuscate(dataset, faces, METHODS.build(arm), variant_folder(out, arm), work=work)
            arms[arm] = read_dataset(variant_folder(out, arm))
    failed = _failed(out, plan, faces)
    return {arm: each.without(failed) for arm, each in arms.items()}


def _failed(out: Path, plan: Plan, faces: FaceTable) -> dict[str, str]:
    failed = dict(faces.errors)
    for arm in plan.arms:
        if arm != ORIGINAL:
            failed = read_failures(variant_folder(out, arm)) | failed
    return failed


def _learn(
    plan: Plan, arms: dict[str, Dataset], faces: FaceTable, out: Path, *, options: StudyOptions
) -> list[Path]:
    """Folders of predictions: every model trained on every arm with every seed, evaluated on the same arm."""
    recipe = find_recipe(plan.recipe).with_overrides(**plan.change)
    config = RunConfig(plan.models[0], recipe, device=options.device)
    cells = cells_of(plan.models, plan.seeds, evaluation_arms("same", tuple(arms)))
    runs = Runs(arms, cells, config, evaluation={"faces": faces})
    outcome = run_all(runs, out / "runs", cache=out / "cache", work=options.work)
    outcome.need_all()
    return outcome.predictions


def _shown(plan: Plan, out: Path) -> dict[str, Any]:
    """The plan as the report prints it: a page that is passed on need not tell where things lie here."""
    shown = tomllib.loads((out / PLAN_FILE).read_text())
    shown["data"]["photos"] = plan.photos.name
    return shown


def write_checks(out: Path, checks: Sequence[SelfCheck]) -> None:
    """Leave the results of a self-check in a study's folder; its report shows them while its tables stand."""
    rows = [asdict(check) for check in checks]
    write_json(out / CHECKS_FILE, {"tables": read_manifest(out / "tables").key, "checks": rows})


def read_checks(out: Path) -> list[SelfCheck] | None:
    """The results of a self-check of a study's present tables, or None."""
    path = out / CHECKS_FILE
    if not path.is_file():
        return None
    left = read_json(path)
    if left["tables"] != read_manifest(out / "tables").key:
        return None
    return [SelfCheck(**row) for row in left["checks"]]
