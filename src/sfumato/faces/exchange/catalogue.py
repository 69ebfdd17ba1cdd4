"""The formats by name: `coco`, `yolo(classes=("face", "plate"))`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from sfumato.faces.exchange.annotations import Annotations
from sfumato.specs import Catalogue

_HERE = "sfumato.faces.exchange"

FORMATS = Catalogue(
    "format",
    "sfumato.formats",
    {
        "study": f"{_HERE}.study:StudyJson",
        "rekognition": f"{_HERE}.rekognition:Rekognition",
        "coco": f"{_HERE}.coco:Coco",
        "wider": f"{_HERE}.wider:Wider",
        "yolo": f"{_HERE}.yolo:Yolo",
        "cvat": f"{_HERE}.cvat:Cvat",
        "label_studio": f"{_HERE}.label_studio:LabelStudio",
        "img2dataset": f"{_HERE}.columns:Img2dataset",
        "csv": f"{_HERE}.columns:Csv",
    },
    {"wider_face": "wider", "labelstudio": "label_studio"},
)


class BoxFormat(Protocol):
    """A file format of boxes: a frozen dataclass whose fields are its options.

    Attributes:
        name: as in `FORMATS`.
        keeps: which of "score", "kind" and "extra" it has a place for.
    """

    name: ClassVar[str]
    keeps: ClassVar[frozenset[str]]

    def read(self, path: Path) -> Annotations:
        """What the file or folder says.

        Raises:
            TableError: it is not of this format; the message names file and record.
        """
        ...

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write a file, or a folder where the format has a file an image; boxes are in pixels.

        Raises:
            TableError: something that the format needs is not known.
        """
        ...
