"""Evaluate a run on a data set: one row an image; when asked, all scores, and where the model looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset
from sfumato.data.tasks import TaskData, TaskKind
from sfumato.engines import Work
from sfumato.errors import DatasetError, UsageError
from sfumato.faces import FaceTable
from sfumato.learn.architectures import Preprocessing
from sfumato.learn.face_view import FaceColumns
from sfumato.learn.index import Images
from sfumato.learn.inputs import DEFAULT_BUDGET, prepare_images
from sfumato.learn.operators import import_torch
from sfumato.learn.overlap import need_apart
from sfumato.learn.run import KIND as RUN_KIND
from sfumato.learn.run import WEIGHTS
from sfumato.learn.score_file import ScoreFile
from sfumato.learn.subject import as_task, check_task, task_settings
from sfumato.predictions import (
    ATTRIBUTES_KIND,
    FACE_COLUMNS,
    KIND,
    OBJECTS_KIND,
    PREDICTIONS,
    PREDICTIONS_SCHEMA,
    SCORES,
)
from sfumato.records import (
    Manifest,
    finish,
    is_done,
    locked,
    make_key,
    prepare_output,
    read_manifest,
    versions,
    write_table,
)

if TYPE_CHECKING:
    from torch import nn

    from sfumato.learn.device import Runtime
    from sfumato.learn.evaluate_tasks import Finder
    from sfumato.learn.scoring import Scorer

TOP = 5

Scores = NDArray[np.float32]


def evaluate(  # noqa: PLR0913 -- the options of a command; only the first two change a rank
    run: Path,
    data: Dataset | TaskData,
    out: Path,
    *,
    keep_scores: bool = False,
    faces: FaceTable | None = None,
    attention: bool = False,
    allow_trained: bool = False,
    work: Work = Work(),
    cache: Path | None = None,
    budget: int = DEFAULT_BUDGET,
    device: str = "auto",
) -> Path:
    """Evaluate a finished run on the evaluation split of a data set, in float32, one centre crop an image.

    The scores kept are the model's own, before softmax: `scores.npy`, float16 of shape
    (n_images, n_categories), rows as in the table, NaN where the image failed. Of a downstream task of
    attributes they are always kept; one of objects gives boxes, found in whole images.

    Args:
        run: folder that `train` made.
        data: the arm it is evaluated on; may differ from the one it was trained on. Or a downstream task.
        out: folder of predictions, see `sfumato.predictions`.
        keep_scores: write all scores too.
        faces: of the data set or the original that it is a variant of; adds the column `face_area`.
        attention: with faces, adds `attention_true` and `attention_predicted`, see `sfumato.predictions`.
        allow_trained: evaluate also images that are named like those trained on.
        work: workers for decoding, progress ("evaluate", in images), overwrite.
        cache, budget: as for `train`; the default of `cache` is ".cache" beside the run's folder.
        device: as `RunConfig.device`.

    Returns:
        The folder of predictions.

    Raises:
        ManifestError: `run` is no finished run.
        DatasetError: no evaluation split, other categories than the run's, or an unlabelled image.
        OutputExists, BusyError, UsageError, MissingExtra: as `train`; UsageError also for attention without
            faces, faces of none of the images, either with a task that is not of categories, or images that
            were trained on.
        TrainingError: the weights are damaged, or give scores that are not finite; attention of a model that
            has no spatial feature map.
    """
    import_torch()
    from sfumato.learn.device import choose_runtime

    manifest, task = read_manifest(run, kind=RUN_KIND), as_task(data)
    dataset, split = task.dataset, task.dataset.evaluation_split
    check_task(task, split)
    _need_same_categories(run, manifest, dataset)
    if not allow_trained:
        need_apart(run, dataset)
    _need_same_kind(run, manifest, task)
    _need_faces(faces, task, attention=attention)
    inputs = {"run": manifest.key, "dataset": dataset.fingerprint}
    inputs |= {} if faces is None else {"faces": faces.manifest.key}
    settings = {"split": split, "eval_arm": dataset.arm, "keep_scores": keep_scores, "attention": attention}
    settings |= task_settings(task)
    kind = _KINDS[task.kind]
    key = make_key(kind, inputs, settings)
    if is_done(out, key):
        return out
    runtime = replace(choose_runtime(device), bf16=False)
    with locked(out):
        if not prepare_output(out, kind, key, overwrite=work.overwrite):
            images = _images(run, manifest, dataset, cache=(cache, budget), work=work)
            trained = _Trained(run, manifest, _model(run, manifest, runtime, task.kind), runtime)
            if task.kind == "categories":
                shape = len(images.table), len(dataset.categories)
                kept = ScoreFile(out / SCORES, shape) if keep_scores else None
                scorer = trained.scorer()
                view = _view(faces, scorer, attention=attention)
                write_table(out / PREDICTIONS, _predict(scorer, images, kept, view, work=work))
            else:
                _write_task(out, trained, images, task, work=work)
            counts = {"n_images": len(images.table), "n_failed": len(images.failed)}
            facts = {**_facts(manifest, task, split), **counts, "device": runtime.device}
            finish(out, Manifest(kind, key, inputs, settings, counts, facts, versions()))
    return out


def rank_of(scores: Scores, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of categories placed before the label of each image, shape (n,).

    Before it come categories with a greater score, and those with an equal one and a lower index, so a model
    that gives all categories the same score is not right everywhere.

    Args:
        scores: (n, n_categories).
        labels: (n,).
    """
    own = scores[np.arange(len(scores)), labels][:, None]
    lower = np.arange(scores.shape[1])[None, :] < labels[:, None]
    return np.asarray(((scores > own) | ((scores == own) & lower)).sum(axis=1), dtype=np.int64)


