"""Whatever lies in the folder: nothing crashes, nothing is lost, nothing unobfuscated is written."""

from __future__ import annotations

import errno
import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sfumato.data import read_dataset
from sfumato.detect import detect
from sfumato.engines import Work
from sfumato.errors import TableError
from sfumato.faces import Faces, FaceTable, read_faces
from sfumato.images import read_image
from sfumato.obfuscate import METHODS, VARIANT_SCHEMA, obfuscate
from sfumato.obfuscate import stage as obfuscate_stage
from sfumato.records import read_table, write_table
from tests.conftest import drawn, face_table

ONE = Work(workers=1)


@dataclass(frozen=True)
class Everywhere:
    """Finds one face, the whole picture, in every picture."""

    name: ClassVar[str] = "everywhere"

    def __call__(self, images: Sequence[Any]) -> list[Faces]:
        return [Faces.of([[0, 0, image.shape[1], image.shape[0]]], source=self.name) for image in images]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def png_that_says(width: int, height: int) -> bytes:
    """A small PNG whose header speaks of another size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def corpus() -> dict[str, bytes]:
    photo = Image.fromarray(drawn(48, 64))
    jpeg = encoded(photo, "JPEG", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = np.random.default_rng(0).integers(0, 65536, (30, 40), dtype=np.uint16)
    return {
        "good.jpg": jpeg,
        "good.png": encoded(photo, "PNG"),
        "good.JPEG": jpeg,
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header-only.jpg": jpeg[:20],
        "cut.png": encoded(photo, "PNG")[:-200],
        "zero.jpg": b"",
        "text.jpg": b"this is no picture\n",
        "is-a-png.jpg": encoded(photo, "PNG"),
        "is-a-jpeg.png": jpeg,
        "is-a-gif.webp": encoded(photo.quantize(32), "GIF"),
        "bomb.png": png_that_says(60_000, 60_000),
        "large-in-words.png": png_that_says(3000, 2000),
        "nothing-wide.png": png_that_says(0, 10),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(photo.convert("CMYK"), "TIFF"),
        "sixteen.png": encoded(Image.fromarray(deep), "PNG"),
        "one.png": encoded(Image.new("RGB", (1, 1), (9, 200, 30)), "PNG"),
        "one.jpg": encoded(Image.new("RGB", (1, 1), (9, 200, 30)), "JPEG"),
        "long.jpg": encoded(Image.fromarray(drawn(1, 5000)), "JPEG"),
        "tall.png": encoded(Image.fromarray(drawn(5000, 1)), "PNG"),
        "broken-exif.jpg": jpeg[:2] + b"\xff\xe1\x00\x10Exif\0\0II*\0\xff\xff\xff\xff" + jpeg[2:],
        "odd-turn.jpg": encoded(photo, "JPEG", exif=exif),
        "with space.png": encoded(photo, "PNG"),
        "line\nbreak.jpg": jpeg,
        "Übergröße-脸-🙂.jpg": jpeg,
        "twice.jpg": jpeg,
        "twice.png": encoded(photo, "PNG"),
        "trailing.jpg": jpeg + b"\0\0\0\x18ftypmp42" + bytes(500),
        "two-in-one.jpg": jpeg + jpeg,
        "moving.gif": encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        "pages.tif": encoded(photo, "TIFF", save_all=True, append_images=[photo, photo]),
        "x" * 240 + ".png": encoded(photo, "PNG"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for name, data in corpus().items():
        (root / name).write_bytes(data)
    (tmp_path / "outside.jpg").write_bytes(corpus()["good.jpg"])
    (root / "linked.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "nowhere.jpg").symlink_to(tmp_path / "no-such-file.jpg")
    return root


def hidden(before: Any, after: Any) -> bool:
    """Whether a picture shows hardly anything of another: it is one flat colour, about the overlay's grey."""
    return before.shape == after.shape and bool(np.abs(after.astype(int) - 127).max() <= 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_file_is_hidden_or_reported(folder: Path, tmp_path: Path, workers: int) -> None:
    dataset = read_dataset(folder)
    assert len(dataset) == len(corpus()) + 2
    work = Work(workers=workers)
    table = detect(dataset, Everywhere(), tmp_path / "faces", work=work)
    assert set(table.status) == {sample.image_id for sample in dataset.samples}
    out = tmp_path / "variant"
    manifest = obfuscate(dataset, table, METHODS.build("overlay"), out, work=work)
    rows = {row["image_id"]: row for row in read_table(out / "images.parquet", VARIANT_SCHEMA).to_pylist()}
    assert set(rows) == set(table.status)
    written = {path.name for path in out.iterdir() if path.suffix not in (".parquet", ".json", ".md")}
    assert written == {name for name, row in rows.items() if row["status"] == "ok"}
    for name, row in rows.items():
        if row["status"] == "ok":
            assert hidden(read_image(folder / name), read_image(out / name)), name
            assert row["written"] in ("edited", "encoded")
        else:
            assert row["error"]
            assert str(tmp_path) not in row["error"]
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert {"zero.jpg", "text.jpg", "bomb.png", "truncated.jpg", "header-only.jpg", "nowhere.jpg"} <= failed
    good = {"good.jpg", "is-a-png.jpg", "is-a-jpeg.png", "cmyk.jpg", "cmyk.tif", "sixteen.png", "one.png"}
    assert not failed & (good | {"linked.jpg", "long.jpg", "tall.png", "odd-turn.jpg", "broken-exif.jpg"})
    assert manifest.counts["failed"] == len(failed)


def test_a_seeded_flock_of_broken_jpegs_is_hidden_or_reported(tmp_path: Path) -> None:
    """200 mutants of one JPEG; benchmarks/obfuscate.py does 5,000."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(7)
    base = np.frombuffer(encoded(Image.fromarray(drawn(40, 56)), "JPEG", quality=85), dtype=np.uint8)
    for number in range(200):
        mutant = base.copy()
        for _ in range(rng.integers(1, 6)):
            mutant[rng.integers(2, len(mutant))] = rng.integers(0, 256)
        end = len(mutant) if number % 3 else int(rng.integers(20, len(mutant)))
        (tmp_path / f"photos/{number:03d}.jpg").write_bytes(mutant[:end].tobytes())
    dataset = read_dataset(tmp_path / "photos")
    table = detect(dataset, Everywhere(), tmp_path / "faces", work=ONE)
    out = tmp_path / "variant"
    obfuscate(dataset, table, METHODS.build("overlay"), out, work=ONE)
    ways = []
    for row in read_table(out / "images.parquet", VARIANT_SCHEMA).to_pylist():
        path = out / row["image_id"]
        assert path.exists() == (row["status"] == "ok")
        if row["status"] == "ok":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert hidden(read_image(dataset.path(row["image_id"])), read_image(path)), row
            ways.append(row["written"])
        else:
            assert row["error"]
    assert len(ways) > 50


def test_boxes_that_are_none_end_the_command_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, {"train/apple/0.jpg": [[10, 10, 30, 34]]})
    for column, value in ((1, float("nan")), (1, 99.0), (3, float("inf"))):
        name = table.faces.column_names[column]
        spoilt = table.faces.set_column(column, name, pa.array([value], pa.float32()))
        with pytest.raises(TableError, match=r"faces\.parquet: .*again"):
            obfuscate(
                dataset,
                FaceTable(spoilt, table.images, table.manifest),
                METHODS.build("blur"),
                tmp_path / f"v{value}",
                work=ONE,
            )
        assert not list((tmp_path / f"v{value}").rglob("*.jpg"))


def test_boxes_beyond_the_picture_are_hidden_as_far_as_they_reach(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    boxes = [[-50, -50, 20, 20], [50, 30, 900, 900], [400, 400, 500, 500]]
    table = face_table(dataset, {"val/pear/1.png": boxes})
    obfuscate(dataset, table, METHODS.build("overlay(grow=0.0)"), tmp_path / "v", work=ONE)
    after = read_image(tmp_path / "v/val/pear/1.png")
    assert (after[:20, :20] == 127).all()
    assert (after[30:, 50:] == 127).all()
    assert np.array_equal(after[:20, 30:], dataset.read("val/pear/1.png")[:20, 30:])


def test_faces_of_images_that_are_not_there_are_counted(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, {"val/pear/1.png": [[1, 1, 9, 9]], "val/pear/gone.png": [[1, 1, 9, 9]] * 2})
    manifest = obfuscate(dataset, table, METHODS.build("blur"), tmp_path / "v", work=ONE)
    assert manifest.counts["faces_of_absent_images"] == 2
    assert manifest.counts["faces"] == 1


def test_images_that_nobody_examined_are_not_passed_on(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, {})
    fewer = FaceTable(table.faces, table.images.slice(1), table.manifest)
    obfuscate(dataset, fewer, METHODS.build("blur"), tmp_path / "v", work=ONE)
    first = dataset.samples[0].image_id
    rows = read_table(tmp_path / "v/images.parquet", VARIANT_SCHEMA).to_pylist()
    assert rows[0]["error"].startswith("not examined")
    assert not (tmp_path / "v" / first).exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_ends_the_run_and_loses_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    dataset = read_dataset(photos)
    table = face_table(dataset, {"train/apple/0.jpg": [[10, 10, 30, 34]], "val/pear/1.png": [[0, 0, 9, 9]]})
    calls = []

    def fails(path: Path, data: bytes, *, durable: bool = True) -> None:
        calls.append(path)
        raise OSError(code, "no", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(obfuscate_stage, "write_atomic", fails)
        with pytest.raises(OSError, match="no"):
            obfuscate(dataset, table, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    assert calls
    assert not (tmp_path / "v/manifest.json").exists()
    assert not (tmp_path / "v/train/apple/0.jpg").exists()
    manifest = obfuscate(dataset, table, METHODS.build("overlay"), tmp_path / "v", work=ONE)
    assert manifest.counts["failed"] == 0


def test_a_face_table_of_another_version_is_refused_by_name(photos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(photos)
    detect(dataset, Everywhere(), tmp_path / "faces", work=ONE)
    path = tmp_path / "faces/images.parquet"
    write_table(path, read_table(path, pa.schema([])).drop_columns(["frames"]))
    with pytest.raises(TableError, match=r"images\.parquet.*frames"):
        read_faces(tmp_path / "faces")
