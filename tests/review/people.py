"""What a person does with the page: by mouse, by keyboard, by touch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data import Dataset
from sfumato.faces import Faces, FaceTable, faces_rows
from sfumato.faces.table import tables
from sfumato.records import Manifest, make_key, write_manifest, write_table
from tests.conftest import face_table

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

Box = tuple[float, float, float, float]
Known = list[tuple[Box, str]]
"""Boxes of an image, each with its kind."""


def write_faces(folder: Path, dataset: Dataset, faces: Mapping[str, Faces]) -> FaceTable:
    """Write a face table as `sfumato detect` does."""
    rows = [row for image_id, found in faces.items() for row in faces_rows(image_id, found)]
    images = face_table(dataset, {}).images
    table = tables(rows, [])[0]
    facts = {"categories": list(dataset.categories)}
    key = make_key("faces", {"dataset": dataset.fingerprint}, {"rows": rows})
    folder.mkdir()
    write_table(folder / "faces.parquet", table)
    write_table(folder / "images.parquet", images)
    manifest = Manifest("faces", key, {"dataset": dataset.fingerprint}, {}, facts=facts)
    write_manifest(folder, manifest)
    return FaceTable(table, images, manifest)


@dataclass
class Server:
    """`sfumato review` in a process of its own, which can be killed and started again."""

    faces: Path
    photos: Path
    options: Sequence[str] = ()
    links: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self, *names: str) -> None:
        """Start, and read the links from what is printed."""
        command = [sys.executable, "-m", "sfumato", "review", str(self.faces), "--dataset", str(self.photos)]
        people = [part for name in names for part in ("--reviewer", name)]
        self.process = subprocess.Popen(
            [*command, "--no-open", *people, *self.options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        for name in names:
            line = self.process.stdout.readline().strip()
            assert "http" in line
            self.links[name] = line.split(" ")[-1]

    def stop(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it: by default as a crash does."""
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(how)
        code = self.process.wait()
        self.process.stdout.close()
        self.process = None
        return code


class Hands(ABC):
    """Does with boxes what a person does; boxes are in pixels of the image."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image is on the screen."""
        frame = self.page.locator("#picture").bounding_box()
        size = self.page.evaluate("[picture.offsetWidth, picture.offsetHeight]")
        assert frame is not None
        return frame["x"] + x * frame["width"] / size[0], frame["y"] + y * frame["height"] / size[1]

    def handle(self, name: str) -> tuple[float, float]:
        """Where a handle of the selected box is on the screen."""
        frame = self.page.locator(f".box.selected .handle.{name}").bounding_box()
        assert frame is not None
        return frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2

    @abstractmethod
    def select(self, box: Box) -> None: ...

    @abstractmethod
    def draw(self, box: Box) -> None: ...

    @abstractmethod
    def move(self, box: Box, to: Box) -> None: ...

    @abstractmethod
    def resize(self, box: Box, to: Box) -> None: ...

    @abstractmethod
    def delete(self, box: Box) -> None: ...

    @abstractmethod
    def mark(self, box: Box, kind: str) -> None: ...

    @abstractmethod
    def next(self) -> None: ...


class Pointer(Hands):
    """A mouse or fingers: whatever drags and presses."""

    @abstractmethod
    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None: ...

    @abstractmethod
    def press(self, selector: str) -> None: ...

    def draw(self, box: Box) -> None:
        self.drag(self.point(*box[:2]), self.point(*box[2:]))

    def move(self, box: Box, to: Box) -> None:
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        self.drag(self.point(*middle), self.point(middle[0] + to[0] - box[0], middle[1] + to[1] - box[1]))

    def resize(self, box: Box, to: Box) -> None:
        """Drag the lower right corner."""
        self.select(box)
        start, (x0, y0), (x1, y1) = self.handle("se"), self.point(*box[2:]), self.point(*to[2:])
        self.drag(start, (start[0] + x1 - x0, start[1] + y1 - y0))

    def delete(self, box: Box) -> None:
        self.select(box)
        self.press("[data-do=remove]")

    def mark(self, box: Box, kind: str) -> None:
        self.select(box)
        self.press(f"#kinds label:has(input[value={kind}])")

    def next(self) -> None:
        self.press("#next")


