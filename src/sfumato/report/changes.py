"""Swaps and real losses: which changes of categories are one confusion turned round, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfumato.report.comparison import Comparison, Row, rows_where
from sfumato.report.numerals import change, percent

MOST_NAMED = 20
"""Pairs or categories that the page lists of one arm and kind; the CSV files have all."""

SWAP, SWAP_AND_LOSS, REAL_LOSS, TOP1_ONLY = "swap", "swap and loss", "real loss", "top-1 only"
WON = "gain by swap"
NAMED_AT_TOP = 3


@dataclass(frozen=True)
class Named:
    """One pair or category: its name, and what happened to it."""

    name: str
    kind: str
    detail: str


@dataclass(frozen=True)
class ArmChanges:
    """What changed in one arm.

    Attributes:
        name: short, of the arm.
        reference: what it is compared with.
        swaps: pairs of which one's gain is the other's loss.
        losses: categories that lose more than a swap explains.
        top1_only: categories whose right answer moved from the first place, but not far.
        counts: how many there are of each, listed or not, by the name of the attribute.
    """

    name: str
    reference: str
    swaps: tuple[Named, ...]
    losses: tuple[Named, ...]
    top1_only: tuple[Named, ...]
    counts: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """Swaps and real losses by name, for the top of the page; empty where there are none."""
        parts = [
            f"{words}: {_joined(getattr(self, name), self.counts[name])}"
            for words, name in (("swapped", "swaps"), ("really lost", "losses"))
            if self.counts[name]
        ]
        return f"{_sentence_case('; '.join(parts))}." if parts else ""


def changes_section(comparison: Comparison) -> dict[str, ArmChanges]:
    """Of every obfuscated arm against what it is compared with first."""
    return {arm: _of_arm(comparison, arm, reference) for arm, reference in comparison.compared()}


def kinds(comparison: Comparison, arm: str, reference: str) -> dict[str, str]:
    """Category to what sort of change it has, where a loss is established or a swap has helped it."""
    swaps = rows_where(comparison.tables.swaps, arm=arm, reference=reference)
    won = {row["winner"]: WON for row in swaps if row["kind"]}
    losses = rows_where(comparison.tables.losses, arm=arm, reference=reference)
    return won | {row["category"]: row["kind"] for row in losses}


def _of_arm(comparison: Comparison, arm: str, reference: str) -> ArmChanges:
    swaps = rows_where(comparison.tables.swaps, arm=arm, reference=reference)
    losses = rows_where(comparison.tables.losses, arm=arm, reference=reference)
    listed = {
        "swaps": [_swap(row, reference) for row in swaps if row["kind"]],
        "losses": [_loss(row) for row in losses if row["kind"] in (REAL_LOSS, SWAP_AND_LOSS)],
        "top1_only": [_loss(row) for row in losses if row["kind"] == TOP1_ONLY],
    }
    cut: dict[str, Any] = {name: tuple(found[:MOST_NAMED]) for name, found in listed.items()}
    return ArmChanges(
        name=comparison.names[arm],
        reference=reference,
        **cut,
        counts={name: len(found) for name, found in listed.items()},
    )


def _swap(row: Row, reference: str) -> Named:
    loser, winner = row["loser"], row["winner"]
    detail = (
        f"Pictures of {loser} are called {winner} more often than with {reference} "
        f"({_shares(row, 'loser_called_winner')}), "
        f"and pictures of {winner} are called {loser} less often "
        f"({_shares(row, 'winner_called_loser')}). "
        f"Top-1: {loser} {change(row['loser_top1_difference'])}, "
        f"{winner} {change(row['winner_top1_difference'])} points."
    )
    if row["kind"] == SWAP_AND_LOSS:
        detail += " One of the two loses among the first five answers, or in average precision, as well."
    return Named(f"{loser} \N{RIGHTWARDS ARROW} {winner}", row["kind"], detail)


def _shares(row: Row, name: str) -> str:
    return f"{percent(row[f'{name}_reference'])} % before, {percent(row[name])} % now"


def _loss(row: Row) -> Named:
    measured = [f"Top-1 {change(row['top1_difference'])}", f"top-5 {change(row['top5_difference'])}"]
    if row["average_precision_difference"] is not None:
        measured.append(f"average precision {change(row['average_precision_difference'])}")
    detail = f"{', '.join(measured)} points."
    if row["kind"] == SWAP_AND_LOSS and row["partners"]:
        detail += f" Part of it is a swap with {row['partners']}."
    return Named(row["category"], row["kind"], detail)


def _joined(items: tuple[Named, ...], total: int) -> str:
    more = total - NAMED_AT_TOP
    names = ", ".join(item.name for item in items[:NAMED_AT_TOP])
    return f"{names} and {more} more" if more > 0 else names


def _sentence_case(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
