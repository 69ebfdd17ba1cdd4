from __future__ import annotations

import pytest

from sfumato.compare import arm_name, is_crossed, is_obfuscated, reference_of, short_name, short_names

BLUR = "blur(strength=0.2, grow=0.1)"


@pytest.mark.parametrize(
    ("arm", "reference", "obfuscated", "short"),
    [
        ("original", "original", False, "original"),
        ("none", "none", False, "none"),
        ("scratch", "scratch", False, "scratch"),
        ("none()", "none", False, "none"),
        ("none(quality=90)", "none", False, "none"),
        (BLUR, None, True, "blur"),
        ("something by hand", None, True, "something by hand"),
        ("original -> none()", None, False, "original -> none"),
        (f"mosaic(blocks=6) | {BLUR}", None, True, "mosaic | blur"),
        (f"original -> {BLUR}", None, True, "original -> blur"),
    ],
)
def test_an_arm_is_read_from_its_spec(arm: str, reference: str | None, obfuscated: bool, short: str) -> None:
    assert reference_of(arm) == reference
    assert is_obfuscated(arm) is obfuscated
    assert short_name(arm) == short


def test_a_run_evaluated_elsewhere_is_an_arm_of_its_own() -> None:
    assert arm_name(BLUR, BLUR) == BLUR
    assert arm_name("original", BLUR) == f"original -> {BLUR}"
    assert is_crossed(arm_name("original", BLUR))
    assert not is_crossed(BLUR)


def test_short_names_stay_apart() -> None:
    arms = ["original", "blur(strength=0.1)", "blur(strength=0.4)", "mosaic(blocks=4)"]
    assert list(short_names(arms).values()) == [
        "original",
        "blur(strength=0.1)",
        "blur(strength=0.4)",
        "mosaic",
    ]
