"""Small data sets that the tests draw themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from sfumato.cli import main
from sfumato.data import Dataset
from sfumato.faces import Faces, FaceTable, faces_rows
from sfumato.faces.table import tables
from sfumato.records import Manifest, file_sha256

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Run = Callable[..., tuple[int, str, str]]
"""A command as a person types it: from its words to exit code, standard output, standard error."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# A machine that decides about a change tries the same examples every time; people try new ones.
settings.register_profile("same", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("same")


def drawn(height: int = 48, width: int = 64, *, seed: int = 0) -> Any:
    """A smooth random picture: encoders keep it well."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A labelled folder: two categories, train and val, JPEG and PNG, in `tmp_path/photos`."""
    root = tmp_path / "photos"
    for split, count in (("train", 6), ("val", 4)):
        for category in ("apple", "pear"):
            for number in range(count):
                seed = hash_of(f"{split}{category}{number}")
                path = root / split / category / f"{number}.{'png' if number == 1 else 'jpg'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(drawn(seed=seed)).save(path, quality=93)
    return root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty folder; gives exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def hash_of(text: str) -> int:
    """A small stable number from a text."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(text))


def face_table(
    dataset: Dataset, boxes: Mapping[str, Any], failed: Mapping[str, str] | None = None
) -> FaceTable:
    """A face table as `detect` would have written it, with these boxes by image id."""
    failed = failed or {}
    faces = [
        row for image_id, xyxy in boxes.items() for row in faces_rows(image_id, Faces.of(xyxy, source="test"))
    ]
    images = []
    for sample in dataset.samples:
        base = {"image_id": sample.image_id, "split": sample.split, "label": sample.label}
        digest = {"sha256": file_sha256(dataset.path(sample.image_id))}
        if sample.image_id in failed:
            images.append(base | digest | {"status": "failed", "error": failed[sample.image_id]})
        else:
            height, width = dataset.read(sample.image_id).shape[:2]
            images.append(base | digest | {"status": "ok", "width": width, "height": height, "frames": 1})
    face_rows, image_rows = tables(faces, images)
    facts = {"categories": list(dataset.categories)}
    return FaceTable(face_rows, image_rows, Manifest("faces", f"test-{len(faces)}", {}, {}, facts=facts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where SFUMATO_NO_SKIP is set (in CI), a browser test that is skipped for want of a browser fails."""
    report = yield
    if report.skipped and os.environ.get("SFUMATO_NO_SKIP") and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
