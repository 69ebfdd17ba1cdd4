from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import Dataset, read_folder
from sfumato.engines import Work
from sfumato.errors import ManifestError
from sfumato.learn.cache import open_packed, pack, packed_side
from sfumato.learn.index import INDEX_SCHEMA
from sfumato.learn.views import shrink

Make = Callable[..., Dataset]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def only(root: Path) -> Path:
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("side", [16, 64])
def test_the_cache_equals_direct_decoding(
    colours: Make, tmp_path: Path, workers: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.learn.index._SERIAL_BYTES", 0)
    dataset = colours(train=20)
    packed = pack(dataset, "train", shorter_side=side, root=tmp_path / "cache", work=Work(workers=workers))
    samples = dataset.subset("train").samples
    assert packed.image_ids == tuple(sample.image_id for sample in samples)
    assert packed.labels.tolist() == [sample.label for sample in samples]
    assert packed.table.schema == INDEX_SCHEMA
    for row, sample in enumerate(samples):
        assert np.array_equal(packed.image(row), shrink(dataset.read(sample.image_id), side))
    assert sorted(path.name for path in only(tmp_path / "cache").iterdir()) == [
        "index.parquet",
        "manifest.json",
        "pixels.u8",
    ]


def test_photos_are_packed_at_reduced_size(photos: Path, tmp_path: Path) -> None:
    dataset = read_folder(photos)
    packed = pack(dataset, "val", shorter_side=24, root=tmp_path / "cache")
    assert packed.shapes.tolist() == [[24, 32]] * 8
    for row, image_id in enumerate(packed.image_ids):  # reduced JPEG decoding is close, not equal
        whole = shrink(dataset.read(image_id), 24)
        assert np.abs(packed.image(row).astype(int) - whole.astype(int)).mean() < 3


def test_failed_images_are_rows_with_a_reason(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    broken, missing = (sample.image_id for sample in dataset.subset("train").samples[3:5])
    dataset.path(broken).write_bytes(b"no picture")
    dataset.path(missing).unlink()
    packed = pack(dataset, "train", shorter_side=16, root=tmp_path / "cache")
    assert len(packed.table) == 20
    assert len(packed) == 18
    assert set(packed.failed) == {broken, missing}
    assert "not a picture" in packed.failed[broken]
    assert "no such file" in packed.failed[missing]
    rows = packed.table.to_pylist()
    assert [row["status"] for row in rows[3:5]] == ["failed", "failed"]
    assert rows[3]["height"] == 0
    assert np.array_equal(packed.image(3), shrink(dataset.read(packed.image_ids[3]), 16))


def test_a_killed_cache_goes_on_and_ends_in_the_same_bytes(colours: Make, tmp_path: Path) -> None:
    dataset = colours(train=40)

    def kill(stage: str, done: int, total: int) -> None:
        if done >= 32:
            raise Killed

    with pytest.raises(Killed):
        pack(dataset, "train", shorter_side=16, root=tmp_path / "a", work=Work(workers=1, progress=kill))
    calls: list[int] = []
    work = Work(workers=1, progress=lambda stage, done, total: calls.append(done))
    resumed = pack(dataset, "train", shorter_side=16, root=tmp_path / "a", work=work)
    whole = pack(dataset, "train", shorter_side=16, root=tmp_path / "b")
    assert calls[0] == 32
    assert resumed.table.equals(whole.table)
    assert (only(tmp_path / "a") / "pixels.u8").read_bytes() == (
        only(tmp_path / "b") / "pixels.u8"
    ).read_bytes()
    calls.clear()
    pack(dataset, "train", shorter_side=16, root=tmp_path / "a", work=work)
    assert calls == []


def test_sizes_and_splits_have_caches_of_their_own(colours: Make, tmp_path: Path) -> None:
    dataset = colours()
    for split, side in (("train", 16), ("train", 20), ("val", 16)):
        pack(dataset, split, shorter_side=side, root=tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 3
    assert packed_side(224, 256 / 224) == 256


def test_a_damaged_cache_is_not_used(colours: Make, tmp_path: Path) -> None:
    pack(colours(), "val", shorter_side=16, root=tmp_path / "cache")
    folder = only(tmp_path / "cache")
    pixels = folder / "pixels.u8"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"damaged cache.*delete"):
        open_packed(folder)
