"""Describe a variant for people: the data card."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sfumato.obfuscate.documents.derivation import LIMITATIONS, Derivation

_REST = """
## Files

- the images, under the paths of the original
- `images.parquet`: one row an image, with split, label, SHA-256 and how the file was written
- `faces.json`: the boxes that were hidden; treat it as you treat the originals where that matters
- `croissant.json`: this description for machines (Croissant 1.1)
- `manifest.json`: inputs, settings, versions

## How to check this copy

Who has the original can check every image:

    sfumato verify THIS_FOLDER --against ORIGINAL

## Licence

Hiding faces changes nothing about the licence of the pictures. Whether this copy may be made and passed on
must be checked by who owns or received the original.
"""


def data_card(derivation: Derivation) -> str:
    """The card in Markdown: what this copy is, what was hidden and how, what was not, how to check it."""
    parts = (part(derivation) for part in (_title, _counts, _method, _detector, _not_hidden))
    return "\n".join(line for part in parts for line in (*part, "")) + _REST


def _title(derivation: Derivation) -> Iterator[str]:
    yield "# Data card: a data set with faces hidden"
    yield ""
    yield "A copy of a labelled image data set in which the faces that were found are hidden. Names, splits"
    yield "and labels are those of the original; nothing else was changed on purpose."
    yield ""
    yield f"- original: fingerprint `{derivation.original}`"
    yield f"- this copy: key `{derivation.variant.key}`"
    yield f"- made by: {derivation.tool}"


def _counts(derivation: Derivation) -> Iterator[str]:
    yield "## Numbers"
    yield ""
    yield "| what | number |"
    yield "|---|---|"
    for name, value in derivation.variant.counts.items():
        yield f"| {name.replace('_', ' ')} | {value} |"
    for ending, value in derivation.endings.items():
        yield f"| files {ending} | {value} |"
    categories = derivation.variant.facts.get("categories") or ()
    yield f"| categories | {len(categories)} |"


def _method(derivation: Derivation) -> Iterator[str]:
    yield "## How faces were hidden"
    yield ""
    yield f"Method: `{derivation.method}`"
    yield ""
    yield f"Can it be undone: {derivation.invertible}."


def _detector(derivation: Derivation) -> Iterator[str]:
    yield "## How faces were found"
    yield ""
    yield f"By: `{derivation.detector}`"
    yield ""
    if derivation.figures:
        yield f"Measured on 400 hand-checked photos of ImageNet: {derivation.figures}. Other photos differ."
    else:
        yield "No figures are known for it here; have a sample checked by people before relying on it."
    for weights in derivation.weights:
        said = [str(weights.get(key, "not known")) for key in ("name", "licence", "origin")]
        yield "- network {}: licence {}, from {}".format(*said)


def _not_hidden(derivation: Derivation) -> Iterator[str]:
    yield "## What is not hidden"
    yield ""
    yield from (f"- {sentence}" for sentence in LIMITATIONS)
    if derivation.selection:
        yield f"- Faces left visible on purpose, by these rules: `{json.dumps(dict(derivation.selection))}`"
    if failed := derivation.count("failed"):
        yield f"- {failed} images that could not be read or written are not here; `images.parquet` says why."
