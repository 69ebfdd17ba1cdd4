"""Which faces to hide, as data: least size and score, kinds, and faces that stay visible."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.boxes import area, longer_side
from sfumato.data.groups import read_groups
from sfumato.errors import SfumatoError, TableError, UsageError
from sfumato.faces.record import Faces
from sfumato.faces.table import FaceTable
from sfumato.records import make_key


@dataclass(frozen=True)
class Keep:
    """Faces that are not to be hidden.

    Attributes:
        image: image id, or a pattern of ids with `*`, `?` and `[abc]` ("val/*/0003.jpg").
        region: x0, y0, x1, y1; a face whose centre lies inside stays visible. None for all faces.
        relative: the region is in fractions of width and height, not in pixels of the upright image.
    """

    image: str = "*"
    region: tuple[float, float, float, float] | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        if self.region is None:
            return
        object.__setattr__(self, "region", tuple(float(value) for value in self.region))
        if len(self.region) != 4 or not np.isfinite(self.region).all():
            raise ValueError(f"a region is x0, y0, x1, y1, not {self.region}")
        if self.region[2] < self.region[0] or self.region[3] < self.region[1]:
            raise ValueError(f"a region ends before it starts: {self.region}")

    def covers(self, faces: Faces, image_id: str, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Which faces of an image of (width, height) stay visible, shape (n,)."""
        # Ids may hold brackets, so an id equal to the pattern counts too.
        if not (image_id == self.image or fnmatchcase(image_id, self.image)):
            return np.zeros(len(faces), dtype=bool)
        if self.region is None:
            return np.ones(len(faces), dtype=bool)
        region = np.asarray(self.region, dtype=np.float64)
        if self.relative:
            region = region * np.array([*size, *size])
        xyxy = faces.xyxy.astype(np.float64)
        centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
        return np.asarray(((centre >= region[:2]) & (centre < region[2:])).all(axis=1))


@dataclass(frozen=True)
class Stricter:
    """A higher least score in images of some categories, such as animals, which detectors mistake for people.

    This uses the label, so it is never done unless asked for: people do stand beside dogs.

    Attributes:
        min_score: least score of a face in their images, 0 to 1.
        categories: their names. In a file of rules, `groups` may stand instead, as `sfumato faces stats`
            takes it: "ilsvrc:animal.n.01", or a CSV of category and supercategory, of which all are meant.
    """

    min_score: float
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in self.categories):
            raise ValueError("categories is a list of names")
        object.__setattr__(self, "categories", tuple(sorted(self.categories)))
        if not 0 <= self.min_score <= 1:
            raise ValueError("min_score is at least 0 and at most 1")


