"""Which clips have the text that is said in them: a linear classifier on the paper's features (DS2, section 4.2).

There are no labels. The recording makes its own: clips that fit their text, and the same with some words replaced.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ds2toolkit.decode.logistic import Logistic, fit

MIN_CLIPS = 10  # that fit their text, to learn from
NUM_ROUNDS = 2
NUM_WRONG = 3  # wrong texts a clip
WRONG_WORDS = 0.1  # of the words of a wrong text, and one at least
PENALTY = 1.0
GUESSED = 0.3  # of a clip's tokens, if a network that guesses gives each the same probability


@dataclass(frozen=True)
class Measured:
    """What a clip's text costs (-log p_ctc), and sizes of the clip."""

    cost: float
    num_frames: int
    num_words: int
    num_characters: int
    num_tokens: int

    @property
    def features(self) -> list[float]:
        """The paper's: cost, cost / frames, cost / characters, frames / characters, words, characters."""
        cost, frames, characters = self.cost, self.num_frames, self.num_characters
        return [cost, cost / frames, cost / characters, frames / characters, self.num_words, characters]


Measure = Callable[[Sequence[str]], Measured]


def fits(measured: Measured, vocabulary_size: int) -> bool:
    """By a fixed threshold: whether the text costs less than guessing GUESSED of its tokens would, log(V - 1) each."""
    return measured.cost < GUESSED * math.log(max(vocabulary_size - 1, 2)) * measured.num_tokens


def classifier(
    texts: Sequence[Sequence[str]], measures: Sequence[Measure], vocabulary_size: int, seed: int = 0
) -> Logistic | None:
    """Learnt from the clips that fit their words by the threshold, then from those that it believes itself.

    texts: the words of each clip; measures: what each clip makes of words. None where fewer than MIN_CLIPS fit.
    """
    rng = np.random.default_rng(seed)
    own = [measure(words) for words, measure in zip(texts, measures, strict=True)]
    own_NF = np.array([one.features for one in own])
    good_N = np.array([fits(one, vocabulary_size) for one in own])
    pool = sorted({word for words in texts for word in words})
    found = None
    for _ in range(NUM_ROUNDS):
        if good_N.sum() < MIN_CLIPS or len(pool) < 2:
            break
        good = np.flatnonzero(good_N)
        wrong = [measures[n](replaced(texts[n], pool, rng)) for n in good for _ in range(NUM_WRONG)]
        wrong_NF = np.array([one.features for one in wrong if math.isfinite(one.cost)])
        right_NF = np.repeat(own_NF[good], NUM_WRONG, axis=0)
        labels_N = np.repeat([1.0, 0.0], [len(right_NF), len(wrong_NF)])
        found = fit(np.concatenate([right_NF, wrong_NF]), labels_N, PENALTY)
        good_N = found(own_NF) >= 0.5
    return found


def replaced(words: Sequence[str], pool: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The words, WRONG_WORDS of them and one at least replaced by others of the pool, which has two at least."""
    wrong_N = rng.random(len(words)) < WRONG_WORDS
    wrong_N[rng.integers(len(words))] = True
    other = (pool[(pool.index(word) + rng.integers(1, len(pool))) % len(pool)] for word in words)
    return [new if wrong else word for word, new, wrong in zip(words, other, wrong_N, strict=True)]
