"""Forced alignment: which frame says which token of a known text, by Viterbi over the states of CTC."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ds2toolkit.errors import DataError
from ds2toolkit.model.ctc import BLANK, min_frames

MAX_POINTERS = 2**26  # bytes of pointers back, one for each frame and state, that are kept at once


@dataclass(frozen=True)
class Alignment:
    """position_S: for each frame the target it says, counted from 0, or -1 for a blank; the path's log-probability."""

    position_S: np.ndarray
    score: float

    @property
    def spans(self) -> list[tuple[int, int]]:
        """For each target its first frame and the one behind its last."""
        frames = np.flatnonzero(self.position_S >= 0)
        said = self.position_S[frames]
        targets = range(int(said.max(initial=-1)) + 1)
        first, behind = (np.searchsorted(said, targets, side) for side in ("left", "right"))
        return list(zip(frames[first].tolist(), (frames[behind - 1] + 1).tolist(), strict=True))


@dataclass(frozen=True)
class Timed:
    """A word or a character, and when it is said."""

    text: str
    start_s: float
    end_s: float


def check_targets(log_probs_SV: np.ndarray, targets: Sequence[int]) -> None:
    """Raise DataError where there are too few frames for the targets, ValueError for a target that is no token."""
    num_frames, num_tokens = log_probs_SV.shape
    if wrong := [target for target in targets if not BLANK < target < num_tokens]:
        raise ValueError(f"target {wrong[0]} is the blank or no token of {num_tokens}")
    if num_frames < max(min_frames(targets), 1):
        raise DataError(
            f"{num_frames} frames cannot say {len(targets)} tokens, which need {max(min_frames(targets), 1)}: "
            "is the text that of another recording, or the recording cut off?"
        )


def align(log_probs_SV: np.ndarray, targets: Sequence[int]) -> Alignment:
    """The best path of CTC that says the targets (DS2, section 2, of which CTC's sum over paths keeps the largest).

    log_probs_SV: one utterance's; targets: token numbers without blanks, as Vocabulary.encode gives them. Scores are
    summed in float64. Pointers back are kept for a block of frames at a time and computed again for the one before, so
    that an hour with its whole text fits in memory. Raises DataError where the frames do not suffice.
    """
    check_targets(log_probs_SV, targets)
    trellis = Trellis(targets)
    size = max(MAX_POINTERS // len(trellis.token_L), 1)
    blocks = [log_probs_SV[first : first + size] for first in range(0, len(log_probs_SV), size)]
    scores_L = [trellis.start()]
    for block in blocks[:-1]:
        scores_L.append(trellis.forward(scores_L[-1], block, None))
    states: list[np.ndarray] = []
    state, score = -1, -np.inf
    for block, before_L in zip(reversed(blocks), reversed(scores_L), strict=True):
        pointers = np.empty((len(block), len(trellis.token_L)), np.uint8)
        after_L = trellis.forward(before_L, block, pointers)
        if state < 0:
            state, score = trellis.end(after_L)
        state, path = trace(pointers, state)
        states.append(path)
    state_S = np.concatenate(states[::-1])
    return Alignment(np.where(state_S % 2, state_S // 2, -1), score)


class Trellis:
    """The states of a text: a blank, its first token, a blank, its second token, and so on to a blank."""

    def __init__(self, targets: Sequence[int]):
        self.token_L = np.zeros(2 * len(targets) + 1, np.int64)
        self.token_L[1::2] = targets
        distinct = (self.token_L[2:] != BLANK) & (self.token_L[2:] != self.token_L[:-2])
        self.skip_L = np.where(distinct, 0.0, -np.inf)  # of the blank before a state, from two states before

    def start(self) -> np.ndarray:
        """Scores before the first frame: as if the first blank had been said."""
        scores_L = np.full(len(self.token_L), -np.inf)
        scores_L[0] = 0.0
        return scores_L

    def forward(self, scores_L: np.ndarray, log_probs_SV: np.ndarray, pointers_SL: np.ndarray | None) -> np.ndarray:
        """Scores after these frames; pointers_SL is filled with how many states each best path came along."""
        for frame, log_probs_V in enumerate(log_probs_SV):
            best_L = scores_L.copy()
            np.maximum(best_L[1:], scores_L[:-1], out=best_L[1:])
            skipping = scores_L[:-2] + self.skip_L
            np.maximum(best_L[2:], skipping, out=best_L[2:])
            if pointers_SL is not None:
                pointers_SL[frame] = best_L > scores_L
                pointers_SL[frame, 2:][(skipping == best_L[2:]) & (skipping > scores_L[1:-1])] = 2
            scores_L = best_L + log_probs_V[self.token_L]
        return scores_L

    def end(self, scores_L: np.ndarray) -> tuple[int, float]:
        """The better of the two last states, and its score. Raises ValueError where no path has a probability."""
        state = max(range(len(scores_L))[-2:], key=lambda last: scores_L[last])
        if scores_L[state] == -np.inf:
            raise ValueError("the text has probability zero: a log-probability on every path is minus infinity")
        return state, float(scores_L[state])


def trace(pointers_SL: np.ndarray, state: int) -> tuple[int, np.ndarray]:
    """The state before these frames of the path that ends in `state`, and its state in each frame."""
    path = np.empty(len(pointers_SL), np.int64)
    for frame in range(len(pointers_SL) - 1, -1, -1):
        path[frame] = state
        state -= int(pointers_SL[frame, state])
    return state, path


def characters(alignment: Alignment, spellings: Sequence[str], frame_s: float) -> list[Timed]:
    """The characters of an aligned text with their times; spaces too, and those of one token at the same time.

    spellings: what each target adds to the text; frame_s: from one frame to the next.
    """
    return [
        Timed(character, round(first * frame_s, 3), round(last * frame_s, 3))
        for spelling, (first, last) in zip(spellings, alignment.spans, strict=True)
        for character in spelling
    ]


def words(timed: Iterable[Timed]) -> list[Timed]:
    """Characters as words, which spaces divide: from the beginning of the first to the end of the last."""
    groups = (list(group) for is_space, group in groupby(timed, key=lambda one: one.text == " ") if not is_space)
    return [Timed("".join(one.text for one in word), word[0].start_s, word[-1].end_s) for word in groups]
