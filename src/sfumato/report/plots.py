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

INK, PALE, ACCENT, BAND = "#1d2430", "#c9ced6", "#a3341f", "#eef1f5"
WIDTH = 5.2  # inches
LINES = (("o", "-", INK), ("s", "--", ACCENT), ("^", ":", "#55606f"), ("D", "-.", INK), ("v", "-", "#7a8699"))
"""Marker, dashes and colour of each curve of a plot."""

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
        established: whether the point is filled; where it is None, that the interval excludes zero decides.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    marker: str = "o"
    established: bool | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 1e-9 or self.high < -1e-9)

    @property
    def filled(self) -> bool:
        """Whether its point is."""
        return self.excludes_zero if self.established is None else self.established


def changes_plot(rows: Sequence[Estimate], xlabel: str, *, margin: float | None = None) -> bytes:
    """Changes with their intervals, one below the other; filled where the interval excludes zero.

    Args:
        rows: from the top down.
        xlabel: under the axis.
        margin: a fraction; changes smaller than it lie on a shaded band between dashed lines.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _canvas(len(rows))
        _draw_changes(axes, rows, margin)
        axes.set_xlabel(xlabel)
        return svg_bytes(figure)


@dataclass(frozen=True)
class Panel:
    """One of several plots of changes over one axis: what it is of, its rows, its margin (a fraction)."""

    title: str
    rows: Sequence[Estimate]
    margin: float


def panels_plot(panels: Sequence[Panel], xlabel: str) -> bytes:
    """Small multiples of `changes_plot`, one below the other.

    Args:
        panels: from the top down, each with rows.
        xlabel: under the axis that all of them share.
    """
    heights = [max(1, len(panel.rows)) for panel in panels]
    with matplotlib.rc_context(STYLE):
        size = (WIDTH, 0.55 + sum(0.42 + _ROW * height for height in heights))
        figure = Figure(figsize=size, layout="constrained")
        found = figure.subplots(
            len(panels), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, panel in zip(found[:, 0], panels, strict=True):
            axes.set_axisbelow(True)
            axes.grid(axis="x", color=PALE, linewidth=0.6)
            _draw_changes(axes, panel.rows, panel.margin)
            axes.set_title(_plain(panel.title), loc="left", fontsize=9, fontweight="bold")
        low, high = shown_range([row for panel in panels for row in panel.rows])
        widest = 110 * max(panel.margin for panel in panels)
        found[0, 0].set_xlim(min(low, -widest), max(high, widest))
        found[-1, 0].set_xlabel(xlabel)
        return svg_bytes(figure)


def _draw_changes(axes: Any, rows: Sequence[Estimate], margin: float | None) -> None:
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    if margin is not None:
        axes.axvspan(-100 * margin, 100 * margin, color=BAND, zorder=0)
        for end in (-margin, margin):
            axes.axvline(100 * end, color="#7a8699", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for place, row in enumerate(rows):
        colour = ACCENT if row.filled else INK
        if row.low is not None and row.high is not None:
            axes.plot([100 * row.low, 100 * row.high], [place, place], color=colour, linewidth=1.4, zorder=2)
        face = colour if row.filled else "white"
        axes.plot(
            [100 * row.value], [place], row.marker, color=colour, markerfacecolor=face, markersize=6, zorder=3
        )
    _label_rows(axes, [row.label for row in rows])


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


@dataclass(frozen=True)
class Curve:
    """One line of a plot of steps: its name, and for each step an estimate or nothing."""

    name: str
    values: Sequence[Estimate | None]


def curves_plot(curves: Sequence[Curve], steps: Sequence[str], labels: tuple[str, str]) -> bytes:
    """Changes over ordered steps, a line for each curve with its own marker and dashes.

    Args:
        curves: at most as many as `LINES`; drawn beside each other, so that intervals do not overlap.
        steps: names under the axis.
        labels: of both axes, x first.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
        for number, (curve, line) in enumerate(zip(curves, LINES, strict=False)):
            _draw_curve(axes, curve, line, shift=0.14 * (number - (len(curves) - 1) / 2))
        axes.set_ylim(shown_range([value for curve in curves for value in curve.values if value is not None]))
        axes.set_xticks(range(len(steps)), steps)
        axes.set_xlim(-0.5, len(steps) - 0.5)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.tick_params(length=0)
        if len(curves) > 1:
            axes.legend(frameon=False, handlelength=3.2, loc="best")
        return svg_bytes(figure)


def shown_range(values: Sequence[Estimate]) -> tuple[float, float]:
    """Ends of the axis in points: an interval of next to nothing leaves the picture, flattening no other."""
    ends = [(value.low, value.high) for value in values if value.low is not None and value.high is not None]
    widths = sorted(high - low for low, high in ends)
    seen = [(low, high) for low, high in ends if high - low <= 3 * widths[len(widths) // 2]]
    low = 100 * min(0.0, *(value.value for value in values), *(end for end, _ in seen))
    high = 100 * max(0.0, *(value.value for value in values), *(end for _, end in seen))
    room = 0.06 * max(high - low, 0.1)
    return low - room, high + room


def _draw_curve(axes: Any, curve: Curve, line: tuple[str, str, str], *, shift: float) -> None:
    marker, dashes, colour = line
    known = [(place + shift, value) for place, value in enumerate(curve.values) if value is not None]
    places = [place for place, _ in known]
    for place, value in known:
        if value.low is not None and value.high is not None:
            axes.plot([place, place], [100 * value.low, 100 * value.high], color=colour, linewidth=1.2)
    axes.plot(
        places,
        [100 * value.value for _, value in known],
        marker=marker,
        linestyle=dashes,
        color=colour,
        markersize=6,
        linewidth=1.3,
        label=curve.name.replace("$", r"\$"),
    )


def _canvas(n_rows: int) -> tuple[Any, Any]:
    # The object API: no global figure list, so reports may be made in threads and in loops.
    figure = Figure(figsize=(WIDTH, 0.75 + _ROW * max(2, n_rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    return figure, axes


def _label_rows(axes: Any, labels: Sequence[str]) -> None:
    shown = [_plain(label) for label in labels]
    axes.set_yticks(range(len(shown)), shown)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)


def _plain(label: str) -> str:
    # "$" would start mathematics; long names are cut, the table has them whole.
    cut = label if len(label) <= 44 else f"{label[:43]}\N{HORIZONTAL ELLIPSIS}"
    return cut.replace("$", r"\$")


def svg_bytes(figure: Any) -> bytes:
    """A figure as SVG, without the date and whatever else would change its bytes; draw it within `STYLE`."""
    sink = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the table beside the plot has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})
    return sink.getvalue()
