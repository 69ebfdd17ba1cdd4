from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sfumato.boxes import iou
from sfumato.data import read_folder
from sfumato.detect import DETECTORS, detect, score
from sfumato.engines import Work
from sfumato.errors import DatasetError, ImageError, OutputExists, TableError, UsageError
from sfumato.faces import Faces, read_faces
from sfumato.images import read_image
from tests.detect.pictures import FACE, photograph

TABLES = ("faces.parquet", "images.parquet", "manifest.json")


@dataclass(frozen=True)
class Bright:
    """Finds one face where a picture is bright, refuses blue ones, and needs no weights."""

    name: ClassVar[str] = "bright"

    level: int = 0

    def __call__(self, images: Sequence[np.ndarray]) -> list[Faces]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Faces:
        if image[0, 0].tolist() == [0, 0, 255]:
            raise ImageError("too blue")
        height, width = image.shape[:2]
        bright = image.mean() > self.level
        return Faces.of([[1, 2, width / 2, height / 2]] if bright else [], source=self.name)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Seventy small pictures, some bright; three parts of work."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(70):
        colour = (200, 180, number) if number % 3 else (10, 10, number)
        Image.new("RGB", (20 + number, 30), colour).save(root / f"{number:03d}.png")
    return root


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in TABLES]


def known_boxes(path: Path, records: dict[str, list[list[float]]]) -> Path:
    rows = [
        {"url": url, "bboxes": [dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)) for box in boxes]}
        for url, boxes in records.items()
    ]
    path.write_text(json.dumps(rows))
    return path


def test_the_oracle_through_the_stage_scores_one(photos: Path, tmp_path: Path) -> None:
    dataset = read_folder(photos)
    rng = np.random.default_rng(0)
    records = {}
    for number, sample in enumerate(dataset.samples):
        start = rng.integers(0, 20, (number % 3, 2)).astype(float)
        records[sample.image_id] = np.hstack([start, start + rng.integers(5, 20, start.shape)]).tolist()
    truth = {image_id: Faces.of(boxes) for image_id, boxes in records.items()}
    path = known_boxes(tmp_path / "faces.json", records)
    table = detect(dataset, DETECTORS.build(f"oracle(path={str(path)!r})"), tmp_path / "out")
    figures = score({image_id: table.of(image_id) for image_id in records}, truth)
    assert figures.recall == figures.precision == figures.image_accuracy == 1
    assert figures.n_truth == sum(map(len, records.values())) > 5
    assert table.manifest.counts == {
        "images": len(dataset),
        "ok": len(dataset),
        "failed": 0,
        "faces": figures.n_truth,
        "images_with_faces": figures.n_images_with_faces,
    }
    assert table.manifest.facts["categories"] == ["apple", "pear"]


def test_an_oracle_finds_records_by_the_end_of_their_path(photos: Path, tmp_path: Path) -> None:
    dataset = read_folder(photos)
    ids = [sample.image_id for sample in dataset.samples]
    records = {f"http/x/{ids[0]}": [[0.0, 0, 5, 5]], f"{photos}/{ids[1]}": [[0.0, 0, 6, 6]]}
    records |= {f"a/{ids[2]}": [], f"b/{ids[2]}": []}
    path = known_boxes(tmp_path / "faces.json", records)
    table = detect(dataset, DETECTORS.build(f"oracle(path={str(path)!r})"), tmp_path / "out")
    assert table.of(ids[0]).xyxy.tolist() == [[0, 0, 5, 5]]
    assert table.of(ids[1]).xyxy.tolist() == [[0, 0, 6, 6]]
    assert "2 records" in table.errors[ids[2]]
    assert f"no record of {ids[3]}" in table.errors[ids[3]]


def test_an_oracle_that_learnt_more_does_not_pass_for_the_old_one(photos: Path, tmp_path: Path) -> None:
    dataset = read_folder(photos)
    path = known_boxes(tmp_path / "faces.json", {sample.image_id: [] for sample in dataset.samples})
    oracle = DETECTORS.build(f"oracle(path={str(path)!r})")
    assert detect(dataset, oracle, tmp_path / "out").manifest.counts["faces"] == 0
    known_boxes(path, {sample.image_id: [[1, 1, 9, 9]] for sample in dataset.samples})
    with pytest.raises(OutputExists):
        detect(dataset, oracle, tmp_path / "out")
    again = detect(dataset, oracle, tmp_path / "out", work=Work(workers=1, overwrite=True))
    assert again.manifest.counts["faces"] == len(dataset)


def test_an_oracle_without_file_or_ids_says_so(tmp_path: Path, photos: Path) -> None:
    oracle = DETECTORS.build(f"oracle(path={str(tmp_path / 'none.json')!r})")
    with pytest.raises(TableError, match=r"none\.json"):
        detect(read_folder(photos), oracle, tmp_path / "out")
    with pytest.raises(UsageError, match="by id"):
        oracle([np.zeros((3, 3, 3), np.uint8)])


