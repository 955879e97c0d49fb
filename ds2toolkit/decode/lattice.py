"""Paths of lattices, frame by frame and exactly: the N best word sequences, and the best by a larger language model.

Only numpy and the standard library are needed here: k2's worker loads this module, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from ds2toolkit.decode.backoff import BackOffModel
from ds2toolkit.decode.paths import FIRST_PASS, Scales, ScoredPath

NARROW_BEAMS = (4.0, 16.0)


@dataclass(frozen=True)
class Lattice:
    """Lattices of several utterances as arrays, a row an arc; states are numbered through.

    frame: of the arc, 0 where it leaves a start state and one more behind each arc; word: 0 where the arc says
    none, -1 where it ends an utterance. first_states: the start of each utterance's lattice; -1 where it is empty.
    """

    source: np.ndarray
    target: np.ndarray
    frame: np.ndarray
    word: np.ndarray
    acoustic: np.ndarray
    lm: np.ndarray
    first_states: np.ndarray

    @cached_property
    def by_frame(self) -> list[np.ndarray]:
        """The numbers of the arcs of each frame, sorted by source."""
        order = np.lexsort((self.source, self.frame))
        return np.split(order, np.flatnonzero(np.diff(self.frame[order])) + 1) if len(order) else []

    @cached_property
    def ends(self) -> np.ndarray:
        """Whether each state is the end of an utterance."""
        return np.bincount(self.target, self.word < 0) > 0

    @cached_property
    def utterance(self) -> np.ndarray:
        """That of each state: those of one follow those of the other."""
        starts = np.flatnonzero(self.first_states >= 0)
        states = np.arange(self.target.max(initial=-1) + 1)
        return starts[np.searchsorted(self.first_states[starts], states, "right") - 1]

    def to_end(self, lm_scale: float) -> np.ndarray:
        """The score of the best path from each state to an end; -inf where there is none."""
        best = np.where(self.ends, 0.0, -np.inf)
        for arcs in reversed(self.by_frame):
            source = self.source[arcs]
            first = np.flatnonzero(np.diff(source, prepend=-1))
            score = self.acoustic[arcs] + lm_scale * self.lm[arcs] + best[self.target[arcs]]
            best[source[first]] = np.maximum.reduceat(score, first)
        return best


@dataclass(frozen=True)
class Begun:
    """Paths that have come to a state of the lattice, a row each: the number of their words, the larger model's history
    and the parts of their log-probability."""

    state: np.ndarray
    words: np.ndarray
    history: np.ndarray
    acoustic: np.ndarray
    lm: np.ndarray
    rescored: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Begun":
        return Begun(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def score(self, scales: Scales) -> np.ndarray:
        weighted = zip(scales, (self.lm, self.rescored), strict=True)
        return self.acoustic + sum(scale * part for scale, part in weighted if scale)


class WordSequences:
    """Word sequences by number: each is a shorter one and one word more, or the empty one of an utterance."""

    def __init__(self, num_utterances: int):
        self.known: dict[tuple[int, int], int] = {}
        self.rows = [(utterance, 0) for utterance in range(num_utterances)]

    def longer(self, sequences: np.ndarray, words: np.ndarray) -> np.ndarray:
        """The numbers of these sequences with these words behind them."""
        pairs, which = np.unique(np.stack([sequences, words]), axis=1, return_inverse=True)
        return np.array([self._number(pair) for pair in zip(*pairs.tolist(), strict=True)], int)[which.ravel()]

    def spell(self, number: int) -> tuple[int, tuple[int, ...]]:
        """The utterance of a sequence, and its words."""
        words = []
        while self.rows[number][1]:
            number, word = self.rows[number]
            words.append(word)
        return number, tuple(reversed(words))

    def _number(self, pair: tuple[int, int]) -> int:
        if pair not in self.known:
            self.known[pair] = len(self.rows)
            self.rows.append(pair)
        return self.known[pair]


def nbest(
    lattice: Lattice, num_paths: int, beam: float = np.inf, model: BackOffModel | None = None
) -> list[list[ScoredPath]]:
    """For each utterance at most num_paths distinct word sequences, the best first, none more than beam below the best.

    A sequence's scores are those of its best path in the lattice. Whatever follows a state follows all its beginnings,
    so that none beyond the N best of a state can be among the N best of the utterance. Narrow beams are tried first:
    most lists are full before all of the lattice has been looked at.
    """
    found: list[list[ScoredPath]] = [[] for _ in lattice.first_states]
    beams = [narrow for narrow in NARROW_BEAMS if narrow < beam] + [beam]
    for narrow in beams:
        left = np.array([0 < num_paths > len(paths) for paths in found], bool)
        if not left.any():
            break
        again = search(lattice, np.where(left, lattice.first_states, -1), model, "words", num_paths, FIRST_PASS, narrow)
        found = [new if is_left else old for new, old, is_left in zip(again, found, left, strict=True)]
    return found


def rescore(
    lattice: Lattice, model: BackOffModel, scales: Sequence[Scales], beam: float = np.inf
) -> list[list[ScoredPath]]:
    """For each utterance the best path under each pair of scales, by the exact scores of the model.

    Of the paths that come to a state with the same history of the model only the best can win. Those are left out that
    are more than beam below the best in their frame, if the graph's own language model scores what is to come. Where
    the model cannot say any path, it is the best without it.
    """
    starts = lattice.first_states
    found = [[paths[:1] for paths in search(lattice, starts, model, "history", None, each, beam)] for each in scales]
    scored = zip(scales, found, strict=True)
    if any(not paths or paths[0].score(*each) == -np.inf for each, utterances in scored for paths in utterances):
        plain = nbest(lattice, 1, beam, model)
        found = [
            [
                paths if paths and paths[0].score(*each) > -np.inf else instead
                for paths, instead in zip(utterances, plain, strict=True)
            ]
            for each, utterances in zip(scales, found, strict=True)
        ]
    return [[path for (path,) in paths] if all(paths) else [] for paths in zip(*found, strict=True)]


def search(
    lattice: Lattice,
    first_states: np.ndarray,
    model: BackOffModel | None,
    apart: str,
    keep: int | None,
    scales: Scales,
    beam: float,
) -> list[list[ScoredPath]]:
    """The paths to the end of each utterance, the best first.

    first_states: the lattice's, -1 for utterances to leave out. apart: what tells two paths in one state apart, of
    which else the better is kept: their words or their history. keep: how many of those there may be in a state.
    """
    utterances = np.flatnonzero(first_states >= 0)
    zero = np.zeros(len(utterances))
    start = np.full(len(utterances), model.start if model else 0)
    begun = Begun(first_states[utterances], utterances, start, zero, zero, zero)
    sequences = WordSequences(len(first_states))
    found: list[list[ScoredPath]] = [[] for _ in first_states]
    to_end = lattice.to_end(sum(scales))
    for arcs in lattice.by_frame:
        begun = step(begun, lattice, arcs, sequences, model)
        begun = within(begun, lattice.utterance, begun.score(scales) + to_end[begun.state], beam)
        begun = best_of_each_state(begun, apart, keep, scales)
        ended = begun.rows(lattice.ends[begun.state])
        columns = (ended.words, ended.acoustic, ended.lm, ended.rescored)
        for words, *parts in zip(*(column.tolist() for column in columns), strict=True):
            utterance, word_ids = sequences.spell(words)
            found[utterance].append(ScoredPath(word_ids, *parts, True))
    return found


def step(
    begun: Begun, lattice: Lattice, arcs: np.ndarray, sequences: WordSequences, model: BackOffModel | None
) -> Begun:
    """Each path with each arc that leaves its state, in the order of the arcs."""
    begun = begun.rows(np.argsort(begun.state, kind="stable"))
    first, last = (np.searchsorted(begun.state, lattice.source[arcs], side) for side in ("left", "right"))
    count = last - first
    arc = np.repeat(arcs, count)
    path = begun.rows(np.repeat(last - np.cumsum(count), count) + np.arange(len(arc)))
    words, history, rescored = path.words, path.history, path.rescored
    says = np.flatnonzero(lattice.word[arc] > 0)
    words[says] = sequences.longer(words[says], lattice.word[arc[says]])
    if model:
        says = np.flatnonzero(lattice.word[arc] != 0)
        history[says], log_probs = model.follow(history[says], lattice.word[arc[says]])
        rescored[says] += log_probs
    acoustic, lm = path.acoustic + lattice.acoustic[arc], path.lm + lattice.lm[arc]
    return Begun(lattice.target[arc], words, history, acoustic, lm, rescored)


def within(begun: Begun, utterances: np.ndarray, score: np.ndarray, beam: float) -> Begun:
    """The paths that score at most beam below the best of their utterance, whose paths follow one another."""
    if not len(score):
        return begun
    first = np.flatnonzero(np.diff(utterances[begun.state], prepend=-1))
    best = np.repeat(np.maximum.reduceat(score, first), np.diff(first, append=len(score)))
    return begun.rows((score >= best - beam) & (score > -np.inf))


def best_of_each_state(begun: Begun, apart: str, keep: int | None, scales: Scales) -> Begun:
    """In each state the best of the paths that nothing tells apart, and of these the best few; the best first."""
    score, key = begun.score(scales), getattr(begun, apart)
    order = np.lexsort((-score, key, begun.state))
    begun, score, key = begun.rows(order), score[order], key[order]
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(begun.state) != 0) | (np.diff(key) != 0)
    begun, score = begun.rows(new), score[new]
    order = np.lexsort((-score, begun.state))
    if keep is not None:
        state = begun.state[order]
        order = order[np.arange(len(state)) - np.searchsorted(state, state) < keep]
    return begun.rows(order)
