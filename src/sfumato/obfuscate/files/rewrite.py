"""One picture file written again with its faces hidden: the way that changes least for its format."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import ExifTags
from PIL import Image as PillowImage

from sfumato.errors import ImageError
from sfumato.faces import Faces
from sfumato.images import Pixels, frame_count, read_frame, reading, turned
from sfumato.obfuscate.files.animation import Hide, rewrite_frames
from sfumato.obfuscate.files.deep import has_16_bits, rewrite_deep
from sfumato.obfuscate.files.encode import Source, encode, read_source, with_metadata, without_metadata
from sfumato.obfuscate.files.jpeg import CannotEdit, Header, decode, edit_jpeg, read_header
from sfumato.obfuscate.files.metadata import Policy, clean
from sfumato.obfuscate.method import marked

EDITED, ENCODED = "edited", "encoded"


@dataclass(frozen=True)
class Rewritten:
    """A picture file with hidden faces.

    Attributes:
        data: its bytes.
        written: "edited" where a JPEG's coefficients outside the faces are the source's, else "encoded".
        note: what could not be kept, in words; empty where nothing is lost.
        width, height: of the upright picture, in pixels.
        frames: of an animation; 1 of any other picture.
    """

    data: bytes
    written: str
    note: str
    width: int
    height: int
    frames: int = 1


def rewrite(
    path: Path, hide: Hide, *, policy: Policy, faces: Faces = Faces.of(), frames: int = 1
) -> Rewritten:
    """Write a picture again in its own format with its faces hidden.

    A JPEG is edited in its coefficients, so that only blocks that a face touches change; where that cannot be
    (arithmetic coding, a damaged stream) it is decoded and encoded with its own tables, and the note says so.
    PNG, TIFF, BMP, GIF and lossless WebP stay lossless: 16-bit levels keep their bits, a GIF its colours. An
    animation is hidden in every frame if all of them were examined; else its first frame is written.

    Args:
        path: the file.
        hide: from a picture to the same with its faces hidden.
        policy: what else of the file is kept.
        faces: those that `hide` hides; under their boxes nothing of the original stays, seen or not.
        frames: how many frames of it were examined.

    Raises:
        ImageError: it cannot be read, or not be written in its format.
    """
    if frames > 1 and frame_count(path) == frames:
        return _animation(path, hide, policy, frames)
    data = _read(path)
    edited = _edited(data, path, hide, policy, faces) if data.startswith(b"\xff\xd8") else None
    return edited or _decoded(data, path, hide, policy, faces)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error


def _edited(data: bytes, path: Path, hide: Hide, policy: Policy, faces: Faces) -> Rewritten | None:
    """The short way for most JPEGs: decoded by the library that writes them, each byte looked at once.

    None wherever there is a doubt (damage, previews, inks, a very large picture): the long way knows more.
    """
    try:
        header = read_header(data)
        if b"MPF\0" in data or header.width * header.height > (PillowImage.MAX_IMAGE_PIXELS or 0):
            return None
        orientation = _orientation(data, header, path)
        before = turned(decode(data, header), orientation)
        after = hide(before)
        made = edit_jpeg(data, marked(before, after, faces), after, orientation=orientation, header=header)
        return Rewritten(clean(made, policy).data, EDITED, "", after.shape[1], after.shape[0])
    except (CannotEdit, ImageError):
        return None


def _orientation(data: bytes, header: Header, path: Path) -> int:
    """As Pillow finds it; in a file without APP1 segments there is none."""
    if all(segment.marker != 0xE1 for segment in header.segments):
        return 1
    with reading(path), PillowImage.open(BytesIO(data)) as image:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    return turn if turn in range(1, 9) else 1


def _decoded(data: bytes, path: Path, hide: Hide, policy: Policy, faces: Faces) -> Rewritten:
    """The long way, for every format."""
    source = _under(policy, read_source(path), path)
    after = hide(source.rgb)
    before = marked(source.rgb, after, faces)
    height, width = after.shape[:2]
    if source.format == "JPEG":
        made, written, note = _jpeg(data, source, before, after)
    else:
        (made, note), written = _still(data, (path, hide), source, before, after), ENCODED
    if written == EDITED:
        try:
            return Rewritten(clean(made, policy).data, written, note, width, height)
        except ImageError as error:
            # What cannot be taken apart safely is not passed on: new bytes have nothing else in them.
            made, written, note = encode(source, after), ENCODED, _joined(source.note, str(error))
    return Rewritten(_cleaned(made, policy), written, note, width, height)


def _under(policy: Policy, source: Source, path: Path) -> Source:
    """The source with settings for what is written besides the picture, where it is encoded anew."""
    if policy is Policy.ALL:
        return with_metadata(source, path)
    return without_metadata(source) if policy is Policy.NONE else source


def _animation(path: Path, hide: Hide, policy: Policy, count: int) -> Rewritten:
    data, note = rewrite_frames(path, hide)
    frame = read_frame(path)
    return Rewritten(_cleaned(data, policy), ENCODED, note, frame.width, frame.height, count)


def _jpeg(data: bytes, source: Source, before: Pixels, after: Pixels) -> tuple[bytes, str, str]:
    try:
        edited = edit_jpeg(data, before, after, orientation=source.orientation)
        return edited, EDITED, source.note.replace("CMYK written as RGB", "")
    except CannotEdit as reason:
        return encode(source, after), ENCODED, _joined(source.note, f"decoded and encoded: {reason}")


def _still(
    data: bytes, origin: tuple[Path, Hide], source: Source, before: Pixels, after: Pixels
) -> tuple[bytes, str]:
    if source.format == "GIF":
        first, note = rewrite_frames(*origin, first_only=True)
        return first, _joined(source.note, note)
    if has_16_bits(data, source.format):
        deep = rewrite_deep(data, source.format, before, after, orientation=source.orientation)
        if deep is not None and (deep.channels < 4 or source.alpha is not None):
            return deep.data, _without_levels(source.note)
        return encode(source, after), _joined(source.note, "16-bit levels written with 8 bits")
    return encode(source, after), source.note


def _cleaned(data: bytes, policy: Policy) -> bytes:
    """New bytes under a policy; formats that cannot be taken apart are as the encoder made them."""
    try:
        return clean(data, policy).data
    except ImageError:
        return data


def _without_levels(note: str) -> str:
    return "; ".join(part for part in note.split("; ") if "levels" not in part)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
