"""The study's two figures of face statistics: images with faces by category, and faces an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sfumato.errors import MissingExtra
from sfumato.faces.statistics_tables import FaceStatistics
from sfumato.report.plots import ACCENT, INK, PALE, STYLE, WIDTH, svg_bytes

try:
    import matplotlib
    from matplotlib.figure import Figure
except ImportError as error:  # pragma: no cover - the test environment has it
    raise MissingExtra("report", "drawing the figures of face statistics") from error

MARKS = (0.25, 0.5)
"""Shares of images that the first figure marks, with the number of categories above."""

LAST_BAR = (9, 10)
"""Numbers of faces that share the last bar, as in the study."""


def face_figures(found: FaceStatistics) -> dict[str, bytes]:
    """Both figures as SVG by file name; the first is left out where no image has a label."""
    shares = found.by_category["share_with_faces"].drop_null().to_pylist()
    figures = {"share_by_category.svg": share_by_category_plot(shares)} if shares else {}
    counts = {row["n_faces_low"]: row["n_images"] for row in found.histogram.to_pylist()}
    figures["faces_per_image.svg"] = faces_per_image_plot([counts[n] for n in range(1, len(counts))])
    return figures


def share_by_category_plot(shares: Sequence[float]) -> bytes:
    """Shares (fractions) of images with faces, one of each category, sorted from the largest."""
    percent = sorted((100 * share for share in shares), reverse=True)
    with matplotlib.rc_context(STYLE):
        figure, axes = _canvas()
        # Steps, one a category: a line would slope between two categories, where there is nothing.
        axes.stairs(percent, [0.5 + rank for rank in range(len(percent) + 1)], fill=True, color="#7a8699")
        for mark in MARKS:
            above = sum(share > mark for share in shares)
            axes.axhline(100 * mark, color=ACCENT, linewidth=0.9, linestyle="--")
            axes.text(
                len(percent) + 0.5,
                100 * mark + 1.2,
                f"{above} of {len(percent)} above {100 * mark:.0f} %",
                ha="right",
                va="bottom",
            )
        axes.set_xlim(0.5, len(percent) + 0.5)
        axes.set_ylim(0, 100)
        axes.set_xlabel("Category, sorted")
        axes.set_ylabel("Images with faces, %")
        return svg_bytes(figure)


def faces_per_image_plot(n_images: Sequence[int]) -> bytes:
    """Images by their number of faces.

    Args:
        n_images: images with 1, 2, ... 10 faces, and with more, which are told in words below the bars.
    """
    *single, more = n_images
    bars = [*single[: LAST_BAR[0] - 1], sum(single[LAST_BAR[0] - 1 :])]
    names = [*map(str, range(1, LAST_BAR[0])), "{}\N{EN DASH}{}".format(*LAST_BAR)]
    with matplotlib.rc_context(STYLE):
        figure, axes = _canvas()
        axes.bar(names, bars, color="#7a8699", width=0.8)
        for place, value in enumerate(bars):
            axes.text(place, value, f"{value:,}", ha="center", va="bottom", fontsize=7)
        axes.set_xlabel(f"Faces in an image (more than {LAST_BAR[1]}: {more:,} images, not drawn)")
        axes.set_ylabel("Images")
        axes.margins(y=0.1)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        return svg_bytes(figure)


def _canvas() -> tuple[Any, Any]:
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_color(INK)
    return figure, axes
