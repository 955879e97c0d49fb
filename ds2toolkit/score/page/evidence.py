"""What stands behind a comparison: what is confused, what length and speed do, and the worst utterances."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ds2toolkit.score import frequent
from ds2toolkit.score.align import Pair, align
from ds2toolkit.score.compare import Comparison
from ds2toolkit.score.experiment import Key
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.significance import UNKNOWN, Estimate, group, rates, resample
from ds2toolkit.units import Unit, split_units

MOST_BINS = 6
FEWEST = 10  # utterances of a bin


@dataclass(frozen=True)
class Confusion:
    """A pair of reference and hypothesis, and how often each model has it."""

    pair: Pair
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Bin:
    """Utterances of like length or speed; middle: their median; rates: one a model."""

    low: float
    high: float
    middle: float
    num_utterances: int
    rates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Heard:
    """One utterance as each model heard it; alignments: one a model, in the unit that is scored."""

    key: Key
    hypothesis: Hypothesis
    alignments: tuple[tuple[Pair, ...], ...]
    errors: tuple[int, ...]


class Evidence:
    """Of the test sets that all models share; where they share none, there is none."""

    def __init__(self, comparison: Comparison):
        self.unit = comparison.unit
        self.num_models = len(comparison.models)
        self.sets = {key: columns for key, columns in comparison.sets.items() if len(columns) == self.num_models}

    @cached_property
    def utterances(self) -> list[tuple[Key, tuple[Hypothesis, ...]]]:
        """Each utterance once: its test set, and what each model made of it."""
        return [
            (key, hyps)
            for key, columns in self.sets.items()
            for hyps in zip(*(scored.hyps for scored in columns.values()), strict=True)
        ]

    def _columns(self, of: Callable) -> np.ndarray:
        """(num_utterances, num_models) of what `of` gives for each Scored."""
        sets = [np.stack([of(scored) for scored in columns.values()], axis=1) for columns in self.sets.values()]
        return np.concatenate(sets) if sets else np.zeros((0, self.num_models))

    @cached_property
    def errors_NM(self) -> np.ndarray:
        return self._columns(lambda scored: scored.errors(self.unit))

    @cached_property
    def refs_NM(self) -> np.ndarray:
        return self._columns(lambda scored: scored.refs(self.unit))

    def confusions(self, unit: Unit, most: int) -> Mapping[str, list[Confusion]]:
        """Substitutions, deletions and insertions, those first that all models together have most often."""
        heard = [[hyps[place] for _, hyps in self.utterances] for place in range(self.num_models)]
        counted = [
            {kind: dict(pairs) for kind, pairs in frequent.errors(frequent.heard(hyps, unit)).items()} for hyps in heard
        ]
        return {kind: list(_most([one[kind] for one in counted], most)) for kind in counted[0]}

    def by_length(self) -> list[Bin]:
        return self._bins(self.refs_NM[:, 0].astype(float))

    def by_speed(self) -> list[Bin]:
        """Units of the reference a second."""
        durations_s = np.array([hyps[0].duration_s for _, hyps in self.utterances])
        known = durations_s > 0
        return self._bins(np.where(known, self.refs_NM[:, 0] / np.where(known, durations_s, 1), np.nan))

    def _bins(self, values_N: np.ndarray) -> list[Bin]:
        """About equally many utterances a bin, the same value never in two."""
        usable = np.isfinite(values_N) & (self.refs_NM[:, 0] > 0)
        if usable.sum() < 2 * FEWEST:
            return []
        num_bins = min(MOST_BINS, int(usable.sum()) // FEWEST)
        edges = np.unique(np.quantile(values_N[usable], np.linspace(0, 1, num_bins + 1)[1:-1]))
        place_N = np.searchsorted(edges, values_N, side="left")
        members = [np.flatnonzero(usable & (place_N == place)) for place in range(len(edges) + 1)]
        return [self._bin(values_N, places) for places in members if len(places) >= FEWEST]

    def _bin(self, values_N: np.ndarray, places: np.ndarray) -> Bin:
        groups = group([_speaker(*self.utterances[i]) for i in places])
        errors_GM, refs_GM = (
            np.stack([groups.sums(column) for column in table_NM[places].T], axis=1) for table_NM in (self.errors_NM, self.refs_NM)
        )
        found = tuple(rates(errors_GM, refs_GM, resample(groups.num)))
        values = values_N[places]
        return Bin(float(values.min()), float(values.max()), float(np.median(values)), len(places), found)

    def worst(self, most: int) -> Iterator[Heard]:
        """The utterances with most errors of all models together."""
        total_N = self.errors_NM.sum(axis=1)
        for i in np.argsort(-total_N, kind="stable")[:most]:
            if total_N[i]:
                key, hyps = self.utterances[i]
                pairs = tuple(tuple(align(split_units(one.ref, self.unit), split_units(one.hyp, self.unit))) for one in hyps)
                with_audio = next((one for one in hyps if one.audio), hyps[0])
                yield Heard(key, with_audio, pairs, tuple(int(n) for n in self.errors_NM[i]))


def _most(counted: Sequence[Mapping[Pair, int]], most: int) -> Iterator[Confusion]:
    found = [Confusion(pair, tuple(one.get(pair, 0) for one in counted)) for pair in dict.fromkeys(p for one in counted for p in one)]
    yield from sorted(found, key=lambda one: (-sum(one.counts), one.pair))[:most]


def _speaker(key: Key, hyps: Sequence[Hypothesis]) -> str:
    """Speakers of two corpora are never the same one."""
    name = hyps[0].speaker
    return name if name in UNKNOWN else f"{key[0]} {name}"
