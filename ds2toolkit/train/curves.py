"""A picture of a training run: losses and dev error rate by epoch, where matplotlib is installed."""

import importlib.util
from pathlib import Path

from ds2toolkit.files import whole


def draw(history: list[dict[str, float]], path: Path) -> None:
    """Write a PNG of history (one line an epoch, as in history.jsonl); nothing without matplotlib (extra `plots`)."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in history]
    for name, label in (("train_loss", "train"), ("dev_loss", "dev")):
        losses.plot(epochs, [line[name] for line in history], label=label)
    losses.set(xlabel="epoch", ylabel="CTC loss per utterance", yscale="log")
    losses.legend()
    errors.plot(epochs, [100 * line["dev_error_rate"] for line in history], color="C1")
    errors.set(xlabel="epoch", ylabel="dev error rate, greedy, %", ylim=(0, None))
    with whole(path) as part:
        figure.savefig(part, dpi=120)
