"""What can be said of privacy: which methods were used and what they say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass

from sfumato.compare import is_obfuscated, short_names
from sfumato.errors import UsageError
from sfumato.obfuscate import METHODS


@dataclass(frozen=True)
class Method:
    """One method of a study: its short name and spec, what it does, and what of it could be undone."""

    name: str
    spec: str
    summary: str
    invertible: str


def privacy_section(arms: Iterable[str]) -> list[Method]:
    """The methods that hide something in these arms, each once."""
    specs = dict.fromkeys(part for arm in arms for part in arm.split(" -> ") if is_obfuscated(part))
    return [_method(spec, name) for spec, name in short_names(specs).items()]


def _method(spec: str, name: str) -> Method:
    try:
        built = METHODS.build(spec)
    except UsageError:  # of a plug-in that is not installed here
        return Method(name, spec, "", "")
    summary = (inspect.getdoc(type(built)) or "").split("\n\n")[0].replace("\n", " ")
    return Method(name, spec, summary, built.invertible)
