"""A picture of what was tuned: dev error rate over one setting as a curve, over two as a heat map."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from ds2toolkit.files import whole

CELLS = 120  # of a heat map, on each axis


def draw(tuned: dict[str, dict[str, Any]], path: Path) -> bool:
    """Write a PNG with a panel for every entry of search.json. False without matplotlib (extra `plots`)."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(tuned), 3.8), layout="constrained")
    for panel, (name, entry) in zip(figure.subplots(1, len(tuned), squeeze=False)[0], tuned.items(), strict=True):
        names = [name for name in entry["chosen"] if name in entry["surface"][0]]
        points = np.array([[point[axis] for axis in names] for point in entry["surface"]])
        rates = 100 * np.array([point["error_rate"] for point in entry["surface"]])
        kept = np.array([point["kept"] for point in entry["surface"]])
        (_curve if len(names) == 1 else _heat_map)(figure, panel, points, rates, kept)
        chosen = [entry["chosen"][axis] for axis in names]
        height = [100 * entry["dev_error_rate"]] if len(names) == 1 else []
        panel.plot(*[[value] for value in chosen + height], "*", color="C3", markersize=14, label="chosen")
        panel.set(title=f"{name}: dev error rate, %", xlabel=names[0])
        panel.set(ylabel=names[1] if len(names) > 1 else "")
        panel.legend()
    with whole(path) as part:
        figure.savefig(part, dpi=120)
    return True


def _curve(_: Any, panel: Any, points: np.ndarray, rates: np.ndarray, kept: np.ndarray) -> None:
    order = points[:, 0].argsort()
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.plot(points[order, 0], rates[order], color="C0")
    panel.plot(points[kept, 0], rates[kept], "o", color="C1", label="within one standard error")


def _heat_map(figure: Any, panel: Any, points: np.ndarray, rates: np.ndarray, kept: np.ndarray) -> None:
    """Every cell has the rate of the nearest point that was tried."""
    low, high = points.min(axis=0), points.max(axis=0)
    step = [np.diff(np.unique(column)).min(initial=1.0) for column in points.T]
    cells = [np.linspace(first - 0.5 * s, last + 0.5 * s, CELLS) for first, last, s in zip(low, high, step, strict=True)]
    x, y = np.meshgrid(*cells)
    away = sum(np.square((of[..., None] - points[:, n]) / step[n]) for n, of in enumerate((x, y)))
    image = panel.pcolormesh(x, y, rates[away.argmin(axis=-1)], cmap="viridis", shading="nearest", vmax=rates.min() * 3)
    figure.colorbar(image, ax=panel)
    panel.plot(*points[kept].T, ".", color="C1", markersize=5, label="within one standard error")
