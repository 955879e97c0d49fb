"""Curves with intervals as inline SVG: one line and one shape of marker a model, coloured by the page's style."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ds2toolkit.score.significance import Estimate

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 46
SHAPES = 4


@dataclass(frozen=True)
class Point:
    """One model at one place; x: where on the axis; label: what the axis says there; rate: a share, not percent."""

    x: float
    label: str
    rate: Estimate


def curves(series: Sequence[Sequence[Point]], x_name: str, y_name: str, summary: str, styles: Sequence[tuple[int, int]]) -> Markup:
    """series: the points of each line, from left to right; styles: for each line the model's and the dash's number.

    summary: what a screen reader says of the picture.
    """
    points = [point for line in series for point in line]
    lowest, highest = min(point.x for point in points), max(point.x for point in points)
    ticks = nice_ticks([point.rate for point in points])

    def across(x: float) -> float:
        share = (x - lowest) / (highest - lowest) if highest > lowest else 0.5
        return LEFT + 10 + share * (WIDTH - LEFT - RIGHT - 20)

    def up(rate: float) -> float:
        return HEIGHT - BOTTOM - min(100 * rate / ticks[-1], 1.0) * (HEIGHT - TOP - BOTTOM)

    parts = [*_axes(ticks, {point.label: across(point.x) for point in points}, up, x_name, y_name)]
    for line, (model, dash) in zip(series, styles, strict=True):
        places = [(across(point.x), up(point.rate.value), point) for point in line]
        path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y, _) in enumerate(places))
        parts.append(f'<g class="m{model} d{dash}"><path class="line" d="{path}"/>')
        for x, y, point in places:
            parts += _whisker(x + 3 * (model - (len(styles) - 1) / 2), point.rate, up)
            parts.append(marker(x, y, model))
        parts.append("</g>")
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">'
    return Markup(head + "".join(parts) + "</svg>")


def nice_ticks(rates: Sequence[Estimate]) -> list[float]:
    """0 and three to six round steps up to what covers these rates and their intervals, in percent."""
    ends = [100 * (one.high or one.value) for one in rates]
    top = max([end for end in ends if math.isfinite(end)], default=0) or 100
    raw = top / 4
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= raw)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def _axes(ticks: Sequence[float], labels: dict[str, float], up, x_name: str, y_name: str) -> Iterator[str]:
    for tick in ticks:
        y = up(tick / 100)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for label, x in labels.items():
        yield f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(label)}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="name" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>'
    turned = f'transform="rotate(-90 12 {(HEIGHT - BOTTOM) / 2})"'
    yield f'<text class="name" x="12" y="{(HEIGHT - BOTTOM) / 2}" text-anchor="middle" {turned}>{escape(y_name)}</text>'


def _whisker(x: float, rate: Estimate, up) -> Iterator[str]:
    if rate.low is not None and rate.high is not None:
        low, high = up(rate.low), up(rate.high)
        yield f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}M{x - 3:.1f} {low:.1f}h6M{x - 3:.1f} {high:.1f}h6"/>'


def marker(x: float, y: float, model: int) -> str:
    shape = model % SHAPES
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == 1:
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    corners = ((0, -6), (6, 0), (0, 6), (-6, 0)) if shape == 2 else ((0, -5.5), (5.5, 4.5), (-5.5, 4.5))
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"/>'
