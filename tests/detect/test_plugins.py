"""A detector in a package of its own: installed, found through its entry point, conformant, usable."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from sfumato.detect import DETECTORS, Detector
from sfumato.detect.function import FunctionDetector
from sfumato.errors import ImageError, SpecError
from sfumato.faces import Faces
from sfumato.specs import Spec, parse, to_spec
from sfumato.testing import DETECTOR_CHECKS
from sfumato.testing import detectors as checks

PACKAGE = Path(__file__).parents[1] / "plugins/brightspot"
BUILT_IN = ["fast", "balanced", "high-recall", "centerface", "retinaface"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into by pip."""
    target = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(PACKAGE)],
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    importlib.invalidate_caches()


def test_the_package_is_small() -> None:
    code = (PACKAGE / "brightspot.py").read_text().splitlines()
    assert len([line for line in code if line.strip()]) <= 20


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("spec", ["brightspot", "brightest(level=190)"])
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_a_plugin_passes_the_conformance_suite(check: checks.Check, spec: str) -> None:
    check(DETECTORS.build(spec))


@pytest.mark.usefixtures("on_path")
def test_a_plugin_is_built_by_name_with_its_options() -> None:
    assert {"brightspot", "brightest"} <= set(DETECTORS.names())
    assert to_spec(DETECTORS.build("brightspot(level=180)")) == "brightspot(level=180)"
    assert DETECTORS.provider("brightspot") == "brightspot 1.2"
    function = DETECTORS.build("brightest(level=180)")
    assert to_spec(function) == "brightest(level=180)"
    assert to_spec(DETECTORS.build("brightest")) == "brightest(level=200)"  # every default written out
    assert function.inputs == {"provider": "brightspot 1.2"}
    with pytest.raises(SpecError, match="cannot build detector 'brightest\\(levels=1\\)'"):
        DETECTORS.build("brightest(levels=1)")


@pytest.mark.parametrize("spec", ["brightspot", "brightest"])
def test_a_plugin_serves_the_commands(installed: Path, tmp_path: Path, spec: str) -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[10:20, 30:50] = 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos/a.png")

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from sfumato.cli import main; sys.exit(main())", *arguments],
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    listed = {item["name"]: item for item in run("plugins", "--json")["detectors"]}
    assert listed[spec]["provider"] == "brightspot 1.2"
    counts = run(
        "detect", str(tmp_path / "photos"), "--out", str(tmp_path / "faces"), "--detector", spec, "--json"
    )["counts"]
    assert counts["faces"] == 1


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_built_in_detectors_pass_the_conformance_suite(check: checks.Check, name: str) -> None:
    check(DETECTORS.build(name))


@dataclass(frozen=True)
class Broken:
    """A detector with one fault."""

    name: ClassVar[str] = "broken"

    fault: str = ""

    def __call__(self, images: Sequence[Any]) -> list[Faces]:
        if self.fault == "writes":
            images[0][:] = 0
        found = [self._one(image, len(images)) for image in images]
        return found[1:] if self.fault == "drops" else found

    def _one(self, image: Any, n_images: int) -> Faces:
        height, width = image.shape[:2]
        boxes, scores = [[0, 0, width, height]], [0.5]
        if image.std() == 0 and self.fault != "imagines":
            return Faces.of()
        if self.fault == "leaves" and min(height, width) < 50:
            boxes = [[0, 0, width + 1, height]]
        if self.fault == "outside":
            boxes = [[-1, 0, width, height]]
        if self.fault == "unsorted":
            boxes, scores = boxes * 2, [0.1, 0.2]
        if self.fault == "company":
            scores = [1 / n_images]
        if self.fault == "layout":
            scores = [1.0 if image.flags.c_contiguous else 0.0]
        if self.fault == "process":
            scores = [(os.getpid() % 977) / 977]
        return Faces.of(boxes, scores)


@dataclass(frozen=True)
class Untold(Broken):
    """A detector whose weights nobody may use, for all that it says."""

    @property
    def weights(self) -> Any:
        from dataclasses import replace

        (weights, *_) = DETECTORS.build("centerface").weights
        return (replace(weights, licence=""),)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("drops", checks.check_one_result_a_picture),
        ("imagines", checks.check_one_result_a_picture),
        ("writes", checks.check_input_untouched),
        ("outside", checks.check_boxes_and_scores),
        ("unsorted", checks.check_boxes_and_scores),
        ("company", checks.check_each_as_if_alone),
        ("leaves", checks.check_odd_shapes),
        ("layout", checks.check_layout_irrelevant),
        ("process", checks.check_other_process),
    ],
)
def test_the_suite_notices_a_fault(fault: str, check: checks.Check) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(Broken(fault))
    check(Broken())


def test_the_suite_notices_weights_without_a_licence() -> None:
    with pytest.raises(AssertionError, match="licence"):
        checks.check_weights_described(Untold())


@pytest.mark.parametrize(
    "found", [[[1, 2, 3, 4], [5]], [[1, 2, 3]], [1, 2, 3, 4], [[5, 5, 1, 1]], [[0, 0, float("nan"), 1]]]
)
def test_a_function_that_gives_no_boxes_fails_for_the_image_only(found: Any) -> None:
    function: Callable[..., Any] = lambda image: found  # noqa: E731
    detector: Detector = FunctionDetector(Spec("odd", {}), function, "nobody 0")
    with pytest.raises(ImageError, match=r"odd (gave|fails)"):
        detector([np.zeros((4, 4, 3), dtype=np.uint8)])


def test_boxes_of_a_function_are_cut_to_the_picture_and_sorted() -> None:
    rows = [[-5, 0, 10, 10, 0.2], [0, 0, 99, 99, 1.7], [50, 50, 60, 60, 0.5]]
    detector: Detector = FunctionDetector(parse("odd"), lambda image: rows, "nobody 0")
    (faces,) = detector([np.zeros((20, 30, 3), dtype=np.uint8)])
    assert faces.xyxy.tolist() == [[0, 0, 30, 20], [0, 0, 10, 10]]
    assert faces.score.tolist() == [1.0, pytest.approx(0.2)]
