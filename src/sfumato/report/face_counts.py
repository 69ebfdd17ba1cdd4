"""Faces in the data, as the page counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sfumato.report.face_facts import FaceFacts
from sfumato.report.grids import Grid, cells
from sfumato.report.numerals import UNKNOWN, count, percent

MANY_FACES = 8


def faces_section(facts: FaceFacts) -> dict[str, Any]:
    """What the section about faces prints."""
    share = facts.n_with_faces / facts.n_examined if facts.n_examined else None
    rows = [
        cells(faces, count(n), percent(n / facts.n_examined))
        for faces, n in _binned(facts.per_image.to_pylist()).items()
    ]
    return {
        "facts": facts,
        "share": percent(share),
        "an_image": f"{facts.n_faces / facts.n_with_faces:.2f}" if facts.n_with_faces else UNKNOWN,
        "per_image": Grid(("Faces", "Images", "%"), tuple(rows)),
    }


def _binned(rows: Sequence[Mapping[str, int]]) -> dict[str, int]:
    binned: dict[str, int] = {}
    for row in rows:
        name = str(row["n_faces"]) if row["n_faces"] < MANY_FACES else f"{MANY_FACES} or more"
        binned[name] = binned.get(name, 0) + row["n_images"]
    return binned
