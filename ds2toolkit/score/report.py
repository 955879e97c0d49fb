"""Error rates by test set, condition and decoding method: files that other tools read, and a table for people."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.files import write_json
from ds2toolkit.score import hypotheses, scored
from ds2toolkit.score.align import ErrorCounts, align
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.icefall_files import Aligned, percent, write_errs, write_recogs, write_summary
from ds2toolkit.score.scored import NAMES, Scored
from ds2toolkit.score.significance import group, rates, resample
from ds2toolkit.units import Unit, split_units

ALL = "all"


@dataclass(frozen=True)
class ErrorRate:
    """Counts summed over utterances, and the 95% interval of their rate: None where there are too few to tell."""

    counts: ErrorCounts
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Score:
    """One method on one condition of one set ("all": the whole set); rates by unit."""

    set: str
    condition: str
    method: str
    num_utterances: int
    rates: Mapping[Unit, ErrorRate]


@dataclass(frozen=True)
class ScoreTable:
    """Every score, the whole of a set before its conditions. unit: the one the recipe is judged by."""

    unit: Unit
    scores: tuple[Score, ...]


def score(
    hyp_files: Mapping[str, Mapping[str, Path]], out_dir: Path, unit: Unit, origin: Mapping[str, Any] | None = None
) -> ScoreTable:
    """Score hypothesis files (method -> set -> path) and write all score files to `out_dir`, `score.json` last.

    unit: "word" gives WER and CER; "character" (Mandarin) gives CER only. origin: where the figures come from.
    Raises UserError when two methods were not given the same utterances, DataError for a file that is damaged or empty.
    """
    units: tuple[Unit, ...] = ("word", "character") if unit == "word" else ("character",)
    scores: list[Score] = []
    for name in dict.fromkeys(name for files in hyp_files.values() for name in files):
        methods = {method: _read(files[name], name) for method, files in hyp_files.items() if name in files}
        _check_same(name, methods)
        for method, hyps in methods.items():
            _write_details(out_dir, name, method, hyps, unit)
            found = scored.score(hyps, units)
            scored.write(scored.file_of(out_dir, name, method), found)
            scores += _scores(name, method, found)
        whole = [one for one in scores if (one.set, one.condition) == (name, ALL)]
        rates = {one.method: one.rates[unit].counts.rate for one in whole}
        write_summary(out_dir / f"wer-summary-{name}.txt", rates)
    table = ScoreTable(unit, tuple(scores))
    write_json(out_dir / "score.json", ({"origin": dict(origin)} if origin else {}) | to_dict(table))
    return table


def _read(path: Path, name: str) -> list[Hypothesis]:
    hyps = sorted(hypotheses.read(path), key=lambda one: one.id)
    if not hyps:
        raise DataError(f"{path} has no hypotheses; decode {name} again")
    if wrong := [one for one in hyps if one.set != name]:
        raise DataError(f"{path}: utterance {wrong[0].id!r} is of set {wrong[0].set!r}, not {name!r}")
    return hyps


def _check_same(name: str, methods: Mapping[str, list[Hypothesis]]) -> None:
    """Raise UserError for the first utterance that two methods don't share, or know otherwise."""
    (first, base), *others = [(method, {one.id: one for one in hyps}) for method, hyps in methods.items()]
    for method, these in others:
        for key in sorted(base.keys() | these.keys()):
            found = {first: base.get(key), method: these.get(key)}
            versions = {who: one and (one.condition, one.ref) for who, one in found.items()}
            if len(set(versions.values())) > 1:
                shown = ", ".join(f"{who} has {version or 'nothing'}" for who, version in versions.items())
                raise UserError(f"{name}: utterance {key}: {shown}. Decode {name} again with both methods.")


def _write_details(out_dir: Path, name: str, method: str, hyps: Sequence[Hypothesis], unit: Unit) -> None:
    aligned = [Aligned(h.id, tuple(align(split_units(h.ref, unit), split_units(h.hyp, unit)))) for h in hyps]
    write_recogs(out_dir / f"recogs-{name}-{method}.txt", aligned)
    write_errs(out_dir / f"errs-{name}-{method}.txt", aligned)


def _scores(name: str, method: str, found: Scored) -> Iterator[Score]:
    """The whole set first, then its conditions by name."""
    conditions = [one.condition for one in found.hyps]
    for condition in (ALL, *sorted(set(conditions) - {ALL})):
        places = np.array([i for i, one in enumerate(conditions) if condition in (ALL, one)])
        yield Score(name, condition, method, len(places), {unit: _rate(found, unit, places) for unit in found.counts})


def _rate(found: Scored, unit: Unit, places: np.ndarray) -> ErrorRate:
    """Of the utterances in these places."""
    groups = group([found.hyps[i].speaker for i in places])
    errors, refs = (groups.sums(column[places])[:, None] for column in (found.errors(unit), found.refs(unit)))
    (rate,) = rates(errors, refs, resample(groups.num))
    return ErrorRate(scored.total(found.counts[unit][places]), rate.low, rate.high)


def to_dict(table: ScoreTable) -> dict[str, Any]:
    """What `score.json` holds, less its origin; rates in percent, null where there is no reference to divide by."""
    return {"unit": table.unit, "scores": [_score_dict(one) for one in table.scores]}


def _score_dict(one: Score) -> dict[str, Any]:
    plain: dict[str, Any] = {"set": one.set, "condition": one.condition, "method": one.method}
    plain["num_utterances"] = one.num_utterances
    for unit, rate in one.rates.items():
        name, value = NAMES[unit], rate.counts.rate
        plain[f"{name}_percent"] = 100 * value if math.isfinite(value) else None
        plain[f"{name}_interval_percent"] = None if rate.low is None else [100 * rate.low, 100 * rate.high]
        plain[f"{name}_counts"] = asdict(rate.counts)
    return plain


def format_table(table: ScoreTable) -> str:
    """One section a unit (the recipe's own first): a row a set and condition, a column a method."""
    units = [unit for unit in (table.unit, *NAMES) if table.scores and unit in table.scores[0].rates]
    return "\n\n".join(_section(table, unit) for unit in dict.fromkeys(units))


def _section(table: ScoreTable, unit: Unit) -> str:
    methods = list(dict.fromkeys(one.method for one in table.scores))
    cells = {(one.set, one.condition, one.method): one for one in table.scores}
    rows = []
    for name, condition in dict.fromkeys((one.set, one.condition) for one in table.scores):
        found = [cells.get((name, condition, method)) for method in methods]
        num_utterances = next(one.num_utterances for one in found if one)
        rows.append([name, condition, num_utterances, *(_cell(one, unit) for one in found)])
    title = f"{NAMES[unit].upper()} in percent [95% interval]"
    return f"{title}\n{tabulate(rows, headers=['set', 'condition', 'utterances', *methods], disable_numparse=True)}"


def _cell(one: Score | None, unit: Unit) -> str:
    if one is None:
        return "–"
    rate = one.rates[unit]
    value = percent(rate.counts.rate)
    return value if rate.low is None else f"{value} [{percent(rate.low)}, {percent(rate.high)}]"
