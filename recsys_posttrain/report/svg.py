"""Line charts as SVG that a page holds as they are: no script draws them, and they print."""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from recsys_posttrain.report.style import style_of

WIDTH, HEIGHT = 366, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 44, 40  # margins of the axes
Bounds = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Line:
    """One method's points, in this order. low, high: of each, where it has an interval. notes: what
    a pointer that rests on a point reads, beside its numbers. look: whose style it has, its own
    where it is empty."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    notes: Sequence[str] = ()
    look: str = ""
    kind: Literal["marked", "line", "steps", "marks", "failed", "pruned"] = "marked"


@dataclass(frozen=True, eq=False)
class Panel:
    """A chart. x, y: labels of the axes. falls: whether x goes from high to low."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    falls: bool = False


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from low to high, at most so many steps."""
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / most))
    step = next(power * by for by in (1, 2, 5, 10) if span / (power * by) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def draw(panel: Panel) -> str:
    """The chart as one svg element; hidden methods are found by their data-name."""
    finite = [
        (x, y, *bounds)
        for line in panel.lines
        for x, y, *bounds in zip(line.x, line.y, *_bounds(line), strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    across, up = (_range(values) for values in ([p[0] for p in finite], _heights(finite)))
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{_text(panel.title)}</title>",
        f'<text class="title" x="0" y="14">{_text(panel.title)}</text>',
        f'<text class="unit" x="0" y="32">{_text(panel.y)}</text>',
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{_text(panel.x)}</text>",
    ]

    def at_x(value: float) -> float:
        share = (value - across[0]) / (across[1] - across[0])
        return LEFT + (WIDTH - LEFT - RIGHT) * (1 - share if panel.falls else share)

    def at_y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - up[0]) / (up[1] - up[0])

    for value in ticks(*up):
        y = f"{at_y(value):.1f}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{LEFT - 5}" y="{y}" dy="4" text-anchor="end">{number(value)}</text>'
        )
    for value in ticks(*across):
        x = f"{at_x(value):.1f}"
        parts.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(value)}</text>'
        )
    parts += [_line(line, at_x, at_y) for line in panel.lines]
    return "".join((*parts, "</svg>"))


def number(value: float) -> str:
    """Short: .25, 3, 1,000."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _line(line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    style = style_of(line.look or line.name)
    points = [
        (at_x(x), at_y(y), n)
        for n, (x, y) in enumerate(zip(line.x, line.y, strict=True))
        if math.isfinite(x) and math.isfinite(y)
    ]
    parts = [f'<g data-name="{_text(line.look or line.name)}" stroke="{style.color}">']
    low, high = _bounds(line)
    for x, _, n in points:
        if line.low and math.isfinite(low[n]) and math.isfinite(high[n]):
            parts.append(f'<path class="bar" d="M{x:.1f} {at_y(low[n]):.1f}V{at_y(high[n]):.1f}"/>')
    if line.kind in ("marked", "line", "steps") and points:
        dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
        label = f"<title>{_text(line.name)}</title>" if line.kind != "marked" else ""
        parts.append(f'<path class="line"{dash} d="{_way(points, line.kind)}">{label}</path>')
    mark = {"failed": "M-3 -3L3 3M-3 3L3 -3", "pruned": "M0 3.6L3.4 -2.6H-3.4z"}.get(line.kind)
    for x, y, n in points if line.kind not in ("line", "steps") else ():
        said = f"{line.name}: {line.y[n]:.4g} at {line.x[n]:.4g}"
        if line.low:
            said += f" [{low[n]:.4g}, {high[n]:.4g}]"
        said = f"{said}; {line.notes[n]}" if line.notes else said
        filled = "" if mark is None else f' class="{line.kind}"'
        parts.append(
            f'<path{filled} fill="{"none" if mark else style.color}" d="{mark or style.marker}" '
            f'transform="translate({x:.1f} {y:.1f})"><title>{_text(said)}</title></path>'
        )
    return "".join((*parts, "</g>"))


def _way(points: Sequence[tuple[float, float, int]], kind: str) -> str:
    (x, y, _), *others = points
    steps = (f"H{x:.1f}V{y:.1f}" if kind == "steps" else f"L{x:.1f} {y:.1f}" for x, y, _ in others)
    return f"M{x:.1f} {y:.1f}" + "".join(steps)


def _bounds(line: Line) -> tuple[Sequence[float], Sequence[float]]:
    """Without an interval the points themselves."""
    return (line.low, line.high) if line.low else (line.y, line.y)


def _heights(points: Iterable[Sequence[float]]) -> list[float]:
    return [value for point in points for value in point[1:] if math.isfinite(value)]


def _range(values: Sequence[float]) -> Bounds:
    """From the least to the greatest and a little more; not empty."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    edge = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    return low - edge, high + edge


def _text(text: str) -> str:
    return html.escape(text)
