"""Where a run is, as the plain values of its checkpoints, and what its dev set has said so far."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

History = list[dict[str, float]]


@dataclass
class State:
    """Everything of a run but weights, optimiser and averages. history: a line an epoch, as in history.jsonl.

    budget_s: the padded seconds a batch that were found to fit into memory; 0 before they were looked for.
    """

    epoch: int = 1
    batch: int = 0
    step: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    loss_sum: float = 0.0
    num_utterances: int = 0
    bad_steps: int = 0
    budget_s: float = 0.0
    history: History = field(default_factory=list)

    @staticmethod
    def of(raw: dict[str, Any]) -> "State":
        """From a checkpoint; what only other versions of it hold is left out."""
        return State(**{one.name: raw[one.name] for one in fields(State) if one.name in raw})

    @property
    def best(self) -> float:
        """The lowest error rate on the dev set."""
        return min((line["dev_error_rate"] for line in self.history), default=math.inf)


def since_best(history: History) -> int:
    """Epochs since the best one: the first of the lowest dev error rate, among equal ones of the lowest dev loss."""
    order = sorted(range(len(history)), key=lambda place: _merit(history[place]))
    return len(history) - 1 - order[0] if order else 0


def num_disappointments(history: History, patience: int) -> int:
    """How often the dev set went without a new best for `patience` epochs, counted anew after each time."""
    best, waited, count = (math.inf, math.inf), 0, 0
    for line in history:
        best, waited = (_merit(line), 0) if _merit(line) < best else (best, waited + 1)
        if waited == patience:
            waited, count = 0, count + 1
    return count


def _merit(line: dict[str, float]) -> tuple[float, float]:
    return line["dev_error_rate"], line["dev_loss"]
