"""Amazon Rekognition: responses of DetectFaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sfumato.errors import TableError
from sfumato.faces.exchange.annotations import Annotations, Collector, decoded, without
from sfumato.text_files import in_record, read_json, write_json_text


@dataclass(frozen=True)
class Rekognition:
    """Fractions of width and height; confidence in percent is the score; all other fields are kept.

    Read are a folder with one response a file (`train/n01/a.json` or `a.jpg.json` is of `train/n01/a.jpg`), a
    JSON object of responses by image, or one response. Written is an object where the target ends with
    ".json", else a folder.
    """

    name: ClassVar[str] = "rekognition"
    keeps: ClassVar[frozenset[str]] = frozenset({"score", "extra"})

    def read(self, path: Path) -> Annotations:
        """Read responses.

        Raises:
            TableError: not this format; the message names file and image.
        """
        collector = Collector(path, relative=True, by_stem=True)
        for file, name, response in _responses(path):
            with in_record(file, name):
                _read_response(collector, name, response)
        return collector.done()

    def write(self, annotations: Annotations, path: Path) -> None:
        """Write an object of responses by image, or a folder of responses.

        Raises:
            TableError: the size of an image is not known.
        """
        responses = _written(annotations)
        if path.suffix.lower() == ".json":
            write_json_text(path, responses)
            return
        for name, response in responses.items():
            write_json_text(path / f"{name}.json", response, durable=False)


def _responses(path: Path) -> Iterator[tuple[Path, str, Any]]:
    if path.is_dir():
        files = sorted(path.rglob("*.json"))
        if not files:
            raise TableError(f"{path}: no response in it (looked for .json files)")
        for file in files:
            yield file, file.relative_to(path).with_suffix("").as_posix(), read_json(file)
        return
    value = read_json(path)
    if not isinstance(value, dict):
        raise TableError(f"{path}: expected an object of DetectFaces responses by image")
    if "FaceDetails" in value:
        yield path, path.stem, value
        return
    for name, response in value.items():
        yield path, name, response


def _read_response(collector: Collector, name: str, response: Mapping[str, Any]) -> None:
    details = response["FaceDetails"]
    collector.image(name, None, without(response, "FaceDetails"))
    for face in details:
        box = face["BoundingBox"]
        left, top = box["Left"], box["Top"]
        collector.box(
            (left, top, left + box["Width"], top + box["Height"]),
            face["Confidence"] / 100,
            "face",
            without(face, "BoundingBox", "Confidence"),
        )


def _written(annotations: Annotations) -> dict[str, Any]:
    xyxy = annotations.fractions()
    starts, sizes = xyxy[:, :2].tolist(), np.round(xyxy[:, 2:] - xyxy[:, :2], 9).tolist()

    def face(at: int) -> dict[str, Any]:
        (left, top), (width, height) = starts[at], sizes[at]
        box = {"Width": width, "Height": height, "Left": left, "Top": top}
        confidence = round(float(annotations.score[at]) * 100, 7)
        return {"BoundingBox": box, "Confidence": confidence} | decoded(annotations.extra, at)

    return {
        annotations.names[row]: {"FaceDetails": [face(at) for at in boxes]}
        | decoded(annotations.image_extra, row)
        for row, boxes in annotations.boxes_of()
    }
