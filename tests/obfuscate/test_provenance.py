"""What lies beside a variant: true, the same every time, and readable by those that it is for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import read_dataset
from sfumato.detect import DETECTORS
from sfumato.detect.presets import PRESETS
from sfumato.engines import Work
from sfumato.faces import FaceTable, read_known_boxes
from sfumato.obfuscate import METHODS, obfuscate
from sfumato.obfuscate.documents.provenance import DOCUMENTS, hidden_boxes, write_provenance
from sfumato.records import file_sha256, read_json, read_manifest
from sfumato.specs import to_spec
from tests.conftest import face_table

ONE = Work(workers=1)
BOXES: dict[str, Any] = {
    "train/apple/0.jpg": [[10.123457, 10, 30, 34]],
    "val/pear/1.png": [[0, 0, 20, 20], [40, 20, 64, 48]],
}


def found_by(faces: FaceTable, **change: Any) -> FaceTable:
    return replace(faces, manifest=replace(faces.manifest, **change))


@pytest.fixture
def variant(photos: Path, tmp_path: Path) -> Path:
    """A variant in `tmp_path/v`, made with one image that failed and the preset balanced."""
    dataset = read_dataset(photos)
    faces = face_table(dataset, BOXES, failed={"train/pear/2.jpg": "cannot be decoded"})
    detector = to_spec(DETECTORS.build(PRESETS["balanced"].spec))
    weights = [{"name": "net", "licence": "MIT", "origin": "somewhere", "sha256": "0" * 64}]
    faces = found_by(
        faces,
        settings={"detector": detector, "selection": {"min_size": 8}},
        facts={"weights": weights},
    )
    obfuscate(dataset, faces, METHODS.build("mosaic"), tmp_path / "v", work=ONE)
    return tmp_path / "v"


def test_the_manifest_knows_every_document(variant: Path) -> None:
    known = read_manifest(variant).facts["documents"]
    assert known == {name: file_sha256(variant / name) for name in DOCUMENTS}


def test_faces_json_has_a_record_for_every_examined_image(variant: Path) -> None:
    records = {record["url"]: record["bboxes"] for record in read_json(variant / "faces.json")}
    assert len(records) == 19
    assert "train/pear/2.jpg" not in records
    assert {name for name, boxes in records.items() if boxes} == set(BOXES)
    known = read_known_boxes(variant / "faces.json")
    for name, xyxy in BOXES.items():
        assert np.array_equal(known[name].xyxy, np.array(xyxy, dtype=np.float32))


@given(
    st.lists(
        st.tuples(*[st.floats(0, 5000, width=32)] * 4, st.floats(0, 1, width=32)).map(
            lambda v: [min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]), v[4]]
        ),
        max_size=8,
    )
)
def test_boxes_keep_every_digit(tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]) -> None:
    from sfumato.faces import Faces, faces_rows
    from sfumato.faces.exchange.study import write_exact
    from sfumato.faces.table import tables
    from sfumato.records import Manifest

    values = np.array(rows, dtype=np.float32).reshape(-1, 5)
    faces = Faces.of(values[:, :4], values[:, 4], kind="photo")
    table = FaceTable(
        *tables(
            faces_rows("b.jpg", faces), [{"image_id": name, "status": "ok"} for name in ("a.jpg", "b.jpg")]
        ),
        Manifest("faces", "k", {}, {}),
    )
    path = tmp_path_factory.mktemp("boxes") / "faces.json"
    write_exact(hidden_boxes(table), path)
    again = read_known_boxes(path)
    assert np.array_equal(again["b.jpg"].xyxy, faces.xyxy)
    assert np.array_equal(again["b.jpg"].score, faces.score)
    assert again["b.jpg"].kind == faces.kind
    assert not len(again["a.jpg"])


def test_the_same_work_gives_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    for name in ("one", "two"):
        obfuscate(dataset, face_table(dataset, BOXES), METHODS.build("blur"), tmp_path / name, work=ONE)
    for document in (*DOCUMENTS, "manifest.json"):
        first, second = ((tmp_path / name / document).read_bytes() for name in ("one", "two"))
        assert first == second
        assert str(tmp_path).encode() not in first
        assert tmp_path.name.encode() not in first


def test_croissant_says_what_it_is_and_where_it_came_from(variant: Path) -> None:
    value = read_json(variant / "croissant.json")
    manifest = read_manifest(variant)
    assert "http://mlcommons.org/croissant/1.1" in value["conformsTo"]
    assert value["@context"]["prov"] == "http://www.w3.org/ns/prov#"
    assert manifest.inputs["dataset"] in value["prov:wasDerivedFrom"][0]["@id"]
    activity = value["prov:wasGeneratedBy"]
    assert "mosaic(" in activity["prov:label"]
    assert activity["prov:wasAssociatedWith"]["prov:label"].startswith("sfumato ")
    boxes = activity["prov:used"][1]
    assert manifest.inputs["faces"] in boxes["@id"]
    assert boxes["prov:wasAttributedTo"]["prov:label"].startswith("second_look(")
    sets = {item["encodingFormat"]: item["includes"] for item in value["distribution"] if "includes" in item}
    assert sets == {"image/jpeg": ["*.jpg", "**/*.jpg"], "image/png": ["*.png", "**/*.png"]}
    hashes = {item["@id"]: item["sha256"] for item in value["distribution"] if "sha256" in item}
    assert hashes == {name: file_sha256(variant / name) for name in ("images.parquet", "faces.json")}


def test_croissant_says_what_remains(variant: Path) -> None:
    value = read_json(variant / "croissant.json")
    limits = " ".join(value["rai:dataLimitations"])
    assert "missed" in limits
    assert "1 images of the original could not" in limits
    assert "min_size" in limits
    assert "mosaic(" in value["rai:dataManipulationProtocol"]
    assert "missed remain" in " ".join(value["rai:personalSensitiveInformation"])


READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlcroissant
dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
said = {name: [{key: value.decode() if isinstance(value, bytes) else value for key, value in record.items()}
               for record in dataset.records(record_set=name)] for name in ("images", "categories")}
issues = dataset.metadata.ctx.issues
found = {name: sorted(map(str, getattr(issues, name))) for name in ("errors", "warnings")}
print(json.dumps(said | found))
"""


