"""The study's result pickles become predictions, and its own figures come out of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from sfumato.cli import main
from sfumato.data import Dataset, read_dataset
from sfumato.errors import DatasetError, TableError, UsageError
from sfumato.learn.study_results import RunFacts, facts_in_name, import_results, read_study_result
from sfumato.predictions import find_predictions, read_predictions

Make = Callable[..., Dataset]
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041")
FACTS = RunFacts("resnet18", "original", "original", 1)


def result(arm: str = "original", *, n: int = 21, seed: int = 0, loss: float = 0.0) -> dict[str, Any]:
    """Results as the study keeps them; the obfuscated arms have .jpg names in a folder of their own."""
    rng = np.random.default_rng([seed, n])
    labels = np.arange(n) % len(WNIDS)
    scores = rng.normal(size=(n, len(WNIDS))).astype(np.float32)
    scores[np.arange(n), labels] += 1.5 - loss
    folder, ending = ("val", "JPEG") if arm == "original" else (f"val_{arm}", "jpg")
    examples = [
        {
            "path": f"/data/ilsvrc/{folder}/{WNIDS[label]}/ILSVRC2012_val_{number:08d}.{ending}",
            "label": int(label),
            "top5_predictions": np.argsort(-scores[number])[:5],
        }
        for number, label in enumerate(labels)
    ]
    return {"output_scores": scores, "examples": examples, "cam_gt": np.zeros((n, 2, 2), np.float16)}


def written(path: Path, content: Any, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("alexnet_seed1", RunFacts("alexnet", "original", "original", 1)),
        ("vgg19_blurtrain_blurval_seed3", RunFacts("vgg19", "study_blur", "study_blur", 3)),
        ("vgg11_overlaytrain_overlayval_seed1", RunFacts("vgg11", "study_overlay", "study_overlay", 1)),
        ("shufflenet_v2_x1_0_blurtrain_seed2", RunFacts("shufflenet_v2_x1_0", "study_blur", "original", 2)),
        ("resnet50_blurval_seed2", RunFacts("resnet50", "original", "study_blur", 2)),
    ],
)
def test_names_of_the_study_are_read_on_request(name: str, facts: RunFacts) -> None:
    assert facts_in_name(f"eval_{name}_val_results.pickle") == facts
    with pytest.raises(UsageError, match="is not named as the study's results are"):
        facts_in_name(f"results_{name}.pickle")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_ranks_and_top_five_are_those_of_the_scores(tmp_path: Path, protocol: int) -> None:
    content = result()
    path = written(tmp_path / "r.pickle", content, protocol)
    (folder,) = import_results({path: FACTS}, tmp_path / "out", categories=WNIDS)
    predictions = read_predictions(folder)
    rows = predictions.table.to_pylist()
    assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)
    by_name = {Path(row["image_id"]).stem: row for row in rows}
    ordered = [by_name[Path(example["path"]).stem] for example in content["examples"]]
    for row, example in zip(ordered, content["examples"], strict=True):
        assert row["image_id"] == f"val/{WNIDS[example['label']]}/{Path(example['path']).name}"
        assert row["top5"] == example["top5_predictions"].tolist()
    ranks = np.array([row["label_rank"] for row in ordered])
    labels = np.array([row["label"] for row in ordered])
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, content["output_scores"], k=k, labels=range(len(WNIDS)))
        assert (ranks < k).mean() == pytest.approx(expected)
    facts = predictions.facts
    assert {key: facts[key] for key in ("model", "train_arm", "eval_arm", "seed", "recipe", "split")} == {
        "model": "resnet18", "train_arm": "original", "eval_arm": "original", "seed": 1,
        "recipe": "study", "split": "val",
    }  # fmt: skip
    assert facts["categories"] == list(WNIDS)


def test_a_missing_image_is_a_failed_row(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.pickle", result())
    part = result("blurred")
    part["examples"], part["output_scores"] = part["examples"][1:], part["output_scores"][1:]
    blurred = written(tmp_path / "blurred.pickle", part)
    facts = {whole: FACTS, blurred: RunFacts("resnet18", "study_blur", "study_blur", 1)}
    first, second = (
        read_predictions(folder).table for folder in import_results(facts, tmp_path / "out", categories=WNIDS)
    )
    assert first["image_id"].to_pylist() == second["image_id"].to_pylist()
    failed = [row for row in second.to_pylist() if row["status"] == "failed"]
    assert [(row["image_id"], row["error"], row["label_rank"]) for row in failed] == [
        ("val/n01440764/ILSVRC2012_val_00000000.JPEG", "not among the results", None)
    ]
    assert set(first["status"].to_pylist()) == {"ok"}


def test_a_data_set_gives_ids_and_labels(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    samples = dataset.subset("val").samples
    rng = np.random.default_rng(0)
    content = {
        "output_scores": rng.normal(size=(len(samples), 2)).astype(np.float32),
        "examples": [
            {"path": f"/elsewhere/{Path(sample.image_id).with_suffix('.jpg')}", "label": sample.label}
            for sample in reversed(samples)
        ],
    }
    path = written(tmp_path / "r.pickle", content)
    (folder,) = import_results({path: FACTS}, tmp_path / "out", dataset=dataset)
    table = read_predictions(folder).table
    assert table["image_id"].to_pylist() == [sample.image_id for sample in samples]
    assert table["label"].to_pylist() == [sample.label for sample in samples]
    assert set(table["status"].to_pylist()) == {"ok"}
    with pytest.raises(TableError, match="scores of 2 categories, 3 are named"):
        import_results({path: FACTS}, tmp_path / "other", dataset=colours("three", n_categories=3))


def test_images_that_differ_in_the_ending_only_are_refused(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    root = dataset.root
    (root / "val/blue/00.jpg").write_bytes((root / "val/blue/00.png").read_bytes())
    path = written(tmp_path / "r.pickle", result())
    with pytest.raises(DatasetError, match=r"'val/blue/00.jpg' and 'val/blue/00.png' have the same folder"):
        import_results({path: FACTS}, tmp_path / "out", dataset=read_dataset(root))


def wrong() -> dict[str, tuple[Any, str]]:
    other = result()
    other["examples"][3]["label"] = 7
    moved = result()
    moved["examples"][3]["label"] = 1
    bare = result()
    del bare["examples"][5]["path"]
    twice = result()
    twice["examples"][5] = twice["examples"][4]
    infinite = result()
    infinite["output_scores"][2, 2] = np.nan
    return {
        "no results": ([1, 2], "a dictionary with output_scores and examples"),
        "no scores": ({"output_scores": [1.0], "examples": []}, "output_scores is no table of numbers"),
        "whole numbers": ({"output_scores": np.ones((1, 2), int), "examples": [{}]}, "no table of numbers"),
        "fewer examples": (result() | {"examples": []}, "no list with an item for each of 21 rows"),
        "label outside": (other, "has label 7, which is none of the 7 that have scores"),
        "label of another folder": (
            moved,
            "has label 1, which is 'n01443537'; give the names in their order",
        ),
        "no path": (bare, "example 5 has no path and label"),
        "an image twice": (twice, "an image occurs twice"),
        "not finite": (infinite, "some scores are not finite"),
    }


@pytest.mark.parametrize("name", wrong())
def test_what_is_no_result_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    content, message = wrong()[name]
    path = written(tmp_path / "r.pickle", content)
    with pytest.raises(TableError, match=r"r\.pickle: ") as caught:
        import_results({path: FACTS}, tmp_path / "out", categories=WNIDS)
    assert message in str(caught.value)
    assert not list((tmp_path / "out").rglob("predictions.parquet"))


def test_imagenet_is_meant_where_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="scores of 7 categories, 1000 are named"):
        import_results({written(tmp_path / "r.pickle", result()): FACTS}, tmp_path / "out")


def test_numbers_of_any_width_are_scores(tmp_path: Path) -> None:
    content = result()
    content["output_scores"] = content["output_scores"].astype(">f8")
    assert read_study_result(written(tmp_path / "r.pickle", content)).scores.dtype == np.float32


def test_from_the_studys_files_to_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models, three seeds, three arms: the mean accuracy is that of the pickles."""
    monkeypatch.chdir(tmp_path)
    tags = {"original": "", "blurred": "_blurtrain_blurval", "overlaid": "_overlaytrain_overlayval"}
    means: dict[str, list[float]] = {arm: [] for arm in tags}
    files = []
    for number, (arm, tag) in enumerate(tags.items()):
        for model in ("alexnet", "resnet18"):
            for seed in (1, 2, 3):
                content = result(arm, n=70, seed=10 * seed + len(model), loss=0.3 * number)
                labels = np.array([example["label"] for example in content["examples"]])
                means[arm].append(float((content["output_scores"].argmax(1) == labels).mean()))
                name = f"eval_{model}{tag}_seed{seed}_val_results.pickle"
                files.append(str(written(tmp_path / "results" / name, content)))
    (tmp_path / "wnids.json").write_text(json.dumps(WNIDS))
    code = main(
        ["predictions", "import", *files, "--by-name", "--categories", "wnids.json", "--out", "runs", "-q"]
    )
    assert (code, capsys.readouterr().out) == (0, "runs: predictions of 18 run(s)\n")
    assert len(find_predictions(tmp_path / "runs")) == 18
    assert main(["compare", "runs", "--rounds", "100", "--out", "tables", "-q"]) == 0
    lines = (tmp_path / "tables/overall.csv").read_text().splitlines()
    found = {
        line.split(",")[1]: float(line.split(",")[4])
        for line in lines
        if line.startswith('"all"') and "top1" in line
    }
    for arm, ours in (
        ("original", '"original"'),
        ("blurred", '"study_blur"'),
        ("overlaid", '"study_overlay"'),
    ):
        assert found[ours] == pytest.approx(np.mean(means[arm]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pickle", "--out", "o"], "with --model, or give --by-name"),
        (["a.pickle", "b.pickle", "--model", "m", "--out", "o"], "--model is for one file"),
        (["a.pickle", "--by-name", "--out", "o"], "'a.pickle' is not named as the study's results are"),
        (["a.pickle", "--model", "m", "--out", "o"], "a.pickle: damaged, or no pickle"),
        (["none.pickle", "--model", "m", "--out", "o"], "none.pickle: no such file; name result files"),
        (["none.pickle", "--by-name", "--out", "o"], "none.pickle: no such file"),
        (["a.pickle", "--by-name", "--seed", "0", "--out", "o"], "--seed is not for this: with --by-name"),
        (["a.pickle", "--by-name", "--train-arm", "b", "--out", "o"], "--train-arm is not for this"),
        (["a.pickle", "--by-name", "--eval-arm", "b", "--out", "o"], "--eval-arm is not for this"),
    ],
)
def test_the_command_says_what_it_lacks(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pickle").write_bytes(b"x")
    assert main(["predictions", "import", *arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
