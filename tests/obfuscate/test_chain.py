"""Chains: parsed, written, applied step by step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sfumato.errors import SpecError
from sfumato.faces import Faces
from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.method import Obfuscator, ObfuscatorById, apply
from sfumato.obfuscate.methods.chain import Chain, chain
from sfumato.obfuscate.methods.control import NoObfuscation
from sfumato.specs import slug, to_spec
from sfumato.testing.obfuscators import picture

TEXT = "mosaic(blocks=6) | blur(strength=0.05)"
FACES = Faces.of([[20, 20, 80, 90], [90, 10, 130, 60]])


def test_each_step_works_on_what_the_step_before_left() -> None:
    first, second = (METHODS.build(part) for part in TEXT.split(" | "))
    image = picture()
    expected = second(first(image, FACES), FACES)
    assert np.array_equal(METHODS.build(TEXT)(image, FACES), expected)
    assert not np.array_equal(first(second(image, FACES), FACES), expected)


def test_the_spec_of_a_chain_is_that_of_its_steps_and_builds_it_again() -> None:
    built = METHODS.build(TEXT)
    spec = to_spec(built)
    assert spec == " | ".join(to_spec(step) for step in built.steps)
    assert METHODS.build(spec) == built == pickle.loads(pickle.dumps(built))
    assert hash(built) == hash(METHODS.build(spec))
    assert built.name == "mosaic | blur"


def test_the_folder_of_a_chain_is_its_own() -> None:
    other = METHODS.build("blur(strength=0.05) | mosaic(blocks=6)")
    names = {slug(to_spec(built)) for built in (METHODS.build(TEXT), other, other.steps[0])}
    assert len(names) == 3
    assert all("|" not in name and "/" not in name for name in names)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("none | blur", "blur"),
        ("blur | none", "blur"),
        ("none | none", "none"),
        ("blur | none | mosaic", "blur | mosaic"),
        ("pixelate|overlay(color='mean')", "mosaic | overlay(color='mean')"),
    ],
)
def test_what_does_the_same_has_the_same_spec(text: str, same: str) -> None:
    assert METHODS.build(text) == METHODS.build(same)


def test_chains_in_chains_are_opened() -> None:
    inner = METHODS.build(TEXT)
    assert chain([inner, NoObfuscation(), inner]) == Chain((*inner.steps, *inner.steps))


def test_a_chain_of_one_step_is_written_and_works_as_that_step() -> None:
    step = METHODS.build("mosaic")
    assert to_spec(Chain((step,))) == to_spec(step)
    assert np.array_equal(Chain((step,))(picture(), FACES), step(picture(), FACES))
    with pytest.raises(ValueError, match="at least one step"):
        Chain(())


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("blur | overlay | study_blur", "no"),
        ("study_blur | mosaic", "no, but"),
        ("study_blur | blur", "partly"),
        ("study_blur | study_blur", "yes"),
    ],
)
def test_the_step_that_is_hardest_to_undo_counts(text: str, start: str) -> None:
    assert METHODS.build(text).invertible.startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mosaic | blur(strength=9)", r"step 2 of 'mosaic \| blur\(strength=9\)': .*strength must be"),
        ("smudge | blur", r"step 1 of 'smudge \| blur': unknown method 'smudge'"),
        ("blur | ", r"step 2 of 'blur \| '"),
        ("blur || mosaic", r"step 2 of"),
        ("|", r"step 1 of"),
    ],
)
def test_errors_name_the_faulty_step(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        METHODS.build(text)


def test_a_chain_passes_the_image_id_on() -> None:
    built: Obfuscator = METHODS.build("dp_pix | blur(strength=0.05)")
    assert isinstance(built, ObfuscatorById)
    image = picture()
    noisy = METHODS.build("dp_pix").of_image("a.jpg", image, FACES)
    expected = METHODS.build("blur(strength=0.05)")(noisy, FACES)
    assert np.array_equal(apply(built, "a.jpg", image, FACES), expected)
    assert not np.array_equal(apply(built, "b.jpg", image, FACES), expected)
