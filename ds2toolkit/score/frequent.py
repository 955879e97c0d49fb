"""What goes wrong most: the units confused, lost and put in, and who and what is recognised worst."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from ds2toolkit.score.align import NOTHING, ErrorCounts, Pair, align, count_pairs
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.units import Unit, split_units

GAP = "*"


@dataclass(frozen=True)
class Heard:
    """A hypothesis with its alignment."""

    hypothesis: Hypothesis
    pairs: tuple[Pair, ...]
    counts: ErrorCounts


@dataclass(frozen=True)
class Group:
    """Utterances of one speaker or condition."""

    name: str
    num_utterances: int
    counts: ErrorCounts


def heard(hypotheses: Iterable[Hypothesis], unit: Unit) -> Iterator[Heard]:
    for one in hypotheses:
        pairs = tuple(align(split_units(one.ref, unit), split_units(one.hyp, unit)))
        yield Heard(one, pairs, count_pairs(pairs))


def errors(utterances: Iterable[Heard]) -> dict[str, list[tuple[Pair, int]]]:
    """Substitutions, deletions and insertions, each with its count, the most frequent first."""
    wrong = Counter(pair for one in utterances for pair in one.pairs if pair[0] != pair[1])
    kinds: dict[str, list[tuple[Pair, int]]] = {"substitutions": [], "deletions": [], "insertions": []}
    for pair, count in sorted(wrong.items(), key=lambda item: (-item[1], item[0])):
        kind = "insertions" if pair[0] == NOTHING else "deletions" if pair[1] == NOTHING else "substitutions"
        kinds[kind].append((pair, count))
    return kinds


def groups(utterances: Iterable[Heard], key: Callable[[Hypothesis], str]) -> list[Group]:
    """The utterances by key, the highest error rate first."""
    found: dict[str, list[Heard]] = defaultdict(list)
    for one in utterances:
        found[key(one.hypothesis)].append(one)
    every = [Group(name, len(these), sum((one.counts for one in these), ErrorCounts())) for name, these in found.items()]
    return sorted(every, key=lambda group: (-group.counts.rate, -group.counts.ref, group.name))


def worst(utterances: Iterable[Heard]) -> list[Heard]:
    """The utterances with errors, those with most first."""
    wrong = [one for one in utterances if one.counts.errors]
    return sorted(wrong, key=lambda one: (-one.counts.errors, one.counts.ref, one.hypothesis.id))


def in_columns(pairs: Sequence[Pair]) -> tuple[str, str]:
    """Reference and hypothesis as two lines in which aligned units stand one above the other."""
    refs, hyps = [], []
    for ref, hyp in pairs:
        width = max(_width(ref), _width(hyp))
        for line, unit in ((refs, ref), (hyps, hyp)):
            line.append(unit + " " * (width - _width(unit)) if unit else GAP * width)
    return " ".join(refs).rstrip(), " ".join(hyps).rstrip()


def _width(unit: str) -> int:
    """In columns of a terminal: a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in unit)
