"""Spec strings such as "blur(strength=0.2)", and the catalogues that turn them into objects.

A spec is a name with keyword literals, the form in which people type and read an object:
`parse("blur(strength=0.2)")` gives the name and its arguments, a `Catalogue` finds who provides
the name (built-in or entry point) and builds it, `to_spec(object)` writes it with every default.
Where a catalogue allows it, `first | second` is a chain: each step works on what the step before gave.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from types import FunctionType
from typing import Any

from sfumato.errors import SpecError, UnknownName, UsageError

CHAIN = " | "
"""Between the steps of a chain."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A name and its keyword arguments, as parsed from text."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.name}({inner})" if inner else self.name


def parse(text: str) -> Spec:
    """Parse `name` or `name(key=literal, ...)`; hyphens in the name stand for underscores.

    Raises:
        SpecError: anything else: positional arguments, expressions, broken syntax.
    """
    name, bracket, rest = text.strip().partition("(")
    try:
        node = ast.parse(name.replace("-", "_") + bracket + rest, mode="eval").body
        if isinstance(node, ast.Name):
            return Spec(node.id, {})
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
            raise ValueError("not a name with keyword arguments")
        options = {_keyword(item): ast.literal_eval(item.value) for item in node.keywords}
        return Spec(node.func.id, options)
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"cannot read '{text}': write it like blur or blur(strength=0.2)") from error


def _keyword(item: ast.keyword) -> str:
    if item.arg is None:
        raise ValueError("** is no keyword")
    return item.arg


def split_chain(text: str) -> list[str]:
    """The steps of a chain: the text cut at every `|` that stands in neither quotes nor brackets."""
    cuts = [-1, *_bars(text), len(text)]
    return [text[start + 1 : end].strip() for start, end in pairwise(cuts)]


def join_chain(steps: Sequence[str]) -> str:
    """The spec of a chain from the specs of its steps."""
    return CHAIN.join(steps)


def _bars(text: str) -> Iterator[int]:
    """Where a `|` stands at the top level; quotes and backslashes work as in Python."""
    quote, depth, escaped = "", 0, False
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and not escaped else quote
            escaped = letter == "\\" and not escaped
        elif letter in "'\"":
            quote = letter
        elif letter == "|" and not depth:
            yield place
        else:
            depth += (letter in "([{") - (letter in ")]}")


