"""Plots as SVG bytes: the same numbers give the same bytes, and none needs colour to be read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.errors import MissingExtra

try:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover - the test environment has it
    raise MissingExtra("report", "drawing the plots of a report") from error

INK, PALE, ACCENT = "#1d2430", "#c9ced6", "#a3341f"
WIDTH = 5.6  # inches
_ROW = 0.27  # inches that a row of a plot takes
STYLE = {
    "svg.hashsalt": "sfumato",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 9,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
"""Settings of matplotlib that every plot is drawn with."""


@dataclass(frozen=True)
class Estimate:
    """One row of a plot of changes: fractions, null ends where there is no interval.

    Attributes:
        label: at the left.
        value, low, high: change and its interval.
        marker: form of the point.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    marker: str = "o"

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 1e-9 or self.high < -1e-9)


def changes_plot(rows: Sequence[Estimate], xlabel: str) -> bytes:
    """Changes with their intervals, one below the other; filled where the interval excludes zero."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _canvas(len(rows))
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for place, row in enumerate(rows):
            colour = ACCENT if row.excludes_zero else INK
            if row.low is not None and row.high is not None:
                axes.plot(
                    [100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=1.4, zorder=2
                )
            face = colour if row.excludes_zero else "white"
            axes.plot(
                [100 * row.value],
                [place],
                row.marker,
                color=colour,
                markerfacecolor=face,
                markersize=6,
                zorder=3,
            )
        _label_rows(axes, [row.label for row in rows])
        axes.set_xlabel(xlabel)
        return svg_bytes(figure)


def shares_plot(labels: Sequence[str], shares: Sequence[float], xlabel: str) -> bytes:
    """Shares (fractions) as bars from 0 to 100 percent, with the number at the end of each."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _canvas(len(labels))
        axes.barh(range(len(labels)), [100 * share for share in shares], color="#7a8699", height=0.62)
        for place, share in enumerate(shares):
            axes.text(100 * share + 1, place, f"{100 * share:.0f} %", va="center", fontsize=8)
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20))
        _label_rows(axes, labels)
        axes.set_xlabel(xlabel)
        return svg_bytes(figure)


def _canvas(n_rows: int) -> tuple[Any, Any]:
    # The object API: no global figure list, so reports may be made in threads and in loops.
    figure = Figure(figsize=(WIDTH, 0.75 + _ROW * max(2, n_rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    return figure, axes


def _label_rows(axes: Any, labels: Sequence[str]) -> None:
    # "$" would start mathematics; long names are cut, the table has them whole.
    shown = [label if len(label) <= 44 else f"{label[:43]}\N{HORIZONTAL ELLIPSIS}" for label in labels]
    axes.set_yticks(range(len(shown)), [label.replace("$", r"\$") for label in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)


def svg_bytes(figure: Any) -> bytes:
    """A figure as SVG, without the date and whatever else would change its bytes; draw it within `STYLE`."""
    sink = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the table beside the plot has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})
    return sink.getvalue()