class Mouse(Pointer):
    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        mouse.move(*end)
        mouse.up()

    def press(self, selector: str) -> None:
        self.page.locator(selector).click()

    def select(self, box: Box) -> None:
        self.page.mouse.click(*self.point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))


class Touch(Pointer):
    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.device: CDPSession = page.context.new_cdp_session(page)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.touch("touchStart", start)
        self.touch("touchMove", ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        self.touch("touchMove", end)
        self.touch("touchEnd")

    def pinch(self, middle: tuple[float, float], apart: tuple[float, float]) -> None:
        """Two fingers, level with each other, so far apart at first, and so far at last."""
        x, y = middle
        first, last = apart
        self.touch("touchStart", (x - first / 2, y), (x + first / 2, y))
        for part in (0.5, 1.0):
            half = (first + part * (last - first)) / 2
            self.touch("touchMove", (x - half, y), (x + half, y))
        self.touch("touchEnd")

    def press(self, selector: str) -> None:
        self.page.locator(selector).tap()

    def select(self, box: Box) -> None:
        self.page.touchscreen.tap(*self.point((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))


class Keyboard(Hands):
    def key(self, name: str, count: int = 1) -> None:
        for _ in range(count):
            self.page.keyboard.press(name)

    def boxes(self) -> list[Box]:
        """The boxes as the page says them to those who do not see it."""
        names = self.page.evaluate("[...document.querySelectorAll('.box')].map(b => b.ariaLabel)")
        numbers = [name.replace(",", "").split() for name in names]
        found: list[Box] = []
        for words in numbers:
            width, height = int(words[words.index("by") - 1]), int(words[words.index("by") + 1])
            x, y = int(words[-2]), int(words[-1])
            found.append((x, y, x + width, y + height))
        return found

    def select(self, box: Box) -> None:
        place = self.boxes().index(tuple(round(value) for value in box))  # type: ignore[arg-type]
        self.page.locator("#stage").focus()
        self.key("Tab", place + 1)

    def arrows(self, dx: float, dy: float, *, held: str = "") -> None:
        for value, keys in ((dx, ("ArrowLeft", "ArrowRight")), (dy, ("ArrowUp", "ArrowDown"))):
            tens, ones = divmod(abs(round(value)), 10)
            self.key(f"Control+{held}{keys[value > 0]}", tens)
            self.key(f"{held}{keys[value > 0]}", ones)

    def _shape(self, box: Box, to: Box) -> None:
        self.arrows(to[0] - box[0], to[1] - box[1])
        wider = (to[2] - to[0]) - (box[2] - box[0])
        self.arrows(wider, (to[3] - to[1]) - (box[3] - box[1]), held="Shift+")

    def draw(self, box: Box) -> None:
        self.key("b")
        self._shape(self.boxes()[-1], box)

    def move(self, box: Box, to: Box) -> None:
        self.select(box)
        self._shape(box, to)

    resize = move

    def delete(self, box: Box) -> None:
        self.select(box)
        self.key("Delete")

    def mark(self, box: Box, kind: str) -> None:
        self.select(box)
        self.key(str(["face", "photo", "depicted", "sensitive"].index(kind) + 1))

    def next(self) -> None:
        self.key("d")


def correct(hands: Hands, found: Known, truth: Known) -> None:
    """Do what makes the boxes of an image right: one thing at most is wrong with each."""
    for (box, kind), (right, its_kind) in zip(found, truth, strict=False):
        if [right[2] - right[0], right[3] - right[1]] == [box[2] - box[0], box[3] - box[1]]:
            if box != right:
                hands.move(box, right)
        elif box[:2] == right[:2]:
            hands.resize(box, right)
        if kind != its_kind:
            hands.mark(box, its_kind)
    for box, _ in found[len(truth) :]:
        hands.delete(box)
    for box, _ in truth[len(found) :]:
        hands.draw(box)


def as_faces(known: Known, score: float = 0.9) -> Faces:
    """Boxes as faces that a detector found."""
    boxes: Any = [box for box, _ in known]
    return Faces.of(boxes, [score] * len(known), kind=[kind for _, kind in known], source="detector")
