"""Every format: what is written is read back, known files are read rightly, broken ones refused by name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import text_files
from sfumato.errors import SpecError, TableError, UnknownName
from sfumato.faces.exchange import FORMATS, Annotations, BoxFormat, Collector
from sfumato.specs import to_spec
from sfumato.text_files import iterate_objects

# Format, and the name of the file or folder that it is written to.
TARGETS = [
    ("study", "boxes.json"),
    ("rekognition", "boxes.json"),
    ("rekognition", "responses"),
    ("coco", "boxes.json"),
    ("wider", "boxes.txt"),
    ("yolo(classes=('face', 'plate'))", "labels"),
    ("cvat", "boxes.xml"),
    ("label_studio", "boxes.json"),
    ("label_studio(part='predictions', image='photo')", "boxes.json"),
    ("img2dataset", "boxes.json"),
    ("img2dataset(key='uid', boxes='faces')", "boxes.parquet"),
    ("csv", "boxes.csv"),
]
SIZE = (4000, 3000)
NAMES = ["train/a b.jpg", "train/ä.jpg", "val/no faces.jpg", 'last,"one".png']

number = st.one_of(st.integers(0, 2900), st.floats(0, 2900, width=32))
box = st.tuples(number, number, number, number).map(
    lambda ends: (min(ends[0], ends[1]), min(ends[2], ends[3]), max(ends[:2]), max(ends[2:]))
)
face = st.tuples(box, st.sampled_from([1.0, 0.0, 0.5, 0.98765432]), st.sampled_from(["face", "plate"]))


def build(spec: str) -> BoxFormat:
    made: BoxFormat = FORMATS.build(spec)
    return made


def gathered(faces: list[list[Any]]) -> Annotations:
    """Annotations in pixels: one list of (box, score, kind) for each of the first `NAMES`."""
    collector = Collector(Path("made"))
    for name, of_image in zip(NAMES, faces, strict=False):
        collector.image(name, SIZE)
        for xyxy, score, kind in of_image:
            collector.box(xyxy, score, kind)
    return collector.done()


def pixels(annotations: Annotations) -> np.ndarray[Any, Any]:
    return annotations.xyxy * ([*SIZE, *SIZE] if annotations.relative else 1)


@pytest.mark.parametrize(("spec", "target"), TARGETS)
@settings(max_examples=25)
@given(faces=st.lists(st.lists(face, max_size=4), min_size=1, max_size=4))
def test_what_is_written_is_read_back(spec: str, target: str, faces: list[list[Any]]) -> None:
    made, format = gathered(faces), build(spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, target)
        format.write(made, path)
        read = format.read(path)
    order = [next(row for row, name in enumerate(made.names) if name.startswith(at)) for at in read.names]
    assert sorted(order) == list(range(len(faces))), "an image was lost, or one without faces was"
    assert read.origin == target
    for row, boxes in read.boxes_of():
        start, end = np.searchsorted(made.owner, [order[row], order[row] + 1])
        assert np.allclose(pixels(read)[boxes], made.xyxy[start:end], rtol=0, atol=1e-3)
        if "score" in format.keeps:
            assert np.allclose(read.score[boxes], made.score[start:end], rtol=0, atol=1e-6)
        if "kind" in format.keeps:
            assert [read.kind[at] for at in boxes] == list(made.kind[start:end])


@pytest.mark.parametrize(
    ("spec", "content", "boxes"),
    [
        (
            "study",
            '[{"url": "a.jpg", "bboxes": [{"x0": 1.5, "y0": 2, "x1": 30, "y1": 40}]}, '
            '{"url": "b", "bboxes": []}]',
            [[1.5, 2, 30, 40]],
        ),
        (
            "rekognition",
            '{"a.jpg": {"FaceDetails": [{"BoundingBox": '
            '{"Width": 0.25, "Height": 0.5, "Left": 0.5, "Top": 0.125},'
            ' "Confidence": 99.5}]}}',
            [[0.5, 0.125, 0.75, 0.625]],
        ),
        (
            "coco",
            '{"images": [{"id": 7, "file_name": "a.jpg"}], "categories": [{"id": 3, "name": "face"}], '
            '"annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 5, 6.5]}]}',
            [[10, 20, 15, 26.5]],
        ),
        (
            "wider",
            "0--Parade/a.jpg\n2\n449 330 122 149 0 0 0 0 0 0\n1 2 3 4 2 0 0 1 1 0\n"
            "b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
            "c.jpg\n1\n5 6 7 8 0.75\nd.jpg\n0\n",
            [[449, 330, 571, 479], [1, 2, 4, 6], [5, 6, 12, 14]],
        ),
        (
            "cvat",
            "<annotations><image id='0' name='a.jpg' width='99' height='88'>"
            "<box label='face' xtl='1.5' ytl='2' xbr='30' ybr='40'>"
            "<attribute name='score'>0.5</attribute></box>"
            "</image></annotations>",
            [[1.5, 2, 30, 40]],
        ),
        (
            "label_studio",
            '[{"id": 5, "data": {"image": "/data/local-files/?d=x/a%20b.jpg"}, "annotations": [{"result": ['
            '{"type": "rectanglelabels", "original_width": 99, "original_height": 88, "value": {"x": 50, '
            '"y": 12.5, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["face"]}}]}]}]',
            [[0.5, 0.125, 0.75, 0.625]],
        ),
        ("img2dataset", '[{"key": "0001", "face_bboxes": [[0.25, 0.5, 0.75, 1]]}]', [[0.25, 0.5, 0.75, 1]]),
        ("csv", "image_id,x0,y0,x1,y1\na.jpg,1.5,2,30,40\nb.jpg,,,,\n", [[1.5, 2, 30, 40]]),
    ],
)
def test_known_files_are_read_rightly(
    tmp_path: Path, spec: str, content: str, boxes: list[list[float]]
) -> None:
    (tmp_path / "boxes").write_text(content)
    assert build(spec).read(tmp_path / "boxes").xyxy.tolist() == boxes


def test_a_folder_of_yolo_labels_is_read(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a.txt").write_text("0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.5 0.5 0.75\n")
    (tmp_path / "train/b.txt").write_text("")
    with pytest.raises(TableError, match=r"a\.txt: record in line 2 .*class 1 has no name"):
        build("yolo").read(tmp_path)
    (tmp_path / "classes.txt").write_text("face\nlicence plate\n")
    read = build("yolo").read(tmp_path)
    assert read.names == ["train/a", "train/b"]
    assert read.xyxy.tolist() == [[0.375, 0.25, 0.625, 0.75], [0, 0, 0.5, 0.5]]
    assert read.kind == ["face", "licence plate"]
    assert read.score.tolist() == [1, 0.75]


def test_a_folder_of_responses_is_read(tmp_path: Path) -> None:
    response = {
        "FaceDetails": [{"BoundingBox": {"Width": 0.5, "Height": 1, "Left": 0, "Top": 0}, "Confidence": 90}]
    }
    for name in ("val/a.json", "b.jpg.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(response))
    read = build("rekognition").read(tmp_path)
    assert sorted(read.names) == ["b.jpg", "val/a"]
    assert read.score.tolist() == [0.9, 0.9]
    assert build("rekognition").read(tmp_path / "b.jpg.json").names == ["b.jpg"]


def test_an_invalid_face_of_wider_is_to_be_ignored(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("a.jpg\n2\n1 2 3 4 0 0 0 1 0 0\n1 2 3 4 0 0 0 0 0 0\n")
    assert build("wider").read(tmp_path / "w.txt").kind == ["ignore", "face"]


BOX = {"x0": 1, "y0": 2, "x1": 3, "y1": 4}
FOREIGN = {
    "study": [{"url": "a.jpg", "bboxes": [BOX | {"identity": 7, "score": 0.5}], "refined": {"by": ["é"]}}],
    "coco": {
        "info": {"year": 2021},
        "licenses": [{"id": 1, "name": "x"}],
        "images": [
            {"id": 9, "file_name": "a.jpg", "width": 40, "height": 30, "license": 1, "flickr_url": "u"}
        ],
        "categories": [{"id": 4, "name": "face", "supercategory": "person"}, {"id": 5, "name": "hand"}],
        "annotations": [
            {
                "id": 12,
                "image_id": 9,
                "category_id": 4,
                "bbox": [1, 2.5, 3, 4],
                "area": 11,
                "iscrowd": 1,
                "segmentation": [[1, 2, 3]],
                "track": "t",
            }
        ],
    },
    "label_studio": [
        {
            "id": 3,
            "meta": {"batch": 1},
            "data": {"image": "a.jpg", "title": "t"},
            "annotations": [
                {
                    "id": 8,
                    "completed_by": 2,
                    "result": [
                        {
                            "id": "q",
                            "from_name": "tag",
                            "to_name": "img",
                            "type": "rectanglelabels",
                            "image_rotation": 0,
                            "original_width": 40,
                            "original_height": 30,
                            "score": 0.25,
                            "value": {
                                "x": 10,
                                "y": 20,
                                "width": 30,
                                "height": 40.5,
                                "rotation": 0,
                                "rectanglelabels": ["face", "blurred"],
                                "text": ["n"],
                            },
                        },
                        {"id": "c", "type": "choices", "value": {"choices": ["indoors"]}},
                    ],
                }
            ],
        }
    ],
    "rekognition": {
        "a.jpg": {
            "OrientationCorrection": "ROTATE_0",
            "FaceDetails": [
                {
                    "BoundingBox": {"Width": 0.25, "Height": 0.5, "Left": 0.1, "Top": 0.2},
                    "Confidence": 99.87,
                    "Landmarks": [{"Type": "nose", "X": 0.5, "Y": 0.5}],
                }
            ],
        }
    },
    "img2dataset": [{"key": "a", "face_bboxes": [[0.25, 0.5, 0.75, 1.0]], "caption": "c", "uid": 3}],
}


@pytest.mark.parametrize("spec", FOREIGN)
def test_fields_that_only_the_format_knows_survive(tmp_path: Path, spec: str) -> None:
    (tmp_path / "in.json").write_text(json.dumps(FOREIGN[spec]))
    read = build(spec).read(tmp_path / "in.json")
    build(spec).write(in_pixels(read), tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == FOREIGN[spec]


def in_pixels(read: Annotations, size: tuple[int, int] = (40, 30)) -> Annotations:
    """What was read as an import would leave it, for images of this size."""
    scale = np.array([*size, *size]) if read.relative else 1
    sizes = dict.fromkeys(range(len(read)), size)
    fields = {name: getattr(read, name) for name in ("origin", "names", "owner", "score", "kind")}
    kept = {name: getattr(read, name) for name in ("extra", "image_extra", "file_extra")}
    return Annotations(**fields, xyxy=read.xyxy * scale, sizes=sizes, **kept)


def test_fields_of_cvat_wider_and_csv_survive(tmp_path: Path) -> None:
    xml = (
        "<annotations><version>1.1</version><meta><task><name>n</name></task></meta>"
        "<image id='3' subset='s' task_id='4' name='a.jpg' width='40' height='30'>"
        "<box label='face' source='auto' occluded='1' xtl='1' ytl='2' xbr='3.5' ybr='4' z_order='2' "
        "group_id='1'>"
        "<attribute name='glasses'>yes</attribute></box><tag label='party' source='manual'/></image>"
        "</annotations>"
    )
    contents = {
        "cvat": xml,
        "wider": "a.jpg\n1\n1 2 3 4 2 0 1 0 2 0\n",
        "csv": "image_id,x0,y0,x1,y1,score,kind,who\na.jpg,1,2,3.5,4,0.5,photo,me\n",
    }
    for spec, content in contents.items():
        (tmp_path / "in").write_text(content)
        first = build(spec).read(tmp_path / "in")
        build(spec).write(in_pixels(first), tmp_path / "out")
        second = build(spec).read(tmp_path / "out")
        assert second.extra == first.extra != {}
        assert second.image_extra == first.image_extra
        assert [*second.file_extra] == [*first.file_extra]
    assert (tmp_path / "out").read_text() == contents["csv"]
    build("cvat").write(in_pixels(build("cvat").read(written(tmp_path, xml))), tmp_path / "again.xml")
    again = (tmp_path / "again.xml").read_text()
    for part in (
        "<name>n</name>",
        'group_id="1"',
        ">yes<",
        'subset="s"',
        'label="party"',
        'xbr="3.5"',
        'xtl="1"',
    ):
        assert part in again


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "boxes.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_integers_stay_integers(tmp_path: Path) -> None:
    made = gathered([[((1, 2, 30, 40.5), 1.0, "face")]])
    build("study").write(made, tmp_path / "a.json")
    assert '{"x0": 1, "y0": 2, "x1": 30, "y1": 40.5}' in (tmp_path / "a.json").read_text()
    build("wider").write(made, tmp_path / "a.txt")
    assert "\n1 2 29 38.5\n" in (tmp_path / "a.txt").read_text()


COCO = (
    '{"images": [{"id": 1, "file_name": "a"}], "categories": [{"id": 1, "name": "face"}], '
    '"annotations": [%s]}'
)
TASK = '[{"id": 5, "data": {"image": "a.jpg"}, "annotations": [{"result": [%s]}]}]'
XML = "<annotations><image name='a.jpg' width='9' height='9'>%s</image></annotations>"
BROKEN = [
    ("study", "{", "not valid JSON"),
    ("study", "{}", "expected a list of records with url"),
    ("study", "[3]", "record 0"),
    ("study", '[{"url": "a", "bboxes": []}, {"url": "b"}]', "record 1 .*bboxes"),
    ("study", '[{"url": "a", "bboxes": []}, {"url": "b", ', "not valid JSON in record 1"),
    ("study", '[{"url": "a", "bboxes": []}] x', "not valid JSON"),
    ("study", '[{"url": "a", "bboxes": []} {"url": "b", "bboxes": []}]', "not valid JSON"),
    ("study", '[{"url": "a", "bboxes": []}, {"url": "a", "bboxes": []}]', "record 1: a has a record already"),
    ("study", '[{"url": 3, "bboxes": []}]', "record 0 .*name is 3"),
    ("study", '[{"url": "a", "bboxes": {"x0": 1}}]', "record 0"),
    ("study", '[{"url": "a", "bboxes": [{"x0": 0, "y0": 0, "x1": NaN, "y1": 1}]}]', "record 0 .a.: .*finite"),
    ("study", '[{"url": "a", "bboxes": [{"x0": 9, "y0": 0, "x1": 1, "y1": 1}]}]', "record 0 .*ends before"),
    (
        "study",
        '[{"url": "a", "bboxes": [{"x0": 0, "y0": 0, "x1": 1, "y1": 1, "score": 7}]}]',
        "record 0 .*between 0 and 1",
    ),
    ("study", b"\xff\xfe\xfa", "not a text file"),
    ("study", "[" * 100_000, "not valid JSON"),
    ("rekognition", "[]", "expected an object"),
    ("rekognition", '{"a": {"Faces": []}}', "record a has no 'FaceDetails'"),
    (
        "rekognition",
        '{"a": {"FaceDetails": [{"BoundingBox": {"Left": 0}, "Confidence": 9}]}}',
        "record a has no",
    ),
    ("rekognition", '{"a": 3}', "record a is not"),
    ("coco", "[]", "expected an object with the lists"),
    (
        "coco",
        COCO % '{"image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]}',
        "record 0 of annotations .*image_id",
    ),
    (
        "coco",
        COCO % '{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}',
        "record 0 of annot.*category_id 2",
    ),
    ("coco", COCO % '{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}', "record 0 of annotations"),
    ("coco", COCO % '{"image_id": 1, "category_id": 1}', "record 0 of annotations has no 'bbox'"),
    ("coco", COCO % '{"image_id": 1, "category_id": 1, "bbox": [1, 2, -3, 4]}', "ends before it starts"),
    ("wider", "a.jpg", "line 1 .*number of faces is missing"),
    ("wider", "a.jpg\nmany\n", "line 1"),
    ("wider", "a.jpg\n2\n1 2 3 4\n", "line 1 .*2 faces are announced, 1"),
    ("wider", "a.jpg\n1\n1 2 3\n", "line 1 .*4, 5 or 10"),
    ("wider", "a.jpg\n0\nb.jpg\n1\n1 2 3 x\n", "line 3 .*b.jpg"),
    ("wider", "a.jpg\n-1\n", "line 1"),
    ("yolo", "", "expected a folder"),
    ("cvat", "<annotations>", "not valid XML"),
    ("cvat", "<root/>", "expected an element 'annotations'"),
    ("cvat", "<annotations><track/></annotations>", "tracks of a video"),
    ("cvat", XML % "<polygon label='face' points='1,2'/>", "record 0 .a.jpg. .*polygon"),
    ("cvat", XML % "<box label='face' xtl='1' ytl='1' xbr='2' ybr='2' rotation='9'/>", "record 0 .*rotated"),
    ("cvat", XML % "<box label='face' xtl='1' ytl='1' xbr='2'/>", "record 0 .*'ybr'"),
    ("cvat", XML % "<box label='face' xtl='1' ytl='1' xbr='2' ybr='b'/>", "record 0 .*float"),
    ("cvat", XML.replace("'9'", "'0'") % "", "record 0 .*size is 0"),
    ("label_studio", "{}", "expected a list of tasks"),
    ("label_studio", '[{"id": 5, "data": {}}]', "record 0 .task 5. has no 'image'"),
    ("label_studio", '[{"data": {"image": 3}}]', "record 0 .task without id. .*image is 3"),
    ("label_studio", TASK % '{"type": "polygonlabels", "value": {"points": []}}', "task 5.*polygonlabels"),
    (
        "label_studio",
        TASK
        % '{"type": "rectanglelabels", "original_width": 9, "original_height": 9, "value": {"rotation": 3}}',
        "task 5.*turned",
    ),
    (
        "label_studio",
        '[{"id": 5, "data": {"image": "a"}, "annotations": [{"result": []}, {"result": []}]}]',
        "task 5.*2 annotations",
    ),
    ("img2dataset", '[{"key": "a"}]', "record 0 has no 'face_bboxes'"),
    ("img2dataset", '[{"key": "a", "face_bboxes": [[0, 1, 2]]}]', "record 0 .*four numbers"),
    ("img2dataset", '[{"key": null, "face_bboxes": []}]', "record 0 .*name is None"),
    ("csv", "image_id,x0,y0,x1\n", "column 'y1' is missing"),
    ("csv", "image_id,x0,y0,x1,y1\na,1,2,3\n", "line 2 .*fields"),
    ("csv", "image_id,x0,y0,x1,y1\na,1,2,3,4,5\n", "line 2 .*fields"),
    ("csv", "image_id,x0,y0,x1,y1\na,1,2,3,b\n", "line 2"),
    ("csv", "image_id,x0,y0,x1,y1\n,1,2,3,4\n", "name is ''"),
    ("csv", 'image_id,x0,y0,x1,y1\n"a"b,1,2,3,4\n', "no CSV after line 1"),
]


@pytest.mark.parametrize(("spec", "content", "message"), BROKEN)
def test_broken_files_are_refused(tmp_path: Path, spec: str, content: str | bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TableError, match=message) as caught:
        build(spec).read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("spec", FORMATS.names())
def test_a_file_that_is_not_there_is_named(tmp_path: Path, spec: str) -> None:
    suffix = ".parquet" if spec == "img2dataset" else ""
    with pytest.raises(TableError, match=f"none{suffix}: "):
        build(spec).read(tmp_path / f"none{suffix}")


def test_empty_folders_and_foreign_tables_are_refused(tmp_path: Path) -> None:
    for spec in ("yolo", "rekognition"):
        with pytest.raises(TableError, match="in it"):
            build(spec).read(tmp_path)
    pq.write_table(pa.table({"url": ["a"], "boxes": [[[0.0, 0.0, 1.0, 1.0]]]}), tmp_path / "t.parquet")
    with pytest.raises(TableError, match="column 'key' is missing, found url, boxes"):
        build("img2dataset").read(tmp_path / "t.parquet")
    read = build("img2dataset(key='url', boxes='boxes')").read(tmp_path / "t.parquet")
    assert read.xyxy.tolist() == [[0, 0, 1, 1]]
    (tmp_path / "t.parquet").write_text("no parquet")
    with pytest.raises(TableError, match="not a readable parquet"):
        build("img2dataset").read(tmp_path / "t.parquet")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entities_are_refused(tmp_path: Path, encoding: str) -> None:
    bomb = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">'
        '<!ENTITY b "&a;&a;&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
        "<annotations><image name='&b;' width='1' height='1'/></annotations>"
    )
    path = tmp_path / "a.xml"
    path.write_bytes(bomb.encode(encoding))
    with pytest.raises(TableError, match="document type"):
        build("cvat").read(path)


def test_a_task_without_a_finished_annotation_was_not_examined(tmp_path: Path) -> None:
    tasks = [
        {"id": 1, "data": {"image": "a"}, "annotations": []},
        {"id": 2, "data": {"image": "b"}, "annotations": [{"was_cancelled": True, "result": []}]},
        {"id": 3, "data": {"image": "c"}, "annotations": [{"result": []}]},
    ]
    assert build("label_studio").read(written(tmp_path, json.dumps(tasks))).names == ["c"]
    rows = [{"key": "a", "face_bboxes": None}, {"key": "b", "face_bboxes": []}]
    assert build("img2dataset").read(written(tmp_path, json.dumps(rows))).names == ["b"]


def test_remarks_on_a_region_are_no_shapes(tmp_path: Path) -> None:
    place = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    size = {"original_width": 40, "original_height": 30}
    results: list[dict[str, Any]] = [
        {"id": "q", "type": "rectangle", **size, "value": place},
        {"id": "q", "type": "labels", **size, "value": place | {"labels": ["face"]}},
        {"id": "q", "type": "textarea", **size, "value": place | {"text": ["n"]}},
        {"type": "relation", "from_id": "q", "to_id": "q"},
    ]
    tasks = [{"data": {"image": "a.jpg"}, "annotations": [{"result": results}]}]
    read = build("label_studio").read(written(tmp_path, json.dumps(tasks)))
    assert np.allclose(read.xyxy, [[0.1, 0.2, 0.4, 0.6]])
    build("label_studio").write(in_pixels(read), tmp_path / "out.json")
    (task,) = json.loads((tmp_path / "out.json").read_text())
    defaults = {"from_name": "label", "to_name": "image"}
    assert task["annotations"][0]["result"] == [defaults | results[0], *results[1:]]


def test_names_that_a_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    def named(*names: str) -> Annotations:
        collector = Collector(Path("made"))
        for name in names:
            collector.image(name, SIZE)
        return collector.done()

    for names in (("a.jpg", "a.png"), ("classes.jpg",)):
        with pytest.raises(TableError, match="two files would have the name"):
            build("yolo").write(named(*names), tmp_path / "labels")
    with pytest.raises(TableError, match="line break"):
        build("wider").write(named("a\nb.jpg"), tmp_path / "w.txt")
    assert not list(tmp_path.iterdir())


def test_formats_are_named_built_and_written_as_specs() -> None:
    for name in FORMATS.names():
        format = build(name)
        assert format.name == name
        assert build(to_spec(format)) == format
        assert format.keeps <= {"score", "kind", "extra"}
    assert build("wider_face") == build("wider")
    with pytest.raises(UnknownName, match="known: coco, csv"):
        build("pascal")
    with pytest.raises(SpecError):
        build("yolo(colour='red')")
    with pytest.raises(SpecError, match="part is one of"):
        build("label_studio(part='drafts')")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=3), max_size=6),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.integers(1, 40),
)
def test_a_list_read_in_pieces_is_the_list(
    records: list[dict[str, Any]], indent: int | None, escape: bool, chunk: int
) -> None:
    before = text_files.CHUNK
    text_files.CHUNK = chunk
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a.json")
            text = json.dumps(records, indent=indent, ensure_ascii=escape)
            path.write_text(f" \n{text}\n ", encoding="utf-8")
            assert list(iterate_objects(path, "a list")) == records
            path.write_text(text[:-1], encoding="utf-8")
            with pytest.raises(TableError, match=r"a\.json: not valid JSON"):
                list(iterate_objects(path, "a list"))
    finally:
        text_files.CHUNK = before
