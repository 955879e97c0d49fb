"""What a training run is set by: optimiser, batches, augmentation, and the network."""

from dataclasses import dataclass, field
from typing import Literal

from ds2toolkit.config.model import ModelConfig
from ds2toolkit.errors import ConfigError


@dataclass(frozen=True)
class SpecAugmentConfig:
    """SpecAugment masks on training utterances (not in the paper; none by default)."""

    num_frequency_masks: int = 0
    frequency_mask_bins: int = 24
    num_time_masks: int = 0
    time_mask_fraction: float = 0.08


@dataclass(frozen=True)
class NoiseConfig:
    """Noise and reverberation on training utterances, from what `ds2 noise` prepared; none by default.

    The paper adds noise to 40% of them (Training Data, augmentation) and states no ratios: snr_db is our choice.
    """

    fraction: float = 0.0
    snr_db: tuple[float, float] = (5.0, 25.0)
    reverb_fraction: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.fraction <= 1 and 0 <= self.reverb_fraction <= 1):
            raise ConfigError("noise: fraction and reverb_fraction lie between 0 and 1")
        if self.snr_db[0] > self.snr_db[1]:
            raise ConfigError(f"noise: snr_db goes from low to high, not from {self.snr_db[0]} to {self.snr_db[1]}")


@dataclass(frozen=True)
class BatchConfig:
    """How utterances are put together: a budget of padded audio a batch, not a count.

    sortagrad: the number of epochs that go from short to long; true is 1, as in the paper, false none.
    """

    budget_s: float = 120.0
    sortagrad: bool | int = True
    num_workers: int = 1

    def __post_init__(self) -> None:
        if not self.budget_s > 0 or self.sortagrad < 0 or self.num_workers < 0:
            raise ConfigError("batches: budget_s lies above 0, sortagrad and num_workers are at least 0")


@dataclass(frozen=True)
class OptimiserConfig:
    """SGD with Nesterov momentum and annealing as in section 6; AdamW with one cycle is the faster departure.

    anneal divides the rate by anneal_factor after every epoch, anneal_on_dev after `patience` epochs without a new best
    on the dev set. warm_up_steps: those over which the rate rises linearly to the schedule's; one_cycle has its own.
    """

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float = 3e-4
    momentum: float = 0.99
    weight_decay: float = 0.0
    schedule: Literal["anneal", "anneal_on_dev", "one_cycle"] = "anneal"
    anneal_factor: float = 1.2
    patience: int = 1
    warm_up_steps: int = 0
    max_gradient_norm: float = 400.0
    loss_reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        if self.patience < 1 or self.warm_up_steps < 0 or not self.anneal_factor > 0:
            raise ConfigError("optimiser: patience is at least 1, warm_up_steps at least 0, anneal_factor above 0")
        if self.schedule == "one_cycle" and self.warm_up_steps:
            raise ConfigError("optimiser: one_cycle warms up by itself; warm_up_steps is for the other schedules")


@dataclass(frozen=True)
class AverageConfig:
    """An exponential moving average of the weights, which is measured on the dev set and kept in best.pt (0: none)."""

    decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"average: decay lies between 0 (none) and 1, such as 0.999, not at {self.decay:g}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run: network, optimiser, batches, augmentation; on how much of the training set (train_fraction).

    early_stop_epochs: it ends after so many epochs without a new best on the dev set (0: never before num_epochs).
    keep: the epoch whose weights best.pt has: the best on the dev set, as in the paper, or the last, for a dev set too
    small to tell.
    """

    seed: int = 0
    train_fraction: float = 1.0
    num_epochs: int = 20
    early_stop_epochs: int = 0
    keep: Literal["best", "last"] = "best"
    precision: Literal["fp32", "bf16"] = "fp32"
    save_every_s: float = 600.0
    model: ModelConfig = field(default_factory=ModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    def __post_init__(self) -> None:
        if not 0 < self.train_fraction <= 1:
            raise ConfigError(f"train_fraction lies above 0 and at most at 1, not at {self.train_fraction:g}")
        if self.early_stop_epochs < 0:
            raise ConfigError(f"early_stop_epochs is at least 0, not {self.early_stop_epochs}")
