"""What the page asks, as JSON: thin over `Session`, one function a question."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.boxes import Boxes, as_boxes
from sfumato.data import Sample
from sfumato.errors import BoxError, ImageError
from sfumato.faces import Faces
from sfumato.review.crops import crop, descriptor, likeness_order
from sfumato.review.http import Refused
from sfumato.review.model import STATES, Crop, Item, Outcome, Reviewer, Submission
from sfumato.review.session import Session

MOST_FACES = 2000
"""Boxes of one image at most, and faces thrown out at once."""

MOST_CELLS = 240
"""Cells of a page of the grid at most; as many are put in order of likeness at a time."""

_LONGEST_COMMENT = 4000
_FARTHEST = 1e6  # pixels; no image is larger
_READERS = 4  # threads; decoding lets others run

Query = Mapping[str, str]
Body = Mapping[str, Any]


class Api:
    """Questions of the page by name; GET asks, POST writes."""

    def __init__(self, session: Session) -> None:
        """Answer for a session."""
        self._session, self._dataset = session, session.dataset
        self._alike = lru_cache(maxsize=32)(self._in_order_of_likeness)
        self.asked: Mapping[str, Callable[[Reviewer, Query], dict[str, Any]]] = {
            "start": self._start,
            "next": self._next,
            "previous": self._previous,
            "item": self._item,
            "grid": self._grid,
            "status": self._status,
        }
        self.written: Mapping[str, Callable[[Reviewer, Body], dict[str, Any]]] = {
            "save": self._save,
            "reject": self._reject,
            "restore": self._restore,
        }

    def sample(self, image_id: str) -> Sample:
        """The sample of this id.

        Raises:
            Refused: the data set has none (404).
        """
        samples = self._dataset.samples  # sorted by id, so no index of a million entries is needed
        place = bisect_left(samples, image_id, key=lambda sample: sample.image_id)
        is_known = place < len(samples) and samples[place].image_id == image_id
        # Ids may come from a table that somebody sent: none of them leads out of the folder.
        if not is_known or PurePosixPath(image_id).is_absolute() or ".." in PurePosixPath(image_id).parts:
            raise Refused(404, "the data set has no image of this id")
        return samples[place]

    # Questions

    def _start(self, reviewer: Reviewer, _query: Query) -> dict[str, Any]:
        settings = self._session.settings
        return {
            "reviewer": reviewer.name,
            "review": _name_of(self._session.folder),
            "kinds": list(settings.kinds),
            "instructions": settings.instructions,
            "read_only": settings.read_only,
            "set_aside": reviewer.set_aside,
        }

    def _next(self, reviewer: Reviewer, query: Query) -> dict[str, Any]:
        after = query.get("after")
        return {"item": self._item_json(self._session.next(reviewer, after=after))}

    def _previous(self, reviewer: Reviewer, query: Query) -> dict[str, Any]:
        before = self.sample(query.get("before", "")).image_id
        return {"item": self._item_json(self._session.previous(reviewer, before))}

    def _item(self, reviewer: Reviewer, query: Query) -> dict[str, Any]:
        image_id = self.sample(query.get("id", "")).image_id
        return {"item": self._item_json(self._session.item(reviewer, image_id))}

    def _grid(self, _reviewer: Reviewer, query: Query) -> dict[str, Any]:
        order = query.get("order", "score")
        if order not in ("score", "likeness", "size", "no-faces"):
            raise Refused(400, f"no order '{order}' of the grid")
        page, size = _whole(query, "page", 0, 10**9), _whole(query, "size", 1, MOST_CELLS)
        cells = self._cells_by_likeness(page, size) if order == "likeness" else None
        if cells is None:
            cells = self._session.grid(order=order, page=page, size=size)
        total = self._session.grid_total(order="score" if order == "likeness" else order)
        return {"cells": [self._crop_json(cell) for cell in cells], "total": total}

    def _status(self, reviewer: Reviewer, _query: Query) -> dict[str, Any]:
        return {name: _finite(value) for name, value in self._session.status(reviewer).items()}

    # Writing

    def _save(self, reviewer: Reviewer, body: Body) -> dict[str, Any]:
        image_id = self.sample(_text(body, "image_id", 4096)).image_id
        state = body.get("state", "done")
        if state not in STATES:
            raise Refused(400, f"no state '{state}'")
        submission = Submission(
            image_id,
            _text(body, "base", 200),
            _faces(body.get("faces")),
            state,
            _text(body, "comment", _LONGEST_COMMENT),
            _seconds(body.get("seconds", 0)),
        )
        return _outcome_json(self._session.save(reviewer, submission))

    def _reject(self, reviewer: Reviewer, body: Body) -> dict[str, Any]:
        return _outcome_json(self._session.reject(reviewer, self._chosen(body)))

    def _restore(self, reviewer: Reviewer, body: Body) -> dict[str, Any]:
        return _outcome_json(self._session.restore(reviewer, self._chosen(body)))

    def _chosen(self, body: Body) -> list[tuple[str, int, str]]:
        """Faces of the grid: image id, number within the image, base."""
        rows = body.get("faces")
        if not isinstance(rows, list) or not 0 < len(rows) <= MOST_FACES:
            raise Refused(400, f"give 1 to {MOST_FACES} faces")
        faces = []
        for row in rows:
            if not (isinstance(row, list) and [type(value) for value in row] == [str, int, str]):
                raise Refused(400, "a face is given as image id, number and base")
            faces.append((self.sample(row[0]).image_id, row[1], row[2]))
        return faces

    # Answers

    def _item_json(self, item: Item | None) -> dict[str, Any] | None:
        if item is None:
            return None
        return {
            "image_id": item.image_id,
            "category": self._category(item.image_id),
            "width": item.width,
            "height": item.height,
            "faces": faces_json(item.faces),
            "base": item.base,
            "position": item.position,
            "total": item.total,
            "state": item.state,
            "comment": item.comment,
            "lives": item.lives,
        }

    def _crop_json(self, cell: Crop) -> dict[str, Any]:
        return {
            "image_id": cell.image_id,
            "category": self._category(cell.image_id),
            "index": cell.index,
            "row": cell.row,
            "base": cell.base,
            "box": list(cell.xyxy),
            "score": cell.score,
            "kind": cell.kind,
            "rejected": cell.rejected,
        }

    def _category(self, image_id: str) -> str:
        label = self.sample(image_id).label
        return self._dataset.categories[label] if 0 <= label < len(self._dataset.categories) else ""

    # Likeness

    def _cells_by_likeness(self, page: int, size: int) -> list[Crop]:
        """A page of the faces in order of likeness, within blocks of the order by score.

        All crops of a large data set cannot be compared; among neighbours by score, false alarms that look
        alike come together.
        """
        per_block = MOST_CELLS // size
        block, place = divmod(page, per_block)
        cells = self._session.grid(order="score", page=block, size=per_block * size)
        order = self._alike(tuple((cell.image_id, cell.xyxy) for cell in cells))
        return [cells[index] for index in order[place * size : (place + 1) * size]]

    def _in_order_of_likeness(self, faces: tuple[tuple[str, tuple[float, ...]], ...]) -> list[int]:
        with ThreadPoolExecutor(_READERS) as pool:
            return likeness_order(list(pool.map(self._descriptor, faces)))

    def _descriptor(self, face: tuple[str, tuple[float, ...]]) -> NDArray[np.float32]:
        image_id, box = face
        try:
            return descriptor(crop(self._dataset.path(image_id), np.asarray(box, dtype=np.float32)))
        except ImageError:
            return descriptor(np.zeros((16, 16, 3), dtype=np.uint8))


def faces_json(faces: Faces) -> list[dict[str, Any]]:
    """Faces as the page has them: box, kind, source, score."""
    return [
        {
            "box": [float(value) for value in faces.xyxy[row]],
            "kind": faces.kind[row],
            "source": faces.source[row],
            "score": float(faces.score[row]),
        }
        for row in range(len(faces))
    ]


def box_of(text: str) -> Boxes:
    """The box that "x0,y0,x1,y1" says, shape (4,), pixels.

    Raises:
        Refused: it says none (400).
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise Refused(400, "a box is four numbers") from error
    if len(values) != 4 or not all(abs(value) <= _FARTHEST for value in values):
        raise Refused(400, "a box is four numbers, in pixels of the image")
    return np.asarray(_boxes([values])[0], dtype=np.float32)


