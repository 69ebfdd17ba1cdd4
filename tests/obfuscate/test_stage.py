"""Variants: same ids and labels, faces hidden, nothing else touched, failures accounted for."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sfumato.data import read_dataset
from sfumato.engines import Work
from sfumato.errors import DatasetError, ImageError, OutputExists, TableError, UsageError
from sfumato.images import read_image
from sfumato.obfuscate import METHODS, FileOptions, obfuscate, stage
from sfumato.obfuscate.files.encode import encode, read_source
from sfumato.obfuscate.files.place import place
from sfumato.obfuscate.proof.verify import verify
from sfumato.obfuscate.stage import read_failures
from sfumato.records import beside, read_json, read_table, write_table
from sfumato.specs import to_spec
from sfumato.testing.obfuscators import picture
from tests.conftest import drawn, face_table

ONE = Work(workers=1)
BOXES = {"train/apple/0.jpg": [[10, 10, 30, 34]], "val/pear/1.png": [[0, 0, 20, 20], [40, 20, 64, 48]]}


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_a_variant_is_the_data_set_again(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    manifest = obfuscate(
        dataset, face_table(dataset, BOXES), METHODS.build("overlay"), tmp_path / "v", work=ONE
    )
    variant = read_dataset(tmp_path / "v")
    assert variant.samples == dataset.samples
    assert variant.categories == dataset.categories == ("apple", "pear")
    assert variant.arm == to_spec(METHODS.build("overlay"))
    assert manifest.counts == {
        "images": 20,
        "copied": 18,
        "linked": 0,
        "cleaned": 0,
        "edited": 1,
        "encoded": 1,
        "failed": 0,
        "faces": 3,
    }
    for sample in dataset.samples:
        before, after = dataset.path(sample.image_id).read_bytes(), variant.path(sample.image_id).read_bytes()
        assert (before == after) == (sample.image_id not in BOXES)
    assert (variant.read("val/pear/1.png")[:20, :20] == 127).all()
    assert np.array_equal(variant.read("val/pear/1.png")[30:, :30], dataset.read("val/pear/1.png")[30:, :30])
    table = read_table(tmp_path / "v" / "images.parquet", variant_schema())
    assert table["width"].to_pylist() == [64] * 20
    assert not (tmp_path / "v" / ".parts").exists()


def variant_schema() -> Any:
    from sfumato.obfuscate import VARIANT_SCHEMA

    return VARIANT_SCHEMA


def test_the_control_arm_writes_what_the_other_arms_write_and_hides_nothing(
    photos: Path, tmp_path: Path
) -> None:
    dataset = read_dataset(photos)
    faces = face_table(dataset, BOXES)
    control = obfuscate(dataset, faces, METHODS.build("none"), tmp_path / "none", work=ONE)
    other = obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "blur", work=ONE)
    assert control.counts == other.counts
    none = read_dataset(tmp_path / "none")
    gap = np.abs(none.read("train/apple/0.jpg").astype(int) - dataset.read("train/apple/0.jpg")).mean()
    assert gap < 2
    assert np.array_equal(none.read("val/pear/1.png"), dataset.read("val/pear/1.png"))
    blurred = read_dataset(tmp_path / "blur").read("train/apple/0.jpg").astype(int)
    assert np.abs(blurred - none.read("train/apple/0.jpg"))[:, 50:].mean() == 0


def test_workers_and_interruptions_change_no_byte(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    faces = face_table(dataset, BOXES)
    method = METHODS.build("mosaic")
    obfuscate(dataset, faces, method, tmp_path / "one", work=ONE)
    obfuscate(dataset, faces, method, tmp_path / "two", work=Work(workers=2))
    assert files(tmp_path / "one") == files(tmp_path / "two")

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise Stop

    with pytest.raises(Stop):
        obfuscate(dataset, faces, method, tmp_path / "cut", work=Work(workers=1, progress=stop))
    assert not (tmp_path / "cut" / "manifest.json").exists()
    with pytest.raises(DatasetError, match="unfinished"):
        read_dataset(tmp_path / "cut")
    obfuscate(dataset, faces, method, tmp_path / "cut", work=ONE)
    assert files(tmp_path / "one") == files(tmp_path / "cut")


@pytest.mark.parametrize(
    ("image_id", "step"), [("train/apple/0.jpg", "rewrite"), ("train/apple/3.jpg", "place")]
)
def test_what_changes_while_it_is_read_is_not_in_the_variant(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_id: str, step: str
) -> None:
    dataset = read_dataset(photos)
    faces, made = face_table(dataset, BOXES), getattr(stage, step)

    def changed_meanwhile(source: Path, *args: Any, **options: Any) -> Any:
        if source == photos / image_id:
            source.write_bytes((photos / "train/apple/2.jpg").read_bytes())
        return made(source, *args, **options)

    monkeypatch.setattr(stage, step, changed_meanwhile)
    manifest = obfuscate(dataset, faces, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    assert manifest.counts["failed"] == 1
    assert "changed while it was read" in read_failures(tmp_path / "v")[image_id]
    assert not (tmp_path / "v" / image_id).exists()


@pytest.mark.parametrize("link", ["auto", "hard"])
def test_what_changes_between_two_attempts_is_not_in_the_variant(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    """Linked, the file of the first attempt would be the picture that nobody examined."""
    dataset, image_id = read_dataset(photos), "train/apple/3.jpg"
    faces, options = face_table(dataset, BOXES), FileOptions.of("safe", link)
    method = METHODS.build("overlay")

    def killed_after(source: Path, *args: Any) -> Any:
        place(source, *args)
        if source == photos / image_id:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage, "place", killed_after)
    with pytest.raises(KeyboardInterrupt):
        obfuscate(dataset, faces, method, tmp_path / "v", files=options, work=ONE)
    monkeypatch.setattr(stage, "place", place)
    assert (tmp_path / "v" / image_id).exists()
    (photos / image_id).write_bytes((photos / "train/apple/0.jpg").read_bytes())
    manifest = obfuscate(dataset, faces, method, tmp_path / "v", files=options, work=ONE)
    assert manifest.counts["failed"] == 1
    assert "changed since it was examined" in read_failures(tmp_path / "v")[image_id]
    assert not (tmp_path / "v" / image_id).exists()


def test_what_a_kill_left_half_written_is_swept_when_the_work_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = read_dataset(photos)
    faces, method = face_table(dataset, BOXES), METHODS.build("overlay")

    def killed_within(source: Path, data: bytes, target: Path, link: str) -> str:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside(target).write_bytes(data[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "place", killed_within)
    with pytest.raises(KeyboardInterrupt):
        obfuscate(dataset, faces, method, tmp_path / "v", work=ONE)
    assert list((tmp_path / "v").rglob(".*.tmp"))
    monkeypatch.setattr(stage, "place", place)
    obfuscate(dataset, faces, method, tmp_path / "v", work=ONE)
    assert not list((tmp_path / "v").rglob(".*.tmp"))
    assert verify(tmp_path / "v", photos, work=ONE).ok


def test_what_cannot_be_read_is_a_row_and_not_in_the_variant(photos: Path, tmp_path: Path) -> None:
    (photos / "train/apple/cut.jpg").write_bytes((photos / "train/apple/0.jpg").read_bytes()[:300])
    (photos / "train/apple/gone.jpg").write_bytes((photos / "train/apple/0.jpg").read_bytes())
    dataset = read_dataset(photos)
    shutil.copy(photos / "train/apple/0.jpg", photos / "train/apple/cut.jpg")
    faces = face_table(dataset, BOXES, failed={"train/apple/cut.jpg": "cannot be decoded"})
    (photos / "train/apple/gone.jpg").unlink()
    (photos / "train/apple/0.jpg").write_bytes((photos / "train/apple/2.jpg").read_bytes())
    manifest = obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert manifest.counts["failed"] == 3
    rows = {
        row["image_id"]: row
        for row in read_table(tmp_path / "v/images.parquet", variant_schema()).to_pylist()
    }
    assert "cannot be decoded" in rows["train/apple/cut.jpg"]["error"]
    assert "no such file" in rows["train/apple/gone.jpg"]["error"].lower()
    assert "changed since it was examined" in rows["train/apple/0.jpg"]["error"]
    for image_id in ("train/apple/cut.jpg", "train/apple/gone.jpg", "train/apple/0.jpg"):
        assert not (tmp_path / "v" / image_id).exists()
        with pytest.raises(ImageError, match="no such file"):
            read_dataset(tmp_path / "v").read(image_id)
    assert len(rows) == 22


def test_an_image_that_nobody_examined_is_not_written(photos: Path, tmp_path: Path) -> None:
    faces = face_table(read_dataset(photos), BOXES)
    Image.fromarray(drawn()).save(photos / "val/pear/new.png")
    manifest = obfuscate(read_dataset(photos), faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert manifest.counts["failed"] == 1
    assert not (tmp_path / "v/val/pear/new.png").exists()


def test_finished_work_is_skipped_and_other_work_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    faces = face_table(dataset, BOXES)
    obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    before = (tmp_path / "v/manifest.json").stat().st_mtime_ns
    obfuscate(dataset, faces, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert (tmp_path / "v/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(OutputExists, match="--overwrite"):
        obfuscate(dataset, faces, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    obfuscate(dataset, faces, METHODS.build("overlay"), tmp_path / "v", work=Work(workers=1, overwrite=True))
    assert read_json(tmp_path / "v/manifest.json")["facts"]["arm"].startswith("overlay")


def test_a_folder_of_somebody_else_is_never_overwritten(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    with pytest.raises(OutputExists, match="holds no variant made by Sfumato"):
        obfuscate(
            dataset,
            face_table(dataset, {}),
            METHODS.build("blur"),
            tmp_path / "mine",
            work=Work(1, overwrite=True),
        )
    assert (tmp_path / "mine/thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("image_id", ["../train/apple/0.jpg", "/etc/0.jpg", ""])
def test_ids_do_not_lead_out_of_a_variant(photos: Path, tmp_path: Path, image_id: str) -> None:
    dataset = read_dataset(photos)
    obfuscate(dataset, face_table(dataset, BOXES), METHODS.build("blur"), tmp_path / "v", work=ONE)
    table = read_table(tmp_path / "v/images.parquet", variant_schema())
    rows = table.to_pylist()
    rows[3]["image_id"] = image_id
    write_table(tmp_path / "v/images.parquet", pa.Table.from_pylist(rows, schema=table.schema))
    with pytest.raises(TableError, match="no path below the data set"):
        read_dataset(tmp_path / "v")


def test_a_variant_without_splits_can_be_split(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / f"flat/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(16, 16, seed=number)).save(path)
    dataset = read_dataset(tmp_path / "flat")
    obfuscate(dataset, face_table(dataset, {}), METHODS.build("blur"), tmp_path / "v", work=ONE)
    split = read_dataset(tmp_path / "v", val_fraction=0.25)
    assert split.samples == read_dataset(tmp_path / "flat", val_fraction=0.25).samples
    assert split.fingerprint != read_dataset(tmp_path / "v").fingerprint


def test_frames_that_nobody_examined_are_not_carried_over(photos: Path, tmp_path: Path) -> None:
    frames = [Image.fromarray(drawn(seed=number)) for number in range(3)]
    frames[0].save(photos / "val/pear/moving.gif", save_all=True, append_images=frames[1:])
    dataset = read_dataset(photos)
    obfuscate(dataset, face_table(dataset, BOXES), METHODS.build("blur"), tmp_path / "v", work=ONE)
    rows = {
        row["image_id"]: row
        for row in read_table(tmp_path / "v/images.parquet", variant_schema()).to_pylist()
    }
    assert rows["val/pear/moving.gif"]["written"] == "encoded"
    assert rows["val/pear/moving.gif"]["note"] == "first of 3 frames kept"
    with Image.open(tmp_path / "v/val/pear/moving.gif") as written:
        assert getattr(written, "n_frames", 1) == 1


@pytest.mark.parametrize("where", [".", "inside", ".."])
def test_output_and_data_set_lie_apart(photos: Path, where: str) -> None:
    dataset = read_dataset(photos)
    with pytest.raises(UsageError, match="lie in one another"):
        obfuscate(dataset, face_table(dataset, {}), METHODS.build("blur"), photos / where, work=ONE)


def test_nothing_readable_is_an_error(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    failed = {sample.image_id: "broken" for sample in dataset.samples}
    with pytest.raises(DatasetError, match=r"none of the 20 images could be written; the first: .*broken"):
        obfuscate(dataset, face_table(dataset, {}, failed), METHODS.build("blur"), tmp_path / "v", work=ONE)


# --- files -------------------------------------------------------------------------------------------------


def saved(path: Path, mode: str, **options: Any) -> Path:
    Image.fromarray(drawn(40, 56)).convert(mode).save(path, **options)
    return path


FORMATS = [
    ("a.jpg", "RGB", {"quality": 80, "subsampling": "4:2:0"}),
    ("b.jpg", "RGB", {"quality": 95, "subsampling": "4:4:4", "progressive": True}),
    ("c.jpg", "L", {"quality": 90}),
    ("d.jpg", "CMYK", {"quality": 90}),
    ("e.png", "RGB", {}),
    ("f.png", "RGBA", {}),
    ("g.png", "P", {}),
    ("h.png", "L", {}),
    ("i.webp", "RGB", {"lossless": True}),
    ("i2.webp", "RGB", {"lossless": True, "icc_profile": b"x" * 300}),
    ("j.webp", "RGB", {"quality": 80}),
    ("k.bmp", "RGB", {}),
    ("l.tif", "RGB", {}),
    ("m.gif", "P", {}),
    ("n.png", "1", {}),
]


@pytest.mark.parametrize(("name", "mode", "options"), FORMATS)
def test_a_picture_is_written_in_its_own_format(tmp_path: Path, name: str, mode: str, options: Any) -> None:
    path = saved(tmp_path / name, mode, **options)
    source = read_source(path)
    data = encode(source, source.rgb)
    with Image.open(io.BytesIO(data)) as again, Image.open(path) as before:
        assert again.format == before.format
        assert again.size == before.size
        lossless = name.startswith(("e", "f", "g", "h", "i", "k", "l", "n"))
        gap = np.abs(np.asarray(again.convert("RGB")).astype(int) - read_image(path)).max()
        assert gap == 0 if lossless else gap <= 40
        if before.format == "JPEG" and mode != "CMYK":
            assert getattr(again, "quantization") == getattr(before, "quantization")  # noqa: B009
            assert bool(again.info.get("progressive")) == bool(before.info.get("progressive"))


def test_transparency_survives(tmp_path: Path) -> None:
    image = Image.fromarray(drawn()).convert("RGBA")
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    source = read_source(tmp_path / "a.png")
    hidden = METHODS.build("overlay")(source.rgb, face_boxes([[10, 10, 30, 30]]))
    again = Image.open(io.BytesIO(encode(source, hidden)))
    assert np.array_equal(np.asarray(again.getchannel("A")), alpha)


def face_boxes(xyxy: Any) -> Any:
    from sfumato.faces import Faces

    return Faces.of(xyxy)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_hidden_upright_and_its_exif_left_behind(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "taken at home by Alice"
    Image.fromarray(drawn(40, 64)).save(tmp_path / "a.jpg", quality=95, exif=exif)
    upright = read_image(tmp_path / "a.jpg")
    assert upright.shape == ((40, 64, 3) if orientation < 5 else (64, 40, 3))
    source = read_source(tmp_path / "a.jpg")
    data = encode(source, METHODS.build("overlay")(source.rgb, face_boxes([[0, 0, 16, 12]])))
    assert b"Alice" not in data
    (tmp_path / "b.jpg").write_bytes(data)
    again = read_image(tmp_path / "b.jpg")
    assert again.shape == upright.shape
    assert np.abs(again[:10, :12].astype(int) - 127).max() < 12
    assert np.abs(again[24:, 24:].astype(int) - upright[24:, 24:]).mean() < 3


def test_a_grey_photo_may_get_a_coloured_overlay(tmp_path: Path) -> None:
    source = read_source(saved(tmp_path / "a.jpg", "L", quality=90))
    data = encode(
        source, METHODS.build("overlay(color=(250, 0, 0))")(source.rgb, face_boxes([[8, 8, 40, 40]]))
    )
    pixel = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[20, 20]
    assert pixel[0] > 200
    assert pixel[1] < 60


def test_what_a_format_cannot_keep_is_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(drawn(seed=number)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_source(tmp_path / "a.gif").note == "first of 3 frames kept"
    deep = (picture(20, 30)[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    source = read_source(tmp_path / "a.png")
    assert "8 bits" in source.note
    assert np.array_equal(source.rgb[..., 0], picture(20, 30)[..., 0])
