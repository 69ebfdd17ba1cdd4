"""Images that failed somewhere on the way, with the stage and the reason."""

from __future__ import annotations

import pyarrow as pa

from sfumato.compare import Tables
from sfumato.data import Dataset
from sfumato.obfuscate import read_failures
from sfumato.report.inputs import ReportInputs

FAILED_SCHEMA = pa.schema([("stage", pa.string()), ("image_id", pa.string()), ("reason", pa.string())])
"""One row a failure. An image that no stage could read is a row of the first one only."""


def failures(source: ReportInputs, tables: Tables) -> pa.Table:
    """Every failed image of a study, in the order of the stages."""
    rows = [
        {"stage": "detect", "image_id": image_id, "reason": reason}
        for image_id, reason in sorted(source.faces.errors.items())
    ]
    for arm, dataset in source.variants.items():
        later = sorted(_of_variant(dataset).items())
        rows += [
            {"stage": f"obfuscate: {arm}", "image_id": image_id, "reason": reason}
            for image_id, reason in later
            if image_id not in source.faces.errors
        ]
    rows += [{"stage": "evaluate", **row} for row in tables.excluded.to_pylist()]
    return pa.Table.from_pylist(rows, schema=FAILED_SCHEMA)


def _of_variant(dataset: Dataset) -> dict[str, str]:
    # A data set that is no variant of ours has no table of failures.
    return read_failures(dataset.root) if (dataset.root / "images.parquet").is_file() else {}
