"""The 1,000 categories of ILSVRC 2012-2017 and everything above them in WordNet 3.0.

The facts lie in `ilsvrc_synsets.csv`, which `scripts/build_ilsvrc.py` takes from WordNet's own files; its
licence is beside it. Synsets have their usual names: first lemma, part of speech, number of the sense.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from sfumato.errors import UnknownName

STUDY_SUPERCATEGORIES = (
    "clothing.n.01",
    "musical_instrument.n.01",
    "wheeled_vehicle.n.01",
    "insect.n.01",
    "bird.n.01",
)
"""Those for which "A Study of Face Obfuscation in ImageNet" (arXiv 2103.06191) reports shares of images."""

_SYNSETS = "ilsvrc_synsets.csv"


@dataclass(frozen=True, slots=True)
class Category:
    """One of the 1,000 categories.

    Attributes:
        wnid: WordNet id, the name of its folder in ImageNet: "n02119022".
        synset: name in WordNet 3.0: "red_fox.n.03".
        names: its lemmas, the usual one first: ("red fox", "Vulpes vulpes").
        closure: names of the synset itself and of every synset above it, on all paths.
    """

    wnid: str
    synset: str
    names: tuple[str, ...]
    closure: frozenset[str]


@cache
def ilsvrc_categories() -> tuple[Category, ...]:
    """The categories sorted by WordNet id, so that the place of one is its label."""
    rows = _rows()
    return tuple(
        Category(row["wnid"], row["synset"], tuple(row["lemmas"].split("; ")), _closure(row["synset"]))
        for row in rows.values()
        if row["is_category"] == "1"
    )


@cache
def supercategory(name: str) -> frozenset[str]:
    """WordNet ids of the categories that are, or lie below, a synset such as "clothing.n.01".

    Raises:
        UnknownName: it is neither a category nor above one; the message names the broadest synsets.
    """
    members = _members().get(name)
    if members is None:
        broad = sorted(_members(), key=lambda synset: -len(_members()[synset]))[:24]
        raise UnknownName("supercategory of ILSVRC", name, [*broad, "\N{HORIZONTAL ELLIPSIS}"])
    return members


def all_supercategories() -> tuple[str, ...]:
    """Names of the synsets above at least two categories, those of most categories first."""
    members = _members()
    names = [name for name, below in members.items() if len(below) > 1]
    return tuple(sorted(names, key=lambda name: (-len(members[name]), name)))


@cache
def _rows() -> Mapping[str, dict[str, str]]:
    text = resources.files("sfumato.data").joinpath(_SYNSETS).read_text("utf-8")
    return {row["synset"]: row for row in csv.DictReader(text.splitlines())}


@cache
def _closure(synset: str) -> frozenset[str]:
    above = _rows()[synset]["hypernyms"].split()
    return frozenset({synset}).union(*map(_closure, above))


@cache
def _members() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for category in ilsvrc_categories():
        for synset in category.closure:
            found.setdefault(synset, set()).add(category.wnid)
    return MappingProxyType({name: frozenset(wnids) for name, wnids in found.items()})
