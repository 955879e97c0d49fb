"""Prefix beam search with a language model: words inside a lexicon or any at all, and characters as words."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.beam import BEAM_SIZES, BLANK, pruned
from ds2toolkit.decode.search import NOTHING, Found, Material
from ds2toolkit.decode.spelled import AnyWords, LexiconWords, Spelled, word_list

Likely = list[tuple[int, float]]


class Prefix:
    """Tokens that an utterance may begin with, and the probability of its alignments that end in a blank, or do not."""

    __slots__ = ("blank", "children", "last", "next_blank", "next_token", "spelled", "token", "weight")

    def __init__(self, last: int, spelled: Spelled, weight: float):
        self.last, self.spelled, self.weight = last, spelled, weight
        self.children: dict[int, Prefix | None] = {}
        self.blank = self.token = self.next_blank = self.next_token = 0.0

    def advance(self) -> None:
        """The next frame becomes this one."""
        self.blank, self.token, self.next_blank, self.next_token = self.next_blank, self.next_token, 0.0, 0.0

    def score(self) -> float:
        return math.log(self.blank + self.token) + self.weight


class PrefixSearch:
    """Q(y) as in LexiconSearch, summed over every spelling of y (of those of the lexicon, with one).

    For any tokens: words end at a space, at a piece that begins another word, or are characters. A word that the
    language model has not is its <unk>.
    """

    def __init__(self, material: Material, lexicon: bool):
        """Raises DataError where graph, language model and lexicon don't belong together."""
        self.speller = (LexiconWords if lexicon else AnyWords)(material)
        self.space = material.vocabulary.tokens.index(" ") if " " in material.vocabulary.tokens else None
        self.beam_size = BEAM_SIZES[material.unit]

    def __enter__(self) -> "PrefixSearch":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[Found]:
        """log_probs: an array (S, V) an utterance. Where no word fits the likely tokens of all frames, all tokens count."""
        known = self.speller.known
        everything = replace(search, token_mass=1.0, max_tokens=len(known.token_ids))
        found = []
        for log_probs_SV in known.graph.checked(log_probs):
            best = self._best(log_probs_SV, search)
            found.append(best if best.reached_final else self._best(log_probs_SV, everything))
        return found

    def _best(self, log_probs_SV: np.ndarray, search: SearchConfig) -> Found:
        if not len(log_probs_SV):
            return NOTHING
        root = Prefix(BLANK if self.space is None else self.space, self.speller.start(), 0.0)
        root.blank = 1.0
        log_probs_SV, likely_SV, log_scale = pruned(log_probs_SV, search)
        beam = [root]
        for frame in _likely(log_probs_SV, likely_SV):
            beam = self._pruned(self._advanced(beam, frame, search), search)
            if not beam:
                return NOTHING
            scale = max(prefix.blank + prefix.token for prefix in beam)
            log_scale += math.log(scale)
            for prefix in beam:
                prefix.blank /= scale
                prefix.token /= scale
        return self._best_whole(beam, log_scale, search)

    def _advanced(self, beam: list[Prefix], frame: Likely, search: SearchConfig) -> list[Prefix]:
        """The prefixes that one frame more leads to (Hannun et al., 2014, arXiv:1408.2873, algorithm 1)."""
        reached: dict[Prefix, None] = {}
        for prefix in beam:
            total = prefix.blank + prefix.token
            for token, prob in frame:
                if token == BLANK:
                    prefix.next_blank += total * prob
                    reached[prefix] = None
                    continue
                if token == prefix.last and prefix.token:
                    prefix.next_token += prefix.token * prob
                    reached[prefix] = None
                new = prefix.blank if token == prefix.last else total
                if new and (longer := self._longer(prefix, token, search)):
                    longer.next_token += new * prob
                    reached[longer] = None
        for prefix in {**dict.fromkeys(beam), **reached}:
            prefix.advance()
        return list(reached)

    def _longer(self, prefix: Prefix, token: int, search: SearchConfig) -> Prefix | None:
        """The prefix with one token more; spaces in a row, and those at the start, are one."""
        if token == self.space == prefix.last:
            return prefix
        if token not in prefix.children:
            spelled = self.speller.extended(prefix.spelled, token)
            prefix.children[token] = spelled and Prefix(token, spelled, _weight(spelled, search))
        return prefix.children[token]

    def _pruned(self, prefixes: list[Prefix], search: SearchConfig) -> list[Prefix]:
        scored = [(prefix.score(), prefix) for prefix in prefixes if prefix.blank + prefix.token]
        if not scored:
            return []
        least = max(score for score, _ in scored) - search.search_beam
        kept = heapq.nlargest(search.beam_size or self.beam_size, (s for s in scored if s[0] >= least), key=lambda s: s[0])
        beam = [prefix for _, prefix in kept]
        for prefix in set(prefixes) - set(beam):
            prefix.blank = prefix.token = 0.0
        return beam

    def _best_whole(self, beam: list[Prefix], log_scale: float, search: SearchConfig) -> Found:
        """Of the beam's prefixes that are whole utterances; those of the same words are one."""
        probs: dict[tuple[str, ...], float] = {}
        weights: dict[tuple[str, ...], float] = {}
        for prefix in beam:
            if spelled := self.speller.ended(prefix.spelled):
                words = word_list(spelled)
                probs[words] = probs.get(words, 0.0) + prefix.blank + prefix.token
                weights[words] = _weight(spelled, search)
        scores = {words: math.log(prob) + weights[words] + log_scale for words, prob in probs.items()}
        if not scores:
            return NOTHING
        best = max(scores, key=scores.__getitem__)
        return Found(best, scores[best], True)


def _weight(spelled: Spelled, search: SearchConfig) -> float:
    return search.alpha * spelled.log_prob + search.beta * spelled.num_words


def _likely(log_probs_SV: np.ndarray, likely_SV: np.ndarray) -> list[Likely]:
    """The likely tokens of each frame with their probabilities."""
    probs_SV = np.exp(log_probs_SV, dtype=np.float64)
    frames: list[Likely] = [[] for _ in likely_SV]
    for frame, token in zip(*(axis.tolist() for axis in np.nonzero(likely_SV & (probs_SV > 0))), strict=True):
        frames[frame].append((token, float(probs_SV[frame, token])))
    return frames
