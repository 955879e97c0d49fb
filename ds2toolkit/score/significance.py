"""How sure an error rate is, and whether two differ: the bootstrap over speakers, and Holm's correction.

Speakers are resampled, not utterances, as the utterances of one speaker go wrong together (Bisani and Ney, 2004,
"Bootstrap estimates for confidence intervals in ASR performance evaluation"). Each sample is judged by its own standard
error (the symmetric bootstrap-t; Hall, 1988): with the 10 to 40 speakers that test sets have, the percentiles of the
plain bootstrap hold the truth in 86 to 94% of draws where they claim 95%. An error rate is studied as its logarithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 5000
LEVEL = 0.95
MIN_SPEAKERS = 5  # of fewer, resampling them would say little: their utterances are resampled instead
MAX_GROUPS = 250  # more are joined at random to so many: the same variance at less work
UNKNOWN = frozenset({"", "unknown", "anonymous"})
TINY = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A rate, or a difference of rates, with its 95% interval (None where there are too few to tell).

    p: two-sided, of no difference; 1.0 for a rate, of which nothing is tested.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float = 1.0


@dataclass(frozen=True)
class Groups:
    """What is resampled as a whole. index_N: the group of each utterance, from 0 on; over: speakers or utterances."""

    index_N: np.ndarray
    num: int
    over: str

    def sums(self, values_N: np.ndarray) -> np.ndarray:
        return np.bincount(self.index_N, weights=values_N, minlength=self.num)


def group(speakers: Sequence[str], seed: int = 0) -> Groups:
    """The utterances of a speaker together; each by itself where too few speakers are known."""
    known = set(speakers) - UNKNOWN
    if by_speaker := len(known) >= MIN_SPEAKERS:
        keys = [name if name in known else number for number, name in enumerate(speakers)]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        index_N = np.array([places[key] for key in keys])
    else:
        index_N = np.arange(len(speakers))
    num = int(index_N.max(initial=-1)) + 1
    if num > MAX_GROUPS:
        joined = np.random.default_rng(seed).permutation(num) % MAX_GROUPS
        index_N, num = joined[index_N], MAX_GROUPS
    return Groups(index_N, num, "speakers" if by_speaker else "utterances")


@lru_cache(maxsize=8)
def resample(num_groups: int, seed: int = 0) -> np.ndarray:
    """weights_RG: how often each group is in each of RESAMPLES samples of as many groups, drawn with replacement."""
    draw = np.random.default_rng(seed)
    picks_RG = draw.integers(num_groups, size=(RESAMPLES, num_groups))
    picks_RG += num_groups * np.arange(RESAMPLES)[:, None]
    return np.bincount(picks_RG.ravel(), minlength=picks_RG.size).reshape(picks_RG.shape).astype(float)


def rates(errors_GM: np.ndarray, refs_GM: np.ndarray, weights_RG: np.ndarray) -> list[Estimate]:
    """Errors a unit of reference in each column, and the interval of each; G: what is resampled as a whole."""
    value_M, error_M, t_RM = _studentised(errors_GM, refs_GM, weights_RG, logarithm=True)
    reach_M = np.quantile(np.abs(t_RM), LEVEL, axis=0, method="higher")
    return [_around_log(*one) for one in zip(value_M.tolist(), error_M.tolist(), reach_M.tolist(), strict=True)]


def differences(extra_GM: np.ndarray, refs_GM: np.ndarray, weights_RG: np.ndarray) -> list[Estimate]:
    """The same for differences of two models; extra_GM: the errors of the second less those of the first."""
    value_M, error_M, t_RM = _studentised(extra_GM, refs_GM, weights_RG, logarithm=False)
    t_RM = np.abs(t_RM)
    reach_M = np.quantile(t_RM, LEVEL, axis=0, method="higher")
    seen_M = np.abs(value_M) / np.maximum(error_M, TINY)
    beyond_M = (t_RM >= seen_M * (1 - 1e-9)).sum(axis=0)
    p_M = np.where(error_M > TINY, (1 + beyond_M) / (1 + len(t_RM)), _all_alike(extra_GM))
    return [_around(*one) for one in zip(*(x.tolist() for x in (value_M, error_M, reach_M, p_M)), strict=True)]


def _studentised(errors_GM, refs_GM, weights_RG, logarithm: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rates, their standard errors, and how many of its own standard errors each sample's rate is off.

    A rate is a ratio of sums, so its error is that of the residuals (errors - rate * refs) of the groups.
    """
    num_groups = len(errors_GM)
    refs_M = np.maximum(refs_GM.sum(axis=0), TINY)
    value_M = errors_GM.sum(axis=0) / refs_M
    rest_GM = errors_GM - value_M * refs_GM
    shrink = num_groups / max(num_groups - 1, 1)
    error_M = np.sqrt(shrink * (rest_GM**2).sum(axis=0)) / refs_M
    columns = (refs_GM, rest_GM, rest_GM**2, rest_GM * refs_GM, refs_GM**2)
    sums_RX = weights_RG @ np.concatenate([np.broadcast_to(one, errors_GM.shape) for one in columns], axis=1)
    refs_RM, rest_RM, rest2_RM, mixed_RM, refs2_RM = np.split(sums_RX, len(columns), axis=1)
    refs_RM = np.maximum(refs_RM, TINY)
    off_RM = rest_RM / refs_RM
    squares_RM = rest2_RM - 2 * off_RM * mixed_RM + off_RM**2 * refs2_RM
    error_RM = np.sqrt(shrink * np.maximum(squares_RM, 0)) / refs_RM
    if logarithm:
        rate_RM = np.maximum(value_M + off_RM, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            off_RM = np.nan_to_num(np.log(rate_RM / value_M), neginf=-np.inf)
            error_RM = error_RM / rate_RM
    return value_M, error_M, _ratio(off_RM, error_RM)


def _ratio(off_RM: np.ndarray, error_RM: np.ndarray) -> np.ndarray:
    """off / error; infinite for a sample that is off and has no spread to say by how much."""
    exact = np.where(np.abs(off_RM) < 1e-9, 0.0, np.copysign(np.inf, off_RM))
    flat = ~(error_RM > 1e-9) | ~np.isfinite(off_RM)
    return np.where(flat, exact, off_RM / np.where(flat, 1.0, error_RM))


def _around_log(value: float, error: float, reach: float) -> Estimate:
    nothing_said = value > 0.5 / TINY  # errors and no reference
    if nothing_said or not (error > TINY and value > 0 and np.isfinite(reach)):
        return Estimate(value)
    factor = float(np.exp(min(reach * error / value, 700)))
    return Estimate(value, value / factor, value * factor)


def _around(value: float, error: float, reach: float, p: float) -> Estimate:
    if not (error > TINY and np.isfinite(reach)):
        return Estimate(value, p=p)
    return Estimate(value, value - reach * error, value + reach * error, p)


def _all_alike(extra_GM: np.ndarray) -> np.ndarray:
    """p where all groups differ by one and the same rate: that chance gives all of them the same sign."""
    return np.where(extra_GM.any(axis=0), 2.0 ** (1 - len(extra_GM)), 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for there being several (Holm, 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, largest = [1.0] * len(ps), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[i]))
        corrected[i] = largest
    return corrected
