from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SpecError, UnknownName
from sfumato.learn import RECIPES, STUDY_MODELS, Recipe, find_model, find_recipe
from sfumato.learn.recipes import recipe_from
from sfumato.learn.schedules import learning_rate


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
        ({"epoch": 3}, "no field 'epoch'; it has batch_size, crop"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"epochs": "many"}, "wrong type"),
        ({"batch_size": 1}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"schedule": "steps"}, "schedule must be one of step, cosine, onecycle"),
        ({"crop": "center"}, "crop must be one of"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale"),
        ({"resize_ratio": 0.5}, "resize_ratio"),
        ({"name": "mine"}, "no field 'name'"),
    ],
)
def test_wrong_overrides_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        find_recipe("small").with_overrides(**changes)


def test_unknown_recipes_list_the_known() -> None:
    with pytest.raises(UnknownName, match="known: small, study, tiny"):
        find_recipe("large")
