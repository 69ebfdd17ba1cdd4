"""Tables of the page: text in cells, ready to print; the numbers are in the CSV files beside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is marked as established."""

    text: str
    marked: bool = False


Cells = tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """A table of the page.

    Attributes:
        heads: of the columns.
        rows: cells, as many in each as there are heads.
        n_names: the first so many columns are words, the others numbers.
    """

    heads: tuple[str, ...]
    rows: tuple[Cells, ...]
    n_names: int = 1


def cells(*texts: str) -> Cells:
    """Plain cells."""
    return tuple(Cell(text) for text in texts)


def excludes_zero(low: float | None, high: float | None) -> bool:
    """Whether an interval leaves zero out."""
    return low is not None and high is not None and (low > 1e-9 or high < -1e-9)
