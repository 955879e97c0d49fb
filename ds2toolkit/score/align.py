"""Reference against hypothesis: alignment, error counts, and how sure an error rate is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import kaldialign
import numpy as np

from ds2toolkit.units import Unit, split_units

Pair = tuple[str, str]

NOTHING = ""  # the other side of an insertion or a deletion; no unit is empty
RESAMPLES = 2000
RESAMPLES_AT_ONCE = 100


@dataclass(frozen=True)
class ErrorCounts:
    """Units of the reference, those right, and the three kinds of error; counts add."""

    ref: int = 0
    cor: int = 0
    sub: int = 0
    ins: int = 0
    dele: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            ref=self.ref + other.ref,
            cor=self.cor + other.cor,
            sub=self.sub + other.sub,
            ins=self.ins + other.ins,
            dele=self.dele + other.dele,
        )

    @property
    def errors(self) -> int:
        return self.sub + self.ins + self.dele

    @property
    def rate(self) -> float:
        """Errors a unit of reference; without any reference 0.0, or infinity when something was inserted."""
        if self.ref:
            return self.errors / self.ref
        return float("inf") if self.errors else 0.0


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Pair]:
    """(reference, hypothesis) pairs of the cheapest alignment, all errors costing one; NOTHING stands for a gap."""
    return kaldialign.align(ref, hyp, NOTHING)


def count_pairs(pairs: Iterable[Pair]) -> ErrorCounts:
    cor = sub = ins = dele = 0
    for ref, hyp in pairs:
        cor += ref == hyp
        ins += ref == NOTHING
        dele += hyp == NOTHING
        sub += ref != hyp and NOTHING not in (ref, hyp)
    return ErrorCounts(ref=cor + sub + dele, cor=cor, sub=sub, ins=ins, dele=dele)


def count_errors(ref: str, hyp: str, unit: Unit) -> ErrorCounts:
    """The errors of one utterance."""
    return count_pairs(align(split_units(ref, unit), split_units(hyp, unit)))


def interval(counts: Sequence[ErrorCounts], seed: int = 0) -> tuple[float, float]:
    """95% percentile interval of the error rate over bootstrap samples of whole utterances (Bisani and Ney, 2004).

    counts: one entry an utterance, at least one. The same counts and seed give the same interval.
    """
    errors = np.array([one.errors for one in counts])
    refs = np.array([one.ref for one in counts])
    draw = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        picks = draw.integers(len(counts), size=(RESAMPLES_AT_ONCE, len(counts)))
        rates.append(errors[picks].sum(axis=1) / np.maximum(refs[picks].sum(axis=1), 1))
    low, high = np.percentile(np.concatenate(rates), (2.5, 97.5))
    return float(low), float(high)
