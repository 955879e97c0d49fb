"""Training runs side by side: what history.jsonl and the TensorBoard events of each keep, as curves in one picture."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ds2toolkit.errors import DataError
from ds2toolkit.files import whole

MAX_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """y over x: epochs, or steps of the optimiser."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One picture of several: curves (of which those after the first are dashed) and how they are drawn."""

    title: str
    x_label: str
    curves: tuple[str, ...]
    scale: str = "linear"
    from_zero: bool = False
    factor: float = 1.0


PANELS = (
    Panel("loss per utterance: dev, dashed: train", "epoch", ("dev_loss", "train_loss"), "log"),
    Panel("dev error rate, greedy, %", "epoch", ("dev_error_rate",), from_zero=True, factor=100.0),
    Panel("loss per utterance, train", "step", ("loss",), "log"),
    Panel("gradient norm before clipping", "step", ("gradient_norm",), "log"),
    Panel("learning rate", "step", ("learning_rate",), from_zero=True),
    Panel("speed: seconds of audio a second", "step", ("audio_s_per_s",), from_zero=True),
)


def read(folder: Path) -> dict[str, Curve]:
    """The curves of a run by name; those that it has not recorded yet are not there.

    Raises DataError for a history that is damaged or a folder without any record of training.
    """
    curves = _by_epoch(folder / "history.jsonl") | _by_step(folder / "tensorboard")
    if not curves:
        raise DataError(f"{folder} has no record of training: neither history.jsonl nor tensorboard/")
    return curves


def _by_epoch(path: Path) -> dict[str, Curve]:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        epochs = np.array([line["epoch"] for line in lines])
        names = ("train_loss", "dev_loss", "dev_error_rate")
        return {name: Curve(epochs, np.array([line[name] for line in lines], float)) for name in names if lines}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}") from None


def _by_step(folder: Path) -> dict[str, Curve]:
    if not folder.is_dir():
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        part, _, name = tag.partition("/")
        if part == "train":
            scalars = events.Scalars(tag)
            steps, values = np.array([one.step for one in scalars]), np.array([one.value for one in scalars])
            curves[name] = thinned(Curve(steps, values), np.median if name == "audio_s_per_s" else np.mean)
    return curves


def thinned(curve: Curve, middle: Callable[..., float]) -> Curve:
    """At most MAX_POINTS points, each the middle of some; what is not finite is left out."""
    finite = np.isfinite(curve.y)
    x, y = curve.x[finite], curve.y[finite]
    if len(x) <= MAX_POINTS:
        return Curve(x, y)
    parts = zip(np.array_split(x, MAX_POINTS), np.array_split(y, MAX_POINTS))
    points = np.array([(part.mean(), middle(values)) for part, values in parts])
    return Curve(points[:, 0], points[:, 1])


def draw(runs: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Write a picture of runs by name, in the format that the path ends with."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        for number, curves in enumerate(runs.values()):
            for name, style in zip(panel.curves, ("-", "--")):
                if name in curves:
                    curve = curves[name]
                    marker = "." if len(curve.x) == 1 else None
                    axes.plot(curve.x, panel.factor * curve.y, style, color=f"C{number % 10}", marker=marker)
        axes.set(title=panel.title, xlabel=panel.x_label, yscale=panel.scale)
        axes.grid(alpha=0.3)
        if panel.from_zero:
            axes.set_ylim(bottom=0)
    names = [figure.axes[0].plot([], [], color=f"C{number % 10}")[0] for number in range(len(runs))]
    figure.legend(names, list(runs), loc="outside lower center", ncols=min(len(runs), 4))
    with whole(path) as part:
        figure.savefig(part, dpi=120)
