"""Groups of images: supercategories, and subgroups that the user brings as a column of an image table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sfumato.errors import TableError, UsageError

IMAGE_ID = "image_id"

_SHOWN = 5

Ints = NDArray[np.int64]


def read_image_groups(path: Path, column: str) -> dict[str, str | None]:
    """The group of each image, from a column of a parquet or CSV table that has `image_id` beside it.

    Values are taken as text ("3" and 3 are one group); an empty field of a CSV, or null, is None: the image
    is in no group. Numbers with a fraction are refused, as nearly every image would be a group of its own.

    Args:
        path: table in UTF-8 CSV with a header line, or parquet (by its ending, .parquet).
        column: its column.

    Raises:
        TableError: no such file, not that format, no such column (the message names those there are), numbers
            with a fraction, or an image that occurs twice.
    """
    table = _read(path)
    for name in (IMAGE_ID, column):
        if name not in table.column_names:
            known = ", ".join(table.column_names)
            raise TableError(f"{path}: no column '{name}'; it has: {known}")
    if pa.types.is_floating(table[column].type) and not _whole(table[column]):
        raise TableError(f"{path}: column '{column}' holds numbers with a fraction; give groups as names")
    ids = [str(value) for value in table[IMAGE_ID].to_pylist()]
    twice = _listed([name for name, count in _counts(ids).items() if count > 1])
    if twice:
        raise TableError(f"{path}: images that occur twice: {twice}; keep one row for each")
    return dict(zip(ids, map(_text, table[column].to_pylist()), strict=True))


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        options = pyarrow.csv.ConvertOptions(
            strings_can_be_null=True, null_values=[""], column_types={IMAGE_ID: pa.string()}
        )
        return pyarrow.csv.read_csv(path, convert_options=options)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such table") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable parquet or CSV table ({error})") from error


def _whole(values: pa.ChunkedArray) -> bool:
    return all(float(value).is_integer() for value in values.drop_null().to_pylist())


def _counts(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return str(int(value)) if isinstance(value, float) else str(value)


def _listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are; empty for none."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def group_strata(image_ids: Sequence[str], groups: Mapping[str, str | None], source: str) -> dict[str, Ints]:
    """The compared images of each group, as columns of the outcomes; names sorted.

    Args:
        image_ids: (n,) of the images compared.
        groups: image id to group; None is in none. Images that were not compared are passed over.
        source: where the groups come from, for messages: file and column.

    Raises:
        UsageError: images that were compared are not in it, or none of them is in a group.
    """
    missing = [image_id for image_id in image_ids if image_id not in groups]
    if missing:
        raise UsageError(
            f"{source}: lacks {len(missing)} of the {len(image_ids)} images compared: {_listed(missing)}; "
            "give a row for each, with an empty group where it is not known"
        )
    found: dict[str, list[int]] = {}
    for column, image_id in enumerate(image_ids):
        group = groups[image_id]
        if group is not None:
            found.setdefault(group, []).append(column)
    if not found:
        raise UsageError(f"{source}: none of the images compared is in a group")
    return {name: np.array(found[name], dtype=np.int64) for name in sorted(found)}


def supercategory_strata(
    label: Ints, categories: Sequence[str], groups: Mapping[str, Collection[str]]
) -> dict[str, Ints]:
    """The images of each supercategory, as columns of the outcomes; one image may be in several.

    Args:
        label: (n,) category of each image.
        categories: names by label.
        groups: supercategory to names of its categories, as `sfumato.data.groups.read_groups` gives them;
            categories that the data set does not have are passed over.

    Raises:
        UsageError: the data set has none of the categories.
    """
    number = {name: place for place, name in enumerate(categories)}
    labels = {name: [number[one] for one in members if one in number] for name, members in groups.items()}
    if not any(labels.values()):
        raise UsageError(
            f"none of the {sum(map(len, groups.values()))} categories that are grouped is in the data set; "
            f"its categories are called like {_listed(list(categories))}"
        )
    return {name: np.flatnonzero(np.isin(label, members)) for name, members in labels.items()}
