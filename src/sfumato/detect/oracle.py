"""A detector that knows: boxes read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from sfumato.boxes import area, clip
from sfumato.errors import ImageError, TableError, UsageError
from sfumato.faces import Faces, read_known_boxes
from sfumato.faces.names import NameIndex
from sfumato.images import Pixels
from sfumato.records import file_sha256, read_manifest


@dataclass(frozen=True)
class Oracle:
    """Known boxes instead of a search: what a person drew, or another program found.

    A record belongs to the image whose id equals its own; else to the one image id that ends with it, or that
    it ends with, cut at slashes ("n01/a.jpg" and "train/n01/a.jpg").

    Attributes:
        path: file or folder that `sfumato.faces.read_known_boxes` reads.
    """

    name: ClassVar[str] = "oracle"

    path: str

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the fields: a hash of the file, or the key of the folder.

        Raises:
            TableError, ManifestError: there is no such file, or no finished folder.
        """
        path = Path(self.path)
        if path.is_dir():
            return {"known_boxes": read_manifest(path, kind="faces").key}
        try:
            return {"known_boxes": file_sha256(path)}
        except OSError as error:
            raise TableError(f"{path}: cannot be read ({error.strerror})") from error

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:  # noqa: ARG002  the protocol's
        """Not possible without ids.

        Raises:
            UsageError: always; use `of_image`.
        """
        raise UsageError("the oracle knows images by id, not by their pixels; call of_image")

    def check_ids(self, image_ids: Sequence[str]) -> None:
        """Check that no record would serve two images: one of them would pass for examined.

        Raises:
            TableError: a record does; or the file cannot be read.
        """
        known = _known(self.path, _changed(self.path))
        served: dict[str, str] = {}
        for image_id in image_ids:
            for url in known.urls(image_id):
                other = served.setdefault(url, image_id)
                if other != image_id:
                    raise TableError(
                        f"{self.path}: the record '{url}' may be of '{other}' or of '{image_id}'; "
                        "give it the whole path below the data set"
                    )

    def of_image(self, image_id: str, image: Pixels) -> Faces:
        """The known faces of an image; of the pixels only their number is looked at.

        Raises:
            ImageError: no record for this id, several that could be meant, or a box outside the picture.
            TableError, ManifestError: the file cannot be read.
        """
        known = _known(self.path, _changed(self.path))
        urls = known.urls(image_id)
        if not urls:
            raise ImageError(f"{self.path} has no record of {image_id}")
        if len(urls) > 1:
            listed = ", ".join(urls[:3])
            raise ImageError(f"{self.path} has {len(urls)} records that may be of {image_id}: {listed}")
        faces = known.exact[urls[0]]
        height, width = image.shape[:2]
        outside = area(clip(faces.xyxy, width, height)) <= 0
        if outside.any():
            box = faces.xyxy[outside][0].tolist()
            raise ImageError(
                f"{self.path}: box {box} of {image_id} lies outside its {width} x {height} pixels"
            )
        return faces


@dataclass(frozen=True)
class _Known:
    exact: Mapping[str, Faces]
    names: NameIndex

    def urls(self, image_id: str) -> list[str]:
        """Records that may be of an image: its own id, else those that end alike."""
        return [image_id] if image_id in self.exact else self.names.alike(image_id)


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0  # reading it says what is wrong


@lru_cache(maxsize=4)
def _known(path: str, changed: int) -> _Known:  # noqa: ARG001  a file that changes is read again
    exact = read_known_boxes(Path(path))
    return _Known(exact, NameIndex(exact))
