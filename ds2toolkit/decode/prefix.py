"""Prefix beam search with a language model: words inside a lexicon or any at all, and characters as words."""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.beam import BLANK, pruned, with_beam_size
from ds2toolkit.decode.contexts import Contexts
from ds2toolkit.decode.search import NOTHING, Found, Material
from ds2toolkit.decode.spelled import AnyWords, LexiconWords, Spelled, word_list


class Prefix:
    """Tokens that an utterance may begin with, and the probability of its alignments that end in a blank, or do not.

    ahead_V, while the beam has it: the weights of what is longer by a token, or the most that they can be; where
    outputs are characters, the row of its context.
    """

    __slots__ = ("ahead_V", "blank", "children", "last", "parent", "spelled", "token", "weight")

    def __init__(self, parent: "Prefix | None", last: int, spelled: Spelled, weight: float):
        self.parent, self.last, self.spelled, self.weight = parent, last, spelled, weight
        self.children: dict[int, Prefix | None] = {}
        self.ahead_V: np.ndarray | None = None
        self.blank = self.token = 0.0

    def score(self) -> float:
        prob = self.blank + self.token
        return math.log(prob) + self.weight if prob else -math.inf


class PrefixSearch:
    """Q(y) as in LexiconSearch, summed over every spelling of y (of those of the lexicon, with one).

    For any tokens: words end at a space, at a piece that begins another word, or are characters. A word that the
    language model has not is its <unk>.
    """

    def __init__(self, material: Material, lexicon: bool):
        """Raises DataError where graph, language model and lexicon don't belong together."""
        self.speller = (LexiconWords if lexicon else AnyWords)(material)
        self.space = material.vocabulary.tokens.index(" ") if " " in material.vocabulary.tokens else None
        self.unit = material.unit
        singles = all(len(text) == 1 and text != " " for text in material.vocabulary.spellings[1:])
        by_character = material.unit == "character" and singles
        self.contexts = Contexts(self.speller, material.arpa) if by_character else None

    def __enter__(self) -> "PrefixSearch":
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[Found]:
        """log_probs: an array (S, V) an utterance. Where no word fits the likely tokens of all frames, all tokens count."""
        return [found[0] if found else NOTHING for found in self.nbest(log_probs, search, 1)]

    def nbest(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num: int) -> list[list[Found]]:
        """At most num distinct word sequences an utterance, the best first: those in the beam at its end."""
        known = self.speller.known
        search = with_beam_size(search, self.unit)
        everything = replace(search, token_mass=1.0, max_tokens=len(known.token_ids))
        return [
            (self._best(log_probs_SV, search) or self._best(log_probs_SV, everything))[:num]
            for log_probs_SV in known.graph.checked(log_probs)
        ]

    def _best(self, log_probs_SV: np.ndarray, search: SearchConfig) -> list[Found]:
        if not len(log_probs_SV):
            return []
        root = Prefix(None, BLANK if self.space is None else self.space, self.speller.start(), 0.0)
        root.blank = 1.0
        log_probs_SV, likely_SV, log_scale = pruned(log_probs_SV, search)
        beam = [root]
        for probs_V in np.where(likely_SV, np.exp(log_probs_SV, dtype=np.float64), 0.0):
            beam = self._advanced(beam, probs_V, search)
            if not beam:
                return []
            scale = max(prefix.blank + prefix.token for prefix in beam)
            log_scale += math.log(scale)
            for prefix in beam:
                prefix.blank /= scale
                prefix.token /= scale
        return self._best_whole(beam, log_scale, search)

    def _advanced(self, beam: list[Prefix], probs_V: np.ndarray, search: SearchConfig) -> list[Prefix]:
        """The beam after one frame more (Hannun et al., 2014, arXiv:1408.2873, algorithm 1)."""
        tokens_K = np.flatnonzero(probs_V)
        tokens_K = tokens_K[tokens_K != BLANK]
        probs_BK = self._longer_probs(beam, tokens_K, probs_V)
        self._stay(beam, tokens_K, probs_V, probs_BK)
        stayed = [(score, prefix) for prefix in beam if (score := prefix.score()) > -math.inf]
        scored = [*stayed, *self._longer_ones(beam, tokens_K, probs_BK, [score for score, _ in stayed], search)]
        if not scored:
            return []
        least = max(score for score, _ in scored) - search.search_beam
        kept = [one for one in scored if one[0] >= least]
        best = [prefix for _, prefix in heapq.nlargest(search.beam_size, kept, key=lambda one: one[0])]
        for prefix in set(beam).difference(best):
            prefix.ahead_V = None
        return best

    def _longer_probs(self, beam: list[Prefix], tokens_K: np.ndarray, probs_V: np.ndarray) -> np.ndarray:
        """(B, K) probabilities of each prefix with each token more: after the same token only those that end in a blank.

        Spaces in a row, and those at the start, are one: no prefix gets longer by the second.
        """
        blank_B = np.array([prefix.blank for prefix in beam])
        total_B = blank_B + [prefix.token for prefix in beam]
        last_B = np.array([prefix.last for prefix in beam])
        if self.space is not None:
            blank_B = np.where(last_B == self.space, 0.0, blank_B)
        again_BK = last_B[:, None] == tokens_K
        return np.where(again_BK, blank_B[:, None], total_B[:, None]) * probs_V[tokens_K]

    def _stay(self, beam: list[Prefix], tokens_K: np.ndarray, probs_V: np.ndarray, probs_BK: np.ndarray) -> None:
        """Move the beam's own prefixes on, with what they get from one another, which is taken out of probs_BK."""
        row = {prefix: number for number, prefix in enumerate(beam)}
        column = {token: number for number, token in enumerate(tokens_K.tolist())}
        probs = probs_V.tolist()
        for prefix in beam:
            total = prefix.blank + prefix.token
            held = total if prefix.last == self.space else prefix.token
            prefix.blank, prefix.token = total * probs[BLANK], held * probs[prefix.last]
            if prefix.parent in row and prefix.last in column:
                place = row[prefix.parent], column[prefix.last]
                prefix.token += float(probs_BK[place])
                probs_BK[place] = 0.0

    def _longer_ones(
        self, beam: list[Prefix], tokens_K: np.ndarray, probs_BK: np.ndarray, stayed: list[float], search: SearchConfig
    ) -> Iterator[tuple[float, Prefix]]:
        """The scores of prefixes that the beam had not, and they: all that can be among its best.

        They come in the order of the scores that the kindest language model would give them, or where it was asked
        before has given them, so that the others need not be looked at.
        """
        best, top = max(stayed, default=-math.inf), sorted(stayed)
        kindest_BK = self._kindest(beam, tokens_K, probs_BK, search)
        candidates = np.flatnonzero((kindest_BK > -np.inf) & (kindest_BK >= best - search.search_beam))
        for place in candidates[np.argsort(-kindest_BK.flat[candidates])].tolist():
            row, column = divmod(place, len(tokens_K))
            least = max(best - search.search_beam, top[0] if len(top) >= search.beam_size else -math.inf)
            if kindest_BK[row, column] < least:
                return
            if longer := self._longer(beam[row], int(tokens_K[column]), search):
                longer.blank, longer.token = 0.0, float(probs_BK[row, column])
                score = longer.score()
                best = max(best, score)
                (heapq.heappush if len(top) < search.beam_size else heapq.heappushpop)(top, score)
                yield score, longer

    def _kindest(self, beam: list[Prefix], tokens_K: np.ndarray, probs_BK: np.ndarray, search: SearchConfig) -> np.ndarray:
        """(B, K): the most that the score of each longer prefix can be, or, of single characters, what it is."""
        with np.errstate(divide="ignore"):
            return np.log(probs_BK) + (self._weights if self.contexts else self._most)(beam, tokens_K, search)

    def _weights(self, beam: list[Prefix], tokens_K: np.ndarray, search: SearchConfig) -> np.ndarray:
        for prefix in beam:
            if prefix.ahead_V is None:
                prefix.ahead_V = self.contexts.row(prefix.spelled)
        log_probs_BK = self.contexts.fill([p.ahead_V for p in beam], [p.spelled for p in beam], tokens_K)
        more_BK = search.alpha * log_probs_BK if search.alpha else np.where(log_probs_BK > -np.inf, 0.0, -np.inf)
        return np.array([prefix.weight for prefix in beam])[:, None] + more_BK + search.beta

    def _most(self, beam: list[Prefix], tokens_K: np.ndarray, search: SearchConfig) -> np.ndarray:
        bonus = max(search.beta, 0.0) * self.speller.most_words
        for prefix in beam:
            if prefix.ahead_V is None:
                prefix.ahead_V = np.full(len(self.speller.known.token_ids), prefix.weight + bonus)
        return np.stack([prefix.ahead_V[tokens_K] for prefix in beam])

    def _longer(self, prefix: Prefix, token: int, search: SearchConfig) -> Prefix | None:
        """The prefix with one token more; None where no word goes on so."""
        if token not in prefix.children:
            spelled = self.speller.extended(prefix.spelled, token)
            prefix.children[token] = spelled and Prefix(prefix, token, spelled, _weight(spelled, search))
        longer = prefix.children[token]
        if not self.contexts:
            prefix.ahead_V[token] = longer.weight if longer else -math.inf
        return longer

    def _best_whole(self, beam: list[Prefix], log_scale: float, search: SearchConfig) -> list[Found]:
        """The beam's prefixes that are whole utterances, the best first; those of the same words are one."""
        probs: dict[tuple[str, ...], float] = {}
        weights: dict[tuple[str, ...], float] = {}
        for prefix in beam:
            if spelled := self.speller.ended(prefix.spelled):
                words = word_list(spelled)
                probs[words] = probs.get(words, 0.0) + prefix.blank + prefix.token
                weights[words] = _weight(spelled, search)
        scores = {words: math.log(prob) + weights[words] + log_scale for words, prob in probs.items()}
        return [Found(words, scores[words], True) for words in sorted(scores, key=scores.__getitem__, reverse=True)]


def _weight(spelled: Spelled, search: SearchConfig) -> float:
    return search.alpha * spelled.log_prob + search.beta * spelled.num_words
