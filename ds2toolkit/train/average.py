"""An exponential moving average of a network: smoother than its last step (Polyak and Juditsky, 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Average:
    """The average of weights and running statistics after each step; n steps ago counts decay ** n.

    Until there are 1 / (1 - decay) steps it is their plain mean, so that the first ones count in full, and the weights
    before any step not at all.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.num_steps = decay, 0
        self.live = list(model.state_dict().values())
        self.mean = [tensor.clone() for tensor in self.live]

    @torch.no_grad()
    def update(self) -> None:
        self.num_steps += 1
        torch._foreach_lerp_(self.mean, self.live, max(1 - self.decay, 1 / self.num_steps))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network is its average inside, and itself again afterwards."""
        kept = [tensor.clone() for tensor in self.live]
        _copy(self.live, self.mean)
        try:
            yield
        finally:
            _copy(self.live, kept)

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_steps = state["num_steps"]
        _copy(self.mean, state["mean"])


@torch.no_grad()
def _copy(to: list[torch.Tensor], source: list[torch.Tensor]) -> None:
    for tensor, value in zip(to, source, strict=True):
        tensor.copy_(value)
