"""Checks that every obfuscator passes; see `sfumato.testing`."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.obfuscate.method import Obfuscator, ObfuscatorById, apply
from sfumato.obfuscate.strength import MAX_CONTRAST, contrast_left, mean_effect
from sfumato.specs import parse, split_chain, to_spec

Check = Callable[[Obfuscator], None]

REACH = 0.5
"""No method may change a pixel further from a box than this fraction of its longer side, plus 8 pixels."""


def picture(height: int = 120, width: int = 160, *, seed: int = 0) -> Pixels:
    """A random picture, (height, width, 3) uint8: hiding must change any part of it."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def check_input_untouched(method: Obfuscator) -> None:
    """The picture that goes in is not changed, may be read-only, and shares no memory with what comes out."""
    image, boxes = picture(), [[20, 20, 80, 90]]
    before = image.copy()
    method(image, Faces.of(boxes))
    assert np.array_equal(image, before), "the method writes into its input"
    image.setflags(write=False)
    for faces in (Faces.of(boxes), Faces.of()):
        assert not np.shares_memory(method(image, faces), image), "the method gives its input back"


def check_shape_and_type(method: Obfuscator) -> None:
    """Height, width, channels and uint8 are kept."""
    for height, width in ((120, 160), (1, 1), (1, 300), (37, 2)):
        out = method(picture(height, width), Faces.of([[0, 0, width, height]]))
        assert out.shape == (height, width, 3), f"shape {(height, width, 3)} became {out.shape}"
        assert out.dtype == np.uint8, f"uint8 became {out.dtype}"


def check_no_faces_no_change(method: Obfuscator) -> None:
    """A picture without faces comes out equal."""
    image = picture()
    assert np.array_equal(method(image, Faces.of()), image), "a picture without faces is changed"


def check_outside_equal(method: Obfuscator) -> None:
    """Pixels further from every box than half a face plus 8 pixels are equal."""
    image = picture(400, 400)
    out = method(image, Faces.of([[150, 150, 210, 200]]))
    reach = int(REACH * 60 + 8)
    near = np.zeros((400, 400), dtype=bool)
    near[150 - reach : 200 + reach, 150 - reach : 210 + reach] = True
    assert np.array_equal(out[~near], image[~near]), "pixels far from the face are changed"


def check_order_irrelevant(method: Obfuscator) -> None:
    """The order of faces does not matter, even where they overlap."""
    boxes = np.array(
        [[20, 20, 60, 70], [50, 40, 110, 100], [55, 45, 65, 55], [20, 20, 60, 70]], dtype=np.float32
    )
    image = picture()
    first = method(image, Faces.of(boxes))
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        assert np.array_equal(method(image, Faces.of(boxes[order])), first), "the order of faces matters"


def check_same_twice(method: Obfuscator) -> None:
    """The same input gives the same output; where it depends on the image's id, for that id."""
    image, faces = picture(), Faces.of([[20.5, 20.25, 80, 90]])
    assert np.array_equal(method(image, faces), method(image, faces)), "two calls differ"
    if isinstance(method, ObfuscatorById):
        first = [method.of_image(name, image, faces) for name in ("a.jpg", "b/ü.png")]
        again = [method.of_image(name, image, faces) for name in ("b/ü.png", "a.jpg")][::-1]
        assert all(map(np.array_equal, first, again)), "the order of images matters"
        assert np.array_equal(method.of_image("", image, faces), method(image, faces)), (
            "a call without an id is not that of the id ''"
        )


def check_layout_irrelevant(method: Obfuscator) -> None:
    """A picture that lies in memory in another way (a part, a mirror image) is the same picture."""
    faces = Faces.of([[20, 20, 80, 90]])
    for view in (picture(200, 200)[30:150, 20:180], picture()[:, ::-1]):
        assert np.array_equal(method(view, faces), method(np.ascontiguousarray(view), faces)), (
            "the layout of a picture in memory matters"
        )


def check_written_as_spec(method: Obfuscator) -> None:
    """It has a name, says what can be undone, and can be written as a spec that reads as it was written."""
    assert method.name, "a method needs a name"
    assert method.invertible, "a method says in `invertible` what an attacker could undo, or 'no'"
    for step in split_chain(to_spec(method)):
        assert str(parse(step)) == step, f"{step} does not read as it was written"


