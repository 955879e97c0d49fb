"""Learning-rate schedules: the paper's, one that listens to the dev set, one cycle."""

import math

from ds2toolkit.config import OptimiserConfig
from ds2toolkit.train.state import State, num_disappointments

WARM_UP = 0.25
FIRST, LAST = 1 / 10, 1 / 200


def learning_rate(config: OptimiserConfig, state: State, progress: float) -> float:
    """The rate of a run's next step; progress: through all epochs, in [0, 1].

    anneal: divided by anneal_factor after every epoch (section 6). anneal_on_dev: divided by it each time that
    `patience` epochs brought no new best on the dev set. one_cycle: up from a tenth over the first quarter, then down
    along a cosine to a two-hundredth (Smith and Topin, 2018). The first two rise linearly over warm_up_steps.
    """
    if config.schedule == "one_cycle":
        return config.learning_rate * _one_cycle(progress)
    if config.schedule == "anneal":
        num_divisions = state.epoch - 1
    else:
        num_divisions = num_disappointments(state.history, config.patience)
    warm_up = min(1.0, (state.step + 1) / max(config.warm_up_steps, 1))
    return config.learning_rate / config.anneal_factor**num_divisions * warm_up


def _one_cycle(progress: float) -> float:
    if progress < WARM_UP:
        return _cosine(FIRST, 1.0, progress / WARM_UP)
    return _cosine(1.0, LAST, (progress - WARM_UP) / (1 - WARM_UP))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
