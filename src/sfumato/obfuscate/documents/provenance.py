"""What lies beside a variant: the boxes that were hidden, a description for machines, a card for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow.compute as pc

from sfumato.data import IMAGES_SCHEMA
from sfumato.faces import FaceTable
from sfumato.faces.exchange.annotations import Annotations
from sfumato.faces.exchange.study import write_exact
from sfumato.obfuscate.documents.croissant import croissant
from sfumato.obfuscate.documents.data_card import data_card
from sfumato.obfuscate.documents.derivation import Derivation
from sfumato.obfuscate.method import Obfuscator
from sfumato.records import Manifest, file_sha256, read_table, write_atomic, write_json

FACES_JSON, CROISSANT, DATA_CARD = "faces.json", "croissant.json", "DATACARD.md"
TABLE = "images.parquet"
DOCUMENTS = (TABLE, FACES_JSON, CROISSANT, DATA_CARD)
"""Files of a variant that are no images, but for its manifest, which is written last."""


def write_provenance(folder: Path, faces: FaceTable, method: Obfuscator, manifest: Manifest) -> Manifest:
    """Write `faces.json`, `croissant.json` and `DATACARD.md` into a variant whose table is written already.

    There is no time and no place in them: the same work gives the same bytes.

    Args:
        folder: of the variant; `images.parquet` lies in it.
        faces: the boxes that were hidden, with the images that were examined.
        method: how they were hidden.
        manifest: of the variant, as it is going to be written.

    Returns:
        The manifest with one more fact: `documents`, the SHA-256 of each of `DOCUMENTS` by its name.

    Raises:
        OSError: a file cannot be written.
        TableError: the variant's table is not there.
    """
    write_exact(hidden_boxes(faces), folder / FACES_JSON)
    derivation = Derivation(manifest, faces.manifest, method.invertible, _endings(folder))
    hashes = {name: file_sha256(folder / name) for name in (TABLE, FACES_JSON)}
    write_json(folder / CROISSANT, croissant(derivation, hashes))
    write_atomic(folder / DATA_CARD, data_card(derivation).encode())
    documents = {name: file_sha256(folder / name) for name in DOCUMENTS}
    return replace(manifest, facts={**manifest.facts, "documents": documents})


def hidden_boxes(faces: FaceTable) -> Annotations:
    """The faces as annotations, one record for each image that was examined, with or without faces.

    Unlike an export, boxes keep every digit: numbers are the shortest decimals that give the same float32.
    """
    names = [image_id for image_id, status in faces.status.items() if status == "ok"]
    each = [faces.of(name) for name in names]
    owner = np.repeat(np.arange(len(names)), [len(found) for found in each])
    xyxy = np.concatenate([np.zeros((0, 4), np.float32), *(found.xyxy for found in each if len(found))])
    score = np.concatenate([np.zeros(0, np.float32), *(found.score for found in each if len(found))])
    kind = [word for found in each for word in found.kind]
    return Annotations(FACES_JSON, names, owner, _shortest(xyxy), _shortest(score), kind)


def _shortest(values: np.ndarray) -> np.ndarray:
    return values.astype(str).astype(np.float64)


def _endings(folder: Path) -> dict[str, int]:
    """Number of files by the ending of their names, as written, most frequent first."""
    table = read_table(folder / TABLE, IMAGES_SCHEMA)
    written = table.filter(pc.equal(table["status"], "ok"))["image_id"].to_pylist()
    counts = Counter(PurePosixPath(image_id).suffix for image_id in written)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
