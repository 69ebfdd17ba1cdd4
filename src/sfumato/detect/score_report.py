"""How good a search for faces was, as tables with intervals: by face, by size of the face, by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.boxes import longer_side
from sfumato.detect.score import counting, matched_truth
from sfumato.errors import UsageError
from sfumato.faces import Faces
from sfumato.faces.intervals import share, wilson
from sfumato.records import (
    Manifest,
    finish,
    locked,
    make_key,
    prepare_output,
    versions,
    write_atomic,
    write_csv,
    write_table,
)

KIND = "face-score"

SIZE_EDGES = (0, 12, 24, 48, 96, 192)
"""Lower ends of the bins of face size, pixels of the longer side; the last is open."""

METRICS_SCHEMA = pa.schema(
    [
        ("level", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n_right", pa.int64()),
        ("n", pa.int64()),
    ]
)
"""`level` is "face" or "image"; `value` is `n_right / n` with its 95 % Wilson interval, null where `n` is 0.
`average_precision` is the area under the precision envelope over all scores; its interval is the 95 %
percentile interval of a bootstrap over images, and `n` the known faces."""

BY_SIZE_SCHEMA = pa.schema(
    [
        ("size_low", pa.float64()),
        ("size_high", pa.float64()),
        ("n_truth", pa.int64()),
        ("n_recalled", pa.int64()),
        ("recall", pa.float64()),
        ("recall_ci_low", pa.float64()),
        ("recall_ci_high", pa.float64()),
        ("n_found", pa.int64()),
        ("n_right", pa.int64()),
        ("precision", pa.float64()),
        ("precision_ci_low", pa.float64()),
        ("precision_ci_high", pa.float64()),
    ]
)
"""Faces whose longer side is at least `size_low` and below `size_high` pixels (null: no limit). Recall is
over known faces of that size, precision over found boxes of that size."""

SCHEMAS = {"metrics": METRICS_SCHEMA, "by_size": BY_SIZE_SCHEMA}
"""Name of a table to its schema."""

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreSettings:
    """How found faces are compared with known ones.

    Attributes:
        min_iou: least intersection over union of a match.
        min_size: longer side in pixels below which a known face is neither rewarded nor punished.
        rounds: of the bootstrap of average precision.
        seed: of its draws.
    """

    min_iou: float = 0.4
    min_size: float = 0.0
    rounds: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class ScoreReport:
    """Tables of a score; each as its schema of the same name says.

    Attributes:
        counts: n_images, n_not_examined (known images in which nobody searched: their faces count as missed),
            n_truth, n_found, n_matched.
        settings: what they were made with.
    """

    metrics: pa.Table
    by_size: pa.Table
    counts: Mapping[str, int]
    settings: ScoreSettings

    def named(self) -> dict[str, pa.Table]:
        """The tables by name, in the order of `SCHEMAS`."""
        return {name: getattr(self, name) for name in SCHEMAS}


def score_report(
    found: Mapping[str, Faces], truth: Mapping[str, Faces], *, settings: ScoreSettings = ScoreSettings()
) -> ScoreReport:
    """Score found faces against known ones, over the images of `truth` (see `sfumato.detect.score`).

    Faces are taken to be independent in the intervals of recall and precision; where an image has many, these
    are too narrow.

    Args:
        found: faces by image id; an image that was examined has an entry, if an empty one.
        truth: known faces by image id; the kind "ignore" is neither rewarded nor punished.
        settings: how.

    Raises:
        UsageError: not one image of `truth` was examined.
    """
    if not truth.keys() & found.keys():
        example = next(iter(truth), "none"), next(iter(found), "none")
        raise UsageError(
            f"no image of the truth was examined: it has {len(truth)} image(s) such as '{example[0]}', the "
            f"found faces {len(found)} such as '{example[1]}'; the image ids must be equal"
        )
    pairs = _pair(found, truth, settings)
    counts = {
        "n_images": len(truth),
        "n_not_examined": len(truth.keys() - found.keys()),
        "n_truth": len(pairs.truth_size),
        "n_found": len(pairs.score),
        "n_matched": int(pairs.right.sum()),
    }
    return ScoreReport(_metrics(pairs, settings), _by_size(pairs), counts, settings)


def average_precision(score: Floats, right: Flags, *, n_truth: float, weight: Floats | None = None) -> float:
    """Area under the monotone precision envelope over recall, at every distinct score (all-point).

    The measure of PASCAL VOC since 2010 (Everingham et al., IJCV 88, 2010): at each recall the best precision
    at that recall or any higher one. Boxes of equal score enter together.

    Args:
        score: of found boxes, (n,).
        right: whether each matches a known face, (n,).
        n_truth: number of known faces.
        weight: how often each box counts, (n,); 1 by default.

    Returns:
        0..1; NaN where there is no known face.
    """
    if not n_truth > 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    # The last box of each run of equal scores, where the threshold may stand.
    last = np.flatnonzero(np.diff(score[order], append=-np.inf) != 0)
    count = (np.ones(len(score)) if weight is None else weight)[order]
    n_found, n_right = np.cumsum(count)[last], np.cumsum(count * right[order])[last]
    precision = np.divide(n_right, n_found, out=np.zeros(len(last)), where=n_found > 0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(n_right, prepend=0.0) @ envelope / n_truth)


def summary(report: ScoreReport) -> str:
    """The metrics and recall and precision by size as lines for a terminal, with their intervals."""
    counts = report.counts
    lines = [f"images: {counts['n_images']:,} ({counts['n_not_examined']:,} of them not examined)"]
    for row in report.metrics.to_pylist():
        name = f"{row['level']} {row['metric'].replace('_', ' ')}"
        part = "" if row["n_right"] is None else f"  {row['n_right']:,} of {row['n']:,}"
        lines.append(f"{name:22}  {_with_interval(row['value'], row['ci_low'], row['ci_high'])}{part}")
    for row in report.by_size.to_pylist():
        end = "" if row["size_high"] is None else f" to {row['size_high']:.0f}"
        size = f"{row['size_low']:.0f}{end} px" if end else f"from {row['size_low']:.0f} px"
        recall, precision = (
            f"{name} {_with_interval(row[name], row[f'{name}_ci_low'], row[f'{name}_ci_high'])}"
            for name in ("recall", "precision")
        )
        lines.append(f"{size:22}  {recall} of {row['n_truth']:,}, {precision} of {row['n_found']:,}")
    return "\n".join(lines)


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def write_score(
    out: Path,
    report: ScoreReport,
    *,
    inputs: Mapping[str, str],
    sheets: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write the tables as parquet and as CSV, the contact sheets, and the manifest.

    Args:
        out: folder to write; where it holds the same score already, nothing is done.
        report: the tables.
        inputs: keys or hashes of what was compared ("found", "truth").
        sheets: file name to PNG (see `sfumato.detect.contact_sheet.contact_sheets`).
        overwrite: replace a score of something else.

    Raises:
        OutputExists: the folder was made from something else.
        BusyError: another process works in it.
    """
    settings: dict[str, Any] = {**asdict(report.settings), "sheets": sorted(sheets or ())}
    key = make_key(KIND, inputs, settings)
    facts = {
        "metrics": {f"{row['level']} {row['metric']}": row["value"] for row in report.metrics.to_pylist()}
    }
    manifest = Manifest(KIND, key, dict(inputs), settings, dict(report.counts), facts, versions())
    with locked(out):
        if prepare_output(out, KIND, key, overwrite=overwrite):
            return manifest
        for name, table in report.named().items():
            write_table(out / f"{name}.parquet", table)
            write_csv(out / f"{name}.csv", table)
        for name, content in (sheets or {}).items():
            write_atomic(out / name, content)
        finish(out, manifest)
    return manifest


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Every known face that counts and every found box that counts, over all images.

    Attributes:
        n_images: number of images.
        truth_image, truth_size, recalled: of known faces: image, longer side in pixels, whether it was found.
        found_image, found_size, score, right: of found boxes: the same, score, whether it matches a face.
    """

    n_images: int
    truth_image: Ints
    truth_size: Floats
    recalled: Flags
    found_image: Ints
    found_size: Floats
    score: Floats
    right: Flags


def _pair(found: Mapping[str, Faces], truth: Mapping[str, Faces], settings: ScoreSettings) -> _Pairs:
    known_columns: list[tuple[Any, ...]] = []
    found_columns: list[tuple[Any, ...]] = []
    limits = {"min_iou": settings.min_iou, "min_size": settings.min_size}
    for number, (image_id, known) in enumerate(truth.items()):
        boxes = found.get(image_id, Faces.of())
        partner, counts = matched_truth(boxes, known, **limits)
        matters = counting(known, settings.min_size)
        recalled = np.isin(np.arange(len(known)), partner)
        known_columns.append(
            (np.full(matters.sum(), number), longer_side(known.xyxy)[matters], recalled[matters])
        )
        sizes = longer_side(boxes.xyxy)
        right = (partner >= 0)[counts]
        found_columns.append((np.full(counts.sum(), number), sizes[counts], boxes.score[counts], right))
    known_arrays = _joined(known_columns, (np.int64, np.float64, np.bool_))
    found_arrays = _joined(found_columns, (np.int64, np.float64, np.float64, np.bool_))
    return _Pairs(len(truth), *known_arrays, *found_arrays)


def _joined(parts: Sequence[tuple[Any, ...]], types: Sequence[Any]) -> list[Any]:
    return [
        np.concatenate(column).astype(kind)
        for column, kind in zip(zip(*parts, strict=True), types, strict=True)
    ]


def _metrics(pairs: _Pairs, settings: ScoreSettings) -> pa.Table:
    has = np.bincount(pairs.truth_image, minlength=pairs.n_images) > 0
    says = np.bincount(pairs.found_image, minlength=pairs.n_images) > 0
    rows = [
        _metric("face", "recall", pairs.recalled.sum(), len(pairs.recalled)),
        _metric("face", "precision", pairs.right.sum(), len(pairs.right)),
        _average_precision(pairs, settings),
        _metric("image", "recall", (has & says).sum(), has.sum()),
        _metric("image", "precision", (has & says).sum(), says.sum()),
        _metric("image", "accuracy", (has == says).sum(), len(has)),
    ]
    return pa.Table.from_pylist(rows, schema=METRICS_SCHEMA)


def _metric(level: str, name: str, n_right: int, n: int) -> dict[str, Any]:
    low, high = wilson(n_right, n)
    row = {"level": level, "metric": name, "n_right": int(n_right), "n": int(n)}
    values = {"value": float(share(n_right, n)), "ci_low": float(low), "ci_high": float(high)}
    return row | {key: None if np.isnan(value) else value for key, value in values.items()}


def _average_precision(pairs: _Pairs, settings: ScoreSettings) -> dict[str, Any]:
    row: dict[str, Any] = {"level": "face", "metric": "average_precision", "n_right": None}
    row |= {"value": None, "ci_low": None, "ci_high": None, "n": len(pairs.truth_size)}
    value = average_precision(pairs.score, pairs.right, n_truth=len(pairs.truth_size))
    if np.isnan(value):
        return row
    rng = np.random.default_rng(settings.seed)
    order = np.argsort(-pairs.score, kind="stable")  # once: what is sorted already is sorted fast
    score, right, image = pairs.score[order], pairs.right[order], pairs.found_image[order]
    drawn = []
    for _ in range(settings.rounds):
        times = np.bincount(rng.integers(0, pairs.n_images, pairs.n_images), minlength=pairs.n_images)
        n_truth = float(times[pairs.truth_image].sum())
        weight = times[image].astype(np.float64)
        drawn.append(average_precision(score, right, n_truth=n_truth, weight=weight))
    # A draw without a known face says nothing about how well faces are found.
    finite = [one for one in drawn if not np.isnan(one)]
    low, high = map(float, np.percentile(finite, [2.5, 97.5])) if finite else (None, None)
    return row | {"value": value, "ci_low": low, "ci_high": high}


def _by_size(pairs: _Pairs) -> pa.Table:
    columns: dict[str, Any] = {"size_low": SIZE_EDGES, "size_high": [*SIZE_EDGES[1:], None]}
    known, found = (np.digitize(sizes, SIZE_EDGES[1:]) for sizes in (pairs.truth_size, pairs.found_size))
    sides = (
        ("recall", "n_recalled", "n_truth", known, pairs.recalled),
        ("precision", "n_right", "n_found", found, pairs.right),
    )
    for name, n_right, n, bins, right in sides:
        part, whole = (np.bincount(rows, minlength=len(SIZE_EDGES)) for rows in (bins[right], bins))
        low, high = wilson(part, whole)
        columns |= {n: whole, n_right: part, name: share(part, whole)}
        columns |= {f"{name}_ci_low": low, f"{name}_ci_high": high}
    return pa.table(
        [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in BY_SIZE_SCHEMA],
        schema=BY_SIZE_SCHEMA,
    )
