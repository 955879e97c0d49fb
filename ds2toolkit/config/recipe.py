"""What recipe.yaml says of a corpus: splits, features, outputs, language model."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ds2toolkit.errors import ConfigError

NOISY = re.compile(r"(?P<clean>.+)-(?P<snr_db>-?\d+)dB")


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

    @property
    def noisy(self) -> dict[str, tuple[str, float]]:
        """Test sets that `ds2 noise` makes of others: `test-10dB` is `test` with noise at 10 dB, so ("test", 10.0)."""
        matches = ((name, NOISY.fullmatch(name)) for name in self.test)
        found = {name: (match["clean"], float(match["snr_db"])) for name, match in matches if match}
        return {name: of for name, of in found.items() if of[0] in self.test}


@dataclass(frozen=True)
class VocabularyConfig:
    """The network's outputs: characters (of English, or of the training text), bigrams, or sentencepiece's word pieces.

    size: number of word pieces; characters and bigrams are as many as there are.
    """

    kind: Literal["characters", "bigrams", "bpe", "unigram"] = "characters"
    size: int = 500


@dataclass(frozen=True)
class LmConfig:
    """The n-gram model of words (of characters, where they are the unit): from the training text, or an ARPA file of lm/.

    prune: for each order from 1 on, n-grams that occur at most so often are left out, as with lmplz's --prune.
    rescore_order: a larger model of this order, from the training text, too, with which k2 rescores; rescore: an ARPA
    file of lm/ instead.
    """

    order: int = 3
    prune: tuple[int, ...] = ()
    arpa: str | None = None
    words: str | None = None
    rescore_order: int = 0
    rescore: str | None = None

    def __post_init__(self) -> None:
        if self.rescore_order < 0 or (self.rescore_order and self.rescore):
            raise ConfigError("lm: rescore_order is at least 1, and stands alone or rescore does")
        if self.order < 1 or list(self.prune) != sorted(self.prune) or any(number < 0 for number in self.prune):
            raise ConfigError("lm: order is at least 1, and the numbers of prune do not fall, as in prune: [0, 0, 1]")


@dataclass(frozen=True)
class SearchConfig:
    """What searches keep and how language model and network are weighed; what `ds2 tune` chose comes before it.

    search_beam and output_beam: log-probability below the best, in a frame and in a lattice; min_active and max_active:
    states of a graph. lm_scale: weight of the graph's log-probabilities. alpha, beta: of log p_lm and of the number of
    words in the beam search; DS2 states none of the three, these are good on speakers held out of AN4's training set.
    beam_size: its prefixes, by default DS2's 500 for words and 200 for characters; a frame's tokens are the likeliest
    that together have token_mass, at most max_tokens.
    """

    search_beam: float = 20.0
    output_beam: float = 8.0
    min_active: int = 30
    max_active: int = 10000
    lm_scale: float = 0.25
    alpha: float = 0.5
    beta: float = 0.5
    beam_size: int | None = None
    token_mass: float = 0.99
    max_tokens: int = 40

    def __post_init__(self) -> None:
        for name, fits in (
            ("search_beam", self.search_beam > 0),
            ("lm_scale", self.lm_scale > 0),
            ("alpha", self.alpha >= 0),
            ("beam_size", self.beam_size is None or self.beam_size > 0),
            ("token_mass", 0 < self.token_mass <= 1),
            ("max_tokens", self.max_tokens > 0),
        ):
            if not fits:
                raise ValueError(f"search.{name}: {getattr(self, name)} is out of range")


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
