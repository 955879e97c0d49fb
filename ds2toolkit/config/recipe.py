"""What recipe.yaml says of a corpus: splits, features, outputs, language model."""

from dataclasses import dataclass, field
from typing import Any, Literal


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
class SplitConfig:
    """Which of the corpus's splits train, tune and test."""

    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]

    def __iter__(self):
        return iter(dict.fromkeys((*self.train, *self.dev, *self.test)))


@dataclass(frozen=True)
class VocabularyConfig:
    """The network's outputs: characters (of English, or of the training text), bigrams, or sentencepiece's word pieces.

    size: number of word pieces; characters and bigrams are as many as there are.
    """

    kind: Literal["characters", "bigrams", "bpe", "unigram"] = "characters"
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
