"""Faces in the square that a model sees: their boxes there, how much of it they cover, what falls on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import Boxes, as_boxes, clip
from sfumato.faces import FaceTable

if TYPE_CHECKING:
    from sfumato.learn.index import Images
    from sfumato.learn.scoring import Batch, Scorer

Shares = NDArray[np.float64]


def boxes_in_square(boxes: Boxes, scale: NDArray[np.float64], window: NDArray[np.int64], size: int) -> Boxes:
    """Boxes of an upright image in the square that is cut out of it, outside parts cut off, empty ones gone.

    Args:
        boxes: (n, 4), pixels of the upright image.
        scale: width and height of the picture that is cut, divided by those of the upright image, (2,).
        window: x0, y0, x1, y1 of the part that becomes the square, in pixels of the picture that is cut.
        size: side of the square in pixels.

    Returns:
        (m, 4), pixels of the square, m <= n.
    """
    x0, y0, x1, y1 = (float(value) for value in window)
    placed = boxes.astype(np.float64) * np.tile(scale, 2) - [x0, y0, x0, y0]
    placed *= size / np.tile([x1 - x0, y1 - y0], 2)
    inside = clip(as_boxes(placed), size, size)
    return inside[(inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])]


def coverage(boxes: Boxes, size: int, *, rows: int = 1, columns: int = 1) -> Shares:
    """The share of each cell of a square that lies in at least one box, exact, (rows, columns).

    Args:
        boxes: (n, 4), pixels of the square, inside it.
        size: side of the square in pixels.
        rows, columns: of the cells, which divide the square evenly.
    """
    row_edges, column_edges = np.linspace(0, size, rows + 1), np.linspace(0, size, columns + 1)
    placed = boxes.astype(np.float64)
    xs = np.unique(np.concatenate([column_edges, placed[:, 0], placed[:, 2]]))
    ys = np.unique(np.concatenate([row_edges, placed[:, 1], placed[:, 3]]))
    covered = np.zeros((len(ys) - 1, len(xs) - 1))
    for x0, y0, x1, y1 in placed:
        covered[slice(*np.searchsorted(ys, [y0, y1])), slice(*np.searchsorted(xs, [x0, x1]))] = 1
    covered *= np.diff(ys)[:, None] * np.diff(xs)[None, :]
    by_row = np.add.reduceat(covered, np.searchsorted(ys, row_edges[:-1]), axis=0)
    areas = np.add.reduceat(by_row, np.searchsorted(xs, column_edges[:-1]), axis=1)
    return np.asarray(areas * (rows * columns / size**2))


def mass_in_boxes(maps: NDArray[np.float32], boxes: Boxes, size: int) -> Shares:
    """The share of each map's sum that lies in boxes; NaN for a map without any mass.

    A cell of the map stands for its part of the square (size / columns by size / rows pixels), over which
    its value is spread evenly: a cell half in a box counts half. Nothing is interpolated, so a map of 7 x 7
    on 224 px cannot tell places closer than 32 px.

    Args:
        maps: (…, rows, columns), none negative, of any scale.
        boxes: (n, 4), pixels of the model's square, inside it; overlaps count once.
        size: side of the square in pixels.

    Returns:
        Shape (…), 0 to 1.
    """
    rows, columns = maps.shape[-2:]
    values = maps.astype(np.float64)
    inside = (values * coverage(boxes, size, rows=rows, columns=columns)).sum(axis=(-2, -1))
    whole = values.sum(axis=(-2, -1))
    return np.asarray(np.divide(inside, whole, out=np.full_like(whole, np.nan), where=whole > 0))


class FaceColumns:
    """The columns of predictions that tell of faces, filled batch by batch; see `sfumato.predictions`.

    Attributes:
        columns: name to values, one a readable image so far.
    """

    def __init__(self, faces: FaceTable, size: int, *, scorer: Scorer | None) -> None:
        """Begin empty.

        Args:
            faces: of the images, or of the originals that they are variants of.
            size: side of the model's square in pixels.
            scorer: whose attention is measured; None leaves those columns out.
        """
        self.faces, self.size, self.scorer = faces, size, scorer
        names = ("face_area", *(("attention_true", "attention_predicted") if scorer else ()))
        self.columns: dict[str, list[float | None]] = {name: [] for name in names}
        rows = faces.images.select(["image_id", "width", "height"]).to_pylist()
        self._sizes = {row["image_id"]: (row["width"], row["height"]) for row in rows if row["width"]}

    def add(self, images: Images, batch: Batch, predicted: NDArray[np.int64]) -> None:
        """Add the images of a batch, with the category that the model thinks best for each, (n,)."""
        boxes = [
            self._boxes(images.image_ids[row], images.shapes[row], window)
            for row, window in zip(batch.rows, batch.windows, strict=True)
        ]
        areas = [None if each is None else float(coverage(each, self.size)[0, 0]) for each in boxes]
        self.columns["face_area"] += areas
        if self.scorer is None:
            return
        seen = np.array(
            [row for row, each in enumerate(boxes) if each is not None and len(each)], dtype=np.int64
        )
        shares = np.full((len(boxes), 2), np.nan)
        if len(seen):
            categories = np.stack([images.labels[batch.rows], predicted], axis=1)[seen]
            maps = self.scorer.attention(batch.pixels[seen], categories)
            shares[seen] = [mass_in_boxes(maps[n], boxes[row], self.size) for n, row in enumerate(seen)]
        for name, column in zip(("attention_true", "attention_predicted"), shares.T, strict=True):
            self.columns[name] += [None if np.isnan(share) else float(share) for share in column]

    def _boxes(self, image_id: str, shape: NDArray[np.int64], window: NDArray[np.int64]) -> Boxes | None:
        """Boxes in the square; None where nobody could look for faces."""
        size = self._sizes.get(image_id)
        if size is None or self.faces.status[image_id] != "ok":
            return None
        scale = shape[::-1] / np.array(size, dtype=np.float64)
        return boxes_in_square(self.faces.of(image_id).xyxy, scale, window, self.size)
