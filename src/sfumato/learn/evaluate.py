"""Evaluate a run on a data set: one row an image, scores beside it when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset
from sfumato.engines import Work
from sfumato.errors import DatasetError, TrainingError
from sfumato.learn.architectures import Preprocessing
from sfumato.learn.cache import Packed, pack, packed_side
from sfumato.learn.operators import import_torch
from sfumato.learn.run import KIND as RUN_KIND
from sfumato.learn.run import WEIGHTS, check_labels, read_config
from sfumato.predictions import KIND, PREDICTIONS, PREDICTIONS_SCHEMA, SCORES
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

TOP = 5
_BATCH = 128

Scores = NDArray[np.float32]


def evaluate(  # noqa: PLR0913 -- the options of a command; none of the last four changes a rank
    run: Path,
    dataset: Dataset,
    out: Path,
    *,
    keep_scores: bool = False,
    work: Work = Work(),
    cache: Path | None = None,
    device: str = "auto",
) -> Path:
    """Evaluate a finished run on the evaluation split of a data set, in float32, one centre crop an image.

    The scores kept are the model's own, before softmax: `scores.npy`, float16 of shape
    (n_images, n_categories), rows as in the table, NaN where the image failed.

    Args:
        run: folder that `train` made.
        dataset: the arm it is evaluated on; may differ from the one it was trained on.
        out: folder of predictions, see `sfumato.predictions`.
        keep_scores: write all scores too.
        work: workers for decoding, progress ("evaluate", in images), overwrite.
        cache: as for `train`; default ".cache" beside the run's folder.
        device: as `RunConfig.device`.

    Returns:
        The folder of predictions.

    Raises:
        ManifestError: `run` is no finished run.
        DatasetError: no evaluation split, other categories than the run's, or an unlabelled image.
        OutputExists, BusyError, UsageError, MissingExtra: as `train`.
        TrainingError: the weights are damaged, or give scores that are not finite.
    """
    import_torch()
    from sfumato.learn.device import choose_runtime

    manifest = read_manifest(run, kind=RUN_KIND)
    split = dataset.evaluation_split
    check_labels(dataset, split)
    _need_same_categories(run, manifest, dataset)
    inputs = {"run": manifest.key, "dataset": dataset.fingerprint}
    settings = {"split": split, "eval_arm": dataset.arm, "keep_scores": keep_scores}
    key = make_key(KIND, inputs, settings)
    if is_done(out, key):
        return out
    # Half precision makes equal scores out of different ones, which changes ranks.
    runtime = replace(choose_runtime(device), bf16=False)
    with locked(out):
        if not prepare_output(out, KIND, key, overwrite=work.overwrite):
            images = _packed(run, manifest, dataset, cache=cache, work=work)
            table = _predict(_Model(run, manifest, runtime), images, out, keep_scores=keep_scores, work=work)
            write_table(out / PREDICTIONS, table)
            counts = {"n_images": len(table), "n_failed": len(images.failed)}
            facts = {**_facts(manifest, dataset, split), **counts, "device": runtime.device}
            finish(out, Manifest(KIND, key, inputs, settings, counts, facts, versions()))
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


class _Model:
    """The trained model of a run, ready to give scores."""

    def __init__(self, run: Path, manifest: Manifest, runtime: Runtime) -> None:
        from sfumato.learn.catalogue import build_model
        from sfumato.learn.checkpoint import read_weights
        from sfumato.learn.fit import Normalise, place

        facts = manifest.facts
        self.preprocessing = _preprocessing(manifest)
        self.resize_ratio = read_config(run).recipe.resize_ratio
        self.n_categories = len(facts["categories"])
        model = build_model(facts["model"], self.n_categories)
        read_weights(run / WEIGHTS, model)
        self.model: nn.Module = place(model, runtime).eval()
        self.normalise = Normalise(self.preprocessing, runtime)
        self.run = run

    def scores(self, pixels: NDArray[np.uint8]) -> Scores:
        import torch

        with torch.inference_mode():
            scores: Scores = self.model(self.normalise(pixels)).float().cpu().numpy()
        if not np.isfinite(scores).all():
            raise TrainingError(f"{self.run}: the model gives scores that are not finite; train it anew")
        return scores


def _predict(model: _Model, images: Packed, out: Path, *, keep_scores: bool, work: Work) -> pa.Table:
    """The table of predictions, a row for every sample; scores go to a file as they come."""
    n_rows = len(images.table)
    columns: dict[str, list[Any]] = {"label_rank": [], "top5": [], "top5_score": []}
    kept = _ScoreFile(out / SCORES, n_rows, model.n_categories) if keep_scores else None
    where = np.array([status == "ok" for status in images.table["status"].to_pylist()]).nonzero()[0]
    done = 0
    work.progress("evaluate", 0, len(images))
    for rows, scores in _score_all(model, images):
        best, probabilities = top_of(scores)
        columns["label_rank"] += rank_of(scores, images.labels[rows]).tolist()
        columns["top5"] += best.tolist()
        columns["top5_score"] += probabilities.tolist()
        if kept is not None:
            kept.put(where[rows], scores)
        done += len(rows)
        work.progress("evaluate", done, len(images))
    if kept is not None:
        kept.close()
    return _table(images, columns, where)


def _score_all(model: _Model, images: Packed) -> Iterator[tuple[NDArray[np.int64], Scores]]:
    from sfumato.learn.fit import ahead, batch_of
    from sfumato.learn.views import centre_windows, one_thread_each

    batches = [np.arange(start, min(start + _BATCH, len(images))) for start in range(0, len(images), _BATCH)]

    def pixels_of(number: int) -> NDArray[np.uint8]:
        rows = batches[number]
        windows = centre_windows(images.shapes[rows], model.resize_ratio)
        return batch_of(images, rows, windows, size=model.preprocessing.image_size)

    with one_thread_each():
        for rows, (pixels, _) in zip(batches, ahead(pixels_of, len(batches)), strict=True):
            yield rows, model.scores(pixels)


def _table(images: Packed, columns: dict[str, list[Any]], where: NDArray[np.int64]) -> pa.Table:
    """Spread the columns of the readable images over all rows; the others are null."""
    table = {name: images.table[name] for name in ("image_id", "label", "status", "error")}
    for name, values in columns.items():
        spread: list[Any] = [None] * len(images.table)
        for row, value in zip(where, values, strict=True):
            spread[row] = value
        table[name] = pa.array(spread, type=PREDICTIONS_SCHEMA.field(name).type)
    return pa.table([table[name] for name in PREDICTIONS_SCHEMA.names], schema=PREDICTIONS_SCHEMA)


class _ScoreFile:
    """A float16 array on disk that appears under its name when it is whole."""

    def __init__(self, path: Path, n_rows: int, n_categories: int) -> None:
        self.path, self.temporary = path, path.with_suffix(".tmp.npy")
        self.scores = np.lib.format.open_memmap(
            self.temporary, mode="w+", dtype=np.float16, shape=(n_rows, n_categories)
        )
        self.scores[:] = np.nan

    def put(self, rows: NDArray[np.int64], scores: Scores) -> None:
        limit = float(np.finfo(np.float16).max)
        self.scores[rows] = np.clip(scores, -limit, limit).astype(np.float16)

    def close(self) -> None:
        self.scores.flush()
        self.temporary.replace(self.path)


def _packed(run: Path, manifest: Manifest, dataset: Dataset, *, cache: Path | None, work: Work) -> Packed:
    side = packed_side(_preprocessing(manifest).image_size, read_config(run).recipe.resize_ratio)
    root = run.parent / ".cache" if cache is None else cache
    return pack(dataset, dataset.evaluation_split, shorter_side=side, root=root, work=work)


def _preprocessing(manifest: Manifest) -> Preprocessing:
    facts = manifest.facts
    return Preprocessing(facts["image_size"], tuple(facts["mean"]), tuple(facts["std"]))


def _need_same_categories(run: Path, manifest: Manifest, dataset: Dataset) -> None:
    trained, found = list(manifest.facts["categories"]), list(dataset.categories)
    if trained != found:
        other = sorted(set(trained) ^ set(found))
        raise DatasetError(
            f"{run} was trained on {len(trained)} categories, {dataset.root} has {len(found)}"
            f"{' (differing: ' + ', '.join(other[:5]) + ')' if other else ''}; both must be the same"
        )


def _facts(manifest: Manifest, dataset: Dataset, split: str) -> dict[str, Any]:
    trained = manifest.facts
    return {
        "model": trained["model"],
        "seed": trained["seed"],
        "train_arm": trained["arm"],
        "eval_arm": dataset.arm,
        "recipe": trained["recipe"],
        "split": split,
        "categories": list(dataset.categories),
        "image_size": trained["image_size"],
        "run": manifest.key,
    }
