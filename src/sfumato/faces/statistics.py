"""Statistics of faces: how many images have some, how many, and how much of an image they cover."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.boxes import union_area
from sfumato.errors import UsageError
from sfumato.faces.intervals import share, wilson
from sfumato.faces.statistics_tables import (
    BY_CATEGORY_SCHEMA,
    BY_SUPERCATEGORY_SCHEMA,
    HISTOGRAM_SCHEMA,
    KIND,
    TOTALS_SCHEMA,
    FaceStatistics,
)
from sfumato.faces.table import FaceTable
from sfumato.records import Manifest, make_key, versions

Groups = Mapping[str, Collection[str]]
"""Name of a supercategory to the names of its categories; `sfumato.data.groups.read_groups` reads them."""

LONGEST_BAR = 10
"""Images with more faces than this stand together in the histogram, as in the study's figure."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def statistics(
    faces: FaceTable,
    *,
    categories: Sequence[str],
    groups: Groups | None = None,
    split: str | None = None,
    kinds: Collection[str] | None = None,
) -> FaceStatistics:
    """Count images and faces, in all, by category and by supercategory.

    Args:
        faces: the face table; faces of images that failed or were not examined are not counted.
        categories: names by label; empty for a data set without labels.
        groups: categories of each supercategory; a category may be in several, names that the data set does
            not have are passed over.
        split: count only this split.
        kinds: count only faces of these kinds; None counts every box, of whatever kind ("ignore" too).

    Raises:
        UsageError: a split that does not occur, groups none of whose categories the data set has, or fewer
            categories than the table has labels.
    """
    labels = _labels_of_groups(groups or {}, categories)
    counted = _count(_of_split(faces.images, split), faces.faces, kinds)
    if counted.label.max(initial=-1) >= len(categories):
        raise UsageError(
            f"the face table has label {counted.label.max()}, but only {len(categories)} categories are named"
        )
    by_category = _by_category(counted, categories)
    settings = {
        "categories": _digest(categories),
        "groups": {name: _digest(sorted(members)) for name, members in (groups or {}).items()},
        "split": split,
        "kinds": None if kinds is None else sorted(kinds),
    }
    totals = _totals(counted, by_category, split)
    inputs = {"faces": faces.manifest.key}
    return FaceStatistics(
        totals=totals,
        by_category=by_category,
        by_supercategory=_by_supercategory(by_category, labels),
        histogram=_histogram(counted.n_faces),
        manifest=Manifest(
            KIND, make_key(KIND, inputs, settings), inputs, settings, totals.to_pylist()[0], {}, versions()
        ),
    )