def test_files_that_cannot_be_read_are_rows_with_their_reason(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for name, colour in (("bright.jpg", (250, 250, 250)), ("blue.png", (0, 0, 255)), ("dark.png", (0, 0, 0))):
        Image.new("RGB", (60, 40), colour).save(root / name)
    noisy = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(root / "whole.jpg")
    (root / "cut.jpg").write_bytes((root / "whole.jpg").read_bytes()[:5000])
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_text("no picture at all")
    table = detect(read_folder(root), Bright(20), tmp_path / "out", work=Work(workers=1))
    rows = {row["image_id"]: row for row in table.images.to_pylist()}
    assert [row["image_id"] for row in table.images.to_pylist()] == sorted(rows)
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {
        "cut.jpg",
        "empty.jpg",
        "text.jpg",
        "blue.png",
    }
    assert rows["blue.png"]["error"] == "too blue"
    assert "truncated" in rows["cut.jpg"]["error"]
    assert all(row["error"] and str(tmp_path) not in row["error"] for row in rows.values() if row["error"])
    assert rows["cut.jpg"]["width"] is None
    assert (rows["bright.jpg"]["width"], rows["bright.jpg"]["height"]) == (60, 40)
    assert table.image_ids_with_faces() == {"bright.jpg", "whole.jpg"}
    assert rows["dark.png"]["status"] == "ok"
    assert table.manifest.counts["failed"] == 4


def test_where_nothing_can_be_read_the_stage_says_so_and_may_be_tried_again(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"")
    (root / "b.jpg").write_bytes(b"no")
    with pytest.raises(DatasetError, match=r"none of 2 image.*a\.jpg: not a picture"):
        detect(read_folder(root), Bright(), tmp_path / "out", work=Work(workers=1))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_no_face_at_all_is_a_result(many: Path, tmp_path: Path) -> None:
    table = detect(read_folder(many), Bright(255), tmp_path / "out", work=Work(workers=1))
    assert table.manifest.counts["faces"] == 0
    assert len(table.of("000.png")) == 0
    assert set(table.status.values()) == {"ok"}


def test_resumed_work_ends_in_the_same_bytes(many: Path, tmp_path: Path) -> None:
    dataset = read_folder(many)

    class Killed(Exception):
        pass

    def kill(stage: str, done: int, total: int) -> None:
        assert stage == "detect"
        if done >= 64:
            raise Killed

    whole = tmp_path / "whole"
    detect(dataset, Bright(50), whole, work=Work(workers=1))
    with pytest.raises(Killed):
        detect(dataset, Bright(50), tmp_path / "out", work=Work(workers=1, progress=kill))
    parts = sorted((tmp_path / "out" / ".parts").iterdir())
    assert len(parts) == 2
    parts[0].unlink()
    reports: list[int] = []
    detect(
        dataset,
        Bright(50),
        tmp_path / "out",
        work=Work(workers=1, progress=lambda stage, done, total: reports.append(done)),
    )
    assert reports[0] == 32
    assert bytes_of(whole) == bytes_of(tmp_path / "out")
    assert not (tmp_path / "out" / ".parts").exists()


def test_finished_work_is_not_done_again(many: Path, tmp_path: Path) -> None:
    dataset = read_folder(many)
    detect(dataset, Bright(50), tmp_path / "out", work=Work(workers=1))

    def fail(stage: str, done: int, total: int) -> None:
        raise AssertionError("worked again")

    detect(dataset, Bright(50), tmp_path / "out", work=Work(workers=1, progress=fail))
    with pytest.raises(OutputExists):
        detect(dataset, Bright(51), tmp_path / "out", work=Work(workers=1))


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(40):
        size = 40 + number
        Image.fromarray(photograph()[:256, 90:346]).resize((size, size)).save(root / f"{number:02d}.jpg")
    dataset = read_folder(root)
    for workers in (1, 2):
        table = detect(
            dataset, DETECTORS.build("centerface(long_side=192)"), tmp_path / str(workers), work=Work(workers)
        )
        assert table.manifest.counts["images_with_faces"] > 30
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


def test_boxes_are_in_pixels_of_the_upright_image(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    upright = Image.fromarray(photograph()[:300, 50:450])
    for orientation, turn in ((1, None), (6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright.transpose(turn) if turn is not None else upright
        stored.save(root / f"{orientation}.png", exif=exif)
        np.testing.assert_array_equal(read_image(root / f"{orientation}.png"), np.asarray(upright))
    table = detect(read_folder(root), DETECTORS.build("default"), tmp_path / "out", work=Work(workers=1))
    expected = (FACE - np.array([50, 0, 50, 0], dtype=np.float32))[None]
    for row in table.images.to_pylist():
        assert (row["width"], row["height"]) == (400, 300)
        assert iou(table.of(row["image_id"]).xyxy, expected)[0, 0] > 0.6


def test_what_was_written_is_what_is_read(many: Path, tmp_path: Path) -> None:
    table = detect(read_folder(many), Bright(50), tmp_path / "out", work=Work(workers=1))
    again = read_faces(tmp_path / "out")
    assert again.faces.equals(table.faces)
    assert again.manifest == table.manifest
    assert pq.read_table(tmp_path / "out" / "faces.parquet")["source"].unique().to_pylist() == ["bright"]
