"""What stages leave on disk: tables, JSON and manifests, written whole or not at all.

Each artefact is a folder with a `manifest.json` that is written last. Its `key` is a hash of
everything that the artefact was made from; a stage that finds a manifest with the same key has
nothing to do, and one that finds another key refuses or starts anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import filelock
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

import sfumato
from sfumato.errors import BusyError, ManifestError, OutputExists, TableError

MANIFEST = "manifest.json"
STARTED = ".started"
"""Lies in an artefact until it is finished, and holds its key."""
_POLL_SECONDS = 0.5
_RECORDED_VERSIONS = ("numpy", "pillow", "opencv-python", "onnxruntime", "torch", "torchvision")


@dataclass(frozen=True)
class Manifest:
    """What an artefact is and what it was made from.

    Attributes:
        kind: "faces", "variant", "run", "tables", "study" …
        key: hash of kind, inputs and settings; equal keys mean equal artefacts.
        inputs: name of an input to its key or fingerprint.
        settings: every setting, defaults written out.
        counts: number of items by status, and other totals.
        facts: what else a later stage needs to know (categories, arm, hashes of outputs).
        versions: of Sfumato, Python and the libraries that touch pixels.
    """

    kind: str
    key: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    counts: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def make_key(kind: str, inputs: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Hash of what an artefact is made from, 16 hexadecimal digits."""
    text = json.dumps([kind, dict(inputs), dict(settings)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of Sfumato, Python and the installed libraries that results depend on."""
    found = {"sfumato": sfumato.__version__, "python": platform.python_version()}
    for name in _RECORDED_VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into a finished artefact."""
    write_json(folder / MANIFEST, asdict(manifest))


def read_manifest(folder: Path, *, kind: str | None = None) -> Manifest:
    """Read the manifest of an artefact.

    Raises:
        ManifestError: there is none, it is damaged, or it is of another kind.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ManifestError(f"{folder}: no {MANIFEST}; not a finished artefact of Sfumato")
    try:
        manifest = Manifest(**read_json(path))
    except (TypeError, ManifestError) as error:
        raise ManifestError(f"{path}: damaged manifest ({error})") from error
    if kind is not None and manifest.kind != kind:
        raise ManifestError(f"{folder}: holds {manifest.kind}, but {kind} is needed here")
    return manifest


def is_done(folder: Path, key: str) -> bool:
    """Whether the folder holds the finished artefact with this key."""
    return (folder / MANIFEST).is_file() and read_manifest(folder).key == key


def prepare_output(folder: Path, kind: str, key: str, *, overwrite: bool = False) -> bool:
    """Make an output folder ready; True where the finished artefact with this key is there already.

    Unfinished work with the same key is kept, to be resumed.

    Args:
        folder: of the artefact.
        kind: of artefact; only one of the same kind is ever replaced.
        key: see `make_key`.
        overwrite: replace an artefact of this kind that was made from something else.

    Raises:
        OutputExists: the folder holds something else and `overwrite` is not set, or something that is no
            artefact of this kind.
    """
    if is_done(folder, key):
        return True
    started = folder / STARTED
    mark = f"{kind} {key}"
    resumable = started.is_file() and started.read_text() == mark and not (folder / MANIFEST).exists()
    _sweep(folder, deep=resumable)  # a process killed as it wrote the mark leaves nothing else
    if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()) and not resumable:
        if not overwrite:
            raise OutputExists(
                f"{folder} exists already and was made from something else; "
                "name another --out or give --overwrite"
            )
        if _kind_of(folder) != kind:
            raise OutputExists(f"{folder} holds no {kind} made by Sfumato, so it stays; name another --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(started, mark.encode())
    return False


def _sweep(folder: Path, *, deep: bool) -> None:
    """Remove what a killed process had begun to write; in folders below only where all of them are ours."""
    names = "." + 32 * "[0-9a-f]" + ".tmp"  # as `beside` makes them
    for path in folder.rglob(names) if deep else folder.glob(names):
        path.unlink(missing_ok=True)


def _kind_of(folder: Path) -> str | None:
    """Kind of the artefact, finished or not, that a folder holds."""
    if (folder / STARTED).is_file():
        return (folder / STARTED).read_text().split(" ")[0]
    return read_manifest(folder).kind if (folder / MANIFEST).is_file() else None


def finish(folder: Path, manifest: Manifest) -> None:
    """Close an artefact: its manifest is written, then the mark of unfinished work removed."""
    write_manifest(folder, manifest)
    (folder / STARTED).unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process.

    The lock lies beside the folder (".name.lock"), since replacing the folder must not break it.

    Raises:
        BusyError: another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # On a mounted volume only the folder itself may be writable.
    writable = os.access(folder.parent, os.W_OK)
    lock = filelock.FileLock(folder.parent / f".{folder.name}.lock" if writable else folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BusyError(f"{folder}: another process works in this folder; wait for it or end it") from error
    try:
        yield
    finally:
        # Removed while it is still held: nobody can hold it and lose it.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def waiting_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for this process as soon as nobody else does: for what several want to be made once."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except BusyError:
                time.sleep(_POLL_SECONDS)
        yield


def find_artefacts(root: Path) -> list[tuple[Path, str]]:
    """Every finished artefact at or below a folder, sorted, with its kind; links are not followed.

    Hidden folders are passed over.

    Raises:
        ManifestError: a manifest below the root is damaged.
    """
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        if MANIFEST in files:
            found.append(Path(folder))
    return [(folder, _kind(folder)) for folder in sorted(found)]


def _kind(folder: Path) -> str:
    content = read_json(folder / MANIFEST)
    if not isinstance(content, dict):
        raise ManifestError(f"{folder / MANIFEST}: damaged manifest (not an object)")
    return str(content.get("kind"))


def beside(path: Path) -> Path:
    """A name beside a file, to write it under first; not made of its own, which may be as long as allowed."""
    return path.with_name(f".{uuid4().hex}.tmp")


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file under a temporary name beside it, then rename: readers see all of it or nothing.

    Args:
        path: file to write; missing folders above it are made.
        data: its bytes.
        durable: wait until the disk has them. A killed process loses nothing either way; a power cut may.
    """
    temporary = beside(path)
    try:
        with _created(temporary) as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _created(path: Path) -> BinaryIO:
    """A new file; its folder is made where it is missing, which is rare."""
    try:
        return path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ManifestError: the file is not valid JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ManifestError(f"{path}: not valid JSON ({error})") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as parquet, atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table as CSV with a header line, atomically; null is an empty field."""
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    write_atomic(path, sink.getvalue().to_pybytes())


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a parquet table; columns beyond the schema are kept.

    Raises:
        TableError: no such file, no parquet, or a column of the schema is missing or of another type.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such table") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable parquet table ({error})") from error
    for column in schema:
        if column.name not in table.column_names:
            raise TableError(f"{path}: column '{column.name}' is missing")
        if table.schema.field(column.name).type != column.type:
            found = table.schema.field(column.name).type
            raise TableError(f"{path}: column '{column.name}' is {found}, not {column.type}")
    return table


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