def area_shares(faces: FaceTable, *, kinds: Collection[str] | None = None) -> dict[str, float]:
    """Share of each image that its boxes cover together, by id of the images that were examined.

    Args:
        faces: the face table; images that failed have no entry, one of unknown size has NaN.
        kinds: as for `statistics`.
    """
    ok = faces.images.filter(pc.equal(faces.images["status"], "ok"))
    shares = _count(faces.images, faces.faces, kinds).area_share
    return dict(zip(ok["image_id"].to_pylist(), shares.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class _Counted:
    """The examined images, one entry each; `area_share` is NaN where the size is not known."""

    n_failed: int
    label: Ints
    n_faces: Ints
    area_share: Floats


def _of_split(images: pa.Table, split: str | None) -> pa.Table:
    if split is None:
        return images
    chosen = images.filter(pc.equal(images["split"], split))
    if not len(chosen):
        known = ", ".join(sorted(pc.unique(images["split"].drop_null()).to_pylist())) or "none"
        raise UsageError(f"the face table has no split '{split}'; it has: {known}")
    return chosen


def _count(images: pa.Table, faces: pa.Table, kinds: Collection[str] | None) -> _Counted:
    ok = images.filter(pc.equal(images["status"], "ok"))
    if kinds is not None:
        faces = faces.filter(pc.is_in(faces["kind"], pa.array(sorted(kinds), pa.string())))
    place = pc.index_in(faces["image_id"], ok["image_id"].combine_chunks())
    known = faces.filter(pc.is_valid(place))
    row = place.drop_null().to_numpy().astype(np.int64)
    size = np.stack([_column(ok, name) for name in ("width", "height")], axis=1)
    xyxy = np.stack([_column(known, name) for name in ("x0", "y0", "x1", "y1")], axis=1)
    label = pc.fill_null(ok["label"], -1).to_numpy().astype(np.int64)
    return _Counted(
        n_failed=len(images) - len(ok),
        label=label,
        n_faces=np.bincount(row, minlength=len(ok)),
        area_share=_covered(row, xyxy, size) / np.prod(size, axis=1),
    )


def _column(table: pa.Table, name: str) -> Floats:
    """A column as float64, NaN where it is null."""
    return np.asarray(pc.fill_null(pc.cast(table[name], pa.float64()), float("nan")).to_numpy())


def _covered(row: Ints, xyxy: Floats, size: Floats) -> Floats:
    """Area that the boxes of each image cover together, in square pixels, cut to the image; shape (images,).

    Args:
        row: image of each box, (n,).
        xyxy: the boxes, (n, 4).
        size: width and height of each image, (images, 2); NaN makes the area NaN where there are boxes.
    """
    inside = np.clip(xyxy, 0, np.tile(size, 2)[row])
    area = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    covered: Floats = np.bincount(row, weights=area, minlength=len(size)).astype(np.float64)
    order = np.lexsort((inside[:, 0], row))
    row, inside = row[order], inside[order]
    # Only where boxes overlap does their union differ from their sum.
    for image in _with_overlap(row, inside):
        start, end = np.searchsorted(row, [image, image + 1])
        covered[image] = union_area(inside[start:end])  # type: ignore[arg-type]  # float64 does as well
    return covered


def _with_overlap(row: Ints, xyxy: Floats) -> Ints:
    """Images in which two boxes overlap; boxes are sorted by image and by x0 within it.

    Box i is compared with box i + 1, i + 2 and so on, all i at once, until the other box belongs to another
    image or starts beyond the end of box i.
    """
    first = np.arange(len(row))
    found: list[Ints] = []
    for lag in range(1, len(row)):
        first = first[first + lag < len(row)]
        other = first + lag
        near = (row[first] == row[other]) & (xyxy[other, 0] < xyxy[first, 2])
        first, other = first[near], other[near]
        if not len(first):
            break
        height = np.minimum(xyxy[first, 3], xyxy[other, 3]) - np.maximum(xyxy[first, 1], xyxy[other, 1])
        found.append(row[first[height > 0]])
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _by_category(counted: _Counted, categories: Sequence[str]) -> pa.Table:
    labelled = counted.label >= 0
    label, n_faces = counted.label[labelled], counted.n_faces[labelled]
    area_share = counted.area_share[labelled]
    known = ~np.isnan(area_share)
    n = len(categories)
    covered = np.bincount(label[known], weights=area_share[known], minlength=n)
    n_with_faces = np.bincount(label[n_faces > 0], minlength=n)
    return _table(
        {
            "category": list(categories),
            "label": np.arange(n),
            **_shares(n_with_faces, np.bincount(label, minlength=n)),
            "n_faces": np.bincount(label, weights=n_faces, minlength=n).astype(np.int64),
            "mean_area_share": share(covered, np.bincount(label[known], minlength=n)),
        },
        BY_CATEGORY_SCHEMA,
    )


def _by_supercategory(by_category: pa.Table, labels: Mapping[str, Ints]) -> pa.Table:
    n_images, n_with_faces = (by_category[name].to_numpy() for name in ("n_images", "n_with_faces"))
    members = list(labels.values())
    return _table(
        {
            "supercategory": list(labels),
            "n_categories": [len(one) for one in members],
            **_shares([n_with_faces[one].sum() for one in members], [n_images[one].sum() for one in members]),
        },
        BY_SUPERCATEGORY_SCHEMA,
    )


def _histogram(n_faces: Ints) -> pa.Table:
    counts = np.bincount(np.minimum(n_faces, LONGEST_BAR + 1), minlength=LONGEST_BAR + 2)
    low = list(range(LONGEST_BAR + 2))
    return _table(
        {"n_faces_low": low, "n_faces_high": [*low[:-1], None], "n_images": counts}, HISTOGRAM_SCHEMA
    )


def _totals(counted: _Counted, by_category: pa.Table, split: str | None) -> pa.Table:
    n_examined = len(counted.label)
    has = counted.n_faces > 0
    n_with_faces, n_faces = int(has.sum()), int(counted.n_faces.sum())
    known = ~np.isnan(counted.area_share)
    shares = _shares([n_with_faces], [n_examined])
    shares.pop("n_images")
    of_category = by_category["share_with_faces"].drop_null().to_numpy()
    return _table(
        {
            "split": [split],
            "n_images": [n_examined + counted.n_failed],
            "n_examined": [n_examined],
            "n_failed": [counted.n_failed],
            **shares,
            "n_faces": [n_faces],
            "faces_per_face_image": share([n_faces], [n_with_faces]),
            "n_of_known_size": [int(known.sum())],
            "mean_area_share": _mean(counted.area_share[known]),
            "mean_area_share_with_faces": _mean(counted.area_share[known & has]),
            "n_categories": [len(of_category)],
            "n_categories_above_25_percent": [int((of_category > 0.25).sum())],
            "n_categories_above_50_percent": [int((of_category > 0.5).sum())],
        },
        TOTALS_SCHEMA,
    )


def _shares(part: Any, whole: Any) -> dict[str, Any]:
    """The columns that every share comes with; `part` and `whole` are counts of images, (rows,)."""
    low, high = wilson(part, whole)
    return {
        "n_images": whole,
        "n_with_faces": part,
        "share_with_faces": share(part, whole),
        "ci_low": low,
        "ci_high": high,
    }


def _mean(values: Floats) -> Floats:
    return share([values.sum()], [len(values)])


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Columns as a table of the schema; NaN becomes null."""
    return pa.table(
        [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in schema], schema=schema
    )


def _labels_of_groups(groups: Groups, categories: Sequence[str]) -> dict[str, Ints]:
    label = {name: number for number, name in enumerate(categories)}
    found = {
        group: np.array(sorted(label[name] for name in set(members) & label.keys()), dtype=np.int64)
        for group, members in groups.items()
    }
    if groups and not any(map(len, found.values())):
        example = next((name for members in groups.values() for name in members), "none")
        raise UsageError(
            f"the groups name none of the data set's {len(categories)} categories "
            f"(a group has '{example}', the data set {_first(categories)}); the names must be equal"
        )
    return found


def _first(categories: Sequence[str]) -> str:
    return f"'{categories[0]}'" if categories else "no labels"


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]
