"""Which clips have the text that is said in them: a linear classifier on the paper's features (DS2, section 4.2).

There are no labels. The recording makes its own: clips that fit their text, and the same with some words replaced. A
feature more than the paper's is the worst word, which a clip's mean hides.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ds2toolkit.decode.logistic import Logistic, fit

MIN_CLIPS = 10  # that fit their text, to learn from
NUM_WRONG = 3  # wrong texts a clip
WRONG_WORDS = 0.1  # of the words of a wrong text, and one at least
PENALTY = 1.0


@dataclass(frozen=True)
class Measured:
    """What a clip's text costs (-log p_ctc), the most that `excess` says of one of its words, and sizes of the clip.

    Both costs are infinite where the clip has too few frames for the text.
    """

    cost: float
    worst_word: float
    num_frames: int
    num_words: int
    num_characters: int
    num_tokens: int

    @property
    def features(self) -> list[float]:
        """The paper's: cost, cost / frames, cost / characters, frames / characters, words, characters; and the worst word.

        That as a logarithm, because words that are wrong cost anything from ten to a hundred.
        """
        cost, frames, characters = self.cost, self.num_frames, self.num_characters
        papers = [cost, cost / frames, cost / characters, frames / characters, self.num_words, characters]
        return [*papers, math.log1p(self.worst_word)]


Measure = Callable[[Sequence[str]], Measured]


def fits(measured: Measured, vocabulary_size: int) -> bool:
    """By a fixed threshold, what guessing a token would cost, log(V - 1).

    No word may cost as much more than what the network hears there; and the text as a whole, with a pause at either
    end, no more for each of its tokens, or the network hears nothing.
    """
    guess = math.log(max(vocabulary_size - 1, 2))
    return measured.worst_word < guess and measured.cost < guess * (measured.num_tokens + 2)


def excess(
    log_probs_SV: np.ndarray, said_S: np.ndarray, spans: Sequence[tuple[int, int]], silent: Sequence[int]
) -> np.ndarray:
    """For each word, by how much the best of all paths over its frames is likelier than the path that says the text.

    said_S: the token of each frame on that path; spans: the first frame of each word and the one behind its last. A
    word's frames go half-way to its neighbours. silent: tokens that say nothing between words, where each is as good as
    another: whether a network writes a space in a pause is no matter of the text.
    """
    score_S = log_probs_SV[np.arange(len(said_S)), said_S]
    between_S = np.ones(len(said_S), bool)
    for first, behind in spans:
        between_S[first:behind] = False
    score_S = np.where(between_S, log_probs_SV[:, silent].max(axis=1), score_S)
    lost_S = np.cumsum([0.0, *(log_probs_SV.max(axis=1) - score_S)])
    middles = [(left + right) // 2 for (_, left), (right, _) in pairwise(spans)]
    return np.diff(lost_S[[0, *middles, len(said_S)]])


def classifier(
    texts: Sequence[Sequence[str]], measures: Sequence[Measure], vocabulary_size: int, seed: int = 0
) -> Logistic | None:
    """Learnt from the clips that fit their words by the threshold.

    texts: the words of each clip; measures: what each clip makes of words. None where fewer than MIN_CLIPS fit.
    """
    rng = np.random.default_rng(seed)
    own = [measure(words) for words, measure in zip(texts, measures, strict=True)]
    good = [number for number, one in enumerate(own) if fits(one, vocabulary_size)]
    pool = sorted({word for words in texts for word in words})
    if len(good) < MIN_CLIPS or len(pool) < 2:
        return None
    wrong = [measures[n](replaced(texts[n], pool, rng)) for n in good for _ in range(NUM_WRONG)]
    right_NF = np.array([own[n].features for n in good for _ in range(NUM_WRONG)])
    wrong_NF = np.array([one.features for one in wrong if math.isfinite(one.cost)]).reshape(-1, right_NF.shape[1])
    labels_N = np.repeat([1.0, 0.0], [len(right_NF), len(wrong_NF)])
    return fit(np.concatenate([right_NF, wrong_NF]), labels_N, PENALTY)


def replaced(words: Sequence[str], pool: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The words, WRONG_WORDS of them and one at least replaced by others of the pool, which has two at least."""
    wrong_N = rng.random(len(words)) < WRONG_WORDS
    wrong_N[rng.integers(len(words))] = True
    other = (pool[(pool.index(word) + rng.integers(1, len(pool))) % len(pool)] for word in words)
    return [new if wrong else word for word, new, wrong in zip(words, other, wrong_N, strict=True)]
