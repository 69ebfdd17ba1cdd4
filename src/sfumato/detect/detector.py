"""What a detector is: a function from pictures to faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sfumato.faces import Faces
from sfumato.images import Pixels


class Detector(Protocol):
    """Finds the faces in pictures.

    A detector that the stage can use is a picklable frozen dataclass with a class attribute `name` and
    literal fields, so that `sfumato.specs.to_spec` writes it. Its boxes lie in the picture, the best first.
    It gives the same faces for a picture whatever the others in the call are. It may have `weights`, a tuple
    of `sfumato.detect.Weights`, which is recorded with what it finds, and `inputs`, names and hashes
    of what its faces depend on besides its fields.
    """

    def __call__(self, images: Sequence[Pixels]) -> list[Faces]:
        """The faces of each picture, in order.

        Args:
            images: upright RGB uint8, (height, width, 3) each, of any sizes.

        Raises:
            ImageError: a picture that it cannot handle; its row says why.
        """


def check_min_score(value: float) -> None:
    """Check a detector's least score.

    Raises:
        ValueError: it is no number in 0..1.
    """
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"min_score must be a number in 0..1, not {value!r}")


def check_long_side(value: int) -> None:
    """Check the longer side to which a detector scales an image.

    Raises:
        ValueError: it is no whole number of at least 32 pixels.
    """
    if not isinstance(value, int) or value < 32:
        raise ValueError(f"long_side must be 32 or more whole pixels, not {value!r}")


@runtime_checkable
class DetectorById(Protocol):
    """A detector that also knows images by name: known boxes, responses of a service kept on disk.

    Where a detector has these methods, the stage calls them instead.
    """

    def check_ids(self, image_ids: Sequence[str]) -> None:
        """Check, before any image is examined, that what is known fits all of their ids.

        Raises:
            SfumatoError: it does not.
        """

    def frames_of(self, image_id: str) -> int:
        """How many frames of an animation the faces are of; 1 where only the first was looked at."""

    def of_image(self, image_id: str, image: Pixels) -> Faces:
        """The faces of the image with this id.

        Raises:
            ImageError: nothing is known of it; its row says so.
        """
