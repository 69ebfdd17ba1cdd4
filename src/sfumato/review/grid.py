"""The grid: faces as cells in an order that stays, whatever people throw out meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UsageError
from sfumato.faces import Faces
from sfumato.review.columns import Columns
from sfumato.review.model import Crop
from sfumato.review.showing import Shown, index_of

Rows = NDArray[np.int64]


def without(image_id: str, shown: Faces, indices: set[int]) -> Faces:
    """Faces without some, by their index.

    Raises:
        UsageError: there is no such face.
    """
    if not indices <= set(range(len(shown))):
        raise UsageError(f"{image_id}: it has {len(shown)} face(s), none with the number {max(indices)}")
    return shown[np.array([row not in indices for row in range(len(shown))], dtype=bool)]


def with_found(image_id: str, shown: Faces, found: Faces, rows: set[int]) -> Faces:
    """Faces with some of those that were found, by their row, unless they are there.

    Raises:
        UsageError: there is no such face.
    """
    if not rows <= set(range(len(found))):
        raise UsageError(f"{image_id}: {len(found)} face(s) were found, none with the number {max(rows)}")
    missing = [row for row in sorted(rows) if index_of(shown, found.xyxy[row]) < 0]
    return Faces.joined([shown, found[np.array(missing, dtype=np.int64)]])


@dataclass(eq=False)
class Grid:
    """Cells of the grid by order and page.

    Attributes:
        columns: what was found.
        hidden: (images,) images that are not in the grid: those with a known answer.
        shown: current faces of an image, by its number.
    """

    columns: Columns
    hidden: NDArray[np.bool_]
    shown: Callable[[int], Shown]
    _orders: dict[str, Rows] = field(default_factory=dict)

    def cells(self, order: str, page: int, size: int) -> list[Crop]:
        """A page of cells, from page 0.

        Raises:
            UsageError: an unknown order, or a page that cannot be.
        """
        if page < 0 or not 1 <= size <= 1000:
            raise UsageError(f"grid: page {page} of {size} cells; pages count from 0, with 1 to 1000 cells")
        rows = self.order(order)[page * size : (page + 1) * size]
        if order == "no-faces":
            return [self._image(int(row)) for row in rows]
        return [self._face(int(row)) for row in rows]

    def order(self, name: str) -> Rows:
        """Rows of faces, or image numbers for "no-faces", in this order."""
        if name not in _ORDERS:
            raise UsageError(f"grid: unknown order '{name}'; known: {', '.join(_ORDERS)}")
        if name not in self._orders:
            self._orders[name] = np.asarray(_ORDERS[name](self), dtype=np.int64)
        return self._orders[name]

    def rows(self) -> Rows:
        """Rows of the faces that are in the grid."""
        return np.flatnonzero(~self.hidden[self.columns.owner])

    def _face(self, row: int) -> Crop:
        columns = self.columns
        number = int(columns.owner[row])
        within = row - int(columns.starts[number])
        found, shown = columns.faces(number), self.shown(number)
        index = index_of(shown.faces, found.xyxy[within])
        x0, y0, x1, y1 = found.xyxy[within].tolist()
        kind = found.kind[within] if index < 0 else shown.faces.kind[index]
        width, height = columns.size(number)
        return Crop(
            columns.image_id(number),
            index,
            shown.base,
            (x0, y0, x1, y1),
            float(found.score[within]),
            kind,
            found.source[within],
            index < 0,
            width,
            height,
            within,
        )

    def _image(self, number: int) -> Crop:
        width, height = self.columns.size(number)
        box = (0.0, 0.0, float(width), float(height))
        return Crop(
            self.columns.image_id(number), -1, self.shown(number).base, box, width=width, height=height
        )


def _by(grid: Grid, values: Iterable[float]) -> Rows:
    rows = grid.rows()
    return rows[np.argsort(np.asarray(values)[rows], kind="stable")]


def _without_faces(grid: Grid) -> Rows:
    """Images without a face, those of categories rich in faces first."""
    columns = grid.columns
    rows = np.flatnonzero(columns.ok & ~grid.hidden & (columns.counts == 0))
    return rows[np.argsort(-np.nan_to_num(columns.face_share[rows]), kind="stable")]


_ORDERS: dict[str, Callable[[Grid], Rows]] = {
    "score": lambda grid: _by(grid, grid.columns.score),
    "size": lambda grid: _by(grid, grid.columns.side),
    "image": lambda grid: grid.rows(),
    "no-faces": _without_faces,
}
