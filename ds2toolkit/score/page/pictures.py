"""The curves of the page: the error rate against noise, length of utterances and speed of speech."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ds2toolkit.score import tables
from ds2toolkit.score.compare import Comparison, Row, against_noise
from ds2toolkit.score.page import svg
from ds2toolkit.score.page.evidence import Bin, Evidence
from ds2toolkit.score.page.svg import Point


@dataclass(frozen=True)
class Figure:
    """A picture, and the same numbers as a table."""

    title: str
    svg: Markup
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]


def figures(comparison: Comparison, evidence: Evidence) -> Iterator[Figure]:
    """Those for which there are data."""
    for name, rows in against_noise(comparison.rows).items():
        yield noise(comparison, name, rows[::-1])
    unit = comparison.unit
    if len(bins := evidence.by_length()) > 1:
        yield binned(comparison, bins, f"{comparison.metric} by length", f"{unit}s in the reference", "{:g}")
    if len(bins := evidence.by_speed()) > 1:
        yield binned(comparison, bins, f"{comparison.metric} by speaking rate", f"{unit}s a second", "{:.1f}")


def noise(comparison: Comparison, name: str, rows: Sequence[Row]) -> Figure:
    """From the clean row to the most noise. The clean one stands a step from the others."""
    ratios = [row.snr_db for row in rows if row.snr_db is not None]
    step = (ratios[0] - ratios[-1]) / (len(ratios) - 1) or 1.0
    places = [-(ratios[0] + step) if row.snr_db is None else -row.snr_db for row in rows]
    labels = ["clean" if row.snr_db is None else f"{row.snr_db:g}" for row in rows]
    series, styles = [], []
    for number in range(len(comparison.models)):
        found = zip(places, labels, (row.cells[number] for row in rows), strict=True)
        if points := [Point(x, label, cell.rate) for x, label, cell in found if cell]:
            series.append(points)
            styles.append((number, 0))
    names = [label if row.snr_db is None else f"{label} dB" for label, row in zip(labels, rows, strict=True)]
    lines = [
        [name, *("" if cell is None else tables.interval(cell.rate) for cell in row.cells)]
        for name, row in zip(names, rows, strict=True)
    ]
    return figure(comparison, f"{comparison.metric} against noise, {name}", "signal-to-noise ratio, dB", series, styles, lines, "noise")


def binned(comparison: Comparison, bins: Sequence[Bin], title: str, axis: str, form: str) -> Figure:
    def points(number: int) -> list[Point]:
        return [Point(one.middle, form.format(one.middle), one.rates[number]) for one in bins]

    series = [points(number) for number in range(len(comparison.models))]
    lines = [
        [span(one, form.format) + f" ({one.num_utterances:,d} utterances)", *map(tables.interval, one.rates)] for one in bins
    ]
    return figure(comparison, title, axis, series, [(number, 0) for number in range(len(series))], lines, axis)


def span(one: Bin, form: Callable[[float], str]) -> str:
    low, high = form(one.low), form(one.high)
    return low if low == high else f"{low} to {high}"


def figure(comparison: Comparison, title: str, axis: str, series, styles, lines, head: str) -> Figure:
    said = "; ".join(": ".join((first, ", ".join(rest))) for first, *rest in lines)
    picture = svg.curves(series, axis, f"{comparison.metric}, %", f"{title}. {said}", styles)
    return Figure(title, picture, [head, *(model.label for model in comparison.models)], lines)
