"""Every setting, as frozen dataclasses with units in the names; YAML comes in, an unknown key is an error."""

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import yaml

from ds2toolkit.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class FeatureConfig:
    """What the network hears: by default DS2's log-spectrogram of power-normalised audio (section 3.1)."""

    kind: Literal["spectrogram", "fbank", "mfcc"] = "spectrogram"
    backend: Literal["lhotse", "kaldifeat"] = "lhotse"
    sample_rate_hz: int = 16000
    window_s: float = 0.02
    shift_s: float = 0.01
    num_filters: int = 80
    num_ceps: int = 40
    power_normalise: bool = True
    mean_variance: Literal["global", "utterance", "none"] = "global"
    storage: Literal["lilcom", "on_the_fly"] = "lilcom"
    speeds: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class ConvConfig:
    """Convolutions over frequency x time; the paper's 2-layer 2-D row by default."""

    channels: tuple[int, ...] = (32, 32)
    kernels: tuple[tuple[int, int], ...] = ((41, 11), (21, 11))
    strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 1))

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ConfigError("conv: channels, kernels and strides need one entry a layer each")


@dataclass(frozen=True)
class ModelConfig:
    """The network (section 3): convolutions, bidirectional simple RNN layers, one fully connected layer."""

    conv: ConvConfig = field(default_factory=ConvConfig)
    num_rnn_layers: int = 5
    rnn_size: int = 800
    clip: float = 20.0
    batch_norm_momentum: float = 0.1


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
    """How utterances are put together: a budget of padded audio a batch, not a count."""

    budget_s: float = 120.0
    sortagrad: bool = True
    num_workers: int = 1


@dataclass(frozen=True)
class OptimiserConfig:
    """SGD with Nesterov momentum and annealing as in section 6; AdamW with one cycle is the faster departure."""

    kind: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 3e-4
    momentum: float = 0.99
    weight_decay: float = 0.0
    schedule: Literal["anneal", "one_cycle"] = "anneal"
    anneal_factor: float = 1.2
    max_gradient_norm: float = 400.0
    loss_reduction: Literal["sum", "mean"] = "sum"


@dataclass(frozen=True)
class TrainConfig:
    """One training run: network, optimiser, batches, augmentation."""

    seed: int = 0
    num_epochs: int = 20
    precision: Literal["fp32", "bf16"] = "fp32"
    save_every_s: float = 600.0
    model: ModelConfig = field(default_factory=ModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)


@dataclass(frozen=True)
class SplitConfig:
    """Which of the corpus's splits train, tune and test."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]

    def __iter__(self):
        return iter(dict.fromkeys((*self.train, *self.dev, *self.test)))


@dataclass(frozen=True)
class VocabularyConfig:
    """The network's outputs: characters (of English, or of the training text), or sentencepiece's word pieces.

    size: number of word pieces; characters are as many as there are.
    """

    kind: Literal["characters", "bpe", "unigram"] = "characters"
    size: int = 500


@dataclass(frozen=True)
class LmConfig:
    """The n-gram model of words (of characters, where they are the unit): from the training text, or an ARPA file of lm/."""

    order: int = 3
    arpa: str | None = None
    words: str | None = None


@dataclass(frozen=True)
class SearchConfig:
    """Beams of the graph decoders, in log-probability."""

    search_beam: float = 20.0
    output_beam: float = 8.0
    min_active: int = 30
    max_active: int = 10000


@dataclass(frozen=True)
class RecipeConfig:
    """The facts of a recipe: `recipe.yaml`. options: what its prepare() and toy() take by name, such as a channel."""

    splits: SplitConfig
    title: str
    language: str = "english"
    unit: Literal["word", "character"] = "word"
    features: FeatureConfig = field(default_factory=FeatureConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    lm: LmConfig = field(default_factory=LmConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    conf: str = "small"
    options: dict[str, Any] = field(default_factory=dict)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file. Raises ConfigError when it is missing, not YAML or not a mapping."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw or {}, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(raw).__name__}")
    return raw or {}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def override(raw: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Lay `section.key=value` settings, values in YAML, on a raw configuration."""
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, as in model.rnn_size=512")
        nested: Any = yaml.safe_load(value)
        for key in reversed(name.split(".")):
            nested = {key: nested}
        raw = merge(raw, nested)
    return raw


def from_dict(kind: type[T], raw: dict[str, Any], where: str) -> T:
    """Build a configuration and check every key and type. Raises ConfigError naming `where` and the key."""
    check_keys(kind, raw, where)
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        return kind(**vars(parser.instantiate(parser.parse_object(raw))))
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from None


def check_keys(kind: type, raw: dict[str, Any], where: str) -> None:
    """Raise ConfigError for the first key that no field of the dataclass (or of its sections) has."""
    hints = get_type_hints(kind)
    for key, value in raw.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
        section = next((a for a in (hints[key], *get_args(hints[key])) if dataclasses.is_dataclass(a)), None)
        if section and isinstance(value, dict):
            check_keys(section, value, f"{where}: {key}")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain values, as they go into a checkpoint and come back through `from_dict`."""
    return dataclasses.asdict(config)
