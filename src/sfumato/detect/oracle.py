"""Detectors that know: boxes that a person drew, another program found, or a service answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from sfumato.boxes import area, clip
from sfumato.detect.detector import check_min_score
from sfumato.errors import ImageError, SfumatoError, TableError, UsageError
from sfumato.faces import Faces, read_faces, read_known_boxes
from sfumato.faces.exchange import FORMATS
from sfumato.faces.known import KnownBoxes, read_box_file
from sfumato.faces.names import NameIndex
from sfumato.images import Pixels
from sfumato.records import file_sha256, read_manifest


@dataclass(frozen=True)
class Oracle:
    """Known boxes instead of a search; boxes in fractions are scaled to each image.

    A record belongs to the image whose id equals its own; else to the one image id that ends with it, or that
    it ends with, cut at slashes ("n01/a.jpg" and "train/n01/a.jpg"); in formats whose names lack the ending
    of the image file, without these. `rekognition(path='responses')` is short for
    `oracle(path='responses', format='rekognition')`: answers of AWS Rekognition's DetectFaces, kept on disk.

    Attributes:
        path: file or folder.
        format: as `sfumato faces import` takes it; empty for the study's JSON, or a folder of
            `sfumato detect`.
        min_score: boxes below this are left out, 0..1.
    """

    name: ClassVar[str] = "oracle"

    path: str = ""
    format: str = ""
    min_score: float = 0.0

    def __post_init__(self) -> None:
        check_min_score(self.min_score)
        if not isinstance(self.path, str) or not isinstance(self.format, str):
            raise ValueError("path and format are texts in quotes")
        if not self.path:
            raise ValueError("give path='boxes.json', a file or folder of known boxes")
        if self.format:
            try:
                FORMATS.build(self.format)
            except SfumatoError as error:
                raise ValueError(str(error)) from error

    @property
    def inputs(self) -> dict[str, str]:
        """What the faces depend on besides the fields: a hash of the boxes, or the key of the folder.

        Raises:
            TableError, ManifestError: there is no such file, or no finished folder.
        """
        path = Path(self.path)
        if self.format:
            _read.cache_clear()  # files in a folder may change without the folder showing it
            return {"known_boxes": self._known().digest}
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
        known = self._known()
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
        known = self._known()
        urls = known.urls(image_id)
        if not urls:
            raise ImageError(f"{self.path} has no record of {image_id}")
        if len(urls) > 1:
            listed = ", ".join(urls[:3])
            raise ImageError(f"{self.path} has {len(urls)} records that may be of {image_id}: {listed}")
        height, width = image.shape[:2]
        self._check_size(known.size(urls[0]), (width, height), image_id)
        faces = known.faces(urls[0], (width, height))
        outside = area(clip(faces.xyxy, width, height)) <= 0
        if outside.any():
            box = faces.xyxy[outside][0].tolist()
            raise ImageError(
                f"{self.path}: box {box} of {image_id} lies outside its {width} x {height} pixels"
            )
        return faces.select(min_score=self.min_score)

    def frames_of(self, image_id: str) -> int:
        """How many frames of the image were examined, as far as the source of the boxes knows: else 1."""
        return self._known().frames.get(image_id, 1)

    def _check_size(self, declared: tuple[int, int] | None, size: tuple[int, int], image_id: str) -> None:
        if declared is None or declared == size:
            return
        raise ImageError(
            f"{self.path}: the record of {image_id} is of an image of {declared[0]} x {declared[1]} pixels, "
            f"this one has {size[0]} x {size[1]}; for boxes in stored pixels of turned photos use "
            "sfumato faces import --orientation stored"
        )

    def _known(self) -> _Known:
        return _read(self.path, self.format, _changed(self.path))


class _Known:
    """Records of a file, with all the ways to find the one of an image."""

    def __init__(self, path: Path, box_format: str) -> None:
        self._boxes = read_box_file(path, FORMATS.build(box_format)) if box_format else read_known_boxes(path)
        is_table = path.is_dir() and not box_format
        self.frames = read_faces(path).frames if is_table else {}
        self._ways = [NameIndex(self._boxes)]
        if isinstance(self._boxes, KnownBoxes) and self._boxes.annotations.by_stem:
            self._ways.append(NameIndex(self._boxes, stems=True))

    @property
    def digest(self) -> str:
        """Hash of the records of a file that was read by its format."""
        assert isinstance(self._boxes, KnownBoxes)
        return self._boxes.annotations.digest()

    def urls(self, image_id: str) -> list[str]:
        """Records that may be of an image: its own id, else those that end alike."""
        if image_id in self._boxes:
            return [image_id]
        return next(filter(None, (way.alike(image_id) for way in self._ways)), [])

    def size(self, url: str) -> tuple[int, int] | None:
        """Width and height that the record states for boxes in pixels, if it does."""
        return self._boxes.size(url) if isinstance(self._boxes, KnownBoxes) else None

    def faces(self, url: str, size: tuple[int, int]) -> Faces:
        """The faces of a record, in pixels of an image of (width, height)."""
        if isinstance(self._boxes, KnownBoxes):
            return self._boxes.faces(url, size)
        return self._boxes[url]


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0  # reading it says what is wrong


@lru_cache(maxsize=4)
def _read(path: str, box_format: str, changed: int) -> _Known:  # noqa: ARG001  a file that changes is read again
    return _Known(Path(path), box_format)