def check_other_process(method: Obfuscator) -> None:
    """It can be pickled, and gives the same bytes in another process."""
    image, faces = picture(), Faces.of([[20.5, 20.25, 80.0, 90.0], [60.0, 70.0, 160.0, 120.0]])
    copy: Obfuscator = pickle.loads(pickle.dumps(method))
    assert to_spec(copy) == to_spec(method), "its options are lost when it is pickled"
    try:
        there = _elsewhere().submit(apply, copy, "a.jpg", image, faces).result()
    except BrokenProcessPool:
        _elsewhere.cache_clear()
        raise
    assert np.array_equal(there, apply(method, "a.jpg", image, faces)), "another process gives other bytes"


@cache
def _elsewhere() -> ProcessPoolExecutor:
    """Another process, started anew and not forked; one serves all methods, as starting takes seconds."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def check_odd_boxes(method: Obfuscator) -> None:
    """Boxes outside, empty, of one pixel, or larger than the picture do not raise."""
    image = picture(60, 80)
    for box in ([200, 200, 260, 250], [-90, -90, -20, -20], [10, 10, 10, 30]):
        assert np.array_equal(method(image, Faces.of([box])), image), (
            f"box {box} covers no pixel but changes some"
        )
    for odd in ([10, 10, 11, 11], [-40, -40, 300, 300], [79, 59, 80, 60], [10.2, 10.2, 10.4, 10.4]):
        assert method(image, Faces.of([odd])).shape == image.shape


def check_borders_covered(method: Obfuscator) -> None:
    """Faces that touch a border or fill the picture are hidden up to the last row and column."""
    image = picture(200, 200)
    boxes = {
        "left": [0, 60, 50, 120],
        "top": [60, 0, 120, 50],
        "right": [150, 60, 200, 120],
        "low": [60, 150, 120, 200],
        "whole": [0, 0, 200, 200],
        "beyond": [-50, -30, 260, 230],
    }
    for where, box in boxes.items():
        x0, y0, x1, y1 = np.clip(np.array(box), 0, 200).tolist()
        changed = (method(image, Faces.of([box])) != image).any(axis=2)[y0:y1, x0:x1]
        for edge in (changed[0], changed[-1], changed[:, 0], changed[:, -1]):
            assert edge.mean() > 0.9, f"the face at the border ({where}: {box}) is not covered to its edge"


def check_every_pixel_hidden(method: Obfuscator) -> None:
    """Inside the boxes hardly any pixel keeps its value, for small faces beside large ones too."""
    image = picture(400, 400)
    boxes = [[20, 20, 320, 320], [340, 340, 360, 360], [330, 100, 340, 112]]
    out = method(image, Faces.of(boxes)).astype(int)
    for x0, y0, x1, y1 in boxes:
        before, after = image[y0:y1, x0:x1].astype(float), out[y0:y1, x0:x1].astype(float)
        kept = _original_weight(before, after)
        assert kept < 0.15, f"face {[x0, y0, x1, y1]} keeps {kept:.0%} of its own pixels"


def check_contrast(method: Obfuscator) -> None:
    """At most 5 % of a grating with a period of a quarter of the face is left, at every size."""
    for face in (24, 48, 96, 192, 384):
        left = contrast_left(method, face)
        assert left <= MAX_CONTRAST, f"a face of {face} px keeps {left:.1%} of its contrast"


def check_scales(method: Obfuscator) -> None:
    """Doubling picture and boxes doubles the effect; noise is averaged out."""
    small = np.kron(picture(60, 60), np.ones((2, 2, 1), dtype=np.uint8))
    large = np.kron(small, np.ones((2, 2, 1), dtype=np.uint8))
    out_small = mean_effect(method, small, Faces.of([[30, 30, 90, 90]]))
    out_large = mean_effect(method, large, Faces.of([[60, 60, 180, 180]]))
    shrunk = out_large.reshape(120, 2, 120, 2, 3).mean(axis=(1, 3))
    difference = np.abs(shrunk - out_small)[35:85, 35:85].mean()
    assert difference < 6, f"twice the size gives another effect ({difference:.1f} grey levels apart)"


def _original_weight(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Least-squares weight of the original pixels in the result; on random pixels the rest averages out."""
    centred = before - before.mean()
    return float((centred * (after - after.mean())).sum() / (centred**2).sum())


SAFETY_CHECKS: tuple[Check, ...] = (
    check_input_untouched,
    check_shape_and_type,
    check_no_faces_no_change,
    check_outside_equal,
    check_order_irrelevant,
    check_same_twice,
    check_other_process,
    check_layout_irrelevant,
    check_written_as_spec,
    check_odd_boxes,
)
HIDING_CHECKS: tuple[Check, ...] = (
    check_borders_covered,
    check_every_pixel_hidden,
    check_contrast,
    check_scales,
)
OBFUSCATOR_CHECKS: tuple[Check, ...] = SAFETY_CHECKS + HIDING_CHECKS
