"""The tables of a comparison with what the page asks of them again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sfumato.compare import CompareSettings, Tables, is_obfuscated, short_names
from sfumato.compare.layout import ALL_MODELS

Row = Mapping[str, Any]

SUBSETS = {"all": "all images", "with_faces": "images with faces", "without_faces": "images without faces"}
TOP1, TOP5 = "top1_accuracy", "top5_accuracy"


@dataclass(frozen=True)
class Comparison:
    """Tables, and which of their rows come first.

    Attributes:
        tables: as `sfumato compare` wrote them.
        names: arm to short name.
        lead_model: "all" where there are several models, else the one.
    """

    tables: Tables
    names: Mapping[str, str]
    lead_model: str

    @classmethod
    def of(cls, tables: Tables) -> Comparison:
        """Look at the tables once."""
        models = tables.overall["model"].to_pylist()
        lead = ALL_MODELS if ALL_MODELS in models else models[0]
        return cls(tables, short_names(tables.overall["arm"].to_pylist()), lead)

    @cached_property
    def settings(self) -> CompareSettings:
        """That the comparison was made with."""
        return CompareSettings(**self.tables.manifest.settings) if self.tables.manifest else CompareSettings()

    @property
    def level(self) -> float:
        """Of tests and of the false discovery rate: 1 - confidence."""
        return 1 - self.settings.confidence

    @cached_property
    def known_differences(self) -> list[Row]:
        """Rows of the table of differences, null differences left out."""
        return [row for row in self.tables.differences.to_pylist() if row["difference"] is not None]

    @cached_property
    def models(self) -> list[str]:
        """The models, without their mean."""
        found = dict.fromkeys(self.tables.overall["model"].to_pylist())
        return [model for model in found if model != ALL_MODELS]

    def obfuscated(self) -> list[str]:
        """Arms in which something is hidden."""
        return [arm for arm in self.names if is_obfuscated(arm)]

    def compared(self) -> list[tuple[str, str]]:
        """The obfuscated arms of the lead model, each with what it is compared with first."""
        found = [(arm, self.reference(arm)) for arm in self.obfuscated()]
        return [(arm, reference) for arm, reference in found if reference is not None]

    def differences(self, **wanted: str) -> list[Row]:
        """Rows of the table of differences with these values, null differences left out."""
        return [
            row for row in self.known_differences if all(row[key] == value for key, value in wanted.items())
        ]

    def reference(self, arm: str) -> str | None:
        """What an arm is compared with first: the control arm where there is one."""
        found = {row["reference"] for row in self.differences(arm=arm, model=self.lead_model)}
        return next((name for name in ("none", "original") if name in found), None)

    def categories(self, arm: str) -> list[Row]:
        """Rows by category of an arm, of the lead model."""
        return rows_where(self.tables.by_category, model=self.lead_model, arm=arm)


def rows_where(table: pa.Table, **wanted: str) -> list[Row]:
    """Rows of a table with these values; filtered before they become Python, as tables may be long."""
    for name, value in wanted.items():
        table = table.filter(pc.equal(table[name], value))
    found: list[Row] = table.to_pylist()
    return found


def model_name(name: str) -> str:
    """A model as the page calls it."""
    return "all models" if name == ALL_MODELS else name
