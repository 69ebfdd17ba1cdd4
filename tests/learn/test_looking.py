"""Evaluation that also measures where a model looks, against a model whose maps are the picture itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from sfumato.compare.pairing import pair
from sfumato.data import Dataset, read_folder
from sfumato.errors import OutputExists, TableError, TrainingError, UsageError
from sfumato.learn import MODELS, Preprocessing, Recipe, RunConfig, evaluate, train
from sfumato.learn.checkpoint import write_weights
from sfumato.learn.device import choose_runtime
from sfumato.learn.scoring import Scorer
from sfumato.predictions import FACE_COLUMNS, PREDICTIONS_SCHEMA, Predictions, read_predictions
from sfumato.records import write_table
from tests.conftest import face_table

Make = Callable[..., Dataset]
SIDE = 16
BOX = (3, 2, 9, 11)


class Brightness(nn.Module):
    """Scores are the mean brightness, times a number a category; so a map is the brightness, or zero."""

    def __init__(self, n_categories: int) -> None:
        super().__init__()
        self.places, self.head = nn.AvgPool2d(4), nn.Linear(1, n_categories)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.places(x.mean(dim=1, keepdim=True)).mean(dim=(2, 3)))
        return scores


class Narrow(Brightness):
    """The same with room for so many images at once."""

    def __init__(self, n_categories: int, most: int) -> None:
        super().__init__(n_categories)
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(x)


AS_IT_IS = Preprocessing(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)


@dataclass(frozen=True)
class BrightnessModel:
    learning_rate: float = 0.1
    preprocessing: Preprocessing = AS_IT_IS

    def __call__(self, n_categories: int) -> nn.Module:
        return Brightness(n_categories)


brightness = BrightnessModel()


def pictures(root: Path) -> Dataset:
    """Two categories of noise, 16 x 16 px, which the model sees as they are."""
    rng = np.random.default_rng(3)
    for split, count in (("train", 4), ("val", 4)):
        for category in ("dark", "light"):
            for number in range(count):
                path = root / split / category / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return read_folder(root)


@pytest.fixture
def looking(tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Dataset]:
    """A run whose model always says "light", for its brightness, and has only evidence against "dark"."""
    monkeypatch.setitem(MODELS.builtins, "brightness", "tests.learn.test_looking:brightness")
    dataset = pictures(tmp_path / "pictures")
    config = RunConfig("brightness", tiny.with_overrides(epochs=1, batch_size=4, resize_ratio=1.0))
    run = train(dataset, config, tmp_path / "run")
    model = Brightness(2)
    with torch.no_grad():
        model.head.weight[:] = torch.tensor([[-1.0], [2.0]])
        model.head.bias.zero_()
    write_weights(run / "model.safetensors", model)
    return run, dataset


def bright_share(dataset: Dataset, image_id: str, box: tuple[int, ...]) -> float:
    """The share of brightness in a box, cell by cell of 4 x 4 px as the model sees it, pixel by pixel."""
    grey = dataset.read(image_id).astype(float).mean(axis=2)
    inside = 0.0
    for y in range(SIDE):
        for x in range(SIDE):
            cell = grey[y // 4 * 4 : y // 4 * 4 + 4, x // 4 * 4 : x // 4 * 4 + 4].mean()
            inside += cell * (box[0] <= x < box[2] and box[1] <= y < box[3])
    return inside / float(grey.sum())


def test_attention_is_the_share_of_the_map_in_faces(looking: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = looking
    ids = [sample.image_id for sample in dataset.subset("val").samples]
    faces = face_table(dataset, {image_id: [BOX] for image_id in ids[1:]})
    out = evaluate(run, dataset, tmp_path / "p", faces=faces, attention=True)
    table = read_predictions(out).table
    assert table.schema.equals(pa.schema([*PREDICTIONS_SCHEMA, *FACE_COLUMNS]))
    rows = table.to_pylist()
    assert rows[0]["face_area"] == 0
    assert rows[0]["attention_predicted"] is None
    for row in rows[1:]:
        expected = bright_share(dataset, row["image_id"], BOX)
        assert row["face_area"] == pytest.approx(6 * 9 / 256)
        assert row["top5"][0] == 1
        assert row["attention_predicted"] == pytest.approx(expected, abs=1e-5)
        # Against "dark" there is evidence only, so its map is zero and has no share anywhere.
        assert row["attention_true"] == (None if row["label"] == 0 else row["attention_predicted"])


def test_every_way_of_having_no_face_in_view(looking: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = looking
    ids = [sample.image_id for sample in dataset.subset("val").samples]
    dataset.path(ids[4]).unlink()  # deleted since the data set was read
    with pytest.raises(UsageError, match="attention is measured on faces: give --faces"):
        evaluate(run, dataset, tmp_path / "p", attention=True)
    boxes = {ids[5]: [(20, 20, 30, 30)], ids[6]: [BOX, BOX], ids[7]: [(0, 0, 16, 16)]}
    kept = replace(dataset, samples=tuple(each for each in dataset.samples if each.image_id != ids[4]))
    faces = face_table(kept, boxes, failed={ids[3]: "damaged"})
    seen = faces.images.filter(pa.array([name != ids[2] for name in faces.images["image_id"].to_pylist()]))
    faces = replace(faces, images=seen)
    predictions = read_predictions(evaluate(run, dataset, tmp_path / "p", faces=faces, attention=True))
    rows = predictions.table.to_pylist()
    areas = [row["face_area"] for row in rows]
    assert areas[:2] == [0, 0]
    assert areas[2:5] == [None, None, None]  # not examined, could not be examined, deleted
    assert areas[5:] == pytest.approx([0, 6 * 9 / 256, 1])  # outside the view, twice the same, all of it
    looks = [row["attention_predicted"] for row in rows]
    assert looks[:6] == [None] * 6
    assert looks[6:] == pytest.approx([bright_share(dataset, ids[6], BOX), 1])
    assert (rows[4]["status"], rows[4]["top5"]) == ("failed", None)
    assert "no such file" in rows[4]["error"]
    assert predictions.facts["n_failed"] == 1


def test_ranks_and_scores_do_not_depend_on_looking(looking: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = looking
    faces = face_table(dataset, {sample.image_id: [BOX] for sample in dataset.samples})
    plain = read_predictions(evaluate(run, dataset, tmp_path / "a", keep_scores=True))
    area = read_predictions(evaluate(run, dataset, tmp_path / "b", faces=faces))
    both = read_predictions(
        evaluate(run, dataset, tmp_path / "c", faces=faces, attention=True, keep_scores=True)
    )
    assert plain.table.schema.equals(PREDICTIONS_SCHEMA)
    assert area.table.column_names == [*PREDICTIONS_SCHEMA.names, "face_area"]
    for found in (area, both):
        assert found.table.select(PREDICTIONS_SCHEMA.names).equals(plain.table)
    assert np.array_equal(plain.scores(), both.scores())
    with pytest.raises(OutputExists):
        evaluate(run, dataset, tmp_path / "a", keep_scores=True, faces=faces)
    others = replace(faces, faces=faces.faces.slice(0, 0), images=faces.images.slice(0, 0))
    with pytest.raises(UsageError, match=r"has none of the 8 images of .*pictures to evaluate"):
        evaluate(run, dataset, tmp_path / "d", faces=others)
    # A comparison reads predictions with and without such columns alike.
    paired = pair(
        [replace(found, facts={**found.facts, "seed": seed}) for seed, found in enumerate((plain, both))]
    )
    assert len(paired.image_ids) == 8


def test_a_column_of_another_type_is_refused(looking: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = looking
    out = evaluate(run, dataset, tmp_path / "p")
    table = read_predictions(out).table
    write_table(
        out / "predictions.parquet", table.append_column("face_area", pa.array(["much"] * len(table)))
    )
    with pytest.raises(TableError, match="column 'face_area' is string, not float"):
        read_predictions(out)


def test_scores_are_mapped_into_memory(looking: tuple[Path, Dataset], tmp_path: Path) -> None:
    run, dataset = looking
    found = read_predictions(evaluate(run, dataset, tmp_path / "kept", keep_scores=True))
    scores = found.scores()
    assert isinstance(scores, np.memmap)
    assert not scores.flags.writeable
    assert (scores.shape, scores.dtype) == ((8, 2), np.float16)
    assert [row.index(max(row)) for row in scores.tolist()] == [
        row["top5"][0] for row in found.table.to_pylist()
    ]
    without = read_predictions(evaluate(run, dataset, tmp_path / "none"))
    with pytest.raises(
        TableError, match=r"none: all scores were not kept; evaluate again with --keep-scores"
    ):
        without.scores()


@pytest.mark.parametrize("damage", ["truncated", "empty", "shape", "type", "pickle", "text"])
def test_damaged_scores_are_refused(damage: str, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"image_id": "a"}, {"image_id": "b"}], schema=PREDICTIONS_SCHEMA)
    found, path = Predictions(table, {"categories": ["x", "y", "z"]}, tmp_path), tmp_path / "scores.npy"
    good = np.zeros((2, 3), dtype=np.float16)
    np.save(path, good)
    assert np.array_equal(found.scores(), good)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage in ("empty", "text"):
        path.write_bytes(b"" if damage == "empty" else b"no array at all")
    else:
        others: dict[str, NDArray[Any]] = {
            "shape": good[:1],
            "type": good.astype(np.float32),
            "pickle": np.array([object] * 2),
        }
        np.save(path, others[damage], allow_pickle=True)
    with pytest.raises(TableError, match=r"scores\.npy: (damaged|holds).*evaluate again with --overwrite"):
        found.scores()


def scorer_of(model: nn.Module, name: str) -> Scorer:
    return Scorer(model, AS_IT_IS, replace(choose_runtime("cpu"), bf16=False), name=name)


@pytest.mark.parametrize("most", [3, 2])
def test_a_batch_that_does_not_fit_is_halved(most: int) -> None:
    roomy, narrow = Brightness(3), Narrow(3, most)
    narrow.load_state_dict(roomy.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
    whole, parts = scorer_of(roomy, "roomy"), scorer_of(narrow, "narrow")
    assert np.allclose(parts.scores(pixels), whole.scores(pixels), atol=1e-6)
    categories = np.arange(14).reshape(7, 2) % 3
    maps = whole.attention(pixels, categories)
    assert maps.shape == (7, 2, 4, 4)
    assert np.allclose(parts.attention(pixels, categories), maps, atol=1e-7)


def test_an_image_that_never_fits_is_said() -> None:
    with pytest.raises(TrainingError, match="runs/x: one image of 16 px does not fit into the memory of cpu"):
        scorer_of(Narrow(3, 0), "runs/x").scores(np.zeros((4, SIDE, SIDE, 3), dtype=np.uint8))


def test_other_errors_of_a_model_are_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        scorer_of(nn.Linear(2, 2), "odd").scores(np.zeros((4, SIDE, SIDE, 3), dtype=np.uint8))


def test_scores_that_are_not_finite_are_refused() -> None:
    model = Brightness(2)
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(TrainingError, match="runs/y: the model gives scores that are not finite"):
        scorer_of(model, "runs/y").scores(np.zeros((2, SIDE, SIDE, 3), dtype=np.uint8))
