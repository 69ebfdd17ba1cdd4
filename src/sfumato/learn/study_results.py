"""Predictions from the result pickles of "A Study of Face Obfuscation in ImageNet" (arXiv 2103.06191).

Such a file is a dictionary with `output_scores`, the scores before softmax of each validation image for each
category, and `examples`, a list in the same order of dictionaries with `path` and `label`. What else it holds
is left alone. Model, arms and seed stand in its name only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset, Sample
from sfumato.data.ilsvrc import ilsvrc_categories
from sfumato.engines import Work
from sfumato.errors import DatasetError, TableError, UsageError
from sfumato.learn.evaluate import rank_of, top_of
from sfumato.plain_pickle import read_plain_pickle
from sfumato.predictions import KIND, PREDICTIONS, PREDICTIONS_SCHEMA
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
from sfumato.specs import slug

STUDY_ARMS = {"": "original", "blur": "study_blur", "overlay": "study_overlay"}
"""Our names of the study's arms by its own; its pictures were written again in another way than ours."""

_NAME = re.compile(
    r"eval_(?P<model>.+?)(?P<tags>(?:_(?:blur|overlay)(?:train|val))*)_seed(?P<seed>\d+)_val_results\.pickle"
)
_AT_ONCE = 4096

Place = tuple[str, str]
"""What an image is found by where files end differently: its folder, and its name without the ending."""


@dataclass(frozen=True)
class RunFacts:
    """What a file of results does not say about itself.

    Attributes:
        model: name of the model.
        train_arm, eval_arm: what it was trained and evaluated on.
        seed: of its training.
    """

    model: str
    train_arm: str
    eval_arm: str
    seed: int


@dataclass(frozen=True, eq=False)
class StudyResult:
    """The content of a result pickle.

    Attributes:
        paths: of the n images, where they lay when they were evaluated.
        labels: (n,) indices of categories.
        scores: (n, n_categories) before softmax.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def facts_in_name(name: str) -> RunFacts:
    """Model, arms and seed from the name that the study gave a file.

    Raises:
        UsageError: it is not named so.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(
            f"'{name}' is not named as the study's results are (eval_resnet50_blurtrain_blurval_seed1_"
            "val_results.pickle); say what it is with --model, --train-arm, --eval-arm and --seed"
        )
    arms = {"train": "", "val": ""}
    for tag, split in re.findall(r"_(blur|overlay)(train|val)", found["tags"]):
        arms[split] = tag
    return RunFacts(found["model"], STUDY_ARMS[arms["train"]], STUDY_ARMS[arms["val"]], int(found["seed"]))


def read_study_result(path: Path) -> StudyResult:
    """Read a result pickle; nothing that it holds is run.

    Raises:
        TableError: it holds code, is damaged, or holds something else.
    """
    content = read_plain_pickle(path)
    if not isinstance(content, dict) or not {"output_scores", "examples"} <= content.keys():
        raise TableError(f"{path}: no result of the study: a dictionary with output_scores and examples")
    scores, examples = content["output_scores"], content["examples"]
    if not isinstance(scores, np.ndarray) or scores.ndim != 2 or scores.dtype.kind != "f":
        raise TableError(f"{path}: output_scores is no table of numbers, one row an image")
    if not isinstance(examples, list) or len(examples) != len(scores):
        raise TableError(f"{path}: examples is no list with an item for each of {len(scores)} rows of scores")
    rows = [_example(path, number, example) for number, example in enumerate(examples)]
    result = StudyResult(
        tuple(image for image, _ in rows),
        np.array([label for _, label in rows], dtype=np.int64),
        scores.astype(np.float32),
    )
    _check(path, result)
    return result


