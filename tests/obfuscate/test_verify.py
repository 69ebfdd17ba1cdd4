"""A variant that was written is proved; whatever is done to it afterwards is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from skimage.data import astronaut

from sfumato.cli import main
from sfumato.data import read_dataset
from sfumato.engines import Work
from sfumato.errors import DatasetError, ManifestError
from sfumato.faces import Faces
from sfumato.images import Pixels, read_image
from sfumato.obfuscate import METHODS, obfuscate
from sfumato.obfuscate.documents.provenance import DOCUMENTS
from sfumato.obfuscate.files.metadata import Policy
from sfumato.obfuscate.files.rewrite import rewrite
from sfumato.obfuscate.proof.agreement import Pair, disagreements
from sfumato.obfuscate.proof.verify import CHECKS, verify
from sfumato.records import (
    file_sha256,
    make_key,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
    write_table,
)
from tests.conftest import face_table

ONE = Work(workers=1)
FACE: list[list[float]] = [[40.25, 32.5, 88.0, 92.123]]
TWO = [*FACE, [120, 8, 150, 40]]
BOXES: dict[str, Any] = {
    "train/cat/a.jpg": TWO,
    "train/cat/turned.jpg": [[8, 60, 70, 120]],
    "train/dog/grey.jpg": FACE,
    "train/dog/fine.jpg": FACE,
    "train/dog/inks.jpg": FACE,
    "train/cat/a.png": TWO,
    "train/cat/deep.png": FACE,
    "val/cat/clear.png": FACE,
    "val/cat/a.webp": FACE,
    "val/cat/lossless.webp": FACE,
    "val/dog/still.gif": FACE,
    "val/dog/a.bmp": FACE,
    "val/dog/a.tif": FACE,
}
PLAIN = ("train/dog/plain.jpg", "train/dog/other.jpg", "val/cat/plain.png")


def portrait(height: int = 120, width: int = 168, *, shift: int = 0) -> Pixels:
    """A part of a photograph with a face in it."""
    photo = Image.fromarray(np.ascontiguousarray(astronaut()[shift : shift + 240, 100:436]))
    return np.asarray(photo.resize((width, height)))


def draw(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home by Alice"
    alpha = np.tile(np.linspace(0, 255, 168).astype(np.uint8), (120, 1))
    clear = Image.fromarray(portrait())
    clear.putalpha(Image.fromarray(alpha))
    deep = Image.fromarray((portrait()[..., 0].astype(np.uint16) * 257 + 3).astype(np.uint16))
    photo, moved = Image.fromarray(portrait()), Image.fromarray(portrait(shift=9))
    files: dict[str, tuple[Any, dict[str, Any]]] = {
        "train/cat/a.jpg": (photo, {"quality": 85, "subsampling": "4:2:0"}),
        "train/cat/turned.jpg": (Image.fromarray(portrait(118, 165)), {"progressive": True, "exif": exif}),
        "train/dog/grey.jpg": (photo.convert("L"), {"quality": 70}),
        "train/dog/fine.jpg": (moved, {"quality": 97, "subsampling": "4:4:4"}),
        "train/dog/inks.jpg": (photo.convert("CMYK"), {"quality": 90}),
        "train/cat/a.png": (photo, {}),
        "train/cat/deep.png": (deep, {}),
        "val/cat/clear.png": (clear, {}),
        "val/cat/a.webp": (photo, {"quality": 80}),
        "val/cat/lossless.webp": (photo, {"lossless": True}),
        "val/dog/still.gif": (photo.quantize(60), {}),
        "val/dog/a.bmp": (photo, {}),
        "val/dog/a.tif": (photo, {}),
        "train/dog/plain.jpg": (moved, {"exif": exif}),
        "train/dog/other.jpg": (photo, {}),
        "val/cat/plain.png": (moved, {}),
        "val/dog/damaged.jpg": (photo, {}),
    }
    for image_id, (image, options) in files.items():
        path = root / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and its variant `blur`."""
    root = tmp_path_factory.mktemp("verify")
    draw(root / "photos")
    write(root / "photos", root / "blur", "blur")
    return root


