"""Change the touched blocks of a JPEG and no others."""

from sfumato.obfuscate.files.jpeg.edit import edit_jpeg
from sfumato.obfuscate.files.jpeg.header import CannotEdit

__all__ = ["CannotEdit", "edit_jpeg"]