def import_results(
    results: Mapping[Path, RunFacts],
    out: Path,
    *,
    categories: Sequence[str] | None = None,
    dataset: Dataset | None = None,
    work: Work = Work(),
) -> list[Path]:
    """Write a folder of predictions for each result pickle; their images are the same in all.

    An image that one of the results lacks is a failed row there, and so left out when they are compared.

    Args:
        results: files, and what they are results of.
        out: folder for the folders of predictions.
        categories: names of folders, sorted, so that the place of one is its label; None takes the data
            set's, or ImageNet's 1,000.
        dataset: gives image ids and decides which images there are; None names them as ImageNet does and
            takes those that any result has.
        work: progress ("import", in files) and overwrite.

    Returns:
        The folders, in the order of the files.

    Raises:
        TableError: as `read_study_result`; labels that are not those of the categories.
        UsageError: two files of the same run.
        DatasetError: two images of the data set with the same folder and name, but for the ending.
        OutputExists, BusyError: as every stage.
    """
    if len(set(results.values())) < len(results):
        raise UsageError("two of the files are results of the same model, arms and seed; give one of them")
    names = _categories(categories, dataset)
    images = _images(results, names, dataset)
    folders = []
    for number, (path, facts) in enumerate(results.items()):
        work.progress("import", number, len(results))
        folders.append(_import_one(path, facts, out, (names, images), work=work))
    work.progress("import", len(results), len(results))
    return folders


