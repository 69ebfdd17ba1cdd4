"""The published study's transfer numbers, as package data, and ours beside them.

Its code for these experiments was never released, and it published no spread. Numbers are fractions here, as
everywhere in Sfumato.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sfumato.compare.arms import is_crossed, reference_of, short_name
from sfumato.compare.published import CONDITIONS, read_published
from sfumato.compare.tables import Tables
from sfumato.errors import UsageError
from sfumato.records import write_csv, write_table

TRANSFER_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("metric", pa.string()),
        ("model", pa.string()),
        ("init", pa.string()),
        ("value", pa.float64()),
        ("reading_error", pa.float64()),
        ("source", pa.string()),
        ("note", pa.string()),
    ]
)
"""What the study reports: `task` is "cifar10", "celeba" or "voc_detection"; `metric` as the study says it;
`init` is "original", "blurred", "overlaid" or "scratch"; `reading_error` says how exactly it could be read
off a chart, null where it is printed; `note` says what is not sure of it, or is null."""

TRANSFER_BESIDE_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("model", pa.string()),
        ("condition", pa.string()),
        ("metric", pa.string()),
        ("published", pa.float64()),
        ("reading_error", pa.float64()),
        ("source", pa.string()),
        ("note", pa.string()),
        ("arm", pa.string()),
        ("ours", pa.float64()),
        ("ours_standard_error", pa.float64()),
        ("n_seeds", pa.int64()),
    ]
)
"""Of one task of ours (`task` is its name): the study's number and ours, by model and condition ("original",
"blurred", "overlaid" or "scratch"). `metric` is our main one, see `note` for the study's. Ours are null where
no such model was compared, the study's where it has none, or trained in another way: it fine-tuned."""

TASKS = {
    "cifar10": "cifar10",
    "celeba": "celeba",
    "voc2007": "voc_detection",
    "voc2007+2012": "voc_detection",
}
"""Our name of a task to the study's."""

TRANSFER_UNKNOWN = (
    "SUN: every number. Its charts on the poster and in the slides repeat that of CIFAR-10, labels and all; "
    "which of the SUN data sets it was is not said either.",
    "PASCAL VOC: the poster's chart repeats that of CIFAR-10 as well; the numbers are from the talk slides. "
    "Which years, which average precision and which detector head is unknown, and so is training from "
    "scratch.",
    "CelebA: the metric is not confirmed; it is thought to be mean average precision over attributes.",
    "CIFAR-10 and CelebA from scratch: no numbers; they are read off the chart, to about 0.3 points.",
    "Of every task: splits, epochs, learning rates, and any spread, so that no published difference can be "
    "told from chance.",
    "ResNet-50 on any task but PASCAL VOC.",
)
"""What is not known of the study's transfer experiments, a sentence each."""

Key = tuple[str, str]
"""Model and condition."""


def published_transfer() -> pa.Table:
    """Rows of `TRANSFER_SCHEMA`, in the order of the package data."""
    return pa.Table.from_pylist(
        [_in_fractions(row) for row in read_published()["transfer"]], schema=TRANSFER_SCHEMA
    )


def _in_fractions(row: Mapping[str, Any]) -> dict[str, Any]:
    fractions = {name: row[name] / 100 for name in ("value", "reading_error") if name in row}
    return {name: row.get(name) for name in TRANSFER_SCHEMA.names} | fractions | {"note": _note(row)}


def _note(row: Mapping[str, Any]) -> str | None:
    parts = [row["note"]] if "note" in row else []
    if "reading_error" in row:
        parts.append(f"read to within {row['reading_error'] / 100:g}")
    return "; ".join(parts) or None


def study_task(task: Mapping[str, Any]) -> str | None:
    """The study's name of a task of ours that stands beside its own, else None: it fine-tuned.

    Args:
        task: name, protocol and more, as facts of tables have it.
    """
    return TASKS.get(task["name"]) if task["protocol"] == "finetune" else None


def transfer_beside(tables: Tables) -> pa.Table:
    """Ours beside the study's: rows of `TRANSFER_BESIDE_SCHEMA`, the study's models first.

    A model is the study's where it has the same name; an arm is its condition where it is original, scratch,
    or the one method blur or overlay.

    Args:
        tables: of a downstream task.

    Raises:
        UsageError: they are of none.
    """
    if tables.task is None:
        raise UsageError(
            "these tables are of no downstream task; the study's transfer numbers stand beside one"
        )
    published, ours = _published(tables.task), _ours(tables)
    names = {"task": tables.task["name"], "metric": tables.metrics[0]}
    rows = [
        {**names, "model": key[0], "condition": key[1], **published.get(key, {}), **found}
        for key in dict.fromkeys([*published, *ours])
        for found in ours.get(key, [{}])
    ]
    return pa.Table.from_pylist(rows, schema=TRANSFER_BESIDE_SCHEMA)


def write_published_transfer(folder: Path, tables: Tables) -> int:
    """Write ours beside the study's (`published_transfer`), parquet and CSV.

    Returns:
        How many of ours have a published number beside them.

    Raises:
        UsageError: as `transfer_beside`.
    """
    table = transfer_beside(tables)
    write_table(folder / "published_transfer.parquet", table)
    write_csv(folder / "published_transfer.csv", table)
    return sum(None not in (row["published"], row["ours"]) for row in table.to_pylist())


def _published(task: Mapping[str, Any]) -> dict[Key, dict[str, Any]]:
    name = study_task(task)
    return {
        (row["model"], row["init"]): {
            "published": row["value"],
            **{column: row[column] for column in ("reading_error", "source", "note")},
        }
        for row in published_transfer().to_pylist()
        if row["task"] == name
    }


def _ours(tables: Tables) -> dict[Key, list[dict[str, Any]]]:
    """Several arms of a condition where a method ran at several strengths."""
    found: dict[Key, list[dict[str, Any]]] = {}
    for row in tables.overall.to_pylist():
        condition = _condition(row["arm"])
        if condition is None or (row["metric"], row["subset"]) != (tables.metrics[0], "all"):
            continue
        columns = {
            "arm": row["arm"],
            "ours": row["mean"],
            "ours_standard_error": row["standard_error"],
            "n_seeds": row["n_seeds"],
        }
        found.setdefault((row["model"], condition), []).append(columns)
    return found


def _condition(arm: str) -> str | None:
    if is_crossed(arm):
        return None
    reference = reference_of(arm)
    return CONDITIONS.get(short_name(arm)) if reference is None else _REFERENCES.get(reference)


_REFERENCES = {"original": "original", "scratch": "scratch"}