def write(photos: Path, out: Path, method: str) -> None:
    dataset = read_dataset(photos)
    faces = face_table(dataset, BOXES, failed={"val/dog/damaged.jpg": "cannot be decoded"})
    obfuscate(dataset, faces, METHODS.build(method), out, work=ONE)


@pytest.fixture
def variant(base: Path, tmp_path: Path) -> Path:
    """A copy of the variant to tamper with."""
    return Path(shutil.copytree(base / "blur", tmp_path / "blur", symlinks=True))


def found(variant: Path, base: Path) -> set[tuple[str, str]]:
    """Image and check of each finding."""
    rows = verify(variant, base / "photos", work=ONE).findings.to_pylist()
    assert all(row["check"] in CHECKS and row["detail"] for row in rows)
    return {(row["image_id"], row["check"]) for row in rows}


def edit_rows(variant: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(variant / "images.parquet")
    rows = [change(row) for row in table.to_pylist()]
    write_table(variant / "images.parquet", pa.Table.from_pylist(rows, schema=table.schema))


def reseal(variant: Path) -> None:
    """Write down the present hashes everywhere, as somebody would who wants to get away with it."""

    def rehashed(row: dict[str, Any]) -> dict[str, Any]:
        there = (variant / row["image_id"]).is_file()
        return row | ({"sha256": file_sha256(variant / row["image_id"])} if there else {})

    edit_rows(variant, rehashed)
    manifest = read_manifest(variant)
    documents = {name: file_sha256(variant / name) for name in DOCUMENTS}
    write_manifest(variant, replace(manifest, facts={**manifest.facts, "documents": documents}))


# --- all is well -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["blur", "mosaic", "overlay(color=(200, 30, 90))", "none", "dp_pix"])
def test_what_obfuscate_writes_is_proved(base: Path, tmp_path: Path, method: str) -> None:
    write(base / "photos", tmp_path / "v", method)
    result = verify(tmp_path / "v", base / "photos", work=ONE)
    assert result.findings.to_pylist() == []
    assert result.ok
    assert dict(result.counts) == {
        "images": 17,
        "with_faces": len(BOXES),
        "faces": len(BOXES) + 2,
        "failed": 1,
        "findings": 0,
    }


def test_every_way_of_writing_is_among_the_proved(base: Path) -> None:
    counts = read_manifest(base / "blur").counts
    assert counts["edited"] == 5
    assert counts["encoded"] == 8
    assert counts["copied"] == 3


def test_workers_change_nothing_and_nothing_is_written(base: Path, variant: Path) -> None:
    (variant / "val/cat/plain.png").unlink()
    before = sorted(base.rglob("*")), sorted(variant.rglob("*"))
    one = verify(variant, base / "photos", work=ONE)
    two = verify(variant, base / "photos", work=Work(workers=2))
    assert one.findings.equals(two.findings)
    assert (sorted(base.rglob("*")), sorted(variant.rglob("*"))) == before


def test_splits_made_for_the_variant_are_accepted(base: Path, tmp_path: Path) -> None:
    flat = Path(shutil.copytree(base / "photos" / "train", tmp_path / "flat"))
    dataset = read_dataset(flat, val_fraction=0.4, seed=3)
    faces = face_table(dataset, {"cat/a.jpg": FACE})
    obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert verify(tmp_path / "v", flat, work=ONE).ok


def test_a_variant_of_a_variant_is_proved(base: Path, tmp_path: Path) -> None:
    dataset = read_dataset(base / "blur")
    faces = face_table(dataset.without(["val/dog/damaged.jpg"]), {"train/cat/a.jpg": TWO})
    obfuscate(dataset, faces, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    assert verify(tmp_path / "v", base / "blur", work=ONE).ok


def test_it_needs_a_finished_variant(base: Path, tmp_path: Path, variant: Path) -> None:
    with pytest.raises(ManifestError, match="not a finished artefact"):
        verify(base / "photos", base / "photos", work=ONE)
    (variant / ".started").write_text("variant x")
    with pytest.raises(DatasetError, match="unfinished"):
        verify(variant, base / "photos", work=ONE)


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_id", sorted(BOXES))
def test_a_face_put_back_is_found_in_every_format(base: Path, variant: Path, image_id: str) -> None:
    shutil.copy(base / "photos" / image_id, variant / image_id)
    assert {(image_id, "hash"), (image_id, "faces")} <= found(variant, base)
    reseal(variant)
    assert (image_id, "faces") in found(variant, base)
    assert {name for name, _ in found(variant, base)} == {image_id}


@pytest.mark.parametrize("image_id", sorted(BOXES))
def test_another_method_than_the_manifest_names_is_found(base: Path, variant: Path, image_id: str) -> None:
    weaker, faces = METHODS.build("blur(strength=0.1)"), Faces.of(BOXES[image_id])
    made = rewrite(base / "photos" / image_id, lambda image: weaker(image, faces), policy=Policy.SAFE)
    (variant / image_id).write_bytes(made.data)
    reseal(variant)
    assert found(variant, base) == {(image_id, "faces")}


def test_one_of_two_faces_left_out_is_found(base: Path, variant: Path) -> None:
    for image_id in ("train/cat/a.jpg", "train/cat/a.png"):
        method, faces = METHODS.build("blur"), Faces.of(FACE)
        made = rewrite(base / "photos" / image_id, lambda image: method(image, faces), policy=Policy.SAFE)  # noqa: B023
        (variant / image_id).write_bytes(made.data)
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.jpg", "faces"), ("train/cat/a.png", "faces")}


def test_swapped_files_are_found(base: Path, variant: Path) -> None:
    first, second = variant / PLAIN[0], variant / PLAIN[1]
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    both = {(image_id, check) for image_id in PLAIN[:2] for check in ("hash", "copy")}
    assert found(variant, base) == both
    reseal(variant)
    assert found(variant, base) == {item for item in both if item[1] == "copy"}


def test_files_with_faces_swapped_are_found(base: Path, variant: Path) -> None:
    first, second = variant / "train/cat/a.png", variant / "val/cat/clear.png"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    reseal(variant)
    assert {name for name, _ in found(variant, base)} == {"train/cat/a.png", "val/cat/clear.png"}


def test_missing_and_further_files_are_found(base: Path, variant: Path) -> None:
    (variant / PLAIN[0]).unlink()
    (variant / "train/cat/a.png").unlink()
    (variant / "train/cat/new.png").write_bytes(b"x")
    (variant / ".hidden").write_bytes(b"x")
    shutil.copy(base / "photos/val/dog/damaged.jpg", variant / "val/dog/damaged.jpg")
    (variant / PLAIN[2]).unlink()
    (variant / PLAIN[2]).symlink_to(base / "photos" / PLAIN[2])
    names = (PLAIN[0], "train/cat/a.png", "train/cat/new.png", ".hidden", "val/dog/damaged.jpg", PLAIN[2])
    assert found(variant, base) == {(name, "accounted") for name in names}


def test_a_folder_that_is_a_link_is_found(base: Path, variant: Path) -> None:
    (variant / "train/extra").symlink_to(base / "photos/train/dog")
    assert found(variant, base) == {("train/extra", "accounted")}


def test_a_damaged_picture_is_a_row(base: Path, variant: Path) -> None:
    for image_id in ("train/cat/a.jpg", "train/cat/a.png"):
        path = variant / image_id
        path.write_bytes(path.read_bytes()[:400])
    reseal(variant)
    names = {name for name, check in found(variant, base) if check == "outside"}
    assert names == {"train/cat/a.jpg", "train/cat/a.png"}
    details = verify(variant, base / "photos", work=ONE).findings["detail"].to_pylist()
    assert not any(str(variant) in detail or str(base) in detail for detail in details)


LOSSLESS = [name for name in BOXES if name.endswith(("a.png", "clear.png", "lossless.webp", "bmp", "tif"))]


@pytest.mark.parametrize("image_id", LOSSLESS)
def test_a_pixel_changed_far_away_is_found(base: Path, variant: Path, image_id: str) -> None:
    with Image.open(variant / image_id) as image:
        pixels = np.asarray(image).copy()
    pixels[112, 160, :3] ^= 1
    if image_id.endswith("webp"):
        Image.fromarray(pixels).save(variant / image_id, lossless=True)
    else:
        Image.fromarray(pixels).save(variant / image_id)
    reseal(variant)
    assert found(variant, base) == {(image_id, "outside")}


def test_the_lowest_of_16_bits_is_compared(base: Path, variant: Path) -> None:
    path = variant / "train/cat/deep.png"
    with Image.open(path) as image:
        levels = np.asarray(image).copy()
    assert levels.dtype == np.uint16
    levels[115, 160] ^= 1
    Image.fromarray(levels).save(path)
    reseal(variant)
    assert found(variant, base) == {("train/cat/deep.png", "outside")}


def test_another_transparency_is_found(base: Path, variant: Path) -> None:
    path = variant / "val/cat/clear.png"
    with Image.open(path) as image:
        image.load()
    image.putalpha(255)
    image.save(path)
    reseal(variant)
    assert found(variant, base) == {("val/cat/clear.png", "outside")}


def change_block(path: Path, row: int, column: int, *, component: str = "Y", by: int = 1) -> None:
    """Add to one low coefficient of one block."""
    file = jpeglib.read_dct(str(path))
    getattr(file, component)[row, column, 0, 1] += by
    file.write_dct(str(path))


@pytest.mark.parametrize("image_id", ["train/cat/a.jpg", "train/cat/turned.jpg", "train/dog/fine.jpg"])
def test_one_coefficient_changed_far_away_is_found(base: Path, variant: Path, image_id: str) -> None:
    change_block(variant / image_id, 14, 0)
    reseal(variant)
    assert found(variant, base) == {(image_id, "outside")}


def test_one_coefficient_of_colour_changed_far_away_is_found(base: Path, variant: Path) -> None:
    change_block(variant / "train/cat/a.jpg", 7, 0, component="Cr")
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.jpg", "outside")}


def test_a_coefficient_of_a_face_changed_is_found(base: Path, variant: Path) -> None:
    change_block(variant / "train/cat/a.jpg", 7, 7, by=3)
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.jpg", "faces")}


def test_a_jpeg_encoded_anew_is_not_one_that_was_edited(base: Path, variant: Path) -> None:
    Image.fromarray(read_image(variant / "train/cat/a.jpg")).save(variant / "train/cat/a.jpg", quality=85)
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.jpg", "outside")}


def test_an_encoded_jpeg_is_compared_within_its_own_steps(base: Path, variant: Path) -> None:
    """The table says "encoded": any table will do, but the picture must be the expected one."""
    image_id = "train/cat/a.jpg"
    hidden = METHODS.build("blur")(read_image(base / "photos" / image_id), Faces.of(np.array(TWO)))

    def encoded(row: dict[str, Any]) -> dict[str, Any]:
        return row | ({"written": "encoded"} if row["image_id"] == image_id else {})

    edit_rows(variant, encoded)
    only_counts = {("", "manifest")}  # one fewer "edited", one more "encoded"
    for quality in (60, 95):
        Image.fromarray(hidden).save(variant / image_id, quality=quality)
        reseal(variant)
        assert found(variant, base) == only_counts
    dark = hidden.copy()
    dark[100:116, 140:156] //= 2
    Image.fromarray(dark).save(variant / image_id, quality=95)
    reseal(variant)
    assert found(variant, base) == {*only_counts, (image_id, "outside")}


def test_a_thumbnail_put_back_is_found(base: Path, variant: Path) -> None:
    from io import BytesIO

    sink = BytesIO()
    Image.fromarray(portrait(40, 56)).save(sink, format="JPEG")
    thumbnail = sink.getvalue()
    # Exif header, IFD0 empty with IFD1 behind it, and IFD1 naming offset and length of the thumbnail.
    first = b"MM\0*\0\0\0\x08" + b"\0\0" + b"\0\0\0\x0e"
    second = b"\0\2" + b"\2\1\0\4\0\0\0\1" + (44).to_bytes(4, "big") + b"\2\2\0\4\0\0\0\1"
    tiff = first + second + len(thumbnail).to_bytes(4, "big") + b"\0\0\0\0" + thumbnail
    payload = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload
    path = variant / "train/cat/a.jpg"
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.jpg", "metadata")}


def test_a_text_in_a_png_is_found_unless_metadata_was_to_be_kept(base: Path, variant: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    path = variant / "train/cat/a.png"
    info = PngInfo()
    info.add_text("Author", "Alice")
    Image.fromarray(read_image(path)).save(path, pnginfo=info)
    reseal(variant)
    assert found(variant, base) == {("train/cat/a.png", "metadata")}
    manifest = read_manifest(variant)
    settings = {**manifest.settings, "metadata": "all"}
    key = make_key("variant", manifest.inputs, settings)
    write_manifest(variant, replace(manifest, settings=settings, key=key))
    assert found(variant, base) == set()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_every_frame_of_an_animation_is_compared(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(portrait(shift=shift)) for shift in (0, 5, 9)]
    path, written = tmp_path / name, tmp_path / "v" / name
    written.parent.mkdir()
    options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
    if name.endswith("gif"):
        frames = [frame.quantize(60) for frame in frames]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, **options)
    method, faces = METHODS.build("blur"), Faces.of(np.array(FACE))

    def hide(image: Pixels) -> Pixels:
        return np.asarray(method(image, faces))

    for count in (3, 1):  # one: only the first was examined, the others are left out
        written.write_bytes(rewrite(path, hide, policy=Policy.SAFE, frames=count).data)
        assert disagreements(Pair(path, written, hide, "encoded")) == []
    seen = iter([True, False, True])  # the second frame is forgotten
    made = rewrite(path, lambda image: hide(image) if next(seen) else image, policy=Policy.SAFE, frames=3)
    written.write_bytes(made.data)
    ((check, detail),) = disagreements(Pair(path, written, hide, "encoded"))
    assert check == "faces"
    assert detail.startswith("frame 1: ")


# --- documents ---------------------------------------------------------------------------------------------


def with_manifest(variant: Path, **change: Any) -> None:
    write_json(variant / "manifest.json", asdict(read_manifest(variant)) | change)


def test_an_edited_setting_is_found(base: Path, variant: Path) -> None:
    manifest = read_manifest(variant)
    settings = {**manifest.settings, "method": "mosaic(blocks=4)"}
    with_manifest(variant, settings=settings)
    hidden = {(image_id, "faces") for image_id in BOXES}
    assert found(variant, base) >= {("", "manifest"), *hidden}
    with_manifest(
        variant,
        key=make_key("variant", manifest.inputs, settings),
        facts={**manifest.facts, "arm": settings["method"]},
    )
    left = found(variant, base)
    assert ("", "manifest") not in left
    assert hidden <= left


def test_an_edited_key_or_count_or_input_is_found(base: Path, variant: Path) -> None:
    manifest = read_manifest(variant)
    inputs = {**manifest.inputs, "dataset": "0123456789abcdef"}
    for change in (
        {"key": "0" * 16},
        {"counts": {**manifest.counts, "faces": 3}},
        {"inputs": inputs, "key": make_key("variant", inputs, manifest.settings)},
        {"facts": {**manifest.facts, "categories": ["cat", "cow"]}},
    ):
        write_manifest(variant, manifest)
        with_manifest(variant, **change)
        assert found(variant, base) == {("", "manifest")}


def edit_boxes(variant: Path, image_id: str, change: Callable[[list[Any]], list[Any]]) -> None:
    records = read_json(variant / "faces.json")
    for record in records:
        if record["url"] == image_id:
            record["bboxes"] = change(record["bboxes"])
    (variant / "faces.json").write_text(json.dumps(records))


@pytest.mark.parametrize("image_id", ["train/cat/a.jpg", "train/cat/a.png"])
@pytest.mark.parametrize(
    "change",
    [
        lambda boxes: boxes[:1],
        lambda boxes: [*boxes, {"x0": 10, "y0": 90, "x1": 30, "y1": 110}],
        lambda boxes: [{**boxes[0], "x0": boxes[0]["x0"] - 12}, boxes[1]],
    ],
    ids=["removed", "added", "moved"],
)
def test_an_edited_box_is_found(base: Path, variant: Path, image_id: str, change: Any) -> None:
    edit_boxes(variant, image_id, change)
    assert ("", "documents") in found(variant, base)
    reseal(variant)
    left = found(variant, base)
    assert (image_id, "faces") in left
    assert {name for name, _ in left} == {image_id}


def test_a_box_in_an_image_that_was_copied_is_found(base: Path, variant: Path) -> None:
    edit_boxes(variant, PLAIN[0], lambda _: [{"x0": 10, "y0": 10, "x1": 30, "y1": 40}])
    reseal(variant)
    assert found(variant, base) == {(PLAIN[0], "faces")}


def test_a_missing_record_or_document_is_found(base: Path, variant: Path) -> None:
    records = read_json(variant / "faces.json")
    (variant / "faces.json").write_text(
        json.dumps([record for record in records if record["url"] != PLAIN[0]])
    )
    (variant / "DATACARD.md").unlink()
    assert found(variant, base) == {("", "documents"), (PLAIN[0], "faces")}
    (variant / "faces.json").write_text("[{")
    left = found(variant, base)
    assert ("", "documents") in left
    assert {(image_id, "faces") for image_id in BOXES} <= left


def test_an_edited_row_is_found(base: Path, variant: Path) -> None:
    def relabelled(row: dict[str, Any]) -> dict[str, Any]:
        return row | ({"label": 1 - row["label"]} if row["image_id"] == PLAIN[0] else {})

    edit_rows(variant, relabelled)
    assert found(variant, base) == {(PLAIN[0], "accounted"), ("", "documents"), ("", "manifest")}


def test_an_image_that_the_table_forgets_is_found(base: Path, variant: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(variant / "images.parquet")
    keep = [name != PLAIN[0] for name in table["image_id"].to_pylist()]
    write_table(variant / "images.parquet", table.filter(pa.array(keep)))
    assert {(PLAIN[0], "accounted"), ("", "manifest")} <= found(variant, base)


def test_another_original_is_found(base: Path, variant: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(base / "photos", tmp_path / "photos"))
    Image.fromarray(portrait(shift=4)).save(photos / PLAIN[0])
    rows = verify(variant, photos, work=ONE).findings.to_pylist()
    assert {(row["image_id"], row["check"]) for row in rows} == {("", "manifest"), (PLAIN[0], "copy")}


# --- command -----------------------------------------------------------------------------------------------


def test_the_command_says_one_line_or_a_table(
    base: Path, variant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["verify", str(variant), "--against", str(base / "photos"), "--workers", "1", "--quiet"]
    assert main(ask) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "all checks passed: 17 images, 13 of them with 15 faces, 1 failed" in said
    (variant / PLAIN[0]).unlink()
    assert main([*ask, "--out", str(tmp_path / "wrong.csv")]) == 3
    assert f"{PLAIN[0]}\taccounted\t" in capsys.readouterr().out
    assert (tmp_path / "wrong.csv").read_text().splitlines()[0] == '"image_id","check","detail"'
    assert main([*ask, "--json"]) == 3
    value = json.loads(capsys.readouterr().out)
    assert value["ok"] is False
    assert value["counts"]["findings"] == len(value["findings"]) == 1
