"""Import and export: names meet image ids, boxes meet pixels, and every image is accounted for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sfumato.data import Dataset, read_dataset
from sfumato.engines import Work
from sfumato.errors import ImageError, OutputExists, TableError, UsageError
from sfumato.faces import Faces, FaceTable, read_faces
from sfumato.faces.exchange import (
    FORMATS,
    BoxFile,
    Collector,
    ExportOptions,
    ImportOptions,
    export_boxes,
    import_boxes,
    match_images,
)
from sfumato.images import open_upright, read_frame
from sfumato.orientation import to_stored, to_upright
from tests.conftest import face_table
from tests.faces.test_exchange_formats import FOREIGN, TARGETS

ONE = Work(workers=1)
FIRST, SECOND, PNG = "train/apple/0.jpg", "val/pear/2.jpg", "train/pear/1.png"
BOXES: dict[str, Any] = {FIRST: [[1, 2, 30, 40.5], [5, 5, 9, 9]], SECOND: [[0, 0, 64, 48]], PNG: []}


def study_json(folder: Path, boxes: dict[str, Any], name: str = "boxes.json") -> BoxFile:
    keys = ("x0", "y0", "x1", "y1")
    records = [
        {"url": url, "bboxes": [dict(zip(keys, box, strict=True)) for box in rows]}
        for url, rows in boxes.items()
    ]
    (folder / name).write_text(json.dumps(records))
    return BoxFile(folder / name, FORMATS.build("study"))


def brought_in(photos: Path, boxes: dict[str, Any], **options: Any) -> FaceTable:
    source = study_json(photos.parent, boxes)
    return import_boxes(
        read_dataset(photos), source, photos.parent / "faces", options=ImportOptions(**options), work=ONE
    )


def test_an_import_is_a_face_table(photos: Path) -> None:
    table = brought_in(photos, BOXES)
    assert {image_id: table.of(image_id).xyxy.tolist() for image_id in BOXES} == BOXES
    assert table.status == dict.fromkeys(sorted(BOXES), "ok"), "an image without a record is not examined"
    assert set(table.of(FIRST).source) == {"boxes.json"}
    assert read_faces(photos.parent / "faces").faces.equals(table.faces)
    truth = face_table(read_dataset(photos), {}).images.to_pylist()
    known = {row["image_id"]: row for row in truth}
    for row in table.images.to_pylist():
        assert {name: row[name] for name in known[FIRST]} == known[row["image_id"]]
    assert table.manifest.counts == {
        "images": 3,
        "ok": 3,
        "failed": 0,
        "faces": 3,
        "images_with_faces": 2,
        "not_examined": 17,
        "unmatched_records": 0,
        "faces_outside_image": 0,
    }


def test_an_image_without_a_record_may_count_as_empty(photos: Path) -> None:
    table = brought_in(photos, BOXES, absent_is_empty=True)
    assert set(table.status.values()) == {"ok"}
    assert len(table.status) == 20
    assert table.image_ids_with_faces() == {FIRST, SECOND}
    assert table.of(SECOND).xyxy.tolist() == BOXES[SECOND]


def test_a_second_import_finds_its_work_done_and_another_is_refused(photos: Path) -> None:
    first = brought_in(photos, BOXES)
    assert brought_in(photos, BOXES).manifest == first.manifest
    with pytest.raises(OutputExists):
        brought_in(photos, BOXES, orientation="stored")
    with pytest.raises(OutputExists):
        brought_in(photos, BOXES | {SECOND: []})


def test_workers_change_no_byte(photos: Path, tmp_path: Path) -> None:
    dataset, source = read_dataset(photos), study_json(tmp_path, BOXES)
    for name, workers in (("one", 1), ("two", 2)):
        import_boxes(
            dataset,
            source,
            tmp_path / name,
            options=ImportOptions(absent_is_empty=True),
            work=Work(workers=workers),
        )
    for part in ("faces.parquet", "images.parquet", "manifest.json"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()


@pytest.mark.parametrize(("spec", "target"), TARGETS)
def test_export_and_import_again_give_the_same_faces(photos: Path, spec: str, target: str) -> None:
    dataset, format = read_dataset(photos), FORMATS.build(spec)
    boxes = {FIRST: [[1.25, 2, 30.1, 40.5], [5, 5, 9, 9]], SECOND: [[0.1, 0.2, 63.9, 47.8]]}
    table = face_table(dataset, boxes, failed={PNG: "cut"})
    done = export_boxes(table, photos.parent / target, format)
    assert (done.n_images, done.n_faces, done.n_failed, done.lost) == (19, 3, 1, ())
    again = import_boxes(dataset, BoxFile(photos.parent / target, format), photos.parent / "again", work=ONE)
    assert again.status == {image_id: "ok" for image_id, status in table.status.items() if status == "ok"}
    for image_id in again.status:
        assert np.allclose(again.of(image_id).xyxy, table.of(image_id).xyxy, rtol=0, atol=1e-3)


@pytest.mark.parametrize("spec", FOREIGN)
def test_unknown_fields_survive_the_face_table(tmp_path: Path, spec: str) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/a.jpg")
    (tmp_path / "in.json").write_text(json.dumps(FOREIGN[spec]))
    dataset, format = read_dataset(tmp_path / "photos"), FORMATS.build(spec)
    table = import_boxes(dataset, BoxFile(tmp_path / "in.json", format), tmp_path / "faces", work=ONE)
    export_boxes(table, tmp_path / "out.json", format)
    # The key of img2dataset has no file ending; written is the image id.
    expected = json.loads(json.dumps(FOREIGN[spec]).replace('"key": "a"', '"key": "a.jpg"'))
    assert without_rounding(json.loads((tmp_path / "out.json").read_text())) == without_rounding(expected)
    other = FORMATS.build("csv")
    done = export_boxes(table, tmp_path / "out.csv", other)
    assert "extra" in done.lost
    assert (tmp_path / "out.csv").read_text().startswith("image_id,x0,y0,x1,y1,score,kind\n")


def without_rounding(value: Any) -> Any:
    """Numbers to five digits: pixels are float32, so fractions come back a little off."""
    if isinstance(value, dict):
        return {key: without_rounding(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_rounding(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("ids", "names", "expected"),
    [
        (["train/a.jpg", "val/b.jpg"], ["val/b.jpg", "train/a.jpg"], [1, 0]),
        (["train/n1/a.jpg", "val/b.jpg"], ["n1/a.jpg", "b.jpg", "c.jpg"], [0, 1, -1]),
        (["a.jpg"], ["https://host/x/a.jpg"], [0]),
        (["train/a.jpg"], ["./train//a.jpg"], [0]),
        (["train/aa.jpg"], ["a.jpg"], [-1]),
        (["x/a.jpg", "y/a.jpg"], ["other/y/a.jpg"], [1]),
        # An image that is named exactly is not given to another record.
        (["train/a.jpg"], ["a.jpg", "train/a.jpg"], [-1, 0]),
    ],
)
def test_names_meet_image_ids(ids: list[str], names: list[str], expected: list[int]) -> None:
    assert match_images(records_of(names), ids).tolist() == expected


def test_names_without_endings_meet_image_ids() -> None:
    names = ["train/a", "b", "c.jpg"]
    ids = ["train/a.JPEG", "train/b.png", "c.jpg", "c.png"]
    assert match_images(records_of(names), ids).tolist() == [-1, -1, 2]
    assert match_images(records_of(names, by_stem=True), ids).tolist() == [0, 1, 2]
    with pytest.raises(TableError, match="record of c may belong to 2 images"):
        match_images(records_of(["c"], by_stem=True), ids)


def records_of(names: list[str], *, by_stem: bool = False) -> Any:
    collector = Collector(Path("made"), by_stem=by_stem)
    for name in names:
        collector.image(name)
    return collector.done()


@given(st.lists(st.text("ab/", min_size=1, max_size=6), unique=True, max_size=8))
def test_ids_always_meet_themselves(names: list[str]) -> None:
    assert match_images(records_of(names), names).tolist() == list(range(len(names)))


def test_records_without_an_image_are_an_error_unless_allowed(photos: Path) -> None:
    with pytest.raises(TableError, match=r"boxes.json: 1 of 4 records .*elsewhere\.jpg.*--allow-unmatched"):
        brought_in(photos, BOXES | {"elsewhere.jpg": []})
    table = brought_in(photos, BOXES | {"elsewhere.jpg": [[0, 0, 1, 1]]}, allow_unmatched=True)
    assert table.manifest.counts["unmatched_records"] == 1
    assert len(table.faces) == 3
    with pytest.raises(TableError, match="none of 1 record"):
        brought_in(photos, {"elsewhere.jpg": []}, allow_unmatched=True)


def test_records_that_may_mean_several_images_are_refused(photos: Path) -> None:
    with pytest.raises(
        TableError, match=r"record of apple/0.jpg may belong to 2 images: train/apple/0.jpg, val"
    ):
        brought_in(photos, {"apple/0.jpg": []})
    with pytest.raises(TableError, match=r"several records belong to train/apple/5\.jpg: "):
        brought_in(photos, {"apple/5.jpg": [], "x/train/apple/5.jpg": []})
    with pytest.raises(TableError, match="no record, so no image was examined"):
        brought_in(photos, {})


def test_an_image_that_cannot_be_read_is_a_row(photos: Path) -> None:
    (photos / SECOND).write_bytes(b"no picture")
    table = brought_in(photos, BOXES)
    assert table.status[SECOND] == "failed"
    assert "not a picture" in table.errors[SECOND]
    assert str(photos) not in table.errors[SECOND]
    assert len(table.of(SECOND)) == 0
    assert table.manifest.counts["failed"] == 1
    with pytest.raises(TableError, match="none of 1 image"):
        import_boxes(
            read_dataset(photos), study_json(photos.parent, {SECOND: []}), photos.parent / "f", work=ONE
        )


def test_boxes_drawn_on_another_size_fail_their_image(photos: Path, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": FIRST, "width": 32, "height": 24}]
    images.append({"id": 2, "file_name": SECOND, "width": 64, "height": 48})
    value = {"images": images, "annotations": [], "categories": []}
    (tmp_path / "coco.json").write_text(json.dumps(value))
    source = BoxFile(tmp_path / "coco.json", FORMATS.build("coco"))
    table = import_boxes(read_dataset(photos), source, tmp_path / "faces", work=ONE)
    assert table.status == {FIRST: "failed", SECOND: "ok"}
    assert "32 x 24 pixels, this one has 64 x 48" in table.errors[FIRST]


def test_kinds_are_chosen_and_boxes_outside_are_counted(photos: Path, tmp_path: Path) -> None:
    rows = f"{FIRST},1,2,3,4,0.5,face\n{FIRST},1,2,3,4,1,plate\n{FIRST},90,2,99,4,1,face\n"
    (tmp_path / "b.csv").write_text(f"image_id,x0,y0,x1,y1,score,kind\n{rows}{PNG},,,,,,\n")
    source = BoxFile(tmp_path / "b.csv", FORMATS.build("csv"))
    table = import_boxes(
        read_dataset(photos), source, tmp_path / "faces", options=ImportOptions(kinds=("face",)), work=ONE
    )
    assert table.of(FIRST).kind == ("face", "face")
    assert table.of(FIRST).score.tolist() == [0.5, 1]
    assert table.manifest.counts["faces_outside_image"] == 1


# One block of white in a dark picture, as stored; where it lies upright is seen in the pixels.
STORED, BLOCK = (48, 32), (8, 4, 24, 12)


def turned(path: Path, orientation: int) -> Path:
    pixels = np.zeros((STORED[1], STORED[0], 3), dtype=np.uint8)
    pixels[BLOCK[1] : BLOCK[3], BLOCK[0] : BLOCK[2]] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, quality=100)
    return path


def seen(path: Path) -> list[float]:
    """The white block of the upright picture as half-open box."""
    rows, columns = np.nonzero(np.asarray(open_upright(path).convert("L")) > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_headers_tell_the_upright_size(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = turned(tmp_path / f"a{suffix}", orientation)
    frame = read_frame(path)
    assert (frame.width, frame.height) == open_upright(path).size
    assert frame.orientation == orientation
    box = to_upright(np.array([BLOCK], dtype=np.float64), *as_arrays(frame))
    assert box.tolist() == [seen(path)]


def as_arrays(frame: Any) -> tuple[Any, Any]:
    return np.array([frame.orientation]), np.array([[frame.width, frame.height]])


def test_what_is_no_picture_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("text")
    for name in ("a.jpg", "none.jpg"):
        with pytest.raises(ImageError, match=name):
            read_frame(tmp_path / name)


@given(
    st.lists(st.tuples(*[st.floats(0, 100)] * 4, st.integers(1, 8)), max_size=6),
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
)
def test_stored_and_upright_are_inverse(rows: list[Any], size: tuple[int, int]) -> None:
    values = np.array(rows, dtype=np.float64).reshape(-1, 5)
    xyxy, turn = values[:, :4], values[:, 4].astype(np.int64)
    sizes = np.array([size] * len(rows), dtype=np.int64).reshape(-1, 2)
    assert np.allclose(to_stored(to_upright(xyxy, turn, sizes), turn, sizes), xyxy)
    assert np.allclose(to_upright(to_stored(xyxy, turn, sizes), turn, sizes), xyxy)


def all_turns(folder: Path) -> Dataset:
    for orientation in range(1, 9):
        turned(folder / f"{orientation}.jpg", orientation)
    return read_dataset(folder)


@pytest.mark.parametrize(("spec", "target"), [("study", "b.json"), ("yolo", "labels"), ("coco", "c.json")])
def test_boxes_on_stored_pixels_become_upright_and_stored_again(
    tmp_path: Path, spec: str, target: str
) -> None:
    dataset, format = all_turns(tmp_path / "turned"), FORMATS.build(spec)
    upright = {sample.image_id: [seen(dataset.path(sample.image_id))] for sample in dataset.samples}
    stored = ExportOptions(orientation="stored")
    export_boxes(face_table(dataset, upright), tmp_path / target, format, dataset=dataset, options=stored)
    written = format.read(tmp_path / target)
    scale = [*STORED, *STORED] if written.relative else 1
    assert np.allclose(written.xyxy * scale, [BLOCK] * 8, rtol=0, atol=1e-3)
    source, options = BoxFile(tmp_path / target, format), ImportOptions(orientation="stored")
    table = import_boxes(dataset, source, tmp_path / "faces", options=options, work=ONE)
    for image_id, boxes in upright.items():
        assert np.allclose(table.of(image_id).xyxy, boxes, rtol=0, atol=1e-3)


def test_a_size_as_stored_is_told_from_an_upright_one(tmp_path: Path) -> None:
    dataset, format = all_turns(tmp_path / "turned"), FORMATS.build("coco")
    boxes = {sample.image_id: [[1, 1, 4, 4]] for sample in dataset.samples}
    stored = ExportOptions(orientation="stored")
    export_boxes(face_table(dataset, boxes), tmp_path / "c.json", format, dataset=dataset, options=stored)
    table = import_boxes(dataset, BoxFile(tmp_path / "c.json", format), tmp_path / "faces", work=ONE)
    assert sorted(table.errors) == [f"{number}.jpg" for number in range(5, 9)]
    assert all("orientation 'stored'" in reason for reason in table.errors.values())


def test_an_export_replaces_nothing_unasked(photos: Path, tmp_path: Path) -> None:
    table = face_table(read_dataset(photos), BOXES)
    study, yolo = FORMATS.build("study"), FORMATS.build("yolo")
    export_boxes(table, tmp_path / "a.json", study)
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(OutputExists, match="--overwrite"):
        export_boxes(face_table(read_dataset(photos), {}), tmp_path / "a.json", study)
    assert (tmp_path / "a.json").read_bytes() == before
    export_boxes(
        face_table(read_dataset(photos), {}),
        tmp_path / "a.json",
        study,
        options=ExportOptions(overwrite=True),
    )
    assert (tmp_path / "a.json").read_bytes() != before
    export_boxes(table, tmp_path / "labels", yolo)
    with pytest.raises(OutputExists, match="another folder"):
        export_boxes(table, tmp_path / "labels", yolo, options=ExportOptions(overwrite=True))


def test_an_export_says_what_it_cannot_do(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, BOXES)
    with pytest.raises(UsageError, match="give the data set"):
        export_boxes(
            table, tmp_path / "a.json", FORMATS.build("study"), options=ExportOptions(orientation="stored")
        )
    unsized = table.images.set_column(3, "width", pa.nulls(len(table.images), pa.int32()))
    bare = FaceTable(table.faces, unsized, table.manifest)
    with pytest.raises(TableError, match=r"size of .* is not known"):
        export_boxes(bare, tmp_path / "labels", FORMATS.build("yolo"))
    assert not (tmp_path / "labels").exists()
    done = export_boxes(bare, tmp_path / "labels", FORMATS.build("yolo"), dataset=dataset)
    assert done.n_faces == 3
    stray = FaceTable(table.faces, table.images.slice(1), table.manifest)
    with pytest.raises(TableError, match=f"a face in {re.escape(FIRST)}"):
        export_boxes(stray, tmp_path / "b.json", FORMATS.build("study"))


def test_an_orientation_that_is_none_is_refused() -> None:
    for options in (ImportOptions, ExportOptions):
        with pytest.raises(UsageError, match="one of upright, stored, not 'sideways'"):
            options(orientation="sideways")  # type: ignore[arg-type]


def test_an_export_says_what_is_lost(photos: Path, tmp_path: Path) -> None:
    rows = f"image_id,x0,y0,x1,y1,score,kind\n{FIRST},1,2,3,4,0.5,photo\n"
    (tmp_path / "b.csv").write_text(rows)
    source = BoxFile(tmp_path / "b.csv", FORMATS.build("csv"))
    table = import_boxes(read_dataset(photos), source, tmp_path / "faces", work=ONE)
    assert export_boxes(table, tmp_path / "a.json", FORMATS.build("img2dataset")).lost == ("score", "kind")
    assert export_boxes(table, tmp_path / "a.txt", FORMATS.build("wider")).lost == ("kind",)
    assert export_boxes(table, tmp_path / "b.json", FORMATS.build("study")).lost == ()


def test_an_import_that_was_killed_goes_on(photos: Path, tmp_path: Path) -> None:
    """Parts that are there are not made again: an image that is gone since does not matter."""
    source, dataset = study_json(tmp_path, BOXES), read_dataset(photos)

    def stop(stage: str, done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_boxes(dataset, source, tmp_path / "faces", work=Work(workers=1, progress=stop))
    (photos / FIRST).rename(tmp_path / "gone.jpg")
    table = import_boxes(dataset, source, tmp_path / "faces", work=ONE)
    assert table.status[FIRST] == "ok"
    assert np.array_equal(table.of(FIRST).xyxy, Faces.of(BOXES[FIRST]).xyxy)
