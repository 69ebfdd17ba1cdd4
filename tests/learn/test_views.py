from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.learn import find_recipe
from sfumato.learn.chance import _mix, keys_of, order, uniforms
from sfumato.learn.views import centre_windows, cut, shrink, training_windows

IDS = [f"train/a/{number}.jpg" for number in range(2000)]
shapes_strategy = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=1, max_size=20)


def test_the_stream_is_splitmix64() -> None:
    golden, seed = 0x9E3779B97F4A7C15, 1234567
    states = np.array([(seed + k * golden) % 2**64 for k in range(5)], dtype=np.uint64)
    # First outputs of the reference implementation for this seed.
    assert _mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_draws_are_uniform_and_independent_of_the_other_images() -> None:
    keys = keys_of(IDS)
    draws = uniforms(keys, 3, 5, count=8)
    assert draws.shape == (2000, 8)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.01
    assert np.abs(np.corrcoef(draws.T) - np.eye(8)).max() < 0.1
    assert np.array_equal(uniforms(keys[100:200], 3, 5, count=8), draws[100:200])
    for seed, epoch in ((4, 5), (3, 6), (5, 3)):
        assert not np.isin(uniforms(keys, seed, epoch, count=8), draws).any()


def test_the_order_is_a_permutation_that_a_lost_image_does_not_disturb() -> None:
    keys = keys_of(IDS)
    whole = order(keys, 0, 1)
    assert sorted(whole.tolist()) == list(range(2000))
    assert not np.array_equal(whole, order(keys, 0, 2))
    assert not np.array_equal(whole, order(keys, 1, 1))
    lost = np.delete(np.arange(2000), 77)
    assert lost[order(keys[lost], 0, 1)].tolist() == [row for row in whole.tolist() if row != 77]


@settings(max_examples=50, deadline=None)
@given(shapes_strategy, st.integers(0, 99), st.sampled_from(["random_resized", "padded", "centre"]))
def test_windows_keep_to_the_picture(shapes: list[tuple[int, int]], seed: int, crop: str) -> None:
    sizes = np.array(shapes)
    recipe = find_recipe("study").with_overrides(crop=crop)
    keys = keys_of(str(number) for number in range(len(sizes)))
    windows, mirrored = training_windows(sizes, recipe, keys, seed=seed, epoch=0)
    wide, high = (windows[:, 2:] - windows[:, :2]).T
    assert mirrored.shape == (len(sizes),)
    assert (wide >= 1).all()
    assert (high >= 1).all()
    assert (wide <= sizes[:, 1]).all()
    assert (high <= sizes[:, 0]).all()
    reach = np.round(wide / 8) if crop == "padded" else 0
    assert (windows[:, 0] >= -reach).all()
    assert (windows[:, 2] <= sizes[:, 1] + reach).all()
    assert (windows[:, 1] >= -reach).all()
    assert (windows[:, 3] <= sizes[:, 0] + reach).all()


def test_random_crops_have_the_shares_and_aspects_of_the_recipe() -> None:
    shapes = np.tile([[200, 300]], (2000, 1))
    windows, mirrored = training_windows(shapes, find_recipe("study"), keys_of(IDS), seed=1, epoch=0)
    wide, high = (windows[:, 2:] - windows[:, :2]).T
    share = wide * high / (200 * 300)
    assert 0.075 < share.min() < 0.12
    assert 0.86 < share.max() <= 8 / 9  # the widest aspect, 4:3, cannot cover 3:2
    assert (wide / high > 0.74).all()
    assert (wide / high < 1.35).all()
    assert 0.45 < mirrored.mean() < 0.55
    assert not training_windows(
        shapes, find_recipe("study").with_overrides(flip=False), keys_of(IDS), seed=1, epoch=0
    )[1].any()


def test_the_study_evaluates_the_central_224_of_256() -> None:
    windows = centre_windows(np.array([[256, 340], [340, 256]]), 256 / 224)
    assert windows.tolist() == [[58, 16, 282, 240], [16, 58, 240, 282]]


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 40))
def test_beyond_the_border_the_picture_is_reflected(height: int, width: int, reach: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = max(height, width) + 2 * reach
    expected = np.pad(
        image, ((reach, side - reach - height), (reach, side - reach - width), (0, 0)), mode="reflect"
    )
    window = (-reach, -reach, side - reach, side - reach)
    assert np.array_equal(cut(image, window, side), expected)


def test_cutting_resizes_to_means_and_keeps_flat_colour() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[::2] = 200  # rows thinner than the target's pixels must average, not alias
    assert (cut(image, (0, 0, 64, 64), 16) == 100).all()
    flat = np.full((10, 7, 3), 37, dtype=np.uint8)
    assert (cut(flat, (1, 2, 6, 9), 32) == 37).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 200), (32, 64)), ((20, 300), (20, 300)), ((33, 32), (33, 32)), ((64, 48), (43, 32))],
)
def test_shrinking_keeps_the_aspect_and_never_enlarges(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert shrink(np.zeros((*shape, 3), dtype=np.uint8), 32).shape[:2] == expected
