"""Optimiser and learning-rate schedule: SGD with Nesterov momentum and annealing, or AdamW with one cycle."""

import math
from collections.abc import Iterable

import torch

from ds2toolkit.config import OptimiserConfig

WARM_UP = 0.25
FIRST, LAST = 1 / 10, 1 / 200


def optimiser(config: OptimiserConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (section 6) or AdamW."""
    if config.kind == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate(config: OptimiserConfig, epoch: int, progress: float) -> float:
    """The rate at an epoch (from 1) and a progress through all epochs in [0, 1].

    anneal: divided by anneal_factor after every epoch (section 6). one_cycle: up from a tenth over the first quarter,
    then down along a cosine to a two-hundredth (Smith and Topin, 2018).
    """
    if config.schedule == "anneal":
        return config.learning_rate / config.anneal_factor ** (epoch - 1)
    if progress < WARM_UP:
        return config.learning_rate * _cosine(FIRST, 1.0, progress / WARM_UP)
    return config.learning_rate * _cosine(1.0, LAST, (progress - WARM_UP) / (1 - WARM_UP))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
