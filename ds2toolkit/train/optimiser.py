"""Optimisers: SGD with Nesterov momentum as in the paper, Adam and AdamW."""

from collections.abc import Iterable

import torch

from ds2toolkit.config import OptimiserConfig

COPIES = {"sgd": 1, "adam": 2, "adamw": 2}  # numbers kept for each weight


def optimiser(config: OptimiserConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (section 6), Adam (weight decay in the gradient) or AdamW (weight decay beside it)."""
    common = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.kind == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, nesterov=config.momentum > 0, **common)
    return (torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW)(parameters, **common)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
