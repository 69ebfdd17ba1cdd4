"""Groups of categories: from a CSV of one's own, or from WordNet for the ILSVRC categories."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from sfumato.data.ilsvrc import STUDY_SUPERCATEGORIES, all_supercategories, supercategory
from sfumato.errors import TableError

Groups = Mapping[str, frozenset[str]]
"""Name of a supercategory to the names of its categories; a category may be in several."""

ILSVRC = "ilsvrc"
_COLUMNS = ("category", "supercategory")


def read_groups(source: str | Path) -> Groups:
    """Groups of categories by what a person names on the command line.

    "ilsvrc" gives the five supercategories that the study reports, "ilsvrc:dog.n.01,bird.n.01" those that it
    names, "ilsvrc:all" every synset above two or more of the 1,000 categories; their categories are the
    WordNet ids (n02119022) that name ImageNet's folders. Anything else is a CSV file in UTF-8 whose first
    line has the columns category and supercategory; a category may have several lines. The order of the
    supercategories is kept.

    Raises:
        TableError: no such file, or not that format; the message names the line.
        UnknownName: no such synset above the ILSVRC categories.
    """
    text = str(source)
    if text.split(":", 1)[0] != ILSVRC:
        return _read_csv(Path(source))
    names = text.removeprefix(ILSVRC).removeprefix(":")
    if names == "all":
        return {name: supercategory(name) for name in all_supercategories()}
    wanted = [name.strip() for name in names.split(",") if name.strip()] or STUDY_SUPERCATEGORIES
    return {name: supercategory(name) for name in wanted}


def _read_csv(path: Path) -> Groups:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start})") from error
    try:
        rows = csv.DictReader(lines, strict=True, restval="", skipinitialspace=True)
        missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise TableError(
                f"{path}: the first line must name the columns category and supercategory; "
                f"{' and '.join(missing)} is missing"
            )
        return _grouped(path, rows)
    except csv.Error as error:
        raise TableError(f"{path}: not a CSV file ({error})") from error


def _grouped(path: Path, rows: csv.DictReader[str]) -> Groups:
    groups: dict[str, set[str]] = {}
    for row in rows:
        category, group = (row[name].strip() for name in _COLUMNS)
        if not category or not group:
            raise TableError(f"{path}: line {rows.line_num} lacks a category or a supercategory")
        groups.setdefault(group, set()).add(category)
    if not groups:
        raise TableError(f"{path}: no category in it; give one line for each, below category,supercategory")
    return {name: frozenset(members) for name, members in groups.items()}
