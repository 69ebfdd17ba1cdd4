from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import top_k_accuracy_score

from sfumato.data import Dataset, read_folder
from sfumato.engines import Work
from sfumato.errors import DatasetError, ManifestError, OutputExists, TrainingError
from sfumato.learn import Recipe, RunConfig, build_model, evaluate, train
from sfumato.learn.checkpoint import write_weights
from sfumato.learn.evaluate import rank_of, top_of
from sfumato.predictions import PREDICTIONS_SCHEMA, find_predictions, read_predictions
from sfumato.records import read_manifest

Make = Callable[..., Dataset]


@pytest.fixture
def trained(colours: Make, tiny: Recipe, tmp_path: Path) -> tuple[Path, Dataset]:
    dataset = colours(n_categories=3)
    return train(dataset, RunConfig("small_resnet", tiny, seed=2), tmp_path / "run"), dataset


@pytest.mark.parametrize("n_categories", [3, 10])
def test_ranks_agree_with_scikit_learn(n_categories: int) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(400, n_categories)).astype(np.float32)
    labels = rng.integers(0, n_categories, 400)
    ranks, everything = rank_of(scores, labels), range(n_categories)
    for k in range(1, n_categories):
        assert (ranks < k).mean() == pytest.approx(
            top_k_accuracy_score(labels, scores, k=k, labels=everything)
        )


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 8)), elements=st.integers(-2, 2)))
def test_ties_go_to_the_lower_index_in_rank_and_top(scores: np.ndarray) -> None:
    best, probabilities = top_of(scores)
    assert best.shape == (len(scores), min(5, scores.shape[1]))
    for label in range(scores.shape[1]):
        ranks = rank_of(scores, np.full(len(scores), label))
        for row, rank in enumerate(ranks):
            assert sorted(range(scores.shape[1]), key=lambda c: (-scores[row, c], c))[rank] == label
            assert rank >= best.shape[1] or best[row, rank] == label
    assert (np.diff(probabilities, axis=1) <= 0).all()
    softmax = np.exp(scores.astype(float)) / np.exp(scores.astype(float)).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, np.take_along_axis(softmax, best, axis=1), atol=1e-6)


def test_predictions_have_a_row_for_every_image(trained: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = trained
    broken = dataset.subset("val").samples[7].image_id
    dataset.path(broken).write_bytes(b"no picture")
    dataset = read_folder(dataset.root)
    out = evaluate(run, replace(dataset, arm="none()"), tmp_path / "predictions", keep_scores=True)
    predictions = read_predictions(out)
    table = predictions.table
    samples = dataset.subset("val").samples
    assert table.schema.equals(PREDICTIONS_SCHEMA)
    assert table["image_id"].to_pylist() == [sample.image_id for sample in samples]
    assert table["label"].to_pylist() == [sample.label for sample in samples]
    rows = table.to_pylist()
    failed = rows.pop(7)
    assert (failed["status"], failed["label_rank"], failed["top5"], failed["top5_score"]) == (
        "failed",
        None,
        None,
        None,
    )
    assert "not a picture" in failed["error"]
    for row in rows:
        assert (row["status"], row["error"]) == ("ok", None)
        assert sorted(row["top5"]) == [0, 1, 2]
        assert sum(row["top5_score"]) == pytest.approx(1, abs=1e-5)
        assert row["top5"][row["label_rank"]] == row["label"]
    scores = np.load(out / "scores.npy")
    assert (scores.shape, scores.dtype) == ((15, 3), np.float16)
    assert np.isnan(scores[7]).all()
    for row, kept in zip(rows, np.delete(scores, 7, axis=0), strict=True):
        assert kept[row["top5"][0]] == kept.max()
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "predictions.parquet",
        "scores.npy",
    ]
    facts = predictions.facts
    assert (facts["model"], facts["seed"], facts["split"]) == ("small_resnet", 2, "val")
    assert (facts["train_arm"], facts["eval_arm"]) == ("original", "none()")
    assert (facts["n_images"], facts["n_failed"]) == (15, 1)
    assert facts["categories"] == ["blue", "green", "red"]
    assert facts["run"] == read_manifest(run).key
    assert facts["recipe"].startswith("small(")
    trained_as = read_manifest(run).facts
    for name in ("images", "precision", "processes"):
        assert facts[name] == trained_as[name]
    assert (facts["images"], facts["processes"]) == ("packed", 1)


def test_the_same_run_predicts_the_same_and_is_skipped(trained: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = trained
    first = read_predictions(evaluate(run, dataset, tmp_path / "a"))
    assert not (tmp_path / "a" / "scores.npy").exists()
    stages: list[str] = []
    work = Work(progress=lambda stage, done, total: stages.append(stage))
    assert read_predictions(evaluate(run, dataset, tmp_path / "b", work=work)).table.equals(first.table)
    assert "evaluate" in stages
    stages.clear()
    evaluate(run, dataset, tmp_path / "a", work=work)
    assert stages == []
    with pytest.raises(OutputExists):
        evaluate(run, dataset, tmp_path / "a", keep_scores=True)


def test_what_cannot_be_evaluated_is_refused(
    trained: tuple[Path, Dataset], colours: Make, tmp_path: Path
) -> None:
    run, dataset = trained
    with pytest.raises(DatasetError, match=r"trained on 3 categories.*has 2 .differing: red"):
        evaluate(run, colours("other"), tmp_path / "out")
    only_train = replace(dataset, samples=dataset.subset("train").samples)
    with pytest.raises(DatasetError, match="--val-fraction"):
        evaluate(run, only_train, tmp_path / "out")
    with pytest.raises(ManifestError, match="not a finished artefact"):
        evaluate(tmp_path / "nowhere", dataset, tmp_path / "out")
    samples = (*dataset.samples[:-1], replace(dataset.samples[-1], label=3))
    with pytest.raises(DatasetError, match="has label 3, but there are 3 categories"):
        evaluate(run, replace(dataset, samples=samples), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    weights = run / "model.safetensors"
    whole = weights.read_bytes()
    write_weights(weights, build_model("small_resnet", 4))
    with pytest.raises(TrainingError, match=r"model\.safetensors.*another model"):
        evaluate(run, dataset, tmp_path / "out")
    weights.write_bytes(whole[:500])
    with pytest.raises(TrainingError, match=r"model\.safetensors"):
        evaluate(run, dataset, tmp_path / "out")


def test_predictions_are_found_by_their_manifest(trained: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = trained
    for name in ("z/b", "a"):
        evaluate(run, dataset, tmp_path / "all" / name, cache=tmp_path / "cache")
    shutil.copytree(run, tmp_path / "all" / "run")
    assert find_predictions(tmp_path / "all") == [tmp_path / "all" / "a", tmp_path / "all" / "z" / "b"]
    assert find_predictions(tmp_path / "all" / "a") == [tmp_path / "all" / "a"]
    assert find_predictions(tmp_path / "nothing") == []
    with pytest.raises(ManifestError, match="holds run, but predictions"):
        read_predictions(run)
    (tmp_path / "all" / "run" / "manifest.json").write_text("[]")
    with pytest.raises(ManifestError, match="damaged"):
        find_predictions(tmp_path / "all")
