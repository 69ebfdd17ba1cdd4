"""How to get all of it again: settings, versions, hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sfumato.report.comparison import Comparison
from sfumato.report.downstream import Transfer
from sfumato.report.inputs import ReportInputs


def reproduction_section(
    source: ReportInputs, comparison: Comparison, transfers: Sequence[Transfer] = ()
) -> dict[str, Any]:
    """What the section about reproducing prints."""
    manifest = comparison.tables.manifest
    return {
        "settings": dict(flat(source.settings)),
        "comparison": dict(flat(asdict(comparison.settings))),
        "versions": dict(manifest.versions) if manifest else {},
        "keys": _keys(source, comparison) | dict(_transfer_keys(transfers)),
    }


def _keys(source: ReportInputs, comparison: Comparison) -> dict[str, str]:
    manifest = comparison.tables.manifest
    inputs = dict(manifest.inputs) if manifest else {}
    keys = {"tables": manifest.key if manifest else "", "faces": source.faces.manifest.key}
    keys |= {"original": source.original.fingerprint}
    keys |= {f"variant {arm}": data.fingerprint for arm, data in source.variants.items()}
    groups = {name: key for name, key in inputs.items() if name.startswith("groups ")}
    keys |= groups
    runs = inputs.keys() - groups.keys() - {"faces"}
    return keys | {f"predictions {name}": key for name, key in inputs.items() if name in runs}


def _transfer_keys(transfers: Sequence[Transfer]) -> Iterator[tuple[str, str]]:
    for transfer in transfers:
        manifest = transfer.comparison.tables.manifest
        if manifest is not None:
            yield f"transfer {transfer.name}", manifest.key


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as the page prints them, those within others with both names: "train.seeds"."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
