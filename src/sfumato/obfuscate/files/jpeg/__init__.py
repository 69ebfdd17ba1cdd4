"""Change the touched blocks of a JPEG and no others."""

from sfumato.obfuscate.files.jpeg.edit import edit_jpeg
from sfumato.obfuscate.files.jpeg.header import CannotEdit, Header, read_header
from sfumato.obfuscate.files.jpeg.turbo import decode

__all__ = ["CannotEdit", "Header", "decode", "edit_jpeg", "read_header"]
