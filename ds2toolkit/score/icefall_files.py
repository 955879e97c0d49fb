"""Scores as icefall writes them, for the tools that read its files: recogs-, errs- and wer-summary-."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.files import write_text
from ds2toolkit.score.align import NOTHING, ErrorCounts, Pair, count_pairs

GAP = "*"


@dataclass(frozen=True)
class Aligned:
    """One utterance with its alignment in the unit that is scored."""

    id: str
    pairs: tuple[Pair, ...]


def percent(rate: float) -> str:
    return f"{100 * rate:.2f}"


def write_recogs(path: Path, utterances: Iterable[Aligned]) -> None:
    """Reference and hypothesis of each utterance as lists of units."""
    lines = []
    for one in utterances:
        lines.append(f"{one.id}:\tref={[ref for ref, _ in one.pairs if ref != NOTHING]}\n")
        lines.append(f"{one.id}:\thyp={[hyp for _, hyp in one.pairs if hyp != NOTHING]}\n")
    write_text(path, "".join(lines))


def write_errs(path: Path, utterances: Sequence[Aligned]) -> None:
    """Totals, each utterance's errors in place, and which units were confused, lost, put in, and how often."""
    pairs = Counter(pair for one in utterances for pair in one.pairs)
    total = count_pairs(pairs.elements())
    details = [f"{one.id}:\t{' '.join(map(_marked, one.pairs))}" for one in utterances]
    wrong = sorted(((n, pair) for pair, n in pairs.items() if pair[0] != pair[1]), reverse=True)
    sections = [
        _totals(total),
        ["PER-UTT DETAILS: corr or (ref->hyp)", *details],
        ["SUBSTITUTIONS: count ref -> hyp", *(f"{n}   {r} -> {h}" for n, (r, h) in wrong if NOTHING not in (r, h))],
        ["DELETIONS: count ref", *(f"{n}   {r}" for n, (r, h) in wrong if h == NOTHING)],
        ["INSERTIONS: count hyp", *(f"{n}   {h}" for n, (r, h) in wrong if r == NOTHING)],
        ["PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp", *_unit_lines(pairs)],
    ]
    write_text(path, "\n\n".join("\n".join(section) for section in sections) + "\n")


def _totals(total: ErrorCounts) -> list[str]:
    return [
        f"%WER = {percent(total.rate)}",
        f"Errors: {total.ins} insertions, {total.dele} deletions, {total.sub} substitutions, "
        f"over {total.ref} reference words ({total.cor} correct)",
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, INSERTIONS:, "
        "PER-WORD STATS:",
    ]


def _marked(pair: Pair) -> str:
    ref, hyp = pair
    return ref if ref == hyp else f"({ref or GAP}->{hyp or GAP})"


def _unit_lines(pairs: Mapping[Pair, int]) -> list[str]:
    """One line a unit, those with most errors first."""
    correct: Counter[str] = Counter()
    in_ref: Counter[str] = Counter()
    in_hyp: Counter[str] = Counter()
    for (ref, hyp), n in pairs.items():
        in_ref[ref] += n
        in_hyp[hyp] += n
        correct[ref] += n * (ref == hyp)
    rows = [(in_ref[u] + in_hyp[u] - 2 * correct[u], u) for u in {*in_ref, *in_hyp} - {NOTHING}]
    return [f"{unit}   {correct[unit]} {n} {in_ref[unit]} {in_hyp[unit]}" for n, unit in sorted(rows, reverse=True)]


def write_summary(path: Path, rates: Mapping[str, float]) -> None:
    """The error rate of each method, best first."""
    rows = sorted((rate, method) for method, rate in rates.items())
    write_text(path, "settings\tWER\n" + "".join(f"{method}\t{percent(rate)}\n" for rate, method in rows))
