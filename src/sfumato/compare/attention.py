"""Where models look: the share of Grad-CAM maps that lies in faces, by category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sfumato.compare.components import run_weights
from sfumato.predictions import FACE_COLUMNS

ATTENTION_SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("category", pa.string()),
        ("label", pa.int64()),
        ("n_images", pa.int64()),
        ("face_area", pa.float64()),
        ("attention_true", pa.float64()),
        ("attention_predicted", pa.float64()),
        ("attention_per_area", pa.float64()),
    ]
)
"""By arm and category, over images with a face in view and an attention map: means over images of the mean
over runs of the share of the model's view that is face, and of the shares of the maps of the true and of the
predicted category that lie in faces. `attention_per_area` is attention_true by face_area: 1 where faces get
the attention of any other part. The first row of an arm, with null as category, is of all images."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FaceView:
    """Columns of `sfumato.predictions.FACE_COLUMNS` of one run; each (n,), NaN where null."""

    face_area: Floats
    attention_true: Floats
    attention_predicted: Floats


def face_view(table: pa.Table, rows: Ints) -> FaceView | None:
    """The columns of a table of predictions, for the images in these rows; None where it has not all of
    them."""
    names = FACE_COLUMNS.names
    if not set(names) <= set(table.column_names):
        return None
    columns = (pc.fill_null(pc.cast(table[name], pa.float64()), float("nan")) for name in names)
    return FaceView(*(column.to_numpy()[rows] for column in columns))


def attention_table(
    views: Mapping[tuple[str, str], Sequence[FaceView]], label: Ints, categories: Sequence[str]
) -> pa.Table:
    """Rows of `ATTENTION_SCHEMA`.

    Args:
        views: (model, arm) to runs, one a seed.
        label: (n,) category of each image.
        categories: names.
    """
    rows: list[dict[str, Any]] = []
    for arm in dict.fromkeys(arm for _, arm in views):
        models = [model for model, other in views if other == arm]
        runs = [view for model in models for view in views[model, arm]]
        number = [place for place, model in enumerate(models) for _ in views[model, arm]]
        rows += ({"arm": arm, **row} for row in _of_arm(runs, number, label, categories))
    return pa.Table.from_pylist(rows, schema=ATTENTION_SCHEMA)


def _of_arm(
    runs: Sequence[FaceView], models: Sequence[int], label: Ints, categories: Sequence[str]
) -> Iterator[dict[str, Any]]:
    weights = run_weights(models)
    values = np.stack(
        [_mean_over_runs([getattr(run, name) for run in runs], weights) for name in FACE_COLUMNS.names]
    )
    known = ~np.isnan(values).any(axis=0) & (values[0] > 0)
    yield {"category": None, "label": None, **_means(values[:, known])}
    for number, category in enumerate(categories):
        inside = known & (label == number)
        yield {"category": category, "label": number, **_means(values[:, inside])}


def _mean_over_runs(values: Sequence[Floats], weights: Floats) -> Floats:
    """Weighted mean over the runs that know a value, (n,); a map may be zero everywhere in some."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    weight = (known * weights[:, None]).sum(axis=0)
    total = (np.where(known, stacked, 0) * weights[:, None]).sum(axis=0)
    return np.asarray(total / np.where(weight > 0, weight, np.nan), dtype=np.float64)


def _means(values: Floats) -> dict[str, Any]:
    n = values.shape[1]
    if not n:
        return {"n_images": 0}
    means = dict(zip(FACE_COLUMNS.names, values.mean(axis=1).tolist(), strict=True))
    return {"n_images": n, **means, "attention_per_area": means["attention_true"] / means["face_area"]}
