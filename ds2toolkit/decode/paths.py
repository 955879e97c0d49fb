"""What the graph decoders find, and the beams they find it with; only numpy and the standard library are needed."""

from typing import NamedTuple

import numpy as np


class BestPath(NamedTuple):
    """The best path of one utterance: numbers of its words, log-probability with the graph's, how it ended.

    Where no final state was reached (a beam too narrow, or too few frames) the words are those of the best
    path that read every frame; score is -inf where there is none at all.
    """

    word_ids: tuple[int, ...]
    score: float
    reached_final: bool


NOTHING = BestPath((), -np.inf, False)

Scales = tuple[float, float]
"""Weights of the graph's language model and of the larger one that rescores; the network's is 1."""

FIRST_PASS: Scales = (1.0, 0.0)
INSTEAD: Scales = (0.0, 1.0)


class ScoredPath(NamedTuple):
    """The best path of a word sequence, its log-probability in parts: of the network, the graph's language model,
    and the larger one that rescores (0 without one, -inf where that model cannot say the words)."""

    word_ids: tuple[int, ...]
    acoustic: float
    lm: float
    rescored: float
    reached_final: bool

    def score(self, lm_scale: float = 1.0, rescore_scale: float = 0.0) -> float:
        """The whole log-probability, with each language model's weight."""
        weighted = zip((lm_scale, rescore_scale), (self.lm, self.rescored), strict=True)
        return self.acoustic + sum(scale * part for scale, part in weighted if scale)


class Beams(NamedTuple):
    """What a search keeps: log-probability below the best (per frame, in the lattice), number of states."""

    search_beam: float
    output_beam: float
    min_active: int
    max_active: int

    def tighter(self) -> "Beams":
        """About half the memory."""
        max_active = max(self.max_active // 2, 1)
        return Beams(self.search_beam / 2, self.output_beam / 2, min(self.min_active, max_active), max_active)
