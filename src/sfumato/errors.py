"""The errors that Sfumato raises on purpose; every one has a message for a person.

SfumatoError             exit 1
├── UsageError           exit 2   the request itself is wrong
│   ├── SpecError                 "blur(strength=" or an option that the method does not have
│   ├── UnknownName               a method, model or detector that nobody provides
│   └── OutputExists              the output is there already and was made from something else
├── DatasetError                  no image, one category, no split to evaluate on
├── ImageError                    one picture cannot be read or written
├── BoxError                      boxes that are no boxes
├── TableError                    a table without its columns
├── ManifestError                 an artefact without a manifest, or of another kind
├── TrainingError                 a run that cannot go on
├── BusyError                     another process works in the same folder
└── MissingExtra                  a part of Sfumato that is not installed
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class SfumatoError(Exception):
    """Anything that Sfumato reports to its user on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(SfumatoError):
    """The request itself is wrong; nothing was started."""

    exit_code: ClassVar[int] = 2


class SpecError(UsageError):
    """A spec string does not parse, or names an option that its target does not have."""


class UnknownName(UsageError):
    """A name that neither Sfumato nor an installed plug-in provides."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} '{name}'; known: {', '.join(sorted(known))}")


class OutputExists(UsageError):
    """The output is there already; the message says how to resume or replace it."""


class DatasetError(SfumatoError):
    """A folder is no data set that the request could use."""


class ImageError(SfumatoError):
    """One picture cannot be read or written; stages turn it into a row with this reason."""


class BoxError(SfumatoError):
    """Numbers that are no boxes: wrong shape, NaN, or ends before their starts."""


class TableError(SfumatoError):
    """A table on disk lacks a column or has one of another type."""


class ManifestError(SfumatoError):
    """A folder is not the artefact that it should be."""


class TrainingError(SfumatoError):
    """A training run that cannot go on."""


class BusyError(SfumatoError):
    """Another process works in the same folder."""


class MissingExtra(SfumatoError):
    """An optional part of Sfumato is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'sfumato[{extra}]'")