@dataclass(frozen=True)
class Selection:
    """The faces that are to be hidden; by default all.

    Attributes:
        min_size: least longer side of a face, in pixels.
        min_share: least share of the image that a face's box covers, 0 to 1.
        min_score: least score, 0 to 1.
        kinds: kinds of faces; empty for all.
        keep: faces that stay visible whatever else is true of them.
        stricter: higher least scores in images of some categories.
    """

    min_size: float = 0.0
    min_share: float = 0.0
    min_score: float = 0.0
    kinds: tuple[str, ...] = ()
    keep: tuple[Keep, ...] = ()
    stricter: tuple[Stricter, ...] = ()

    def __post_init__(self) -> None:
        for name in ("kinds", "keep", "stricter"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, most in (("min_size", np.inf), ("min_share", 1), ("min_score", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is at least 0{'' if most > 1 else ' and at most 1'}")

    def chosen(
        self, faces: Faces, image_id: str, size: tuple[int, int], category: str | None = None
    ) -> NDArray[np.bool_]:
        """Which faces of an image of (width, height) pixels and this category are to be hidden, (n,)."""
        wanted = longer_side(faces.xyxy) >= np.float32(self.min_size)
        wanted &= area(faces.xyxy) >= self.min_share * size[0] * size[1]
        wanted &= faces.score >= np.float32(self.min_score)
        for rule in self.stricter:
            if category in rule.categories:
                wanted &= faces.score >= np.float32(rule.min_score)
        if self.kinds:
            wanted &= np.array([kind in self.kinds for kind in faces.kind], dtype=bool)
        for kept in self.keep:
            wanted &= ~kept.covers(faces, image_id, size)
        return np.asarray(wanted)

    def to_dict(self) -> dict[str, Any]:
        """The rules as plain values, defaults written out, for a manifest or a file."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, rules: Mapping[str, Any]) -> Selection:
        """Rules from plain values.

        Raises:
            UsageError: a rule that does not exist, or a value that does not fit.
            TableError, UnknownName: groups of categories that cannot be read.
        """
        try:
            _check_names(cls, rules)
            given = dict(rules)
            if isinstance(given.get("kinds"), str):
                raise ValueError("kinds is a list of words")
            given["keep"] = tuple(_keep(item) for item in given.get("keep", ()))
            given["stricter"] = tuple(_stricter(item) for item in given.get("stricter", ()))
            return cls(**given)
        except (TypeError, ValueError) as error:
            raise UsageError(f"cannot read the rules of selection: {error}") from error


def select_faces(table: FaceTable, selection: Selection) -> FaceTable:
    """The face table with the faces to hide only; every image stays examined.

    Its manifest has the rules in its settings and another key, so that what is made from it is another
    artefact; rules that choose everything leave the table as it is.

    Raises:
        TableError: the size of an image with faces is not known.
        UsageError: a rule is for categories that the data set does not have.
    """
    if selection == Selection():
        return table
    _check_categories(selection, table)
    columns = (table.images[name].to_pylist() for name in ("image_id", "width", "height", "label"))
    categories = table.manifest.facts.get("categories", ())
    chosen = np.ones(len(table.faces), dtype=bool)
    for image_id, width, height, label in zip(*columns, strict=True):
        rows = table.rows_of(image_id)
        if len(rows) and width is None:
            raise TableError(f"images.parquet: {image_id} has faces but no size")
        if len(rows):
            known = label is not None and 0 <= label < len(categories)
            category = categories[label] if known else None
            chosen[rows] = selection.chosen(table.of(image_id), image_id, (width, height), category)
    rules = {"selection": selection.to_dict()}
    manifest = replace(
        table.manifest,
        key=make_key("faces", {"faces": table.manifest.key}, rules),
        settings={**table.manifest.settings, **rules},
        counts={
            **table.manifest.counts,
            "faces": int(chosen.sum()),
            "faces_left_visible": int((~chosen).sum()),
        },
    )
    return FaceTable(table.faces.filter(pa.array(chosen)), table.images, manifest)


def _check_categories(selection: Selection, table: FaceTable) -> None:
    """A rule that can never apply is a mistake, and would pass for one that was heeded."""
    own = set(table.manifest.facts.get("categories", ()))
    for rule in selection.stricter:
        if not own & set(rule.categories):
            some = ", ".join(rule.categories[:3])
            raise UsageError(
                f"a stricter rule names none of the data set's {len(own)} categories ({some} …); groups of "
                "ilsvrc need folders named by WordNet id, such as n02119022"
            )


def read_selection(path: Path) -> Selection:
    """Rules from a TOML or JSON file.

    Raises:
        UsageError: the file cannot be read, or a rule in it; the message names both.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        rules = json.loads(text) if Path(path).suffix.lower() == ".json" else tomllib.loads(text)
        if not isinstance(rules, dict):
            raise ValueError("expected an object")
        return Selection.from_dict(rules)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, SfumatoError) as error:
        raise UsageError(f"{path}: {error}") from error


def _keep(item: Mapping[str, Any]) -> Keep:
    _check_names(Keep, item)
    return Keep(**item)


def _stricter(item: Mapping[str, Any]) -> Stricter:
    given = dict(item)
    if "groups" in given and "categories" in given:
        raise ValueError("a stricter rule has groups or categories, not both")
    if "groups" in given:
        given["categories"] = tuple(set().union(*read_groups(str(given.pop("groups"))).values()))
    _check_names(Stricter, given)
    if isinstance(given.get("categories"), str):
        raise ValueError("categories is a list of names")
    return Stricter(**given)


def _check_names(kind: type[Any], given: Mapping[str, Any]) -> None:
    known = [item.name for item in fields(kind)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"there is no '{unknown[0]}'; known: {', '.join(known)}")