def slug(text: str) -> str:
    """A text as a short folder name; only for people, facts stand in the manifests."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def short_spec(text: str) -> str:
    """A spec, or each step of a chain, without options: "mosaic | blur" of "mosaic(blocks=4) | blur()"."""
    return join_chain([_name_of(step) for step in split_chain(text)])


def _name_of(step: str) -> str:
    try:
        return parse(step).name
    except SpecError:  # somebody named it by hand
        return step


def to_spec(value: Any) -> str:
    """Write an object as a spec with every default in it.

    Args:
        value: a dataclass that has a class attribute `name`; anything with a `spec`; or a chain, which has a
            tuple of `steps` instead.
    """
    if isinstance(getattr(value, "spec", None), Spec):
        return str(value.spec)
    steps = getattr(value, "steps", None)
    if isinstance(steps, tuple) and steps and all(dataclasses.is_dataclass(step) for step in steps):
        return join_chain([to_spec(step) for step in value.steps])
    options = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return str(Spec(value.name, options))


@dataclass(frozen=True)
class Catalogue:
    """Who provides a name: a literal dictionary of built-ins, then installed entry points.

    Attributes:
        kind: what is named, for messages ("method", "detector", "model").
        group: entry-point group in which other packages register theirs.
        builtins: name to "module:attribute"; imported on use only.
        aliases: other words that people type, each short for a name or a whole spec.
        from_function: "module:attribute" of what makes an object of a plug-in that is a plain function; it is
            called with the spec, the function and who provides it. Empty where plug-ins must be classes.
        from_chain: "module:attribute" of what makes one object of the objects of a chain's steps. Empty where
            there are no chains.
    """

    kind: str
    group: str
    builtins: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    from_function: str = ""
    from_chain: str = ""

    def names(self) -> list[str]:
        """Every known name, sorted, aliases left out."""
        return sorted({*self.builtins, *self._plugins()})

    def provider(self, name: str) -> str:
        """Who provides a name: "sfumato", or a package with its version."""
        name = name.replace("-", "_")
        entry = self._plugins().get(self.aliases.get(name, name).partition("(")[0])
        return "sfumato" if entry is None else _owner(entry)

    def expand(self, text: str) -> Spec:
        """The spec that a text stands for: an alias is written out, what the text adds overrides it.

        Raises:
            SpecError: as `parse`.
        """
        spec = parse(text)
        if spec.name not in self.aliases:
            return spec
        if spec.name in self._plugins():
            self._plugin(spec.name)  # raises: the name is ours
        meant = parse(self.aliases[spec.name])
        return Spec(meant.name, {**meant.options, **spec.options})

    def load(self, name: str) -> Callable[..., Any]:
        """The class or function that the name stands for.

        Raises:
            UnknownName: nobody provides it; the message lists the known names.
            SpecError: two provide it, the message names both; or the package that does is broken.
        """
        plugins = self._plugins()
        name = name.replace("-", "_")
        if name in plugins:  # before aliases: a plug-in that takes the name of one of ours is refused
            found: Callable[..., Any] = self._plugin(name)
            return found
        name = self.expand(name).name
        if name not in self.builtins:
            raise UnknownName(self.kind, name, {*self.builtins, *plugins, *self._presets()})
        return _imported(self.builtins[name])

    def build(self, text: str) -> Any:
        """Build the object that a spec string describes: a chain too, where the catalogue has chains.

        Raises:
            SpecError, UnknownName: as `parse` and `load`; also an option that the target refuses. In a chain
                always a SpecError, which says which step is wrong.
        """
        steps = split_chain(text) if self.from_chain else [text]
        if len(steps) == 1:
            return self._build_one(text)
        return _imported(self.from_chain)(
            [self._build_step(text, number, step) for number, step in enumerate(steps, start=1)]
        )

    def _build_step(self, text: str, number: int, step: str) -> Any:
        try:
            return self._build_one(step)
        except UsageError as error:
            raise SpecError(f"step {number} of '{text}': {error}") from error

    def _build_one(self, text: str) -> Any:
        spec = self.expand(text)
        factory = self.load(spec.name)
        try:
            if self.from_function and isinstance(factory, FunctionType):
                return _imported(self.from_function)(spec, factory, self.provider(spec.name))
            return factory(**spec.options)
        except (TypeError, ValueError) as error:
            raise SpecError(f"cannot build {self.kind} '{text}': {error}") from error

    def _presets(self) -> list[str]:
        """Aliases that say more than another name: worth naming beside the names."""
        return [alias.replace("_", "-") for alias, meant in self.aliases.items() if "(" in meant]

    def _plugins(self) -> dict[str, EntryPoint]:
        """Entry points by name, hyphens as underscores; twins are found when one is used."""
        return {name: entries[0] for name, entries in self._entries().items()}

    def _entries(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            found.setdefault(entry.name.replace("-", "_"), []).append(entry)
        return found

    def _plugin(self, name: str) -> Any:
        """What the one entry point of this name stands for.

        Raises:
            SpecError: two packages provide the name, or it is one of ours; or the package is broken.
        """
        entries = self._entries()[name]
        ours = self.builtins.get(name) or self.aliases.get(name)
        owners = ([ours] if ours else []) + [entry.value for entry in entries]
        if len(owners) > 1:
            raise SpecError(f"{self.kind} '{name}' is provided twice: {' and '.join(owners[:2])}")
        try:
            return entries[0].load()
        except Exception as error:  # another project's code
            reason = f"{type(error).__name__}: {error}"
            raise SpecError(
                f"{self.kind} '{name}' of {_owner(entries[0])} cannot be loaded: {reason}"
            ) from error


def _imported(place: str) -> Callable[..., Any]:
    """What "module:attribute" stands for."""
    module, attribute = place.split(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def _owner(entry: EntryPoint) -> str:
    """Package and version that an entry point comes from."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
