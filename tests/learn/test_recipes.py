from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SpecError, UnknownName, UsageError
from sfumato.learn import RECIPES, STUDY_MODELS, Recipe, find_model, find_recipe
from sfumato.learn.recipes import recipe_from
from sfumato.learn.schedules import learning_rate, training_size


def rates(recipe: Recipe, peak: float, steps_per_epoch: int) -> list[float]:
    steps = recipe.epochs * steps_per_epoch
    return [learning_rate(recipe, peak, step=step, steps_per_epoch=steps_per_epoch) for step in range(steps)]


def test_the_study_recipe_has_the_published_numbers() -> None:
    study = find_recipe("study")
    assert (study.momentum, study.nesterov, study.weight_decay) == (0.9, False, 1e-4)
    assert (study.batch_size, study.epochs, study.schedule, study.step_epochs) == (256, 90, "step", 30)
    assert (study.image_size, study.crop, study.crop_scale, study.flip) == (
        224,
        "random_resized",
        (0.08, 1),
        True,
    )
    assert round(224 * study.resize_ratio) == 256
    assert (study.label_smoothing, study.warmup, study.rate_factor) == (0, 0, 1)
    by_model = {name: find_model(name).learning_rate for name in STUDY_MODELS}
    slow = {name for name, rate in by_model.items() if rate == 0.01}
    assert slow == {"alexnet", "squeezenet1_0", "vgg11", "vgg13", "vgg16", "vgg19"}
    assert {by_model[name] for name in by_model if name not in slow} == {0.1}


def test_the_study_rate_falls_tenfold_every_thirty_epochs() -> None:
    values = rates(find_recipe("study"), 0.1, steps_per_epoch=2)
    assert np.allclose(values, [0.1] * 60 + [0.01] * 60 + [0.001] * 60)


@given(st.integers(1, 9), st.integers(1, 20), st.floats(0.0, 0.9))
def test_one_cycle_is_two_straight_lines(epochs: int, steps_per_epoch: int, warmup: float) -> None:
    recipe = find_recipe("small").with_overrides(epochs=epochs, warmup=warmup, schedule="onecycle")
    values = rates(recipe, 0.5, steps_per_epoch)
    places = np.arange(1, len(values) + 1) / (len(values) + 1)
    knots = ([0, warmup, 1], [0, 0.5, 0]) if warmup > 0 else ([0, 1], [0.5, 0])
    assert np.allclose(values, np.interp(places, *knots), atol=1e-9)
    assert min(values) > 0


def test_cosine_equals_torchs() -> None:
    recipe = find_recipe("small").with_overrides(epochs=4, warmup=0.0, schedule="cosine")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4 * 5 + 1)
    expected: list[float] = []
    for _ in range(20):
        optimizer.step()
        theirs.step()
        expected.append(float(theirs.get_last_lr()[0]))
    assert np.allclose(rates(recipe, 0.2, steps_per_epoch=5), expected)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_survive_json_and_say_what_was_changed(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe_from(json.loads(json.dumps(recipe.settings()))) == recipe
    assert recipe.describe() == name
    changed = recipe.with_overrides(epochs=3, crop_scale=[0.25, 1.0])
    assert changed.describe() == f"{name}(crop_scale=(0.25, 1.0), epochs=3)"
    assert recipe_from(json.loads(json.dumps(changed.settings()))) == changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, "no field 'epoch'; it has accumulate, batch_size"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": "many"}, "wrong type"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"schedule": "steps"}, "schedule must be one of step, cosine, onecycle"),
        ({"crop": "center"}, "crop must be one of"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale"),
        ({"resize_ratio": 0.5}, "resize_ratio"),
        ({"name": "mine"}, "no field 'name'"),
        ({"optimizer": "adam"}, "optimizer must be one of sgd, adamw"),
        ({"optimizer": "adamw"}, "nesterov needs SGD with momentum"),
        ({"momentum": 0.0}, "nesterov needs SGD with momentum"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"clip_norm": -1}, "clip_norm must be at least 0"),
        ({"ema_decay": 1}, "ema_decay must be at least 0 and below 1"),
        ({"train_sizes": (0.5, 1.5)}, "train_sizes must be above 0 and at most 1"),
        ({"train_sizes_ramp": (0.8, 0.2)}, "train_sizes_ramp needs 0 <= start <= end <= 1"),
        ({"flip": 1}, "flip = 1 has the wrong type; it needs true or false"),
    ],
)
def test_wrong_overrides_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        find_recipe("small").with_overrides(**changes)


def test_unknown_recipes_list_the_known() -> None:
    with pytest.raises(UnknownName, match=r"known: a file .*, short, small, study, tiny"):
        find_recipe("large")


