"""Hide faces: methods on pixels, and the writer of variants."""

from sfumato.obfuscate.catalogue import METHODS
from sfumato.obfuscate.method import Obfuscator
from sfumato.obfuscate.stage import VARIANT_SCHEMA, FileOptions, check_apart, obfuscate, read_failures
from sfumato.obfuscate.strength import hides

__all__ = [
    "METHODS",
    "VARIANT_SCHEMA",
    "FileOptions",
    "Obfuscator",
    "check_apart",
    "hides",
    "obfuscate",
    "read_failures",
]
