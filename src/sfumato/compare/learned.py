"""Whether anything was learned of a downstream task; where nothing was, no start can be told from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.compute as pc

from sfumato.compare.layout import ALL_MODELS
from sfumato.compare.tables import Tables
from sfumato.compare.wording import METRIC_WORDS, points

MORE = 0.01
"""By how much the mean of some arm must be above what takes no learning."""


def unlearned(tables: Tables) -> str:
    """A sentence where no arm of any model is clearly above what takes no learning, else "".

    That is the share of the most frequent category; of attributes the mean share of images that have one
    (what average precision is on average of scores by chance); of objects nothing.

    Args:
        tables: of a downstream task, or of none, of which nothing is said.
    """
    means = [row["mean"] for row in _overall(tables) if row["mean"] is not None]
    if tables.task is None or not means:
        return ""
    chance, words = _CHANCE[tables.task["kind"]]
    floor = chance(tables)
    if floor is None or max(means) > floor + MORE:
        return ""
    metric = METRIC_WORDS.get(tables.metrics[0], tables.metrics[0])
    beside = f", where {words} gives {points(floor)} %" if words else ""
    return (
        f"No model learned this task (the highest {metric} of any start is {points(max(means))} %{beside}): "
        "what follows says nothing about transfer."
    )


def _overall(tables: Tables) -> list[dict[str, Any]]:
    wanted = (pc.field("metric") == tables.metrics[0]) & (pc.field("subset") == "all")
    found: list[dict[str, Any]] = tables.overall.filter(
        wanted & (pc.field("model") != ALL_MODELS)
    ).to_pylist()
    return found


def _most_frequent(tables: Tables) -> float | None:
    counts = dict(zip(*(tables.by_category[name].to_pylist() for name in ("label", "n_images")), strict=True))
    total = sum(counts.values())
    return max(counts.values()) / total if total else None


def _share_of_positives(tables: Tables) -> float | None:
    left_out = set(tables.manifest.facts.get("not_counted", ())) if tables.manifest else set()
    columns = (tables.precision[name].to_pylist() for name in ("category", "n_images"))
    counts = {name: n for name, n in zip(*columns, strict=True) if name not in left_out}
    n_images = _overall(tables)[0]["n_images"]
    return sum(counts.values()) / (len(counts) * n_images) if counts else None


_CHANCE: Mapping[str, tuple[Callable[[Tables], float | None], str]] = {
    "categories": (_most_frequent, "naming the most frequent category every time"),
    "attributes": (_share_of_positives, "chance"),
    "objects": (lambda _: 0.0, ""),
}
"""Kind of a task to what its main metric is without learning, and what to call that."""
