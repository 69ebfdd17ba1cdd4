"""Export: a face table as a file of any format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sfumato.data import Dataset
from sfumato.errors import OutputExists, TableError, UsageError
from sfumato.faces.exchange.annotations import DECIMALS, Annotations
from sfumato.faces.exchange.catalogue import BoxFormat
from sfumato.faces.table import FaceTable
from sfumato.images import Frame, read_frame
from sfumato.orientation import Orientation, check_orientation, stored_size, to_stored


@dataclass(frozen=True)
class ExportOptions:
    """How faces become boxes of a file.

    Attributes:
        orientation: draw them on the "upright" picture, or on pixels as "stored" (needs the data set).
        overwrite: replace a file that is there; a folder is never replaced.
    """

    orientation: Orientation = "upright"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_orientation(self.orientation)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        n_images: images examined, with faces or without.
        n_faces: boxes.
        n_failed: images that nobody could examine; they are left out.
        lost: what the table says and the format has no place for: "score", "kind", "extra".
    """

    n_images: int
    n_faces: int
    n_failed: int
    lost: tuple[str, ...]


def export_boxes(
    table: FaceTable,
    target: Path,
    format: BoxFormat,
    *,
    dataset: Dataset | None = None,
    options: ExportOptions = ExportOptions(),
) -> Exported:
    """Write the examined images of a face table and their faces.

    Fields that were kept at import are written back where the format is the one that they came from.

    Args:
        table: what to write; images that failed are left out.
        target: file, or folder for formats with a file an image.
        format: how (see `FORMATS`).
        dataset: the images, where sizes are not in the table, or boxes shall be on stored pixels.
        options: how.

    Raises:
        OutputExists: the file is there already, or the folder is not empty.
        UsageError: stored pixels without a data set.
        TableError: the format needs something that is not known, such as an image's size.
        ImageError: a file of the data set cannot be read, and its orientation or size is needed.
    """
    target = Path(target)
    _check_target(target, options)
    own = table.manifest.facts.get("format") == format.name
    annotations = _framed(annotations_of(table, keep_extra=own), dataset, options)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed, so that a folder too is there whole or not at all.
    with TemporaryDirectory(dir=target.parent, prefix=".export-") as beside:
        format.write(annotations, Path(beside, target.name))
        Path(beside, target.name).replace(target)
    present = {
        "score": bool((annotations.score != 1).any()),
        "kind": any(kind != "face" for kind in annotations.kind),
        "extra": any(text is not None for part in (table.faces, table.images) for text in _texts(part)),
    }
    kept = format.keeps if own else format.keeps - {"extra"}
    lost = tuple(name for name, there in present.items() if there and name not in kept)
    n_failed = len(table.images) - len(annotations)
    return Exported(len(annotations), len(annotations.xyxy), n_failed, lost)


def _check_target(target: Path, options: ExportOptions) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise OutputExists(f"{target} is there already and not empty; name another folder")
    if target.is_file() and not options.overwrite:
        raise OutputExists(f"{target} is there already; name another file or give --overwrite")


def _framed(annotations: Annotations, dataset: Dataset | None, options: ExportOptions) -> Annotations:
    """The annotations with sizes where the data set has them, on stored pixels where that is asked."""
    if options.orientation == "stored":
        if dataset is None:
            raise UsageError("boxes on stored pixels need the images' orientation; give the data set")
        return _stored(annotations, dataset)
    if dataset is not None and len(annotations.sizes) < len(annotations):
        return _sized(annotations, dataset)
    return annotations


def annotations_of(table: FaceTable, *, keep_extra: bool = True) -> Annotations:
    """The examined images of a face table as annotations in pixels, in the table's order.

    Raises:
        TableError: a face in an image that the table does not count as examined.
    """
    rows = table.images.select(["image_id", "status", "width", "height"]).to_pylist()
    texts = _texts(table.images) if keep_extra else [None] * len(rows)
    ok = [at for at, row in enumerate(rows) if row["status"] == "ok"]
    names = [rows[at]["image_id"] for at in ok]
    index = {name: at for at, name in enumerate(names)}
    owners = np.array([index.get(name, -1) for name in table.faces["image_id"].to_pylist()], dtype=np.int64)
    if (owners < 0).any():
        stray = table.faces["image_id"][int((owners < 0).argmax())].as_py()
        raise TableError(f"faces.parquet: a face in {stray}, which images.parquet does not count as examined")
    order = np.argsort(owners, kind="stable")
    faces = table.faces.take(pa.array(order))
    xyxy = np.stack([faces[name].to_numpy().astype(np.float64) for name in ("x0", "y0", "x1", "y1")], axis=1)
    extra = _texts(faces) if keep_extra else []
    return Annotations(
        "faces.parquet",
        names,
        owners[order],
        np.round(xyxy, DECIMALS),
        _shortest(faces["score"].to_numpy()),
        faces["kind"].to_pylist(),
        sizes={
            at: (rows[row]["width"], rows[row]["height"]) for at, row in enumerate(ok) if rows[row]["width"]
        },
        extra={at: text for at, text in enumerate(extra) if text},
        image_extra={at: text for at, row in enumerate(ok) if (text := texts[row])},
        file_extra=table.manifest.facts.get("file_extra", {}) if keep_extra else {},
    )


def _texts(table: pa.Table) -> list[str | None]:
    found: list[str | None] = (
        table["extra"].to_pylist() if "extra" in table.column_names else [None] * len(table)
    )
    return found


def _shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The shortest decimals that stand for these: 0.9, where float64 would see 0.8999999761581421."""
    return np.asarray(np.asarray(values, dtype=np.float32).astype(str), dtype=np.float64)


def _frames(annotations: Annotations, dataset: Dataset) -> list[Frame]:
    return [read_frame(dataset.path(name)) for name in annotations.names]


def _sized(annotations: Annotations, dataset: Dataset) -> Annotations:
    frames = _frames(annotations, dataset)
    return replace(annotations, sizes={at: (frame.width, frame.height) for at, frame in enumerate(frames)})


def _stored(annotations: Annotations, dataset: Dataset) -> Annotations:
    frames = _frames(annotations, dataset)
    size = np.array([(frame.width, frame.height) for frame in frames], dtype=np.int64).reshape(-1, 2)
    turn = np.array([frame.orientation for frame in frames], dtype=np.int64)
    owner = annotations.owner
    sizes: list[Any] = stored_size(size, turn).tolist()
    return replace(
        annotations,
        xyxy=to_stored(annotations.xyxy, turn[owner], size[owner]),
        sizes={at: (width, height) for at, (width, height) in enumerate(sizes)},
    )
