"""A comparison as a picture for a README: bars of every condition with intervals, and the error rate against noise."""

import importlib.util
from pathlib import Path

from ds2toolkit.errors import UserError
from ds2toolkit.files import whole
from ds2toolkit.score.compare import Comparison, Row, against_noise
from ds2toolkit.score.reported import ALL
from ds2toolkit.score.significance import Estimate

ENDINGS = (".png", ".svg", ".pdf")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # told apart by all (Okabe and Ito, 2008)
MARKERS = "osD^vP"
STYLES = ("-", "--", ":", "-.")
REPORTED = ", reported"
THEIRS = ("D", "o", "s", "^", "v", "P")  # the marks of what others report
BAR = 0.8  # of the room of a row


def draw(comparison: Comparison, path: Path) -> None:
    """Write a picture, by the ending of its name. Raises UserError for another ending, and without matplotlib."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--plot {path}: expected a name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib.\nRun: pip install matplotlib")
    from matplotlib.figure import Figure

    curves = against_noise(comparison.rows)
    height_in = 1.2 + 0.15 * len(comparison.rows) * max(2, len(comparison.models))
    figure = Figure(figsize=(11.2 if curves else 7.2, max(3.2, height_in)), layout="constrained")
    bars, *beside = figure.subplots(1, 2 if curves else 1, squeeze=False, width_ratios=[3, 2] if curves else None)[0]
    draw_bars(bars, comparison)
    for axes in beside:
        draw_curves(axes, comparison, curves)
    drawn = sorted(zip(*bars.get_legend_handles_labels(), strict=True), key=lambda one: one[1].endswith(REPORTED))
    figure.legend(*zip(*drawn, strict=True), loc="outside upper left", ncols=3, frameon=False)
    with whole(path) as part:
        figure.savefig(part, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def draw_bars(axes, comparison: Comparison) -> None:
    """A bar a model on each row, from the top down; the interval as a line over its end; what others report as marks."""
    height = BAR / len(comparison.models)
    for place, (model, colour) in enumerate(zip(comparison.models, colours(comparison), strict=True)):
        rows = [(y, row.cells[place]) for y, row in enumerate(comparison.rows)]
        found = [(y + (place + 0.5) * height - BAR / 2, cell.rate) for y, cell in rows if cell]
        axes.barh([y for y, _ in found], [100 * rate.value for _, rate in found], 0.9 * height, color=colour, label=model.label)
        for y, rate in found:
            axes.plot([100 * low(rate), 100 * high(rate)], [y, y], color="0.1", linewidth=1)
    for y, row in enumerate(comparison.rows):
        for one in row.reported:
            shape = THEIRS[comparison.systems.index(one.system) % len(THEIRS)]
            axes.plot([one.value], [y], shape, color="0.15", markerfacecolor="white", markersize=6, zorder=4)
    for system, shape in zip(comparison.systems, THEIRS * len(comparison.systems), strict=False):
        axes.plot([], [], shape, color="0.15", markerfacecolor="white", markersize=6, label=system + REPORTED)
    names = [row.name if row.part == ALL else row.part for row in comparison.rows]
    axes.set(xlabel=f"{comparison.metric}, %, with 95% intervals", ylim=(len(comparison.rows) - 0.5, -0.5), xlim=(0, None))
    axes.set_yticks(range(len(names)), names)
    axes.spines[["top", "right"]].set_visible(False)


def draw_curves(axes, comparison: Comparison, curves: dict[str, list[Row]]) -> None:
    """A line a model and test set, from the least noise to the most; the clean rows stand a step to the left."""
    ratios = sorted({row.snr_db for rows in curves.values() for row in rows if row.snr_db is not None})
    clean = ratios[-1] + (ratios[-1] - ratios[0]) / (len(ratios) - 1)
    for place, (model, colour) in enumerate(zip(comparison.models, colours(comparison), strict=True)):
        for number, rows in enumerate(curves.values()):
            found = [(clean if row.snr_db is None else row.snr_db, row.cells[place].rate) for row in rows if row.cells[place]]
            below, above = [[100 * abs(end(rate) - rate.value) for _, rate in found] for end in (low, high)]
            axes.errorbar(
                [snr for snr, _ in found],
                [100 * rate.value for _, rate in found],
                [below, above],
                color=colour,
                linestyle=STYLES[number % len(STYLES)],
                marker=MARKERS[place % len(MARKERS)],
                capsize=2,
                label=model.label,
            )
    ticks = {ratio: f"{ratio:g}" for ratio in ratios}
    if any(row.snr_db is None for rows in curves.values() for row in rows):
        ticks[clean] = "clean"
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.invert_xaxis()
    axes.set(xlabel="signal-to-noise ratio, dB", ylabel=f"{comparison.metric}, %", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)


def colours(comparison: Comparison) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(comparison.models))]


def low(rate: Estimate) -> float:
    return rate.value if rate.low is None else rate.low


def high(rate: Estimate) -> float:
    return rate.value if rate.high is None else rate.high