def test_short_is_what_its_sources_say() -> None:
    short = find_recipe("short")
    sizes = [training_size(short, 224, epoch=epoch) for epoch in range(short.epochs)]
    assert sorted(set(sizes)) == [160, 192]
    assert sizes == sorted(sizes)
    assert sizes.index(192) == 32  # four fifths of the way, as the ramp's middle rounds up
    peak = 0.1 * short.rate_factor
    values = rates(short, peak, steps_per_epoch=10)
    assert peak == pytest.approx(0.5)
    assert max(values) == pytest.approx(peak, rel=0.05)
    assert int(np.argmax(values)) in (19, 20)  # after two epochs
    assert (short.batch_size, short.weight_decay, short.label_smoothing) == (1024, 5e-5, 0.1)
    assert not short.decay_norms
    assert round(224 * short.resize_ratio) == 256


def test_small_and_tiny_are_as_they_were() -> None:
    small, tiny = find_recipe("small"), find_recipe("tiny")
    assert tiny.differences(small) == {"epochs": 15}
    assert small == Recipe(
        name="small",
        image_size=64,
        resize_ratio=1.0,
        crop="random_resized",
        crop_scale=(0.5, 1.0),
        flip=True,
        batch_size=64,
        epochs=6,
        rate_factor=0.4,
        schedule="onecycle",
        step_epochs=30,
        warmup=0.25,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        label_smoothing=0.1,
    )


@given(
    sizes=st.tuples(st.floats(0.2, 1.0), st.floats(0.2, 1.0)),
    ramp=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda ends: (min(ends), max(ends))),
    epochs=st.integers(1, 40),
    image_size=st.integers(40, 320),
)
def test_views_go_from_the_first_size_to_the_last(
    sizes: tuple[float, float], ramp: tuple[float, float], epochs: int, image_size: int
) -> None:
    recipe = find_recipe("small").with_overrides(train_sizes=sizes, train_sizes_ramp=ramp, epochs=epochs)
    seen = [training_size(recipe, image_size, epoch=epoch) for epoch in range(epochs)]
    first, last = (round(share * image_size) for share in sizes)
    assert seen == sorted(seen, reverse=first > last)
    grain = 32 if image_size >= 128 else 8
    for epoch, size in enumerate(seen):
        if epoch / epochs >= ramp[1]:
            assert size == last
        elif epoch / epochs <= ramp[0]:
            assert size == first
        else:
            assert size % grain == 0 or size in (first, last)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_says_all_that_it_must_in_its_file(name: str, tmp_path: Path) -> None:
    text = (files("sfumato.learn.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    own = tmp_path / "mine.toml"
    own.write_text(text)
    assert find_recipe(str(own)).differences(find_recipe(name)) == {}
    assert text.startswith("# ")


def test_a_recipe_of_the_users_own_is_told_apart(tmp_path: Path) -> None:
    text = (files("sfumato.learn.recipes") / "small.toml").read_text(encoding="utf-8")
    own = tmp_path / "mine.toml"
    own.write_text(text)
    recipe = find_recipe(str(own))
    assert recipe.name == "mine"
    assert re.fullmatch(r"mine\(settings=[0-9a-f]{8}\)", recipe.describe())
    assert recipe.with_overrides(epochs=9).describe() != recipe.describe()
    assert recipe_from(json.loads(json.dumps(recipe.settings()))) == recipe


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 6", 'epochs = "six"', r"mine.toml: .*epochs = 'six' has the wrong type; .*a whole number"),
        ("epochs = 6", "epochs = 6.5", "a whole number"),
        ("epochs = 6", "epochs = true", "a whole number"),
        ("epochs = 6", "epoch = 6", "mine.toml: a recipe has no field 'epoch'; it has accumulate"),
        ("epochs = 6", "", "mine.toml: the recipe lacks epochs"),
        ("flip = true", "flip = 1", "flip = 1 has the wrong type; it needs true or false"),
        ("warmup = 0.25", "warmup = inf", "a number"),
        ("crop_scale = [0.5, 1.0]", "crop_scale = [0.5]", "two numbers"),
        ("crop_scale = [0.5, 1.0]", "crop_scale = 0.5", "two numbers"),
        ("epochs = 6", "epochs = 0", "mine.toml: recipe 'mine': epochs must be at least 1"),
        ("epochs = 6", "epochs = ", "mine.toml: not valid TOML"),
        ("epochs = 6", "[train]\nepochs = 6", "no field 'train'"),
    ],
)
def test_mistakes_in_a_file_are_named_with_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (files("sfumato.learn.recipes") / "small.toml").read_text(encoding="utf-8")
    own = tmp_path / "mine.toml"
    assert old in text
    own.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=message):
        find_recipe(str(own))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.toml: cannot be read \(No such file"):
        find_recipe(str(tmp_path / "none.toml"))


def test_equal_settings_are_equal_however_they_are_written() -> None:
    small = find_recipe("small")
    written = small.with_overrides(resize_ratio=1, crop_scale=[0.5, 1], train_sizes=[1, 1])
    assert json.dumps(written.settings()) == json.dumps(small.settings())


def test_runs_from_before_the_field_had_no_first_steps_in_float32() -> None:
    settings = find_recipe("small").settings()
    assert recipe_from(settings).fp32_steps == 10
    del settings["fp32_steps"]
    assert recipe_from(settings).fp32_steps == 0