def test_mlcroissant_accepts_it_and_loads_the_records(variant: Path) -> None:
    """In a process of its own, since the library's parser warns of its own age."""
    pytest.importorskip("mlcroissant", reason="a development dependency")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(variant / "croissant.json")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["errors"] == []
    # What Sfumato cannot know: the owner's citation, date, licence and version.
    missing = ("citeAs", "datePublished", "license", "version")
    assert len(said["warnings"]) == len(missing)
    assert all(any(word in warning for warning in said["warnings"]) for word in missing)
    assert len(said["images"]) == 20
    assert said["images"][0]["images/image_id"] == "train/apple/0.jpg"
    assert said["images"][0]["images/n_faces"] == 1
    assert [record["categories/name"] for record in said["categories"]] == ["apple", "pear"]


def test_the_card_tells_people(variant: Path) -> None:
    card = (variant / "DATACARD.md").read_text()
    for phrase in (
        "mosaic(blocks=4",
        METHODS.build("mosaic").invertible,
        PRESETS["balanced"].figures(),
        "| faces | 3 |",
        "| failed | 1 |",
        "| files .png | 4 |",
        "sfumato verify",
        "network net: licence MIT",
        '"min_size": 8',
        "1 images that could not be read or written",
        "licence of the pictures",
    ):
        assert phrase in card


def test_a_detector_without_figures_is_said_to_have_none(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    faces = found_by(face_table(dataset, BOXES), settings={"format": "coco()"})
    obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    card = (tmp_path / "v" / "DATACARD.md").read_text()
    assert "By: `coco()`" in card
    assert "No figures are known" in card
    assert "left visible on purpose" not in card


def test_a_data_set_without_labels_has_no_categories(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos / "train" / "apple")
    faces = face_table(dataset, {"0.jpg": BOXES["train/apple/0.jpg"]})
    method = METHODS.build("overlay")
    manifest = obfuscate(dataset, faces, method, tmp_path / "v", work=ONE)
    value = read_json(tmp_path / "v" / "croissant.json")
    assert [item["@id"] for item in value["recordSet"]] == ["images"]
    again = write_provenance(tmp_path / "v", faces, method, manifest)
    assert again == manifest
