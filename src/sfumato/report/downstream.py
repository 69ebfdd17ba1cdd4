"""Comparisons of starts on downstream tasks, as the page asks of them.

A start is the arm of the run that a model went on from, or "scratch" (random weights). The downstream data
is the same for all of them, so that these arms differ by what had been learned before, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sfumato.compare import Verdict, judge, read_tables, reference_of
from sfumato.compare.arms import REFERENCES
from sfumato.compare.wording import METRIC_WORDS
from sfumato.errors import ManifestError, UsageError
from sfumato.report.comparison import Comparison, Row, rows_where
from sfumato.report.numerals import PLUS_MINUS, UNKNOWN, percent
from sfumato.specs import slug

PROTOCOLS = {"finetune": "fine-tuned", "linear": "linear probe"}
"""Protocol of a task to how the page calls it."""

_TASK = ("name", "title", "kind", "protocol", "metrics")


@dataclass(frozen=True)
class Transfer:
    """The starts compared on one downstream task, under one protocol.

    Attributes:
        comparison: its tables.
        task: facts about the task: name, title, kind, protocol, metrics.
        verdict: what the comparison says.
        name: of the files about it, such as "cifar10--finetune"; unlike that of any other.
    """

    comparison: Comparison
    task: Mapping[str, Any]
    verdict: Verdict
    name: str

    @property
    def facts(self) -> Mapping[str, Any]:
        """What else the comparison knows of its runs."""
        manifest = self.comparison.tables.manifest
        return manifest.facts if manifest else {}

    @property
    def protocol(self) -> str:
        """How the models were trained on the task, in words."""
        return PROTOCOLS.get(self.task["protocol"], str(self.task["protocol"]))

    @property
    def title(self) -> str:
        """Task and protocol for people: "CIFAR-10, fine-tuned"."""
        return f"{self.task['title']}, {self.protocol}"

    @cached_property
    def metrics(self) -> list[str]:
        """Those of the tables, the main one first."""
        known = dict.fromkeys(self.comparison.tables.overall["metric"].to_pylist())
        named = [metric for metric in self.task["metrics"] if metric in known]
        return list(dict.fromkeys([*named, *known]))

    @cached_property
    def starts(self) -> list[str]:
        """Arms: scratch, original, none, then the others."""
        return sorted(self.comparison.names, key=_place)

    @property
    def hidden(self) -> list[str]:
        """Starts from models that had learned with something hidden."""
        return [arm for arm in self.starts if reference_of(arm) is None]

    def overall(self, metric: str) -> dict[tuple[str, str], Row]:
        """Model and start to its row of a metric over all images."""
        rows = rows_where(self.comparison.tables.overall, metric=metric, subset="all")
        return {(row["model"], row["arm"]): row for row in rows}

    def differences(self, metric: str) -> list[Row]:
        """Differences of a metric over all images, null ones left out."""
        return self.comparison.differences(metric=metric, subset="all")

    def to_unhidden(self, metric: str) -> list[Row]:
        """Those of obfuscated starts to what each is compared with first: none where there is one."""
        wanted = {arm: self.comparison.reference(arm) for arm in self.hidden}
        return [row for row in self.differences(metric) if wanted.get(row["arm"]) == row["reference"]]


def _place(arm: str) -> int:
    name = reference_of(arm)
    return len(REFERENCES) if name is None else REFERENCES.index(name)


def read_transfers(folders: Sequence[Path]) -> list[Transfer]:
    """Comparisons on downstream tasks by title and protocol; one that lies in two places is one.

    Raises:
        ManifestError, TableError: no finished comparison there, or one that was damaged.
        UsageError: a comparison, but not on a downstream task.
    """
    found: dict[str, tuple[Comparison, Mapping[str, Any]]] = {}
    for folder in folders:
        comparison = Comparison.of(read_tables(folder))
        manifest = comparison.tables.manifest
        if manifest is not None:
            found.setdefault(manifest.key, (comparison, _task(folder, manifest.facts)))
    ordered = sorted(found.values(), key=lambda item: (str(item[1]["title"]), str(item[1]["protocol"])))
    names = _names([task for _, task in ordered])
    return [
        Transfer(comparison, task, judge(comparison.tables), name)
        for (comparison, task), name in zip(ordered, names, strict=True)
    ]


def _task(folder: Path, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    task = facts.get("task")
    if not task:
        raise UsageError(
            f"{folder} compares no downstream task, so it says nothing about transfer; "
            "name tables that sfumato transfer made"
        )
    if not isinstance(task, Mapping) or not set(_TASK) <= task.keys():
        raise ManifestError(f"{folder}: damaged manifest (its task needs {', '.join(_TASK)}); compare again")
    return task


def _names(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name of files for each: what somebody called a task must not lead out of the folder."""
    plain = [f"{slug(str(task['name'])) or 'task'}--{slug(str(task['protocol']))}" for task in tasks]
    return [
        name if name not in plain[:place] else f"{name}-{plain[: place + 1].count(name)}"
        for place, name in enumerate(plain)
    ]


def metric_name(metric: str) -> str:
    """A metric as the page calls it."""
    return METRIC_WORDS.get(metric, metric)


def mean_cell(row: Row | None) -> str:
    """A mean in percent with its standard error over seeds, where there are enough to tell: "91.2 ± 0.3"."""
    if row is None or row["mean"] is None:
        return UNKNOWN
    error = row["standard_error"]
    return percent(row["mean"]) + ("" if error is None else f" {PLUS_MINUS} {percent(error)}")
