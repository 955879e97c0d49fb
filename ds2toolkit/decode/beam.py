"""Deep Speech 2's beam search with a lexicon and a language model of words, on flashlight's trie."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions, SmearingMode, Trie

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.kenlm import LN_10
from ds2toolkit.decode.search import NOTHING, Found, Material
from ds2toolkit.decode.spelled import Known

BLANK = 0
BEAM_SIZES = {"word": 500, "character": 200}  # DS2, section 3.8
NEVER = np.float32(-1e30)  # an infinity would become NaN in flashlight's sums
IMPOSSIBLE = -1e29
HOMOPHONES = 6  # flashlight's trie takes no more words of one spelling


def with_beam_size(search: SearchConfig, unit: str) -> SearchConfig:
    """The same settings, with DS2's beam where they name none."""
    return replace(search, beam_size=search.beam_size or BEAM_SIZES[unit])


def likely_tokens(log_probs_SV: np.ndarray, mass: float, at_most: int) -> np.ndarray:
    """(S, V) truth values: in each frame the fewest tokens that together have the probability `mass`, at most so many.

    DS2, section 7 (deployment), prunes so.
    """
    order_SV = _likeliest(log_probs_SV, at_most)
    probs_SV = np.exp(np.take_along_axis(log_probs_SV, order_SV, axis=1))
    before_SV = np.cumsum(probs_SV, axis=1, dtype=np.float64) - probs_SV
    likely_SV = np.zeros(log_probs_SV.shape, dtype=bool)
    np.put_along_axis(likely_SV, order_SV, (before_SV < mass) | (mass == 1), axis=1)
    return likely_SV


def _likeliest(log_probs_SV: np.ndarray, at_most: int) -> np.ndarray:
    """Numbers of each frame's likeliest tokens, in order."""
    if log_probs_SV.shape[1] <= at_most:
        return np.argsort(-log_probs_SV, axis=1)
    top_SV = np.argpartition(-log_probs_SV, at_most, axis=1)[:, :at_most]
    order_SV = np.argsort(-np.take_along_axis(log_probs_SV, top_SV, axis=1), axis=1)
    return np.take_along_axis(top_SV, order_SV, axis=1)


def pruned(log_probs_SV: np.ndarray, search: SearchConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """The frames that a search must see, their likely tokens, and the log-probability of the others.

    Those can only be blank and come after another such: they change no hypothesis, and all scores alike.
    """
    likely_SV = likely_tokens(log_probs_SV, search.token_mass, search.max_tokens)
    only_blank_S = likely_SV[:, BLANK] & (likely_SV.sum(axis=1) == 1)
    again_S = only_blank_S & np.concatenate([[False], only_blank_S[:-1]])
    return log_probs_SV[~again_S], likely_SV[~again_S], float(log_probs_SV[again_S, BLANK].sum(dtype=np.float64))


class LexiconSearch:
    """Q(y) = log p_ctc(y | x) + alpha log p_lm(y) + beta word_count(y) (DS2, section 3.8) over a lexicon's words.

    For tokens of which one is the space. p_ctc is summed over alignments, and over spaces where several stand for one
    or some at the ends; p_lm counts the end of the sentence, all in natural logarithms.
    """

    def __init__(self, material: Material):
        """Raises DataError where graph, language model and lexicon don't belong together."""
        self.known = Known(material)
        self.space = material.vocabulary.tokens.index(" ")
        self.unit = material.unit
        self.trie = Trie(len(material.vocabulary), self.space)
        count: Counter = Counter()
        for number, spelling in self.known.spellings():
            count[spelling] += 1
            if count[spelling] <= HOMOPHONES:
                log10 = self.known.language_model.alone(number) / LN_10
                self.trie.insert([*spelling, self.space], number, log10)
        self.trie.smear(SmearingMode.MAX)

    def __enter__(self) -> "LexiconSearch":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[Found]:
        """log_probs: an array (S, V) an utterance. Where no word fits the likely tokens of all frames, all tokens count."""
        return [found[0] if found else NOTHING for found in self.nbest(log_probs, search, 1)]

    def nbest(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num: int) -> list[list[Found]]:
        """At most num distinct word sequences an utterance, the best first: those in the beam at its end."""
        everything = replace(search, token_mass=1.0, max_tokens=len(self.known.token_ids))
        return [
            self._best(log_probs_SV, search, num) or self._best(log_probs_SV, everything, num)
            for log_probs_SV in self.known.graph.checked(log_probs)
        ]

    def _best(self, log_probs_SV: np.ndarray, search: SearchConfig, num: int) -> list[Found]:
        if not len(log_probs_SV):
            return []
        log_probs_SV, likely_SV, silent = pruned(log_probs_SV, search)
        emissions_SV = np.full((len(log_probs_SV) + 1, log_probs_SV.shape[1]), NEVER)
        np.copyto(emissions_SV[:-1], np.maximum(log_probs_SV, NEVER), where=likely_SV)
        emissions_SV[-1, self.space] = 0  # every word ends at a space, the last one at this
        decoder = self._decoder(search, max(int(likely_SV.sum(axis=1).max()), 1))
        paths = decoder.decode(emissions_SV.ctypes.data, *emissions_SV.shape)
        return [
            Found(tuple(self.known.words[number] for number in path.words if number >= 0), path.score + silent, True)
            for path in paths[:num]
            if path.score >= IMPOSSIBLE
        ]

    def _decoder(self, search: SearchConfig, num_tokens: int) -> LexiconDecoder:
        options = LexiconDecoderOptions(
            beam_size=with_beam_size(search, self.unit).beam_size,
            beam_size_token=num_tokens,
            beam_threshold=search.search_beam,
            lm_weight=search.alpha * LN_10,  # KenLM has logarithms to the base 10
            word_score=search.beta,
            unk_score=-np.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        model = self.known.language_model.kenlm
        return LexiconDecoder(options, self.trie, model, self.space, BLANK, -1, [], False)
