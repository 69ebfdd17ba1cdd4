"""Known faces to score against: a hand-checked gold standard as JSON, or whatever else holds known boxes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sfumato.errors import BoxError, TableError
from sfumato.faces.known import read_known_boxes
from sfumato.faces.names import NameIndex
from sfumato.faces.record import Faces

IGNORE = "ignore"
"""Kind of a known box where a detector is neither rewarded nor punished."""


def read_truth(path: Path) -> Mapping[str, Faces]:
    """Known faces by image id: a gold standard (`read_gold`), or what `read_known_boxes` reads.

    Raises:
        TableError, ManifestError: as those.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                return read_gold(path)
    return read_known_boxes(path)


def by_image_id(known: Mapping[str, Faces], image_ids: Iterable[str]) -> dict[str, Faces]:
    """Known faces under the image ids that their names mean: the same, or one that ends alike at slashes.

    A name that means no image keeps its own, so that its faces count as not examined.

    Args:
        known: faces by the names of some file ("a.jpg").
        image_ids: of the images that were examined ("train/n01/a.jpg").

    Raises:
        TableError: a name may mean several images, or several names mean one.
    """
    ids = set(image_ids)
    index = NameIndex(ids)
    found: dict[str, Faces] = {}
    for name, faces in known.items():
        meant = [name] if name in ids else index.alike(name) or [name]
        if len(meant) > 1:
            raise TableError(
                f"'{name}' may mean {len(meant)} images: {', '.join(meant[:3])}; name it in full"
            )
        if meant[0] in found:
            raise TableError(f"'{name}' and another name both mean the image '{meant[0]}'; remove one")
        found[meant[0]] = faces
    return found


def read_gold(path: Path) -> dict[str, Faces]:
    """Read a gold standard, every image that was looked at with its faces.

    The JSON is `{"images": {image_id: {"faces": [{"x0", "y0", "x1", "y1", "kind", "ignore", "source"}]}}}`,
    pixels; `kind` ("face"), `ignore` (false) and `source` (the file's name) may be left out, further fields
    are passed over. A face with `"ignore": true` gets the kind "ignore".

    Raises:
        TableError: no such file, or not that format; the message names the image.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TableError(f"{path}: not valid JSON ({error})") from error
    images = record.get("images") if isinstance(record, dict) else None
    if not isinstance(images, dict):
        raise TableError(f"{path}: expected an object with images, one entry an image id with its faces")
    return {image_id: _faces(path, image_id, image) for image_id, image in images.items()}


def _faces(path: Path, image_id: str, image: Any) -> Faces:
    try:
        faces = image["faces"]
        return Faces.of(
            [[float(face[name]) for name in ("x0", "y0", "x1", "y1")] for face in faces],
            kind=[IGNORE if face.get("ignore") else str(face.get("kind", "face")) for face in faces],
            source=[str(face.get("source", path.name)) for face in faces],
        )
    except KeyError as error:
        raise TableError(f"{path}: image '{image_id}' has no {error} where one is needed") from error
    except (TypeError, ValueError, AttributeError, BoxError) as error:
        raise TableError(
            f"{path}: image '{image_id}' is not of the form faces: x0, y0, x1, y1 ({error})"
        ) from error