def read_categories(path: Path) -> tuple[str, ...]:
    """Names of categories from a JSON list, such as the study's sorted_wnids.json.

    Raises:
        TableError: no such file, or no list of texts.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TableError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TableError(f"{path}: no list of category names")
    return tuple(names)


def _example(path: Path, number: int, example: Any) -> tuple[str, int]:
    if isinstance(example, dict):
        image, label = example.get("path"), example.get("label")
        if isinstance(image, str) and isinstance(label, int) and not isinstance(label, bool):
            return image, label
    raise TableError(f"{path}: example {number} has no path and label")


def _check(path: Path, result: StudyResult) -> None:
    odd = np.flatnonzero((result.labels < 0) | (result.labels >= result.scores.shape[1]))
    if len(odd):
        raise TableError(
            f"{path}: '{result.paths[odd[0]]}' has label {result.labels[odd[0]]}, "
            f"which is none of the {result.scores.shape[1]} that have scores"
        )
    if not np.isfinite(result.scores).all():
        raise TableError(f"{path}: some scores are not finite")
    if len({_place(image) for image in result.paths}) < len(result.paths):
        raise TableError(f"{path}: an image occurs twice")


def _categories(categories: Sequence[str] | None, dataset: Dataset | None) -> tuple[str, ...]:
    if categories is not None:
        return tuple(categories)
    if dataset is not None:
        return dataset.categories
    return tuple(category.wnid for category in ilsvrc_categories())


def _images(
    results: Mapping[Path, RunFacts], names: Sequence[str], dataset: Dataset | None
) -> dict[Place, tuple[str, int]]:
    """Image id and label of every image, by the place that it is found by; sorted by id."""
    if dataset is not None:
        samples = (
            dataset.subset(dataset.evaluation_split).samples if len(dataset.splits) > 1 else dataset.samples
        )
        return _images_of(dataset.root, samples)
    found: dict[Place, tuple[str, int]] = {}
    for path in results:
        result = read_study_result(path)
        _need_names(path, result, names)
        for image, label in zip(result.paths, result.labels.tolist(), strict=True):
            folder, name = _place(image)
            found[folder, name] = (f"val/{folder}/{name}.JPEG", label)
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def _images_of(root: Path, samples: Sequence[Sample]) -> dict[Place, tuple[str, int]]:
    found: dict[Place, tuple[str, int]] = {}
    for sample in samples:
        place = _place(sample.image_id)
        if place in found:
            raise DatasetError(
                f"{root}: '{found[place][0]}' and '{sample.image_id}' have the same folder and name, and "
                "results are found by these, whatever the ending; rename or remove one of them"
            )
        found[place] = sample.image_id, sample.label
    return found


def _place(path: str) -> Place:
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.parent.name, parts.stem


def _need_names(path: Path, result: StudyResult, names: Sequence[str]) -> None:
    """The folder of each image must be the category that its label means."""
    if result.scores.shape[1] != len(names):
        raise TableError(
            f"{path}: scores of {result.scores.shape[1]} categories, {len(names)} are named; "
            "give their names with --categories"
        )
    for image, label in zip(result.paths, result.labels.tolist(), strict=True):
        if _place(image)[0] != names[label]:
            raise TableError(
                f"{path}: '{image}' has label {label}, which is '{names[label]}'; "
                "give the names in their order with --categories"
            )


def _import_one(
    path: Path,
    facts: RunFacts,
    out: Path,
    whole: tuple[tuple[str, ...], Mapping[Place, tuple[str, int]]],
    *,
    work: Work,
) -> Path:
    names, images = whole
    arms = "--".join(dict.fromkeys((slug(facts.train_arm), slug(facts.eval_arm))))
    folder = out / f"{slug(facts.model)}--{arms}--seed{facts.seed}"
    inputs = {"results": file_sha256(path)}
    settings = {
        **asdict(facts),
        "categories": list(names),
        "images": [list(image) for image in images.values()],
    }
    key = make_key(KIND, inputs, settings)
    with locked(folder):
        if not prepare_output(folder, KIND, key, overwrite=work.overwrite):
            result = read_study_result(path)
            _need_names(path, result, names)
            table = _table(path, result, images)
            n_failed = sum(status == "failed" for status in table["status"].to_pylist())
            counts = {"n_images": len(table), "n_failed": n_failed}
            said = {**asdict(facts), "recipe": "study", "split": "val", "categories": list(names), "run": key}
            write_table(folder / PREDICTIONS, table)
            manifest = Manifest(KIND, key, inputs, asdict(facts), counts, {**said, **counts}, versions())
            finish(folder, manifest)
    return folder


def _table(path: Path, result: StudyResult, images: Mapping[Place, tuple[str, int]]) -> pa.Table:
    """A row for every image; failed where the results lack it."""
    where = {_place(image): row for row, image in enumerate(result.paths)}
    _need_labels(path, result, images)
    ranks = np.empty(len(result.labels), dtype=np.int64)
    best: list[list[int]] = []
    shares: list[list[float]] = []
    for start in range(0, len(ranks), _AT_ONCE):
        scores = result.scores[start : start + _AT_ONCE]
        ranks[start : start + len(scores)] = rank_of(scores, result.labels[start : start + len(scores)])
        top, probabilities = top_of(scores)
        best += top.tolist()
        shares += probabilities.tolist()
    rows = [(image_id, label, where.get(place)) for place, (image_id, label) in images.items()]
    columns: dict[str, list[Any]] = {
        "image_id": [image_id for image_id, _, _ in rows],
        "label": [label for _, label, _ in rows],
        "label_rank": [None if row is None else int(ranks[row]) for _, _, row in rows],
        "top5": [None if row is None else best[row] for _, _, row in rows],
        "top5_score": [None if row is None else shares[row] for _, _, row in rows],
        "status": ["failed" if row is None else "ok" for _, _, row in rows],
        "error": ["not among the results" if row is None else None for _, _, row in rows],
    }
    return pa.table(columns, schema=PREDICTIONS_SCHEMA)


def _need_labels(path: Path, result: StudyResult, images: Mapping[Place, tuple[str, int]]) -> None:
    """Results and data set must be of the same images with the same labels."""
    known = 0
    for image, label in zip(result.paths, result.labels.tolist(), strict=True):
        place = _place(image)
        known += place in images
        if place in images and images[place][1] != label:
            image_id, expected = images[place]
            raise TableError(f"{path}: '{image}' has label {label}, '{image_id}' has {expected}")
    if not known:
        raise TableError(f"{path}: none of its {len(result.paths)} images is in the data set")
