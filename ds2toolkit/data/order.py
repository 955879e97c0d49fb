"""Which utterances, in which order: SortaGrad in epoch 1, then shuffled batches of like length (section 3.3)."""

from collections.abc import Sequence

import numpy as np

JITTER = 0.05


def epoch_batches(
    durations_s: Sequence[float], budget_s: float, epoch: int, seed: int, sortagrad: bool = True
) -> list[list[int]]:
    """The batches of an epoch (counted from 1) as lists of indices: a pure function, so any position can be resumed.

    Every utterance occurs once. A batch's longest utterance times its size stays within budget_s, or the batch is one
    utterance. With sortagrad, epoch 1 goes from the shortest batch to the longest; other epochs sort durations
    jittered by a few per cent, so that batches change from epoch to epoch while padding stays small, and shuffle
    the batches. Raises ValueError when there is no utterance.
    """
    durations = np.asarray(durations_s, dtype=np.float64)
    if not len(durations):
        raise ValueError("no utterances to put into batches")
    if epoch == 1 and sortagrad:
        return _cut(np.argsort(durations, kind="stable"), durations, budget_s)
    rng = np.random.default_rng((seed, epoch))
    jittered = durations * rng.uniform(1 - JITTER, 1 + JITTER, len(durations))
    batches = _cut(np.argsort(jittered, kind="stable"), durations, budget_s)
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(order: np.ndarray, durations: np.ndarray, budget_s: float) -> list[list[int]]:
    batches: list[list[int]] = []
    longest = 0.0
    for index, duration in zip(order.tolist(), durations[order].tolist(), strict=True):
        longest = max(longest, duration)
        if batches and longest * (len(batches[-1]) + 1) <= budget_s:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = duration
    return batches
