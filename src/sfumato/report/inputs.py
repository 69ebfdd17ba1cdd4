"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfumato.compare.tables import KIND
from sfumato.data import Dataset
from sfumato.faces import FaceTable
from sfumato.records import find_artefacts, read_manifest


@dataclass(frozen=True)
class SelfCheck:
    """One thing that a self-check knows the answer to, and whether the tool found it.

    Attributes:
        name: what was checked, a few words.
        passed: whether it held.
        detail: what was found, a sentence.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ReportInputs:
    """The artefacts that a report tells about.

    Attributes:
        title: of the page.
        tables: folder of `sfumato compare`.
        faces: of the original data set.
        original: the data set as it came.
        variants: arm to its data set; arms in which nothing is hidden may be among them.
        settings: of the study, printed as they are.
        command: what a person types to get all of this again; empty where there is no such line.
        selfcheck: results of a self-check on planted data; None for a real study.
        transfer: folders of `sfumato compare` on downstream tasks; see `find_transfer`.
    """

    title: str
    tables: Path
    faces: FaceTable
    original: Dataset
    variants: Mapping[str, Dataset]
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    selfcheck: Sequence[SelfCheck] | None = None
    transfer: Sequence[Path] = ()


def find_transfer(root: Path) -> list[Path]:
    """Every finished comparison on a downstream task at or below a folder, sorted; links are not followed.

    Raises:
        ManifestError: a manifest below the root is damaged.
    """
    tables = [folder for folder, kind in find_artefacts(root) if kind == KIND]
    return [folder for folder in tables if read_manifest(folder).facts.get("task")]
