"""Spec strings such as "blur(strength=0.2)", and the catalogues that turn them into objects.

A spec is a name with keyword literals, the form in which people type and read an object:
`parse("blur(strength=0.2)")` gives the name and its arguments, a `Catalogue` finds who provides
the name (built-in or entry point) and builds it, `to_spec(object)` writes it with every default.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sfumato.errors import SpecError, UnknownName


@dataclass(frozen=True, slots=True)
class Spec:
    """A name and its keyword arguments, as parsed from text."""

    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.name}({inner})" if inner else self.name


def parse(text: str) -> Spec:
    """Parse `name` or `name(key=literal, ...)`.

    Raises:
        SpecError: anything else: positional arguments, expressions, broken syntax.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
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


def to_spec(value: Any) -> str:
    """Write a dataclass that has a class attribute `name` as a spec with every default in it."""
    options = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return str(Spec(value.name, options))


@dataclass(frozen=True)
class Catalogue:
    """Who provides a name: a literal dictionary of built-ins, then installed entry points.

    Attributes:
        kind: what is named, for messages ("method", "detector", "model").
        group: entry-point group in which other packages register theirs.
        builtins: name to "module:attribute"; imported on use only.
        aliases: other words that people type.
    """

    kind: str
    group: str
    builtins: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Every known name, sorted, aliases left out."""
        return sorted({*self.builtins, *self._plugins()})

    def load(self, name: str) -> Callable[..., Any]:
        """The class or function that the name stands for.

        Raises:
            UnknownName: nobody provides it; the message lists the known names.
            SpecError: two packages provide it; the message names both.
        """
        name = self.aliases.get(name, name)
        plugins = self._plugins()
        if name not in self.builtins and name not in plugins:
            raise UnknownName(self.kind, name, {*self.builtins, *plugins})
        if name in plugins:
            found: Callable[..., Any] = plugins[name].load()
            return found
        module, attribute = self.builtins[name].split(":")
        loaded: Callable[..., Any] = getattr(import_module(module), attribute)
        return loaded

    def build(self, text: str) -> Any:
        """Build the object that a spec string describes.

        Raises:
            SpecError, UnknownName: as `parse` and `load`; also an option that the target refuses.
        """
        spec = parse(text)
        factory = self.load(spec.name)
        try:
            return factory(**spec.options)
        except (TypeError, ValueError) as error:
            raise SpecError(f"cannot build {self.kind} '{text}': {error}") from error

    def _plugins(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            owner = found.get(entry.name)
            if owner or entry.name in self.builtins:
                first = owner.value if owner else self.builtins[entry.name]
                raise SpecError(f"{self.kind} '{entry.name}' is provided twice: {first} and {entry.value}")
            found[entry.name] = entry
        return found
