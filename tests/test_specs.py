"""Spec strings and catalogues."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato import specs
from sfumato.errors import SpecError, UnknownName

names = st.from_regex(r"[a-z][a-z_0-9]{0,9}", fullmatch=True).filter(
    lambda text: (
        text not in {"as", "if", "in", "is", "or", "and", "not", "def", "del", "for", "try", "from", "with"}
        and text.isidentifier()
        and not __import__("keyword").iskeyword(text)
    )
)
literals = st.recursive(
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)


@given(names, st.dictionaries(names, literals, max_size=3))
def test_what_is_written_is_read_again(name: str, options: dict[str, Any]) -> None:
    spec = specs.Spec(name, options)
    assert specs.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text", ["", "blur(", "blur(0.2)", "a.b", "blur(x=open('f'))", "blur(**{})", "1", "blur(x=y)"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="write it like"):
        specs.parse(text)


@dataclass(frozen=True)
class Thing:
    name: ClassVar[str] = "thing"
    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")


CATALOGUE = specs.Catalogue(
    "thing", "sfumato.nothing", {"thing": "tests.test_specs:Thing"}, {"widget": "thing"}
)


def test_a_catalogue_builds_by_name_and_alias() -> None:
    assert CATALOGUE.build("thing(size=5)").size == 5
    assert specs.to_spec(CATALOGUE.build("widget")) == "thing(size=3)"
    assert CATALOGUE.names() == ["thing"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("thin", UnknownName, "unknown thing 'thin'; known: thing"),
        ("thing(length=1)", SpecError, "length"),
        ("thing(size=-1)", SpecError, "must not be negative"),
    ],
)
def test_what_cannot_be_built_says_why(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CATALOGUE.build(text)


def plugin(name: str) -> EntryPoint:
    return EntryPoint(name, "tests.test_specs:Thing", "sfumato.nothing")


def test_plugins_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "entry_points", lambda group: [plugin("other")])
    assert CATALOGUE.names() == ["other", "thing"]
    assert CATALOGUE.build("other(size=4)").size == 4


def test_a_name_used_twice_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "entry_points", lambda group: [plugin("thing")])
    with pytest.raises(
        SpecError, match=r"provided twice: tests\.test_specs:Thing and tests\.test_specs:Thing"
    ):
        CATALOGUE.build("thing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("big-thing", "thing(size=9)"),
        ("big_thing", "thing(size=9)"),
        ("big-thing(size=4)", "thing(size=4)"),
        ("widget(size=2)", "thing(size=2)"),
    ],
)
def test_an_alias_may_be_a_spec_that_is_overridden(text: str, expected: str) -> None:
    catalogue = replace(CATALOGUE, aliases={**CATALOGUE.aliases, "big_thing": "thing(size=9)"})
    assert specs.to_spec(catalogue.build(text)) == expected
    with pytest.raises(UnknownName, match="known: big-thing, thing"):
        catalogue.build("none")


def doubled(size: int, by: int = 2) -> int:
    return size * by


def made(spec: specs.Spec, function: Any, provider: str) -> Any:
    return spec, function, provider


def test_a_plain_function_is_made_an_object_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("twice", "tests.test_specs:doubled", "sfumato.nothing")
    monkeypatch.setattr(specs, "entry_points", lambda group: [entry])
    catalogue = replace(CATALOGUE, from_function="tests.test_specs:made")
    spec, function, provider = catalogue.build("twice(by=3)")
    assert (str(spec), function, provider) == ("twice(by=3)", doubled, "tests.test_specs:doubled")
    assert CATALOGUE.build("twice(size=3)") == 6


def test_an_object_may_bring_its_own_spec() -> None:
    class Own:
        spec = specs.Spec("own", {"a": 1})

    assert specs.to_spec(Own()) == "own(a=1)"


@given(st.lists(st.tuples(names, st.dictionaries(names, literals, max_size=2)), min_size=1, max_size=4))
def test_a_chain_is_cut_where_it_was_joined(steps: list[tuple[str, dict[str, Any]]]) -> None:
    """Bars inside texts, lists and tuples are no cuts."""
    written = [str(specs.Spec(name, options)) for name, options in steps]
    assert specs.split_chain(specs.join_chain(written)) == written


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a|b", ["a", "b"]),
        ("a(x='|') | b(y=[1 | 2])", ["a(x='|')", "b(y=[1 | 2])"]),
        (r"a(x='\'|') | b", [r"a(x='\'|')", "b"]),
        (r"a(x='\\') | b", [r"a(x='\\')", "b"]),
        ("a |", ["a", ""]),
        ("", [""]),
    ],
)
def test_bars_in_quotes_and_brackets_belong_to_the_step(text: str, steps: list[str]) -> None:
    assert specs.split_chain(text) == steps


def joined(steps: Any) -> Any:
    return tuple(steps)


def test_chains_are_built_where_the_catalogue_has_them() -> None:
    with pytest.raises(SpecError, match="write it like"):
        CATALOGUE.build("thing | widget")
    chained = replace(CATALOGUE, from_chain="tests.test_specs:joined")
    assert [thing.size for thing in chained.build("thing(size=1) | widget")] == [1, 3]
    assert chained.build("widget").size == 3
    with pytest.raises(SpecError, match=r"step 2 of 'thing \| thin': unknown thing 'thin'"):
        chained.build("thing | thin")


def entry(name: str, value: str = "tests.test_specs:Thing") -> EntryPoint:
    return EntryPoint(name, value, "sfumato.nothing")


def test_a_broken_plugin_spoils_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry("bad", "tests.test_specs:missing"), entry("twin"), entry("twin"), entry("widget")]
    monkeypatch.setattr(specs, "entry_points", lambda group: entries)
    assert CATALOGUE.build("thing").size == 3
    for name, message in (
        ("bad", "cannot be loaded: AttributeError"),
        ("twin", "provided twice"),
        ("widget", "provided twice: thing and"),  # an alias of ours
    ):
        with pytest.raises(SpecError, match=message):
            CATALOGUE.build(name)


def test_a_plugin_may_have_a_hyphen_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "entry_points", lambda group: [entry("bright-spot")])
    assert CATALOGUE.build("bright-spot(size=4)").size == 4
    assert CATALOGUE.provider("bright-spot") == "tests.test_specs:Thing"
