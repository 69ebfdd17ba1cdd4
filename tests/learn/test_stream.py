from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfumato.data import Dataset, Sample, read_folder
from sfumato.engines import Work
from sfumato.errors import TableError, TrainingError
from sfumato.images import read_image, to_stored
from sfumato.learn import Recipe, RunConfig, train
from sfumato.learn.cache import pack
from sfumato.learn.chance import keys_of
from sfumato.learn.stream import (
    STREAM_SCHEMA,
    Streamed,
    _examine,
    open_streamed,
    reduction,
    stored_window,
    stream,
)
from sfumato.learn.views import centre_windows, cut
from tests.conftest import drawn

Make = Callable[..., Dataset]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def one(path: Path) -> Streamed:
    """A split of one picture."""
    row: dict[str, Any] = _examine(Sample(path.name, "train", 0), path)
    assert row["status"] == "ok"
    return Streamed(
        image_ids=(path.name,),
        labels=np.zeros(1, dtype=np.int64),
        shapes=np.array([[row["height"], row["width"]]]),
        keys=keys_of([path.name]),
        failed={},
        table=STREAM_SCHEMA.empty_table(),
        _root=path.parent,
        _orientations=np.array([row["orientation"]]),
        _scalable=np.array([row["scalable"]]),
        _n_bytes=np.array([row["n_bytes"]]),
        _crc32=np.array([row["crc32"]]),
    )


def seen(path: Path, window: tuple[int, int, int, int], size: int) -> Any:
    return one(path).batch(np.array([0]), np.array([window]), size=size)[0].astype(int)


def smooth(height: int, width: int, *, seed: int = 0) -> Any:
    """A picture without detail, so that it looks the same at every scale."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(path: Path, *, height: int, width: int, orientation: int = 1, seed: int = 0, **how: Any) -> Path:
    """A smooth picture whose upright size this is."""
    stored = np.ascontiguousarray(to_stored(smooth(height, width, seed=seed), orientation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, "jpeg", **({"quality": 95, "exif": exif} | how))
    return path


def step(square: Any) -> Any:
    """The largest difference between neighbours: what moving the window by a pixel of the square can do."""
    return max(np.abs(np.diff(square, axis=axis)).max(initial=0) for axis in (0, 1))


SPECIAL: dict[str, Callable[[Any], bytes]] = {}


def encoded(image: Any, kind: str, **how: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


SPECIAL |= {
    "grey.jpg": lambda image: encoded(image.convert("L"), "jpeg"),
    "cmyk.jpg": lambda image: encoded(image.convert("CMYK"), "jpeg"),
    "progressive.jpg": lambda image: encoded(image, "jpeg", progressive=True),
    "full-chroma.jpg": lambda image: encoded(image, "jpeg", subsampling=0),
    "half-chroma.jpg": lambda image: encoded(image, "jpeg", subsampling=1),
    "keep-rgb.jpg": lambda image: encoded(image, "jpeg", keep_rgb=True),
    "really-png.jpg": lambda image: encoded(image, "png"),
    "palette.png": lambda image: encoded(image.convert("P"), "png"),
    "alpha.png": lambda image: encoded(image.convert("RGBA"), "png"),
    "grey-alpha.png": lambda image: encoded(image.convert("LA"), "png"),
    "sixteen.png": lambda image: encoded(
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "png"
    ),
    "bits.png": lambda image: encoded(image.convert("1"), "png"),
    "a.gif": lambda image: encoded(image, "gif"),
    "a.bmp": lambda image: encoded(image, "bmp"),
    "a.webp": lambda image: encoded(image, "webp"),
    "cmyk.tif": lambda image: encoded(image.convert("CMYK"), "tiff"),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_every_format_is_seen_as_read_image_reads_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(SPECIAL[name](Image.fromarray(drawn(61, 83))))
    whole = read_image(path)
    for window in ((0, 0, 61, 61), (5, 7, 45, 40), (20, 10, 36, 26)):
        assert np.abs(seen(path, window, 16) - cut(whole, window, 16)).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_orientation_is_applied_at_every_scale(tmp_path: Path, orientation: int, scale: int) -> None:
    path = jpeg(tmp_path / "a.jpg", height=301, width=413, orientation=orientation)
    images = one(path)
    assert images.shapes.tolist() == [[301, 413]]
    assert images._scalable.tolist() == [True]
    window, size = (97, 40, 353, 298), 128 // scale - 1
    assert reduction(np.array(window), size) == scale
    expected = cut(read_image(path), window, size).astype(int)
    difference = np.abs(seen(path, window, size) - expected)
    # The window is rounded by up to a quarter of a pixel of the square.
    assert difference.mean() <= 1 + step(expected) / 4
    assert difference.max() <= 2 + step(expected) / 2


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.tuples(st.integers(40, 300), st.integers(40, 300)),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(8, 40),
)
def test_equal_windows_see_equal_content(
    tmp_path_factory: pytest.TempPathFactory,
    orientation: int,
    shape: tuple[int, int],
    share: tuple[float, float, float, float],
    size: int,
) -> None:
    """Any window of a smooth picture, also one that reaches over its borders, at whatever scale."""
    height, width = shape
    path = jpeg(tmp_path_factory.mktemp("a") / "a.jpg", height=height, width=width, orientation=orientation)
    wide, high = 8 + round(share[0] * (width - 8)), 8 + round(share[1] * (height - 8))
    x0 = round(share[2] * (width - wide)) + (3 if share[0] > 0.9 else 0)
    y0 = round(share[3] * (height - high)) - (3 if share[1] > 0.9 else 0)
    window = (x0, y0, x0 + wide, y0 + high)
    expected = cut(read_image(path), window, size).astype(int)
    found = seen(path, window, size)
    if reduction(window, size) == 1:
        assert np.abs(found - expected).max() <= 2  # the same pixels; resized before or after turning
    assert np.abs(found - expected).max() <= 4 + step(expected)
    assert np.abs(found - expected).mean() <= 2 + step(expected) / 4


def test_at_full_scale_windows_are_exact(tmp_path: Path) -> None:
    """A window of the squares' size shows the pixels themselves, bit for bit, in either decoder."""
    jpeg(tmp_path / "a.jpg", height=90, width=120)
    Image.fromarray(drawn(90, 120)).save(tmp_path / "a.png")
    for name in ("a.jpg", "a.png"):
        whole = read_image(tmp_path / name)
        for x0, y0 in ((0, 0), (1, 3), (88, 58), (17, 40)):
            window = (x0, y0, x0 + 32, y0 + 32)
            assert np.array_equal(seen(tmp_path / name, window, 32), whole[y0 : y0 + 32, x0 : x0 + 32])


