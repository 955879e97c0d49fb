"""The paper's tables with what was measured here in columns of their own, empty where nothing was."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ds2toolkit.errors import DataError
from ds2toolkit.score import reported
from ds2toolkit.score.scored import NAMES

PREFERRED = ("beam", "k2", "kaldi")
PARAMS_DIVISOR = 64  # of `ds2 table --toy`
IN_SMALL = f"The rows in small: 1/{PARAMS_DIVISOR} of the parameters, trained by ds2toolkit/conf/paper-toy.yaml."
CONFIGURATIONS = ("depth", "conv", "size", "data", "norm", "sortagrad")
BENCHMARKS = "benchmarks"


@dataclass(frozen=True)
class Row:
    """A configuration of a table, and the error rates by set that the paper has for it, in percent."""

    name: str
    conf: str
    reported: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """A measured error rate in percent and how it was decoded; low and high: its interval, None where there is none."""

    percent: float
    low: float | None
    high: float | None
    method: str

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.percent:.2f}{interval}"


Cells = dict[tuple[str, str], Cell]  # by set and condition


def preference(method: str) -> tuple[int, str]:
    """Sorts methods: first those that speak for an experiment where there are several, greedy last."""
    return (PREFERRED.index(method) if method in PREFERRED else len(PREFERRED) + (method == "greedy"), method)


def rows(table: str) -> list[Row]:
    """The rows of a table of configurations, in its order."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for one in reported.table(table):
        found.setdefault((one.row, one.system), {})[one.set] = one.value
    return [Row(name, conf, values) for (name, conf), values in found.items()]


def read_cells(path: Path, method: str | None = None) -> Cells:
    """What score.json has measured, by set and condition. Raises DataError where it is damaged."""
    try:
        return cells(json.loads(path.read_text(encoding="utf-8")), method)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); `ds2 score` writes it anew") from None


def cells(score: Mapping[str, Any], method: str | None = None) -> Cells:
    """The error rates of a score in the unit that its recipe is judged by; without a method by the one that speaks for it."""
    metric = NAMES[score["unit"]]
    found: Cells = {}
    for one in sorted(score["scores"], key=lambda one: preference(one["method"]), reverse=True):
        if one[f"{metric}_percent"] is not None and method in (None, one["method"]):
            low, high = one[f"{metric}_interval_percent"] or (None, None)
            found[one["set"], one["condition"]] = Cell(one[f"{metric}_percent"], low, high, one["method"])
    return found


def format_configurations(table: str, measured: Mapping[str, Cells], remark: str = "") -> str:
    """A table of configurations. measured: cells by configuration; remark: what they were measured on."""
    lines, figures = rows(table), reported.table(table)
    sets = list(dict.fromkeys(one.set for one in figures))
    ours = list(dict.fromkeys(name for found in measured.values() for name, condition in found if condition == reported.ALL))
    body = []
    for row in lines:
        theirs = [f"{row.reported[name]:.2f}" if name in row.reported else "" for name in sets]
        found = measured.get(row.conf, {})
        body.append([row.name, row.conf, *theirs, *(str(found.get((name, reported.ALL), "")) for name in ours or [""])])
    headers = ["row", "configuration", *(f"{name}, {_word(figures)}" for name in sets)]
    headers += [f"{name}, measured" for name in ours] or ["measured"]
    return "\n".join([f"{table}: error rates in percent", _grid(body, headers), *_sources(figures), *filter(None, [remark])])


def format_benchmarks(measured: Mapping[str, Mapping[str, Cells]], remark: str) -> str:
    """The paper's test sets. measured: recipe -> experiment -> cells; remark: what they were measured on."""
    figures = reported.table(BENCHMARKS)
    systems = list(dict.fromkeys(one.system for one in figures))
    lines = dict.fromkeys((one.row, one.recipe, one.set, one.condition) for one in figures)
    found = {row: _benchmark(row, measured) for row in lines}
    ours = sorted({name for one in found.values() for name in one})
    body = []
    for row, mine in found.items():
        theirs = {one.system: f"{one.value:.2f}" for one in figures if one.row == row[0]}
        here = [f"{mine[name]} {mine[name].method}" if name in mine else "" for name in ours or [""]]
        body.append([row[0], *(theirs.get(system, "–") for system in systems), *here])
    headers = ["test set", *(f"{system}, {_word(figures)}" for system in systems)]
    headers += [f"{name}, measured" for name in ours] or ["measured"]
    return "\n".join([f"{BENCHMARKS}: WER in percent", _grid(body, headers), *_sources(figures), remark])


def _benchmark(row: tuple[str, str | None, str, str], measured: Mapping[str, Mapping[str, Cells]]) -> dict[str, Cell]:
    """The cells of a benchmark's line by experiment."""
    _, recipe, name, condition = row
    experiments = measured.get(recipe or "", {})
    return {exp: found[name, condition] for exp, found in experiments.items() if (name, condition) in found}


def _word(figures: Iterable[reported.Reported]) -> str:
    return "reported" if all(one.checked for one in figures) else "to be checked"


def _sources(figures: Sequence[reported.Reported]) -> list[str]:
    """Where the figures come from, and the caveats of some rows."""
    word = "Reported" if all(one.checked for one in figures) else "To be checked against the source"
    notes = dict.fromkeys((one.note, one.row) for one in figures if one.note)
    by_note = {note: [row for other, row in notes if other == note] for note, _ in notes}
    return [*(f"{word}: {source}." for source in dict.fromkeys(one.source for one in figures)),
            *(f"{', '.join(names)}: {note}." for note, names in by_note.items())]  # fmt: skip


def _grid(body: list[list[str]], headers: list[str]) -> str:
    sides = ["left" if name in ("row", "configuration", "test set") or "measured" in name else "right" for name in headers]
    return tabulate(body, headers=headers, disable_numparse=True, colalign=sides)
