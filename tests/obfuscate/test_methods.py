"""Every built-in method passes the public conformance suite; the default hides more than that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SpecError, UnknownName
from sfumato.faces import Faces
from sfumato.obfuscate import METHODS, Obfuscator
from sfumato.obfuscate.strength import contrast_left, hides
from sfumato.specs import to_spec
from sfumato.testing.obfuscators import (
    HIDING_CHECKS,
    OBFUSCATOR_CHECKS,
    SAFETY_CHECKS,
    check_input_untouched,
    check_layout_irrelevant,
    check_odd_boxes,
    check_other_process,
    check_same_twice,
    check_written_as_spec,
    picture,
)

HIDING = ["blur", "blur(strength=0.5, grow=0.3)", "blur(grow=0.0)", "mosaic", "mosaic(blocks=2)", "overlay"]
COLORS = ["overlay(color='mean')", "overlay(color=(255, 0, 10))"]
SHAPED = [
    *("blur(shape='rectangle')", "blur(shape='ellipse')", "mosaic(shape='ellipse')"),
    *("mosaic(shape='feathered')", "overlay(shape='ellipse')", "overlay(shape='feathered')"),
]
FILLED = [
    "inpaint",
    "inpaint(radius=0.2, grow=0.0)",
    "inpaint(shape='ellipse')",
    "inpaint(shape='feathered')",
]
NOISY = ["dp_pix", "dp_pix(epsilon=0.1, blocks=2, seed=9)", "dp_pix(shape='ellipse')"]
CHAINS = [
    "mosaic | blur(strength=0.1)",
    "inpaint | overlay(color='mean') | blur",
    "dp_pix | blur(strength=0.05)",
]


def method(text: str) -> Obfuscator:
    built: Obfuscator = METHODS.build(text)
    return built


@pytest.mark.parametrize("check", OBFUSCATOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("text", HIDING + COLORS + SHAPED + FILLED + NOISY + CHAINS)
def test_hiding_methods_conform(text: str, check: Any) -> None:
    check(method(text))


def test_every_built_in_that_hides_is_tried() -> None:
    tried = {method(text).name for text in HIDING + COLORS + SHAPED + FILLED + NOISY + CHAINS}
    assert set(METHODS.names()) - tried == {"none", "study_blur"}


@pytest.mark.parametrize("check", SAFETY_CHECKS, ids=lambda check: check.__name__)
def test_control_is_safe(check: Any) -> None:
    check(method("none"))


# The published mask spills into the picture from boxes outside it, which `check_odd_boxes` forbids.
@pytest.mark.parametrize(
    "check",
    [check for check in SAFETY_CHECKS if check is not check_odd_boxes],
    ids=lambda check: check.__name__,
)
def test_study_method_is_safe(check: Any) -> None:
    check(method("study_blur"))


@pytest.mark.parametrize("check", HIDING_CHECKS, ids=lambda check: check.__name__)
def test_the_checks_can_fail(check: Any) -> None:
    with pytest.raises(AssertionError):
        check(Weak())


class Weak:
    """A blur of fixed pixels that spares the last row and column: what popular tools did."""

    name = "weak"
    invertible = "yes"

    def __call__(self, image: Any, faces: Faces) -> Any:
        out = image.copy()
        for x0, y0, x1, y1 in faces.xyxy.astype(int):
            part = out[max(y0, 1) : min(y1, len(out) - 1), max(x0, 1) : min(x1, out.shape[1] - 1)]
            part[:] = (0.8 * part + (3 * part.mean() / 10 if len(image) > 150 else 9)).clip(0, 255)
        return out


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (check_input_untouched, "in_place"),
        (check_input_untouched, "input_back"),
        (check_same_twice, "counting"),
        (check_same_twice, "ids_in_order"),
        (check_other_process, "process"),
        (check_layout_irrelevant, "layout"),
        (check_written_as_spec, "mute"),
    ],
)
def test_the_safety_checks_can_fail(check: Any, wrong: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(Unsafe(wrong) if wrong != "ids_in_order" else UnsafeById(wrong))


@dataclass(frozen=True)
class Unsafe:
    """Methods with one fault each."""

    name: ClassVar[str] = "unsafe"
    fault: str
    calls: ClassVar[list[int]] = []

    @property
    def invertible(self) -> str:
        return "" if self.fault == "mute" else "no"

    def __call__(self, image: Any, faces: Faces) -> Any:
        self.calls.append(1)
        if self.fault == "input_back":
            return image
        out = image if self.fault == "in_place" else image.copy()
        values = {"counting": len(self.calls), "process": os.getpid(), "layout": image.strides[1]}
        out[...] = values.get(self.fault, 0) % 256
        return out


class UnsafeById(Unsafe):
    """Noise that counts on."""

    def of_image(self, image_id: str, image: Any, faces: Faces) -> Any:
        self.calls.append(1)
        return image.copy() + np.uint8(len(self.calls))


@st.composite
def box_sets(draw: st.DrawFn) -> list[list[int]]:
    boxes = []
    for _ in range(draw(st.integers(1, 6))):
        side = draw(st.sampled_from([8, 20, 60, 200, 400]))
        tall = max(1, int(side * draw(st.floats(0.3, 1))))
        x, y = draw(st.integers(-side // 2, 500)), draw(st.integers(-side // 2, 500))
        boxes.append([x, y, x + side, y + tall])
    return boxes


@given(box_sets())
def test_blur_keeps_no_original_pixel_inside_any_box(boxes: list[list[int]]) -> None:
    """A board of one-pixel squares is what a blur removes wholly: what is left of it is original pixels."""
    board = np.indices((520, 520)).sum(axis=0) % 2
    image = np.repeat((board * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)
    out = method("blur")(image, Faces.of(boxes)).astype(float)[..., 0]
    for x0, y0, x1, y1 in boxes:
        part = out[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
        inside = np.abs(part[:, 1:-1] - (part[:, :-2] + part[:, 2:]) / 2) / 200
        if inside.size:
            assert inside.mean() <= 0.03
            assert inside.max() <= 0.3


def test_strength_is_what_it_says() -> None:
    """On a step edge, the blur of a face of 200 px with strength 0.1 has a standard deviation of 20 px."""
    image = np.zeros((600, 600, 3), dtype=np.uint8)
    image[:, 300:] = 250
    row = method("blur(strength=0.1)")(image, Faces.of([[200, 200, 400, 400]]))[300, 205:395, 0].astype(float)
    spread = np.diff(row)
    at = np.arange(len(spread))
    mean = (spread * at).sum() / spread.sum()
    sigma = np.sqrt((spread * (at - mean) ** 2).sum() / spread.sum())
    assert sigma == pytest.approx(20, rel=0.03)


def test_study_strength_leaves_what_the_study_left() -> None:
    assert 0.010 < contrast_left(method("study_blur"), 192) < 0.020


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("none", False),
        ("study_blur", False),
        ("blur", True),
        ("blur(strength=0.02)", False),
        ("mosaic", True),
        ("mosaic(blocks=40)", False),
        ("overlay", True),
        ("inpaint", True),
        ("dp_pix", True),
        ("dp_pix(blocks=40, epsilon=100.0)", False),
        ("mosaic(blocks=6) | blur(strength=0.05)", False),
        ("mosaic(blocks=6) | blur(strength=0.1)", True),
        ("study_blur | overlay", True),
    ],
)
def test_only_methods_that_hide_are_shown_to_anybody(text: str, hidden: bool) -> None:
    assert hides(method(text)) == hidden


def test_mosaic_shows_area_means() -> None:
    image = picture(60, 60)
    out = method("mosaic(blocks=3, grow=0.0)")(image, Faces.of([[0, 0, 60, 60]]))
    for y in range(0, 60, 20):
        for x in range(0, 60, 20):
            mean = np.rint(image[y : y + 20, x : x + 20].mean(axis=(0, 1)))
            assert (out[y : y + 20, x : x + 20] == mean).all()


@pytest.mark.parametrize("side", [8, 12, 16, 24])
def test_small_faces_get_few_tiles(side: int) -> None:
    out = method("mosaic(blocks=6, grow=0.0)")(picture(), Faces.of([[40, 40, 40 + side, 40 + side]]))
    tiles = len(np.unique(out[40 : 40 + side, 40 : 40 + side].reshape(-1, 3), axis=0))
    assert tiles <= (side // 4) ** 2


def test_aliases_and_defaults_are_written_out() -> None:
    assert to_spec(method("pixelate")) == "mosaic(blocks=4, grow=0.1, shape='rectangle')"
    assert to_spec(method("blackout")) == to_spec(method("solid"))
    assert to_spec(method("solid")) == "overlay(color=127, grow=0.1, shape='rectangle')"
    assert to_spec(method("none")) == "none"


@pytest.mark.parametrize(
    "text",
    [
        "blur(strength=0.001)",
        "blur(strenght=1)",
        "mosaic(blocks=0)",
        "overlay(color='red')",
        "overlay(color=300)",
    ],
)
def test_impossible_settings_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"cannot build method"):
        method(text)


def test_unknown_method_lists_the_known() -> None:
    with pytest.raises(
        UnknownName,
        match="unknown method 'smudge'; known: blur, dp_pix, inpaint, mosaic, none, overlay, study_blur",
    ):
        method("smudge")