@given(
    st.integers(1, 8), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.tuples(*[st.integers(0, 40)] * 4)
)
def test_stored_windows_hold_the_same_pixels(
    orientation: int, shape: tuple[int, int], ends: tuple[int, int, int, int]
) -> None:
    height, width = shape
    upright = np.arange(height * width).reshape(height, width)
    (x0, x1), (y0, y1) = (
        sorted(min(end, limit) for end in pair) for pair, limit in ((ends[:2], width), (ends[2:], height))
    )
    u0, v0, u1, v1 = stored_window(np.array([x0, y0, x1, y1]), np.array(shape), orientation)
    stored = to_stored(upright, orientation)[v0:v1, u0:u1]
    assert np.array_equal(stored, to_stored(upright[y0:y1, x0:x1], orientation))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(8, 300))
def test_reduction_is_the_largest_that_leaves_enough_pixels(wide: int, high: int, size: int) -> None:
    scale = reduction((10, 20, 10 + wide, 20 + high), size)
    assert scale in (1, 2, 4, 8)
    assert scale == 1 or min(wide, high) / scale >= 2 * size
    assert scale == 8 or min(wide, high) / (2 * scale) < 2 * size


def test_streamed_views_are_close_to_packed_ones(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / "set" / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg(path, height=300 + 7 * number, width=420 - 11 * number, seed=number, orientation=1 + number)
    dataset = read_folder(tmp_path / "set")
    packed = pack(dataset, "train", shorter_side=64, root=tmp_path / "cache")
    streamed = stream(dataset, "train", root=tmp_path / "cache")
    assert streamed.image_ids == packed.image_ids
    assert np.array_equal(streamed.labels, packed.labels)
    assert np.array_equal(streamed.keys, packed.keys)
    rows, flips = np.arange(6), np.array([True, False] * 3)
    batches = [
        images.batch(rows, centre_windows(images.shapes, 1.0), size=48, mirrored=flips).astype(int)
        for images in (packed, streamed)
    ]
    assert np.abs(batches[0] - batches[1]).mean() < 2
    assert np.abs(batches[0] - batches[1][:, :, ::-1]).mean() > 10


@pytest.mark.parametrize("prepare", [stream, lambda *args, **how: pack(*args, shorter_side=20, **how)])
def test_threads_and_order_change_no_bit(photos: Path, tmp_path: Path, prepare: Any) -> None:
    images = prepare(read_folder(photos), "train", root=tmp_path / "cache")
    rows = np.array([3, 0, 11, 7, 3, 5, 1])
    windows = centre_windows(images.shapes[rows], 1.2)
    flips = rows % 2 == 0
    first = images.batch(rows, windows, size=16, mirrored=flips)
    for threads in (2, 3, 16):
        assert np.array_equal(images.batch(rows, windows, size=16, mirrored=flips, threads=threads), first)
    turned = images.batch(rows[::-1], windows[::-1], size=16, mirrored=flips[::-1])
    assert np.array_equal(turned, first[::-1])
    assert np.array_equal(images.batch(rows, windows, size=16)[flips], first[flips][:, :, ::-1])
    assert images.batch(rows[:0], windows[:0], size=16, threads=2).shape == (0, 16, 16, 3)


def test_failed_images_are_rows_before_training_begins(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    broken, missing = (sample.image_id for sample in dataset.subset("train").samples[3:5])
    dataset.path(broken).write_bytes(b"no picture")
    dataset.path(missing).unlink()
    images = stream(dataset, "train", root=tmp_path / "cache")
    assert len(images) == 18
    assert set(images.failed) == {broken, missing}
    assert "not a picture" in images.failed[broken]
    assert "no such file" in images.failed[missing]
    assert [row["status"] for row in images.table.to_pylist()[3:5]] == ["failed", "failed"]
    assert images.labels.tolist() == [0] * 8 + [1] * 10
    views = images.batch(np.arange(18), centre_windows(images.shapes, 1.0), size=20)
    for view, image_id, window in zip(
        views, images.image_ids, centre_windows(images.shapes, 1.0), strict=True
    ):
        assert np.array_equal(view, cut(dataset.read(image_id), window, 20))


def test_a_truncated_jpeg_fails_before_training_begins(tmp_path: Path) -> None:
    """OpenCV alone would show its lower half as grey."""
    for number in range(2):
        path = tmp_path / "set" / "train" / "a" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg(path, height=200, width=300)
    path.write_bytes(path.read_bytes()[:-900])
    images = stream(read_folder(tmp_path / "set"), "train", root=tmp_path / "cache")
    assert list(images.failed) == ["train/a/1.jpg"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_index_is_made_once_and_serves_every_size(
    photos: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.learn.index._SERIAL_BYTES", 0)
    dataset = read_folder(photos)
    first = stream(dataset, "train", root=tmp_path / "cache", work=Work(workers=workers))
    calls: list[int] = []
    work = Work(progress=lambda stage, done, total: calls.append(done))
    again = stream(dataset, "train", root=tmp_path / "cache", work=work)
    assert calls == []
    assert again.table.equals(first.table)
    assert first.table.schema.names[:6] == ["image_id", "label", "height", "width", "status", "error"]
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == ["index.parquet", "manifest.json"]
    (folder / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"index\.parquet"):
        open_streamed(folder, dataset.root)


def test_a_killed_index_goes_on(colours: Make, tmp_path: Path) -> None:
    dataset = colours(train=40)

    def kill(stage: str, done: int, total: int) -> None:
        assert stage == "examine"
        if done >= 32:
            raise Killed

    with pytest.raises(Killed):
        stream(dataset, "train", root=tmp_path / "a", work=Work(workers=1, progress=kill))
    calls: list[int] = []
    work = Work(workers=1, progress=lambda stage, done, total: calls.append(done))
    resumed = stream(dataset, "train", root=tmp_path / "a", work=work)
    assert calls[0] == 32
    assert resumed.table.equals(stream(dataset, "train", root=tmp_path / "b").table)


def test_an_empty_split_is_no_error(colours: Make, tmp_path: Path) -> None:
    images = stream(colours(), "test", root=tmp_path / "cache")
    assert len(images) == 0
    assert images.shapes.shape == (0, 2)


def swapped(path: Path) -> None:
    """One bit of one pixel; size and length stay."""
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def replaced(path: Path) -> None:
    path.write_bytes(encoded(Image.new("RGB", (9, 9)), "png"))


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], None]] = {
    "No such file": Path.unlink,
    "another file than before": replaced,
    "another file": swapped,
    "Is a directory": made_a_folder,
}


@pytest.mark.parametrize("message", CHANGES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_changed_image_stops_with_its_name(
    photos: Path, tmp_path: Path, message: str, threads: int
) -> None:
    images = stream(read_folder(photos), "train", root=tmp_path / "cache")
    CHANGES[message](photos / images.image_ids[2])
    windows = centre_windows(images.shapes, 1.0)
    rows = np.arange(len(images))
    with pytest.raises(TrainingError, match=rf"{images.image_ids[2]}.*{message}.*restore it"):
        images.batch(rows, windows, size=16, threads=threads)
    others = np.delete(rows, 2)
    assert len(images.batch(others, windows[others], size=16, threads=threads)) == len(others)


def test_an_image_deleted_between_epochs_stops_the_run(colours: Make, tiny: Recipe, tmp_path: Path) -> None:
    dataset = colours()
    victim = dataset.path(dataset.subset("train").samples[4].image_id)

    def delete(stage: str, done: int, total: int) -> None:
        if stage == "train" and done >= 20:
            victim.unlink(missing_ok=True)

    with pytest.raises(TrainingError, match=rf"{victim.name}: No such file.*deleted or changed"):
        train(
            dataset,
            RunConfig("small_resnet", tiny),
            tmp_path / "run",
            budget=0,
            work=Work(progress=delete),
        )
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_reading_leaves_opencv_as_it_was(photos: Path, tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    stream(read_folder(photos), "val", root=tmp_path / "cache")
    assert cv2.getNumThreads() == before
