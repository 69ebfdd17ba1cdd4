"""The face table: one row a face, beside one row an image *examined*."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sfumato.data.variant import IMAGES_SCHEMA
from sfumato.errors import BoxError, TableError
from sfumato.faces.record import Faces
from sfumato.records import Manifest, read_manifest, read_table

FACES_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("kind", pa.string()),
        ("source", pa.string()),
    ]
)
"""One row a face: half-open box in pixels of the upright image, score in 0..1, kind, and who found it."""


def faces_rows(image_id: str, faces: Faces) -> list[dict[str, Any]]:
    """Rows of the face table for one image."""
    return [
        {
            "image_id": image_id,
            **dict(zip(("x0", "y0", "x1", "y1"), map(float, faces.xyxy[row]), strict=True)),
            "score": float(faces.score[row]),
            "kind": faces.kind[row],
            "source": faces.source[row],
        }
        for row in range(len(faces))
    ]


@dataclass(frozen=True)
class FaceTable:
    """Faces of a whole data set, with the images that were examined.

    "Examined, no face" is an image row with status "ok" and no face row; "could not be read" is an image
    row with status "failed"; "not examined" is no image row at all.

    Attributes:
        faces: rows of `FACES_SCHEMA`.
        images: rows of `sfumato.data.IMAGES_SCHEMA`.
        manifest: of the folder it was read from.
    """

    faces: pa.Table
    images: pa.Table
    manifest: Manifest

    @cached_property
    def status(self) -> Mapping[str, str]:
        """Status by image id; an image that was not examined has no entry."""
        ids, states = self.images["image_id"].to_pylist(), self.images["status"].to_pylist()
        return dict(zip(ids, states, strict=True))

    @cached_property
    def errors(self) -> Mapping[str, str]:
        """Reason by image id, for images that failed."""
        failed = self.images.filter(pc.equal(self.images["status"], "failed"))
        return dict(zip(failed["image_id"].to_pylist(), failed["error"].to_pylist(), strict=True))

    @cached_property
    def sha256(self) -> Mapping[str, str]:
        """SHA-256 of each examined file, by image id."""
        ids, digests = self.images["image_id"].to_pylist(), self.images["sha256"].to_pylist()
        return dict(zip(ids, digests, strict=True))

    @cached_property
    def frames(self) -> Mapping[str, int]:
        """Number of frames of each image that were looked at, by image id."""
        ids, counts = self.images["image_id"].to_pylist(), self.images["frames"].to_pylist()
        return {image_id: count or 1 for image_id, count in zip(ids, counts, strict=True)}

    @cached_property
    def _rows(self) -> Mapping[str, np.ndarray[Any, Any]]:
        # Arrow's own encoding: fixed-width text of NumPy would cost more memory, and loses a NUL at the end.
        ids = pc.dictionary_encode(self.faces["image_id"].combine_chunks())
        names, codes = ids.dictionary.to_pylist(), ids.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        return dict(zip(names, np.split(order, ends[:-1]), strict=False))

    @cached_property
    def _arrays(self) -> Faces:
        table = self.faces
        xyxy = np.stack([table[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)
        try:
            return Faces.of(
                xyxy,
                table["score"].to_numpy(),
                kind=table["kind"].to_pylist(),
                source=table["source"].to_pylist(),
            )
        except BoxError as error:
            raise TableError(f"faces.parquet: {error}; detect or import the faces again") from error

    def of(self, image_id: str) -> Faces:
        """The faces of one image; none where the table has no row for it."""
        return self._arrays[self.rows_of(image_id)]

    def rows_of(self, image_id: str) -> np.ndarray[Any, Any]:
        """Rows of `faces` that are of one image, shape (n,), in order."""
        return self._rows.get(image_id, np.zeros(0, dtype=np.int64))

    def image_ids_with_faces(self) -> set[str]:
        """Ids of images that have at least one face."""
        return set(self._rows)


def read_faces(folder: Path) -> FaceTable:
    """Read the folder that `sfumato detect` wrote.

    Raises:
        ManifestError: no finished face table there.
        TableError: a table lacks a column.
    """
    manifest = read_manifest(folder, kind="faces")
    faces = read_table(folder / "faces.parquet", FACES_SCHEMA)
    return FaceTable(faces, read_table(folder / "images.parquet", IMAGES_SCHEMA), manifest)


def tables(faces: Iterable[dict[str, Any]], images: Iterable[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """Rows as the two tables, typed even where there are none."""
    return (
        pa.Table.from_pylist(list(faces), schema=FACES_SCHEMA),
        pa.Table.from_pylist(list(images), schema=IMAGES_SCHEMA),
    )
