"""Checks that every detector passes; see `sfumato.testing`."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from skimage.data import astronaut

from sfumato.detect import Detector
from sfumato.errors import ImageError
from sfumato.faces import Faces
from sfumato.images import Pixels
from sfumato.specs import parse, to_spec

Check = Callable[[Detector], None]

ODD_SHAPES = ((1, 1), (1, 700), (900, 2), (7, 13), (33, 47))
"""Heights and widths of pictures that real data sets have, and that scaling code forgets."""


def pictures() -> list[Pixels]:
    """A portrait, noise, and a part of the portrait; all of different sizes, (height, width, 3) uint8."""
    portrait: Pixels = np.ascontiguousarray(astronaut())
    noise = np.random.default_rng(0).integers(0, 256, (120, 161, 3), dtype=np.uint8)
    return [portrait, noise, np.ascontiguousarray(portrait[20:260, 120:330])]


def _found(detector: Detector, images: list[Pixels]) -> list[Faces]:
    found = detector(images)
    assert isinstance(found, list), f"a detector gives a list, not {type(found).__name__}"
    assert len(found) == len(images), f"{len(images)} pictures gave {len(found)} results"
    assert all(isinstance(faces, Faces) for faces in found), "each result is a sfumato.faces.Faces"
    return found


def _same(first: Faces, second: Faces) -> bool:
    return np.array_equal(first.xyxy, second.xyxy) and np.array_equal(first.score, second.score)


def check_one_result_a_picture(detector: Detector) -> None:
    """There is one result for each picture, none for none, and nothing in an even grey picture."""
    assert _found(detector, []) == [], "no pictures must give no results"
    _found(detector, pictures())
    (nothing,) = _found(detector, [np.full((96, 128, 3), 128, dtype=np.uint8)])
    assert not len(nothing), "there is a face in an even grey picture"


def check_input_untouched(detector: Detector) -> None:
    """The pictures that go in are not changed; they may be read-only."""
    images = pictures()
    before = [image.copy() for image in images]
    for image in images:
        image.setflags(write=False)
    _found(detector, images)
    assert all(map(np.array_equal, images, before)), "the detector writes into its input"


def check_boxes_and_scores(detector: Detector) -> None:
    """Boxes lie in the picture and are not empty; scores lie in 0..1, the best first."""
    for image, faces in zip(pictures(), _found(detector, pictures()), strict=True):
        height, width = image.shape[:2]
        box, score = faces.xyxy, faces.score
        assert np.isfinite(box).all(), f"a box is no numbers: {box}"
        assert ((box >= 0) & (box <= [width, height] * 2)).all(), f"a box leaves the picture: {box}"
        assert (box[:, 2:] > box[:, :2]).all(), f"a box is empty: {box}"
        assert ((score >= 0) & (score <= 1)).all(), f"a score is no number in 0..1: {score}"
        assert (np.diff(score) <= 0).all(), "faces are not in the order of their scores, best first"


def check_each_as_if_alone(detector: Detector) -> None:
    """A picture gives the same faces alone, beside others, and in another order."""
    images = pictures()
    together = _found(detector, images)
    alone = [_found(detector, [image])[0] for image in images]
    turned = _found(detector, images[::-1])[::-1]
    for number in range(len(images)):
        same = _same(together[number], alone[number]) and _same(together[number], turned[number])
        assert same, f"picture {number} gives other faces beside other pictures"


def check_odd_shapes(detector: Detector) -> None:
    """Very small and very narrow pictures are examined, or refused with an ImageError that says why."""
    rng = np.random.default_rng(1)
    for height, width in ODD_SHAPES:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        try:
            (faces,) = _found(detector, [image])
        except ImageError as error:
            reason = str(error)
            assert reason, "an ImageError must say why"
        else:
            assert (faces.xyxy <= [width, height] * 2).all(), "a box leaves the picture"


def check_layout_irrelevant(detector: Detector) -> None:
    """A picture that lies in memory in another way (a part, a mirror image) is the same picture."""
    portrait = pictures()[0]
    for view in (portrait[20:260, 120:330], portrait[:, ::-1]):
        ((first,), (second,)) = _found(detector, [view]), _found(detector, [np.ascontiguousarray(view)])
        assert _same(first, second), "the layout of a picture in memory changes its faces"


def check_written_as_spec(detector: Detector) -> None:
    """It can be written as a spec with every option in it, which reads as the same spec."""
    spec = to_spec(detector)
    assert str(parse(spec)) == spec, f"{spec} does not read as it was written"


def check_other_process(detector: Detector) -> None:
    """It can be pickled, and finds the same faces in another process."""
    portrait = pictures()[2]
    copy: Detector = pickle.loads(pickle.dumps(detector))
    assert to_spec(copy) == to_spec(detector), "its options are lost when it is pickled"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        (there,) = pool.submit(copy, [portrait]).result()
    assert _same(there, _found(detector, [portrait])[0]), "another process finds other faces"


def check_weights_described(detector: Detector) -> None:
    """Weights, where it has any, are described with name, licence and SHA-256."""
    for weights in getattr(detector, "weights", ()):
        assert all([weights.name, weights.licence]), "weights need a name and a licence"
        assert len(weights.sha256) == 64, f"{weights.name} needs the SHA-256 of its bytes"


DETECTOR_CHECKS: tuple[Check, ...] = (
    check_one_result_a_picture,
    check_input_untouched,
    check_boxes_and_scores,
    check_each_as_if_alone,
    check_odd_shapes,
    check_layout_irrelevant,
    check_written_as_spec,
    check_other_process,
    check_weights_described,
)
