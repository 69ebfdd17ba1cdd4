"""A scatter of all categories as SVG text: every point can be pointed at, so it is drawn by hand.

Shapes tell what is established, so that it reads without colour; each point carries its name and a `title`,
which browsers show without any script. Only presentation attributes are used: the page's policy forbids
styles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape, quoteattr

from sfumato.report.numerals import MINUS

WIDTH, HEIGHT = 560, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 40, 46
GAIN, OTHER = "gain", "other loss"
MOST_LABELS = 12
"""Points with their name written beside them."""

_INK, _PALE, _ACCENT, _SOFT = "#1d2430", "#d9dde3", "#a3341f", "#55606f"
_SHAPES = {
    "": ("<circle cx='{x}' cy='{y}' r='3' fill='#fff' fill-opacity='.6' stroke='#55606f'", "not established"),
    "real loss": ("<path d='M{x} {y}m-6-5h12l-6 11z' fill='#a3341f'", "real loss"),
    "swap and loss": ("<path d='M{x} {y}m-5-5h10v10h-10z' fill='#a3341f' stroke='#1d2430'", "swap and loss"),
    "swap": ("<path d='M{x} {y}m-4.5-4.5h9v9h-9z' fill='#1d2430'", "swap"),
    "top-1 only": ("<path d='M{x} {y}m0-6l6 6l-6 6l-6-6z' fill='#55606f'", "top-1 only"),
    OTHER: ("<path d='M{x} {y}m-5-5l10 10m0-10l-10 10' stroke='#a3341f' stroke-width='2'", OTHER),
    "gain by swap": (
        "<path d='M{x} {y}m-5 4.5h10l-5-9.5z' fill='#fff' stroke='#1d2430' stroke-width='2'",
        "gain by swap",
    ),
    GAIN: ("<path d='M{x} {y}m-6 5h12l-6-11z' fill='#1d2430'", GAIN),
}
"""Kind of a change to the shape that stands for it, and what the legend says."""


@dataclass(frozen=True)
class Point:
    """One category: where it lies (percent, points), what sort of change it is, and what its hint says."""

    name: str
    x: float
    y: float
    kind: str
    note: str


@dataclass(frozen=True)
class _Scale:
    """From values to pixels: `low` to `high` lie between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def scatter(points: Sequence[Point], *, title: str, xlabel: str) -> str:
    """The picture; points that are established lie over the others."""
    across = _Scale(-2, 102, LEFT, WIDTH - RIGHT)
    steps = _steps([point.y for point in points])
    up = _Scale(steps[0], steps[-1], HEIGHT - BOTTOM, TOP)
    ordered = sorted(points, key=lambda point: bool(point.kind))
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"font-family='Segoe UI, Helvetica, Arial, Liberation Sans, sans-serif' font-size='12' fill='{_INK}' "
        f"aria-label={quoteattr(title)}>",
        *_axes(across, up, (steps, xlabel)),
        *_legend({point.kind for point in points}),
        *(_mark(point, across(point.x), up(point.y)) for point in ordered),
        *_labels(ordered, across, up),
        "</svg>",
    ]
    return "\n".join(parts)


def _steps(values: Sequence[float]) -> list[float]:
    """Round values from below the least to above the greatest, with zero among them."""
    low, high = min(0.0, *values), max(0.0, *values)
    rough = max(high - low, 1.0) / 5
    size = 10 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = floor(low / step), max(ceil(high / step), 1)
    return [step * number for number in range(first, last + 1)]


def _axes(across: _Scale, up: _Scale, texts: tuple[Sequence[float], str]) -> Iterator[str]:
    steps, xlabel = texts
    for value in steps:
        y = up(value)
        zero = abs(value) < 1e-9
        yield f"<path d='M{LEFT} {y}H{WIDTH - RIGHT}' stroke='{_INK if zero else _PALE}'/>"
        yield f"<text x='{LEFT - 7}' y='{y + 4:.1f}' text-anchor='end'>{_tick(value)}</text>"
    for value in range(0, 101, 20):
        yield f"<text x='{across(value)}' y='{HEIGHT - BOTTOM + 17}' text-anchor='middle'>{value}</text>"
    yield f"<text x='{WIDTH - RIGHT}' y='{HEIGHT - 8}' text-anchor='end'>{escape(xlabel)}</text>"
    yield f"<text x='2' y='{TOP - 24}'>change of top-1 accuracy, points</text>"


def _tick(value: float) -> str:
    text = f"{abs(value):g}"
    return "0" if text == "0" else f"{'+' if value > 0 else MINUS}{text}"


def _legend(kinds: set[str]) -> Iterator[str]:
    x = float(LEFT)
    for kind, (shape, words) in _SHAPES.items():
        if kind in kinds:
            yield shape.format(x=x, y=TOP - 10) + "/>"
            yield f"<text x='{x + 9:.0f}' y='{TOP - 6}' font-size='11' fill='{_SOFT}'>{words}</text>"
            x += 24 + 5.8 * len(words)


def _mark(point: Point, x: float, y: float) -> str:
    shape = _SHAPES[point.kind][0].format(x=f"{x:g}", y=f"{y:g}")
    name = quoteattr(point.name)
    return f"{shape} data-name={name}><title>{escape(point.name)}: {escape(point.note)}</title>{_end(shape)}"


def _end(shape: str) -> str:
    return f"</{shape[1:].split(' ', 1)[0]}>"


def _labels(points: Sequence[Point], across: _Scale, up: _Scale) -> Iterator[str]:
    """Names of established points, the largest changes first, where they cover no other name."""
    taken: list[tuple[float, float, float]] = []
    told = sorted((point for point in points if point.kind), key=lambda point: -abs(point.y))
    for point in told[:MOST_LABELS]:
        text = point.name if len(point.name) <= 26 else f"{point.name[:25]}\N{HORIZONTAL ELLIPSIS}"
        x, y, wide = across(point.x), up(point.y), 6.4 * len(text)
        left = x - 9 - wide if x + 9 + wide > WIDTH - RIGHT else x + 9
        if any(abs(y - other) < 13 and left < end and start < left + wide for start, end, other in taken):
            continue
        taken.append((left, left + wide, y))
        anchor, at = ("end", x - 9) if left < x else ("start", x + 9)
        place = f"x='{at:.1f}' y='{y + 4:.1f}' text-anchor='{anchor}'"
        yield f"<text {place} font-weight='600'>{escape(text)}</text>"
