"""VOC, COCO, YOLO: boxes, classes and flags are those that were written, in pixels of the upright image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sfumato.data.tasks import METRICS, VOC_METRICS, Objects, TaskData, TaskOptions, read_task
from sfumato.data.tasks.layout import below
from sfumato.data.tasks.objects import on_drawn_pixels, place_all
from sfumato.errors import DatasetError, TableError, UsageError
from sfumato.images import turned
from sfumato.learn.operators import import_torchvision
from tests.data.task_layouts import (
    BOX_CLASSES,
    COLOURS,
    VOC_CLASSES,
    Scene,
    Thing,
    coco_json,
    draw_scene,
    voc_xml,
    write_coco,
    write_voc,
    write_yolo,
    yolo_line,
)

PLAIN = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def read(name: str, root: Path, *years: str) -> TaskData:
    options = TaskOptions(years=years) if years else TaskOptions()
    return read_task(name, root, options=options, cache=root / "cache")


def things(task: TaskData, image_id: str) -> list[Thing]:
    """What was read of an image; boxes rounded to whole pixels, which the layouts have."""
    assert task.objects is not None
    found = task.objects[image_id]
    boxes = [tuple(box) for box in found.boxes.round().astype(int).tolist()]
    np.testing.assert_allclose(found.boxes, found.boxes.round(), atol=1e-3)
    names = [task.dataset.categories[label] for label in found.labels.tolist()]
    flags = zip(found.difficult.tolist(), found.crowd.tolist(), strict=True)
    return [Thing(name, box, *flag) for name, box, flag in zip(names, boxes, flags, strict=True)]


def check(task: TaskData, scenes: Sequence[Scene], colours: Sequence[str]) -> None:
    """Everything that was read is what was written, and what the pixels show."""
    assert task.objects is not None
    assert task.kind == "objects"
    assert {sample.image_id for sample in task.dataset.samples} == {scene.image_id for scene in scenes}
    assert set(task.objects) == {scene.image_id for scene in scenes}
    splits = {sample.image_id: sample.split for sample in task.dataset.samples}
    for scene in scenes:
        assert splits[scene.image_id] == scene.split
        assert things(task, scene.image_id) == list(scene.things)
        found = task.objects[scene.image_id]
        assert (found.width, found.height) == (scene.width, scene.height)
        pixels = task.dataset.read(scene.image_id)
        assert pixels.shape[:2] == (scene.height, scene.width)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            colour = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
            np.testing.assert_allclose(colour, COLOURS[colours.index(thing.name)], atol=12)


def arrays_fit(found: Objects) -> None:
    n = len(found)
    assert found.boxes.shape == (n, 4)
    dtypes = [column.dtype.name for column in (found.boxes, found.labels, found.difficult, found.crowd)]
    assert dtypes == ["float32", "int64", "bool", "bool"]
    assert found.labels.shape == found.difficult.shape == found.crowd.shape == (n,)


# VOC


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_voc_is_read_as_it_was_written(tmp_path: Path, below: str) -> None:
    scenes = write_voc(tmp_path)
    task = read("voc", tmp_path / below)
    assert (task.name, task.title) == ("voc2007", "PASCAL VOC 2007")
    assert task.metrics == VOC_METRICS
    assert len(task.dataset.categories) == 20
    assert list(task.dataset.categories) == sorted(task.dataset.categories)
    check(task, [replace(s, split="train" if s.split == "val" else s.split) for s in scenes], VOC_CLASSES)
    assert any(thing.difficult for scene in scenes for thing in scene.things)
    assert task.facts["lists"] == {"train": ["2007/trainval"], "test": ["2007/test"]}
    assert task.facts["evaluated_on"] == "test of 2007"
    assert task.facts["n_train"] == 12
    assert task.facts["n_difficult"] == sum(thing.difficult for s in scenes for thing in s.things)


@pytest.mark.parametrize("n_test", [0, 3])
def test_voc_of_two_years_trains_on_both_and_is_evaluated_on_test_of_2007(
    tmp_path: Path, n_test: int
) -> None:
    later = [scene for scene in write_voc(tmp_path, "2012", 6, n_test) if scene.split != "test"]
    scenes = [*write_voc(tmp_path), *later]
    task = read("voc", tmp_path, "2012", "2007")
    assert (task.name, task.title) == ("voc2007+2012", "PASCAL VOC 2007 and 2012")
    assert task.facts["lists"] == {"train": ["2007/trainval", "2012/trainval"], "test": ["2007/test"]}
    check(task, [replace(s, split="train" if s.split == "val" else s.split) for s in scenes], VOC_CLASSES)


def main_lists(root: Path, year: str) -> Path:
    return root / "VOCdevkit" / f"VOC{year}" / "ImageSets" / "Main"


def test_voc_2007_without_its_test_list_is_another_task(tmp_path: Path) -> None:
    scenes = [scene for scene in write_voc(tmp_path) if scene.split != "test"]
    (main_lists(tmp_path, "2007") / "test.txt").unlink()
    task = read("voc", tmp_path)
    assert (task.name, task.title) == ("voc2007-val", "PASCAL VOC 2007, val")
    assert task.dataset.evaluation_split == "val"
    assert task.facts["lists"] == {"train": ["2007/train"], "val": ["2007/val"]}
    assert task.facts["evaluated_on"].startswith("val of 2007: the list test of 2007 is missing")
    check(task, scenes, VOC_CLASSES)


@pytest.mark.parametrize("n_test", [0, 3])
def test_voc_of_two_years_without_test_of_2007_trains_on_no_val_image_of_2007(
    tmp_path: Path, n_test: int
) -> None:
    scenes = [scene for scene in write_voc(tmp_path) if scene.split != "test"]
    later = [scene for scene in write_voc(tmp_path, "2012", 6, n_test) if scene.split != "test"]
    (main_lists(tmp_path, "2007") / "test.txt").unlink()
    task = read("voc", tmp_path, "2007", "2012")
    assert (task.name, task.title) == ("voc2007+2012-val", "PASCAL VOC 2007 and 2012, val")
    assert task.facts["lists"] == {"train": ["2007/train", "2012/trainval"], "val": ["2007/val"]}
    check(task, [*scenes, *(replace(scene, split="train") for scene in later)], VOC_CLASSES)


@pytest.mark.parametrize("n_test", [0, 3])
def test_voc_2012_alone_is_evaluated_on_val(tmp_path: Path, n_test: int) -> None:
    scenes = [scene for scene in write_voc(tmp_path, "2012", 6, n_test) if scene.split != "test"]
    task = read("voc", tmp_path, "2012")
    assert (task.name, task.title) == ("voc2012", "PASCAL VOC 2012")
    assert task.dataset.evaluation_split == "val"
    assert task.facts["lists"] == {"train": ["2012/train"], "val": ["2012/val"]}
    assert task.facts["evaluated_on"] == "val of 2012: annotations of their test are not public"
    check(task, scenes, VOC_CLASSES)


@pytest.mark.parametrize("tested", [True, False])
def test_voc_refuses_to_train_on_an_image_that_it_evaluates_on(tmp_path: Path, tested: bool) -> None:
    scenes = write_voc(tmp_path)
    write_voc(tmp_path, "2012", 6, 0)
    if not tested:
        (main_lists(tmp_path, "2007") / "test.txt").unlink()
    stem = next(Path(s.image_id).stem for s in scenes if s.split == ("test" if tested else "val"))
    folders = [tmp_path / "VOCdevkit" / f"VOC{year}" for year in ("2007", "2012")]
    for path in (Path("JPEGImages") / f"{stem}.jpg", Path("Annotations") / f"{stem}.xml"):
        shutil.copy(folders[0] / path, folders[1] / path.with_name(f"2007_{path.name}"))
    with (main_lists(tmp_path, "2012") / "trainval.txt").open("a") as file:
        file.write(f"2007_{stem}\n")
    with pytest.raises(DatasetError, match=rf"1 image\(s\) would be trained on .*the first: 2007_{stem}\)"):
        read("voc", tmp_path, "2007", "2012")


@pytest.mark.parametrize(("image_set", "split"), [("trainval", "train"), ("test", "test")])
def test_voc_is_what_torchvision_reads(tmp_path: Path, image_set: str, split: str) -> None:
    write_voc(tmp_path)
    theirs = import_torchvision().datasets.VOCDetection(tmp_path, year="2007", image_set=image_set)
    task = read("voc", tmp_path)
    ids = [sample.image_id for sample in task.dataset.subset(split).samples]
    assert [tmp_path / "VOCdevkit" / image_id for image_id in ids] == [Path(path) for path in theirs.images]
    for number, image_id in enumerate(ids):
        image, target = theirs[number]
        np.testing.assert_array_equal(np.asarray(image), task.dataset.read(image_id))
        objects = target["annotation"]["object"]
        boxes = [[int(row["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")] for row in objects]
        assert task.objects is not None
        # Theirs are as written: the first pixel is 1 and the last one is inside.
        np.testing.assert_array_equal(task.objects[image_id].boxes, np.subtract(boxes, [1, 1, 0, 0]))
        found = things(task, image_id)
        assert [thing.name for thing in found] == [row["name"] for row in objects]
        assert [thing.difficult for thing in found] == [row["difficult"] == "1" for row in objects]


@PLAIN
@given(data=st.data())
def test_a_box_of_voc_holds_the_pixels_from_first_to_last(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("voc")
    scene = write_voc(root, n_train=3, n_test=1)[0]
    path = root / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml"
    width, height = scene.width, scene.height
    xs = sorted(data.draw(st.lists(st.integers(1, width), min_size=2, max_size=2)))
    ys = sorted(data.draw(st.lists(st.integers(1, height), min_size=2, max_size=2)))
    box = (xs[0] - 1, ys[0] - 1, xs[1], ys[1])
    path.write_text("\n".join(voc_xml("000001.jpg", width, height, [Thing("dog", box)])))
    task = read("voc", root)
    assert task.objects is not None
    found = task.objects["VOC2007/JPEGImages/000001.jpg"]
    mask = np.zeros((height, width), dtype=bool)
    x0, y0, x1, y1 = found.boxes[0].astype(int)
    mask[y0:y1, x0:x1] = True
    expected = [[ys[0] <= y <= ys[1] and xs[0] <= x <= xs[1] for x in range(1, width + 1)]
                for y in range(1, height + 1)]  # fmt: skip
    np.testing.assert_array_equal(mask, expected)
    assert not found.difficult[0]
    arrays_fit(found)


def edit_xml(root: Path, old: str, new: str) -> Path:
    """Change the annotation of the first image of VOC."""
    path = root / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


ENTITIES = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>\n<annotation>'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<name>", "<name>un", "'un.*' is none of VOC's classes"),
        ("<xmin>", "<xmin>x", "record 0 of object is not of this format"),
        ("<xmin>", "<xmin>nan</xmin><xmin>", "no finite number"),
        ("<xmax>", "<xmax>-", "a box ends before it starts"),
        ("bndbox", "box", "not valid XML"),
        ("<xmin>", "<xmin></xmin><xmin>", "no xmin"),
        ("<difficult>", "<difficult>2", "difficult is '2"),
        ("<annotation>", ENTITIES, "a document type with entities"),
        ("</annotation>", "", "not valid XML"),
    ],
)
def test_voc_refuses_an_annotation_that_is_damaged(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_voc(tmp_path)
    path = edit_xml(tmp_path, old, new)
    with pytest.raises(TableError, match=message) as caught:
        read("voc", tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_voc_refuses_boxes_of_another_size_of_the_image(tmp_path: Path) -> None:
    scene = write_voc(tmp_path)[0]
    edit_xml(tmp_path, f"<width>{scene.width}<", f"<width>{scene.width * 2}<")
    given = f"{scene.width * 2} x {scene.height} pixels, the file has {scene.width} x {scene.height}"
    with pytest.raises(TableError, match=given):
        read("voc", tmp_path)
    edit_xml(tmp_path, f"<width>{scene.width * 2}<", "<width>0<")
    edit_xml(tmp_path, f"<height>{scene.height}<", "<height>0<")
    assert things(read("voc", tmp_path), scene.image_id) == list(scene.things)
    edit_xml(tmp_path, "<width>0<", f"<width>{scene.height}<")
    edit_xml(tmp_path, "<height>0<", f"<height>{scene.width}<")
    assert things(read("voc", tmp_path), scene.image_id) == list(scene.things)
    edit_xml(tmp_path, "<xmin>", f"<xmin>{scene.width + 1}</xmin><xmax>{scene.width + 9}</xmax><xmin>")
    with pytest.raises(
        TableError, match=r"VOC2007/JPEGImages/000001\.jpg: the box .* lies outside the image"
    ):
        read("voc", tmp_path)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("JPEGImages", "missing: VOCdevkit/VOC2007/JPEGImages/"),
        ("Annotations", "missing: VOCdevkit/VOC2007/Annotations/"),
        ("ImageSets/Main/trainval.txt", r"missing: VOCdevkit/VOC2007/ImageSets/Main/trainval\.txt"),
        (
            "ImageSets",
            r"missing: VOCdevkit/VOC2007/ImageSets/Main/train\.txt, VOCdevkit/VOC2007/ImageSets/Main/val",
        ),
        ("JPEGImages/000002.jpg", r"1 file\(s\) that it names are not there \(the first: .*/000002\.jpg"),
        ("Annotations/000002.xml", r"1 file\(s\) that it names are not there \(the first: .*/000002\.xml"),
    ],
)
def test_voc_says_what_is_missing(tmp_path: Path, gone: str, message: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2007" / gone).rename(tmp_path / "away")
    with pytest.raises(DatasetError, match=message):
        read("voc", tmp_path)


def test_voc_says_which_year_is_missing(tmp_path: Path) -> None:
    write_voc(tmp_path)
    with pytest.raises(DatasetError, match=r"missing: VOCdevkit/VOC2012/JPEGImages/, VOCdevkit/VOC2012/Ann"):
        read("voc", tmp_path, "2007", "2012")
    with pytest.raises(UsageError, match=r"VOC has the years 2007, .* not '2006'"):
        read("voc", tmp_path, "2006")


# COCO


@pytest.mark.parametrize("roboflow", [False, True])
def test_coco_is_read_as_it_was_written(tmp_path: Path, roboflow: bool) -> None:
    scenes = write_coco(tmp_path, roboflow=roboflow)
    task = read("coco", tmp_path)
    assert task.name == "coco"
    assert task.metrics == METRICS["objects"]
    assert task.dataset.categories == tuple(sorted(BOX_CLASSES))
    check(task, scenes, BOX_CLASSES)
    assert any(not scene.things for scene in scenes)
    assert task.facts["n_crowd"] == sum(thing.crowd for s in scenes for thing in s.things) > 0


def test_coco_is_what_torchvision_reads(tmp_path: Path) -> None:
    write_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    theirs = import_torchvision().datasets.CocoDetection(tmp_path / "train2017", str(path))
    names = {row["id"]: row["name"] for row in theirs.coco.dataset["categories"]}
    task = read("coco", tmp_path)
    ids = [sample.image_id for sample in task.dataset.subset("train").samples]
    assert len(ids) == len(theirs)
    for number, image_id in enumerate(ids):
        image, target = theirs[number]
        np.testing.assert_array_equal(np.asarray(image), task.dataset.read(image_id))
        found = things(task, image_id)
        assert [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in (thing.box for thing in found)] == [
            row["bbox"] for row in target
        ]
        assert [thing.name for thing in found] == [names[row["category_id"]] for row in target]
        assert [thing.crowd for thing in found] == [bool(row["iscrowd"]) for row in target]


def test_coco_of_2014_and_of_both_years(tmp_path: Path) -> None:
    old = write_coco(tmp_path, 4, 2, year="2014")
    check(read("coco", tmp_path), old, BOX_CLASSES)
    new = write_coco(tmp_path, 5, 3)
    check(read("coco", tmp_path), new, BOX_CLASSES)
    check(read("coco", tmp_path, "2014"), old, BOX_CLASSES)
    assert read("coco", tmp_path, "2014").facts["annotations"][0] == "annotations/instances_train2014.json"


def test_coco_with_its_images_in_a_folder_of_their_own(tmp_path: Path) -> None:
    scenes = write_coco(tmp_path, 4, 2)
    (tmp_path / "images").mkdir()
    for name in ("train2017", "val2017"):
        (tmp_path / name).rename(tmp_path / "images" / name)
    moved = [replace(scene, image_id=f"images/{scene.image_id}") for scene in scenes]
    check(read("coco", tmp_path), moved, BOX_CLASSES)


def edit_coco(root: Path, **changes: Any) -> Path:
    """Change first rows of the training annotations: images__width=3 sets the width of the first image."""
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for place, value in changes.items():
        part, key = place.split("__")
        content[part][0][key] = value
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations__image_id": 99}, "record 0 of annotations .*image_id 99 is not in images"),
        ({"annotations__category_id": 99}, "record 0 of annotations .*category_id 99 is not in categories"),
        ({"annotations__bbox": [1, 2, 3]}, "record 0 of annotations"),
        ({"annotations__bbox": [1, 2, -3, 4]}, "a box ends before it starts"),
        ({"annotations__bbox": [1, 2, float("nan"), 4]}, "no finite number"),
        ({"annotations__iscrowd": 7}, "iscrowd is 7"),
        ({"images__width": 9999}, "its boxes are of an image of 9999 x .* pixels, the file has"),
        ({"annotations__bbox": [5000, 2, 3, 4]}, "the box .* lies outside the image of"),
        ({"images__file_name": "../../secret.jpg"}, "is no path below the data set"),
        ({"images__file_name": "/etc/x.jpg"}, "is no path below the data set"),
        ({"images__file_name": "none.jpg"}, r"1 file\(s\) that it names are not there \(the first: .*none"),
        ({"images__file_name": "000000000002.jpg"}, r"1 file\(s\) that it names are listed twice"),
        ({"images__id": 2}, "the id 2 occurs twice"),
        ({"categories__name": None}, "record 0 of categories"),
    ],
)
def test_coco_refuses_what_does_not_fit(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_coco(tmp_path)
    path = edit_coco(tmp_path, **changes)
    with pytest.raises((TableError, DatasetError), match=message) as caught:
        read("coco", tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected an object with the lists"),
        ("{", "not valid JSON"),
        ('{"images": []}', "expected an obj"),
    ],
)
def test_coco_refuses_other_files(tmp_path: Path, text: str, message: str) -> None:
    write_coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_text(text)
    with pytest.raises(TableError, match=rf"instances_val2017\.json: {message}"):
        read("coco", tmp_path)


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    scenes = write_coco(tmp_path)
    edit_coco(tmp_path, categories__name=BOX_CLASSES[1])
    task = read("coco", tmp_path)
    assert task.dataset.categories == tuple(sorted(BOX_CLASSES))
    for scene in scenes:
        if scene.split == "train":
            renamed = [
                BOX_CLASSES[1] if thing.name == BOX_CLASSES[0] else thing.name for thing in scene.things
            ]
            assert [thing.name for thing in things(task, scene.image_id)] == renamed


def test_an_empty_box_can_neither_be_found_nor_missed(tmp_path: Path) -> None:
    """The training images of COCO 2017 have two of them."""
    scenes = write_coco(tmp_path)
    edit_coco(tmp_path, annotations__bbox=[10, 20, 5.5, 0])
    task = read("coco", tmp_path)
    assert task.objects is not None
    found = task.objects[scenes[0].image_id]
    np.testing.assert_array_equal(found.boxes[0], [10, 20, 15.5, 20])
    assert found.difficult.tolist() == [True] + [False] * (len(found) - 1)
    assert task.facts["n_empty_boxes"] == 1


def test_a_box_that_sticks_out_is_cut_at_the_border(tmp_path: Path) -> None:
    scene = write_coco(tmp_path)[0]
    edit_coco(tmp_path, annotations__bbox=[-3.5, 20, 30, 5000])
    task = read("coco", tmp_path)
    assert task.objects is not None
    np.testing.assert_array_equal(task.objects[scene.image_id].boxes[0], [0, 20, 26.5, scene.height])


@pytest.mark.parametrize(
    "gone", ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]
)
def test_coco_says_what_is_missing(tmp_path: Path, gone: str) -> None:
    write_coco(tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(DatasetError) as caught:
        read("coco", tmp_path)
    assert str(caught.value).splitlines()[1] == f"missing: {gone}"


def test_coco_says_which_folder_of_images_is_missing(tmp_path: Path) -> None:
    write_coco(tmp_path / "a")
    (tmp_path / "a" / "val2017").rename(tmp_path / "away")
    with pytest.raises(DatasetError, match="missing: val2017/\n"):
        read("coco", tmp_path / "a")
    write_coco(tmp_path / "b", roboflow=True)
    (tmp_path / "b" / "valid").rename(tmp_path / "b" / "unknown")
    with pytest.raises(DatasetError, match=r"missing: valid/_annotations\.coco\.json"):
        read("coco", tmp_path / "b")
    (tmp_path / "b" / "unknown").rename(tmp_path / "b" / "test")
    assert read("coco", tmp_path / "b").dataset.evaluation_split == "test"


def write_turned(root: Path, orientation: int, *, upright: bool) -> tuple[Thing, Any]:
    """COCO whose first training image is turned; its one thing, as written, and its upright pixels."""
    scenes = write_coco(root, 2, 2)
    pixels, found = draw_scene(BOX_CLASSES, np.random.default_rng(5), most=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(root / scenes[0].image_id, quality=95, exif=exif)
    shown = turned(pixels, orientation)
    if upright:
        # Where the thing is, told from the pixels.
        y, x = np.nonzero(
            np.abs(shown.astype(int) - COLOURS[BOX_CLASSES.index(found[0].name)]).sum(axis=2) == 0
        )
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        found = [Thing(found[0].name, box)]
    height, width = (shown if upright else pixels).shape[:2]
    first = Scene(scenes[0].image_id, "train", width, height, tuple(found))
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(coco_json([first, scenes[1]])))
    return found[0], shown


# Where stored and upright pictures have one size, boxes are taken to be on the stored one.
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [*((turn, False) for turn in range(1, 9)), *((turn, True) for turn in range(5, 9))],
)
def test_boxes_of_turned_images_are_on_the_upright_picture(
    tmp_path: Path, orientation: int, upright: bool
) -> None:
    thing, shown = write_turned(tmp_path, orientation, upright=upright)
    task = read("coco", tmp_path)
    image_id = "train2017/000000000001.jpg"
    (found,) = things(task, image_id)
    x0, y0, x1, y1 = found.box
    colour = COLOURS[BOX_CLASSES.index(thing.name)]
    inside = (shown == colour).all(axis=2)
    mask = np.zeros_like(inside)
    mask[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(mask, inside)
    assert task.objects is not None
    assert (task.objects[image_id].height, task.objects[image_id].width) == shown.shape[:2]


# YOLO


@pytest.mark.parametrize("given", ["", "data.yaml"])
def test_yolo_is_read_as_it_was_written(tmp_path: Path, given: str) -> None:
    scenes = write_yolo(tmp_path)
    task = read("yolo", tmp_path / given)
    assert (task.name, task.metrics) == ("yolo", METRICS["objects"])
    assert task.dataset.root == tmp_path
    assert task.dataset.categories == tuple(sorted(BOX_CLASSES))
    check(task, scenes, BOX_CLASSES)
    assert any(not scene.things for scene in scenes)


@PLAIN
@given(data=st.data())
def test_boxes_of_yolo_come_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("yolo")
    scene = write_yolo(root, 2, 1)[0]
    xs = sorted(data.draw(st.lists(st.integers(0, scene.width), min_size=2, max_size=2, unique=True)))
    ys = sorted(data.draw(st.lists(st.integers(0, scene.height), min_size=2, max_size=2, unique=True)))
    thing = Thing("apple", (xs[0], ys[0], xs[1], ys[1]))
    # The same as a polygon: its corners in some order, and points between them.
    corners = data.draw(st.permutations([(x / scene.width, y / scene.height) for x in xs for y in ys]))
    line = " ".join(f"{value:.6f}" for corner in [*corners, corners[0]] for value in corner)
    label = root / "labels" / "train" / "0001.txt"
    label.write_text(f"{yolo_line(thing, scene.width, scene.height)}\n\n1 {line}\n")
    task = read("yolo", root)
    assert things(task, scene.image_id) == [thing, thing]
    assert task.objects is not None
    found = task.objects[scene.image_id]
    arrays_fit(found)
    assert not found.difficult.any()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [scene.width, scene.height] * 2).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 0.5 0.5 0.1 0.1", r"record in line 1 .*class 3 has no name in data\.yaml"),
        ("0.5 0.5 0.5 0.1 0.1", r"class 0\.5 has no name"),
        ("x 0.5 0.5 0.1 0.1", "record in line 1"),
        ("0 50 50 10 10", "a number is not between 0 and 1"),
        ("0 -0.1 0.5 0.1 0.1", "a number is not between 0 and 1"),
        ("0 nan 0.5 0.1 0.1", "a number is not between 0 and 1"),
        ("0 0.5 0.5 0.1", "4 numbers after its class, .* not 3"),
        ("0", "4 numbers after its class, .* not 0"),
        ("0 0.5 0.5 0.1 0.1 0.9", "4 numbers after its class, .* not 5"),
    ],
)
def test_yolo_refuses_a_label_that_is_damaged(tmp_path: Path, line: str, message: str) -> None:
    write_yolo(tmp_path)
    path = tmp_path / "labels" / "train" / "0001.txt"
    path.write_text(f"{line}\n")
    with pytest.raises(TableError, match=message) as caught:
        read("yolo", tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def write_yaml(root: Path, **fields: Any) -> None:
    (root / "data.yaml").write_text(yaml.safe_dump(fields))


NAMES = list(BOX_CLASSES)


@pytest.mark.parametrize(
    "fields",
    [
        {"train": "images/train", "val": "images/val", "names": NAMES},
        {"path": "", "train": "images/train/", "val": ["images/val"], "names": NAMES, "nc": 3},
        {"path": "images", "train": "train", "val": "val", "names": NAMES},
        {"path": "/somewhere/else", "train": "images/train", "val": "images/val", "names": NAMES},
        {"train": "../images/train", "val": "../images/val", "names": dict(enumerate(NAMES))},
        {"train": "train.txt", "val": "images/val", "names": NAMES},
        {"train": "images/train", "valid": "images/val", "test": "nowhere", "names": NAMES},
    ],
    ids=["plain", "lists", "path", "path of another machine", "up", "list of images", "valid"],
)
def test_yolo_is_found_however_it_is_described(tmp_path: Path, fields: dict[str, Any]) -> None:
    scenes = write_yolo(tmp_path)
    expected = read("yolo", tmp_path)
    images = sorted((tmp_path / "images" / "train").iterdir())
    (tmp_path / "train.txt").write_text("".join(f"./images/train/{path.name}\n" for path in images))
    write_yaml(tmp_path, **fields)
    task = read("yolo", tmp_path)
    if fields.get("path") == "images":
        assert task.dataset.root == tmp_path / "images"
        scenes = [replace(scene, image_id=scene.image_id.removeprefix("images/")) for scene in scenes]
    else:
        assert task.dataset == expected.dataset
    check(task, scenes, BOX_CLASSES)


def test_yolo_names_images_of_a_list_that_are_not_there(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "train.txt").write_text("images/train/0001.jpg\nimages/train/none.jpg\n")
    write_yaml(tmp_path, train="train.txt", val="images/val", names=NAMES)
    with pytest.raises(
        DatasetError, match=r"train\.txt: 1 file\(s\) .* are not there \(the first: .*none\.jpg"
    ):
        read("yolo", tmp_path)


def test_yolo_as_exported_with_a_folder_for_each_split(tmp_path: Path) -> None:
    scenes = write_yolo(tmp_path / "made")
    for ours, theirs in (("train", "train"), ("val", "test")):
        for kind in ("images", "labels"):
            (tmp_path / theirs).mkdir(exist_ok=True)
            (tmp_path / "made" / kind / ours).rename(tmp_path / theirs / kind)
    write_yaml(tmp_path, train="../train/images", test="../test/images", nc=3, names=NAMES)
    places = {"train": "train", "val": "test"}
    moved = [
        replace(s, split=places[s.split], image_id=f"{places[s.split]}/images/{s.image_id.rsplit('/', 1)[1]}")
        for s in scenes
    ]
    check(read("yolo", tmp_path), moved, BOX_CLASSES)


def test_yolo_without_names_is_numbered(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_yaml(tmp_path, train="images/train", val="images/val", nc=3)
    assert read("yolo", tmp_path).dataset.categories == ("0", "1", "2")


def test_boxes_before_keypoints_are_read(tmp_path: Path) -> None:
    scene = write_yolo(tmp_path)[0]
    write_yaml(tmp_path, train="images/train", val="images/val", names=NAMES, kpt_shape=[2, 3])
    path = tmp_path / "labels" / "train" / "0001.txt"
    path.write_text("".join(f"{line} 0.1 0.2 2 0.3 0.4 2\n" for line in path.read_text().splitlines()))
    assert things(read("yolo", tmp_path), scene.image_id) == list(scene.things)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the fields path, train, val and names"),
        ("- a", "expected the fields path, train, val and names"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system ['touch mark']", "not valid YAML"),
        ("train: 3\nval: b\nnames: [a]", "3 is no path, nor a list of paths"),
        ("train: a\nval: b", "names is no list of the classes, nor names by number"),
        ("train: a\nval: b\nnames: {a: 0}", "names is no list of the classes, nor names by number"),
        ("train: a\nval: b\nnames: [a, a]", "two classes have one name"),
        ("path: [a]\ntrain: a\nval: b\nnames: [a]", "path is no text"),
    ],
)
def test_yolo_refuses_a_file_that_does_not_describe_it(tmp_path: Path, text: str, message: str) -> None:
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(TableError, match=message) as caught:
        read("yolo", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'data.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_yolo_says_what_is_missing(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels" / "val").rename(tmp_path / "away")
    with pytest.raises(
        DatasetError, match=r"no image of 'val' has a label\)\nmissing: .*labels/val/0013\.txt"
    ):
        read("yolo", tmp_path)
    (tmp_path / "images" / "train").rename(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"missing: .*images/train\nexpected:"):
        read("yolo", tmp_path)
    (tmp_path / "images" / "train").mkdir()
    with pytest.raises(DatasetError, match="missing: images in images/train\n"):
        read("yolo", tmp_path)
    write_yaml(tmp_path, val="images/val", names=NAMES)
    with pytest.raises(DatasetError, match=r"missing: train in data\.yaml"):
        read("yolo", tmp_path)
    (tmp_path / "data.yaml").rename(tmp_path / "a.yaml")
    (tmp_path / "b.yml").write_text("")
    with pytest.raises(DatasetError, match=r"missing: data\.yaml"):
        read("yolo", tmp_path)
    for name in ("data.yaml", "config.yaml"):
        (tmp_path / name).write_text("")
    with pytest.raises(DatasetError, match=r"several files .* \(config\.yaml, data\.yaml\)"):
        read("yolo", tmp_path)


def test_an_image_in_both_splits_is_refused(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_yaml(tmp_path, train="images/train", val="images/train", names=NAMES)
    with pytest.raises(DatasetError, match=r"12 file\(s\) that it names are listed twice"):
        read("yolo", tmp_path)


# All of them


@pytest.mark.parametrize("name", ["", ".", "..", "/a.jpg", "../a.jpg", "a/../../b.jpg", "a\0.jpg"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"list\.txt: '.*' is no path below the data set"):
        below(Path("list.txt"), name)


@pytest.mark.parametrize(("name", "path"), [("a.jpg", "a.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a..b", "a..b")])
def test_a_name_below_the_data_set_is_a_plain_path(name: str, path: str) -> None:
    assert below(Path("list.txt"), name) == path


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for number in (3, 5):
        (tmp_path / "images" / "train" / f"{number:04d}.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"2 file\(s\) .* cannot be read \(the first: .*/0003\.jpg"):
        read("yolo", tmp_path)


def test_the_fingerprint_knows_the_annotations(tmp_path: Path) -> None:
    scene = write_coco(tmp_path)[0]
    x0, y0, x1, y1 = scene.things[0].box
    found = [read("coco", tmp_path).dataset.fingerprint]
    for changes in (
        {"annotations__bbox": [x0, y0, x1 - x0 - 1, y1 - y0]},
        {"annotations__iscrowd": 1},
        {"annotations__category_id": 3 + 10 * ((BOX_CLASSES.index(scene.things[0].name) + 1) % 3)},
        {"categories__name": "mug"},
    ):
        edit_coco(tmp_path, **changes)
        found.append(read("coco", tmp_path).dataset.fingerprint)
    assert len(set(found)) == 5
    assert read("coco", tmp_path).dataset.fingerprint == found[-1]


def test_difficult_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    write_voc(tmp_path)
    before = read("voc", tmp_path).dataset.fingerprint
    edit_xml(tmp_path, "<difficult>0", "<difficult>1")
    assert read("voc", tmp_path).dataset.fingerprint != before


def test_no_image_at_all_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no image to train on is listed"):
        place_all(tmp_path, [], ["a"], on_drawn_pixels)
    write_coco(tmp_path, 3, 2)
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": []}))
    with pytest.raises(DatasetError, match="no object is marked in the images to evaluate on"):
        read("coco", tmp_path)
    path.write_text(json.dumps(content | {"annotations": [], "images": []}))
    with pytest.raises(DatasetError, match="no image to evaluate on is listed"):
        read("coco", tmp_path)