def _boxes(values: list[Any]) -> Boxes:
    try:
        return as_boxes(values)
    except BoxError as error:
        raise Refused(400, str(error)) from error


def _name_of(folder: Path) -> str:
    """Keeps unsent work of different reviews apart in a browser."""
    return hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _faces(rows: object) -> Faces:
    if not isinstance(rows, list) or len(rows) > MOST_FACES:
        raise Refused(400, f"give a list of at most {MOST_FACES} faces")
    if not all(_is_face(row) for row in rows):
        raise Refused(400, "a face is given as x0, y0, x1, y1, kind and source")
    boxes = _boxes([row[:4] for row in rows])
    return Faces.of(boxes, kind=[row[4] for row in rows], source=[row[5] for row in rows])


def _is_face(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 6:
        return False
    are_numbers = all(type(value) in (int, float) and abs(value) <= _FARTHEST for value in row[:4])
    return are_numbers and all(isinstance(value, str) for value in row[4:])


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    versions = {"mine": outcome.mine, "theirs": outcome.theirs, "right": outcome.right}
    return {
        "kind": outcome.kind,
        "image_id": outcome.image_id,
        "base": outcome.base,
        **{name: None if faces is None else faces_json(faces) for name, faces in versions.items()},
        "lives": outcome.lives,
        "n_saved": outcome.n_saved,
        "stale": list(outcome.stale),
    }


def _text(body: Body, name: str, longest: int) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > longest or any("\ud800" <= c <= "\udfff" for c in value):
        raise Refused(400, f"{name} must be a text of at most {longest} letters")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e7:
        raise Refused(400, "seconds must be a number")
    return float(value)


def _whole(query: Query, name: str, least: int, most: int) -> int:
    text = query.get(name, str(least))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refused(400, f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _finite(value: Any) -> Any:
    """A value without NaN and infinity, which JSON does not have; they become null."""
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
