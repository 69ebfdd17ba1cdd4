"""What the face table says in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sfumato.faces import FaceTable

BY_CATEGORY_SCHEMA = pa.schema(
    [
        ("category", pa.string()),
        ("n_images", pa.int64()),
        ("n_with_faces", pa.int64()),
        ("share_with_faces", pa.float64()),
    ]
)
"""Images that were examined, by category and over all splits; the share is null where there is none."""

PER_IMAGE_SCHEMA = pa.schema([("n_faces", pa.int64()), ("n_images", pa.int64())])
"""How many images have how many faces."""


@dataclass(frozen=True)
class FaceFacts:
    """Counts of images and faces over all splits.

    Attributes:
        n_examined: images that were read and searched.
        n_failed: images that could not be.
        n_with_faces: images with at least one face.
        n_faces: faces in all.
        by_category: as `BY_CATEGORY_SCHEMA`, in the order of the categories.
        per_image: as `PER_IMAGE_SCHEMA`, from 0 faces on.
    """

    n_examined: int
    n_failed: int
    n_with_faces: int
    n_faces: int
    by_category: pa.Table
    per_image: pa.Table


def face_facts(faces: FaceTable, categories: tuple[str, ...]) -> FaceFacts:
    """Count images and faces."""
    ok = faces.images.filter(pc.equal(faces.images["status"], "ok"))
    ids = np.asarray(ok["image_id"].to_pylist(), dtype=object)
    labels = ok["label"].to_numpy()
    counted = faces.faces.group_by("image_id").aggregate([("image_id", "count")])
    of_image = dict(zip(counted["image_id"].to_pylist(), counted["image_id_count"].to_pylist(), strict=True))
    n_faces = np.array([of_image.get(image_id, 0) for image_id in ids], dtype=np.int64)
    return FaceFacts(
        n_examined=len(ids),
        n_failed=len(faces.images) - len(ids),
        n_with_faces=int((n_faces > 0).sum()),
        n_faces=int(n_faces.sum()),
        by_category=pa.Table.from_pylist(
            [_category(name, n_faces[labels == label]) for label, name in enumerate(categories)],
            schema=BY_CATEGORY_SCHEMA,
        ),
        per_image=_per_image(n_faces),
    )


def _category(name: str, n_faces: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, object]:
    with_faces = int((n_faces > 0).sum())
    share = with_faces / len(n_faces) if len(n_faces) else None
    return {
        "category": name,
        "n_images": len(n_faces),
        "n_with_faces": with_faces,
        "share_with_faces": share,
    }


def _per_image(n_faces: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    values, counts = np.unique(n_faces, return_counts=True)
    return pa.Table.from_pydict({"n_faces": values, "n_images": counts}, schema=PER_IMAGE_SCHEMA)
