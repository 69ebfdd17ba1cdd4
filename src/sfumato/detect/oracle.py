"""A detector that knows: boxes read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

from sfumato.errors import ImageError, TableError, UsageError
from sfumato.faces import Faces, read_known_boxes
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

    def of_image(self, image_id: str, image: Pixels) -> Faces:  # noqa: ARG002  the protocol's
        """The known faces of an image; the pixels are not looked at.

        Raises:
            ImageError: no record for this id, or several that could be meant.
            TableError, ManifestError: the file cannot be read.
        """
        known = _known(self.path, _changed(self.path))
        if image_id in known.exact:
            return known.exact[image_id]
        urls = known.alike(image_id)
        if len(urls) == 1:
            return known.exact[urls[0]]
        if not urls:
            raise ImageError(f"{self.path} has no record of {image_id}")
        raise ImageError(
            f"{self.path} has {len(urls)} records that may be of {image_id}: {', '.join(urls[:3])}"
        )


@dataclass(frozen=True)
class _Known:
    exact: Mapping[str, Faces]
    by_name: Mapping[str, tuple[str, ...]]

    def alike(self, image_id: str) -> list[str]:
        """Urls that end with the id, or that it ends with; the longest common ends only."""
        parts = PurePosixPath(image_id).parts
        found: dict[str, int] = {}
        for url in self.by_name.get(PurePosixPath(image_id).name, ()):
            other = PurePosixPath(url).parts
            shared = min(len(parts), len(other))
            if parts[-shared:] == other[-shared:]:
                found[url] = shared
        longest = max(found.values(), default=0)
        return sorted(url for url, shared in found.items() if shared == longest)


def _changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0  # reading it says what is wrong


@lru_cache(maxsize=4)
def _known(path: str, changed: int) -> _Known:  # noqa: ARG001  a file that changes is read again
    exact = read_known_boxes(Path(path))
    by_name: dict[str, list[str]] = {}
    for url in exact:
        by_name.setdefault(PurePosixPath(url).name, []).append(url)
    return _Known(exact, {name: tuple(urls) for name, urls in by_name.items()})