def top_of(scores: Scores) -> tuple[NDArray[np.int64], Scores]:
    """The best categories of each image and their softmax probabilities, best first, shape (n, up to 5)."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return best, np.take_along_axis(probabilities, best, axis=1)


def _model(run: Path, manifest: Manifest, runtime: Runtime, kind: TaskKind) -> nn.Module:
    """The trained model of a run, on its device."""
    from sfumato.learn.catalogue import build_model
    from sfumato.learn.checkpoint import read_weights
    from sfumato.learn.device import place

    facts, given = manifest.facts, _preprocessing(manifest)
    n_categories, size = len(facts["categories"]), given.image_size
    model = build_model(facts["model"], n_categories, image_size=size)
    if kind == "objects":
        from sfumato.learn.detection.network import build_detector

        trained = bool(facts["start"])
        model = build_detector(model, n_categories, image_size=size, trained=trained)
    read_weights(run / WEIGHTS, model)
    return place(model, runtime)


@dataclass(frozen=True, eq=False)
class _Trained:
    """A run with its model on its device."""

    run: Path
    manifest: Manifest
    model: nn.Module
    runtime: Runtime

    def scorer(self) -> Scorer:
        """Gives scores for squares."""
        from sfumato.learn.scoring import Scorer

        return Scorer(self.model, _preprocessing(self.manifest), self.runtime, name=str(self.run))

    def finder(self) -> Finder:
        """Finds objects in whole images."""
        from sfumato.learn.device import Normalise
        from sfumato.learn.evaluate_tasks import Finder

        given, name = _preprocessing(self.manifest), str(self.run)
        return Finder(self.model, Normalise(given, self.runtime), given.image_size, self.runtime, name)


def _write_task(out: Path, trained: _Trained, images: Images, task: TaskData, *, work: Work) -> None:
    """Write predictions of attributes or objects."""
    from sfumato.learn.evaluate_tasks import write_attributes, write_objects

    if task.kind == "attributes":
        write_attributes(out, trained.scorer(), images, task, work=work)
    else:
        write_objects(out, trained.finder(), images, task, work=work)


def _view(faces: FaceTable | None, scorer: Scorer, *, attention: bool) -> FaceColumns | None:
    if faces is None:
        return None
    return FaceColumns(faces, scorer.given.image_size, scorer=scorer if attention else None)


def _predict(
    scorer: Scorer, images: Images, kept: ScoreFile | None, view: FaceColumns | None, *, work: Work
) -> pa.Table:
    """The table of predictions, a row for every sample; scores go to a file as they come."""
    from sfumato.learn.scoring import centre_batches

    where = np.array([status == "ok" for status in images.table["status"].to_pylist()]).nonzero()[0]
    columns: dict[str, list[Any]] = {"label_rank": [], "top5": [], "top5_score": []}
    work.progress("evaluate", 0, len(images))
    for batch in centre_batches(images, scorer.given, device=scorer.runtime.device):
        scores, rows = scorer.scores(batch.pixels), batch.rows
        best, probabilities = top_of(scores)
        columns["label_rank"] += rank_of(scores, images.labels[rows]).tolist()
        columns["top5"] += best.tolist()
        columns["top5_score"] += probabilities.tolist()
        if view is not None:
            view.add(images, batch, best[:, 0])
        if kept is not None:
            kept.put(where[rows], scores)
        work.progress("evaluate", int(rows[-1]) + 1, len(images))
    if kept is not None:
        kept.close()
    return _table(images, columns if view is None else columns | view.columns, where)


def _table(images: Images, columns: dict[str, list[Any]], where: NDArray[np.int64]) -> pa.Table:
    """Spread the columns of the readable images over all rows; the others are null."""
    schema = pa.schema([*PREDICTIONS_SCHEMA, *(field for field in FACE_COLUMNS if field.name in columns)])
    table = {name: images.table[name] for name in ("image_id", "label", "status", "error")}
    for name, values in columns.items():
        spread: list[Any] = [None] * len(images.table)
        for row, value in zip(where, values, strict=True):
            spread[row] = value
        table[name] = pa.array(spread, type=schema.field(name).type)
    return pa.table([table[name] for name in schema.names], schema=schema)


def _images(
    run: Path, manifest: Manifest, dataset: Dataset, *, cache: tuple[Path | None, int], work: Work
) -> Images:
    given = _preprocessing(manifest)
    root, budget = cache
    return prepare_images(
        dataset,
        dataset.evaluation_split,
        image_size=given.image_size,
        resize_ratio=given.resize_ratio,
        root=run.parent / ".cache" if root is None else root,
        budget=budget,
        work=work,
    )


def _preprocessing(manifest: Manifest) -> Preprocessing:
    facts = manifest.facts
    mean, std = tuple(facts["mean"]), tuple(facts["std"])
    return Preprocessing(facts["image_size"], mean, std, facts["resize_ratio"])


def _need_same_kind(run: Path, manifest: Manifest, task: TaskData) -> None:
    trained = manifest.facts.get("task", {}).get("kind", "categories")
    if trained != task.kind:
        raise UsageError(f"{run} learned {trained}, this task is of {task.kind}; evaluate it on its own task")


def _need_faces(faces: FaceTable | None, task: TaskData, *, attention: bool) -> None:
    if task.kind != "categories" and (attention or faces is not None):
        raise UsageError(f"faces and attention are measured on categories, not on {task.kind}")
    split = task.dataset.subset(task.dataset.evaluation_split)
    if faces is None:
        if attention:
            raise UsageError(
                "attention is measured on faces: give --faces, a folder that sfumato detect wrote"
            )
        return
    if not any(sample.image_id in faces.status for sample in split.samples):
        raise UsageError(
            f"the face table has none of the {len(split)} images of {split.root} to evaluate; "
            "give that of the data set, or of the original that it was made from"
        )


def _need_same_categories(run: Path, manifest: Manifest, dataset: Dataset) -> None:
    trained, found = list(manifest.facts["categories"]), list(dataset.categories)
    if trained != found:
        other = sorted(set(trained) ^ set(found))
        raise DatasetError(
            f"{run} was trained on {len(trained)} categories, {dataset.root} has {len(found)}"
            f"{' (differing: ' + ', '.join(other[:5]) + ')' if other else ''}; both must be the same"
        )


def _facts(manifest: Manifest, task: TaskData, split: str) -> dict[str, Any]:
    trained, dataset = manifest.facts, task.dataset
    return {
        "model": trained["model"],
        "seed": trained["seed"],
        "train_arm": trained["arm"],
        "eval_arm": trained["arm"] if task.name else dataset.arm,
        "recipe": trained["recipe"],
        "split": split,
        "categories": list(dataset.categories),
        "image_size": trained["image_size"],
        "run": manifest.key,
        "images": trained.get("images"),
        "precision": trained.get("precision"),
        "processes": trained.get("processes"),
        **_task_facts(trained),
    }


def _task_facts(trained: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a downstream task, and of the weights that its model started from."""
    if "task" not in trained:
        return {}
    task = {**trained["task"], "protocol": trained["protocol"]}
    return {"task": task, "start_seed": trained["start"].get("seed")}


_KINDS = {"categories": KIND, "attributes": ATTRIBUTES_KIND, "objects": OBJECTS_KIND}
