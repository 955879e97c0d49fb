"""Forced alignment of hours: Viterbi in a band of the text that moves along with the best state."""

from collections.abc import Sequence

import numpy as np

from ds2toolkit.decode.align import Alignment, Trellis, align, check_targets, trace
from ds2toolkit.errors import DataError

BAND = 32768  # targets, some forty minutes of speech; a text of no more is aligned without a band
BLOCK = 2048  # frames between moves


def align_long(
    log_probs_SV: np.ndarray, targets: Sequence[int], band: int = BAND, block: int = BLOCK
) -> tuple[Alignment, bool]:
    """As align.align, and whether the best path came near the band's edge, so that a better one may lie beyond.

    Memory grows with the frames, by a bit more than their number, and with the band, not with both. Raises DataError
    where the frames do not suffice, or the recording ends long before the text.
    """
    if len(targets) <= band:
        return align(log_probs_SV, targets), False
    check_targets(log_probs_SV, targets)
    starts = range(0, len(log_probs_SV), block)
    lows, scores = [0], [Trellis(targets[:band]).start()]
    for start in starts:
        after_L = Trellis(_part(targets, lows[-1], band)).forward(scores[-1], log_probs_SV[start : start + block], None)
        low = int(np.clip(int(after_L.argmax()) // 2 + lows[-1] - band // 2, lows[-1], len(targets) - band))
        scores.append(_moved(after_L, 2 * (low - lows[-1])))
        lows.append(low)
    if lows[-1] + band < len(targets):
        raise DataError(
            f"the recording ends where the alignment has come to about {lows[-1] / len(targets):.0%} of the text:"
            " one of the two has long parts that the other has not; align them in parts"
        )
    state, score = Trellis(_part(targets, lows[-1], band)).end(scores[-1])
    state, near, paths = state + 2 * lows[-1], False, []
    for start, low, before_L in reversed(list(zip(starts, lows, scores))):
        pointers = np.empty((min(block, len(log_probs_SV) - start), 2 * band + 1), np.uint8)
        Trellis(_part(targets, low, band)).forward(before_L, log_probs_SV[start : start + block], pointers)
        state, path = trace(pointers, state - 2 * low)
        near |= bool(low > 0 and path.min() < band // 8)
        near |= bool(low + band < len(targets) and path.max() > band * 15 // 8)
        paths.append(path + 2 * low)
        state += 2 * low
    state_S = np.concatenate(paths[::-1])
    return Alignment(np.where(state_S % 2, state_S // 2, -1), score), near


def _part(targets: Sequence[int], low: int, band: int) -> Sequence[int]:
    return targets[low : low + band]


def _moved(scores_L: np.ndarray, by: int) -> np.ndarray:
    """The scores of a band that begins so many states later."""
    moved_L = np.full_like(scores_L, -np.inf)
    moved_L[: len(scores_L) - by] = scores_L[by:]
    return moved_L
