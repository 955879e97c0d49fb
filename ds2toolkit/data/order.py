"""Which utterances, in which order: SortaGrad first (section 3.3), then shuffled batches of like length; shares."""

from collections.abc import Sequence

import numpy as np

from ds2toolkit.errors import DataError

JITTER = 0.04


def epoch_batches(
    durations_s: Sequence[float], budget_s: float, epoch: int, seed: int, sortagrad: int = 1, at_least: int = 1
) -> list[list[int]]:
    """The batches of an epoch (counted from 1) as lists of indices: a pure function, so any position can be resumed.

    Every utterance occurs once. A batch's longest utterance times its size stays within budget_s, or the batch is no
    larger than it must be, which is at_least utterances (the number of workers; a last batch that is too small joins
    the one before it). The first `sortagrad` epochs go from the shortest batch to the longest; other epochs sort
    durations jittered by a few per cent, so that batches change from epoch to epoch while padding stays small, and
    shuffle the batches. Raises ValueError when there is no utterance, DataError when there are fewer than at_least.
    """
    durations = np.asarray(durations_s, dtype=np.float64)
    if not len(durations):
        raise ValueError("no utterances to put into batches")
    if len(durations) < at_least:
        raise DataError(f"{at_least} workers are too many for {len(durations)} utterances: each needs one a step")
    if epoch <= sortagrad:
        return _cut(np.argsort(durations, kind="stable"), durations, budget_s, at_least)
    rng = np.random.default_rng((seed, epoch))
    jittered = durations * rng.uniform(1 - JITTER, 1 + JITTER, len(durations))
    batches = _cut(np.argsort(jittered, kind="stable"), durations, budget_s, at_least)
    return [batches[i] for i in rng.permutation(len(batches))]


def shard(batch: Sequence[int], rank: int, count: int) -> Sequence[int]:
    """A worker's share of a batch of epoch_batches: every count-th, so as long as others', for they lie by length."""
    return batch[rank::count]


def _cut(order: np.ndarray, durations: np.ndarray, budget_s: float, at_least: int) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    longest = 0.0
    for index, duration in zip(order.tolist(), durations[order].tolist(), strict=True):
        longest = max(longest, duration)
        if len(batches[-1]) < at_least or longest * (len(batches[-1]) + 1) <= budget_s:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = duration
    return _without_rest(batches, at_least)


def _without_rest(batches: list[list[int]], at_least: int) -> list[list[int]]:
    """A last batch below at_least is filled up from the one before; one with it, where that would be too small then."""
    if len(batches) == 1 or len(batches[-1]) >= at_least:
        return batches
    joined = batches[-2] + batches[-1]
    if len(joined) < 2 * at_least:
        return [*batches[:-2], joined]
    return [*batches[:-2], joined[:-at_least], joined[-at_least:]]
