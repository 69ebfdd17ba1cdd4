"""Small reviews that the tests make themselves: pictures nobody decodes, and people who answer as told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from sfumato.data import Dataset, read_folder
from sfumato.faces import Faces, FaceTable, faces_rows
from sfumato.faces.table import tables
from sfumato.records import Manifest
from sfumato.review import Item, Outcome, Reviewer, ReviewSettings, Session, Submission

SIZE = (100, 80)
BOX = (10.0, 10.0, 30.0, 34.0)
OTHER = (50.0, 20.0, 80.0, 60.0)
FREE = ReviewSettings(audit_share=0.0, gold_share=0.0)
"""Nothing but the queue."""


def photos(root: Path, n: int, categories: tuple[str, ...] = ("apple", "pear")) -> Dataset:
    """A data set of n plain pictures in each category."""
    for category in categories:
        folder = root / category
        folder.mkdir(parents=True)
        for number in range(n):
            Image.new("RGB", SIZE, (number, 0, 0)).save(folder / f"{number:02d}.png")
    return read_folder(root)


def table(dataset: Dataset, boxes: Mapping[str, Any], scores: Mapping[str, Any] | None = None) -> FaceTable:
    """A face table with these boxes and scores by image id."""
    faces = [
        row
        for image_id, xyxy in boxes.items()
        for row in faces_rows(image_id, Faces.of(xyxy, (scores or {}).get(image_id), source="net"))
    ]
    images = [
        {
            "image_id": sample.image_id,
            "split": sample.split,
            "label": sample.label,
            "width": SIZE[0],
            "height": SIZE[1],
            "status": "ok",
            "frames": 1,
        }
        for sample in dataset.samples
    ]
    facts = {"categories": list(dataset.categories)}
    return FaceTable(*tables(faces, images), Manifest("faces", "key", {}, {}, facts=facts))


class Clocked(Session):
    """A session whose time the test decides."""

    now: ClassVar[float] = 0.0
    clock = staticmethod(lambda: Clocked.now)


class Review:
    """A review with people; opened again at will.

    Attributes:
        session: open now.
    """

    def __init__(
        self, root: Path, settings: ReviewSettings = FREE, *, n: int = 5, boxes: Any = None, truth: Any = None
    ) -> None:
        self.folder = root / "review"
        self.dataset = photos(root / "photos", n)
        self.ids = [sample.image_id for sample in self.dataset.samples]
        self.table = table(self.dataset, {name: [BOX] for name in self.ids} if boxes is None else boxes)
        self.settings = settings
        self.session: Session = Clocked.open(self.table, self.dataset, self.folder, settings, truth)
        self._tokens: dict[str, str] = {}
        Review.opened.append(self)

    opened: ClassVar[list[Review]] = []

    def person(self, name: str, *, arbiter: bool = False) -> Reviewer:
        if name not in self._tokens:
            self._tokens[name] = self.session.add_reviewer(name, arbiter=arbiter)
        found = self.session.reviewer(self._tokens[name])
        assert found is not None
        return found

    def again(self) -> None:
        """Close and open."""
        self.session.close()
        self.session = Clocked.open(self.table, self.dataset, self.folder)

    def say(self, who: Reviewer, item: Item, faces: Any = None, **more: Any) -> Outcome:
        """Save an image as it is, or with other boxes."""
        said = item.faces if faces is None else faces if isinstance(faces, Faces) else Faces.of(faces)
        return self.session.save(who, Submission(item.image_id, item.base, said, **more))

    def everything(self, who: Reviewer, answer: Callable[[Item], Any] = lambda item: item.faces) -> list[str]:
        """Save whatever comes until nothing is left; the ids in order."""
        seen: list[str] = []
        item = self.session.next(who)
        while item is not None:
            seen.append(item.image_id)
            assert len(seen) < 500
            assert self.say(who, item, answer(item)).kind != "stale"
            item = self.session.next(who, after=item.image_id)
        return seen
