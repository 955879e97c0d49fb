"""Reference against hypothesis: alignment and error counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import kaldialign

from ds2toolkit.units import Unit, split_units

Pair = tuple[str, str]

NOTHING = ""  # the other side of an insertion or a deletion; no unit is empty


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
