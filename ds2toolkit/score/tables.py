"""A comparison as a table for a terminal or, in Markdown, for a README."""

from collections.abc import Iterator

from tabulate import tabulate

from ds2toolkit.score.compare import Cell, Comparison, Row
from ds2toolkit.score.reported import Reported
from ds2toolkit.score.significance import Estimate

EMPTY = ""


def terminal(comparison: Comparison) -> str:
    table = tabulate(_rows(comparison), headers=_headers(comparison, "\n"), tablefmt="simple", disable_numparse=True)
    return "\n".join([title(comparison), table, "", *notes(comparison)])


def markdown(comparison: Comparison) -> str:
    rows = [[_escaped(value) for value in row] for row in _rows(comparison)]
    headers = [_escaped(header) for header in _headers(comparison, " ")]
    table = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    return "\n".join([title(comparison), "", table, "", *(f"- {_escaped(line)}" for line in notes(comparison))]) + "\n"


def title(comparison: Comparison) -> str:
    methods = dict.fromkeys(model.method for model in comparison.models)
    return f"{comparison.metric} in percent [95% interval], {' and '.join(methods)}"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join("\\" + letter if letter in "\\|*_`<" else letter for letter in text)


def _headers(comparison: Comparison, gap: str) -> list[str]:
    first, *others = (model.label for model in comparison.models)
    compared = [column for label in others for column in (f"{label} -{gap}{first}", "p", f"{label}{gap}is")]
    shown = ["test set", comparison.by, "utterances", first, *others, *compared]
    return shown + [f"{system}{gap}(reported)" for system in comparison.systems]


def _rows(comparison: Comparison) -> list[list[str]]:
    return [list(_values(row, comparison)) for row in comparison.rows]


def _values(row: Row, comparison: Comparison) -> Iterator[str]:
    yield from (row.name, row.part, f"{row.num_utterances:,d}")
    yield from (EMPTY if cell is None else interval(cell.rate) for cell in row.cells)
    for cell in row.cells[1:]:
        yield from _compared(cell)
    by_system = {one.system: one for one in row.reported}
    yield from (_figure(by_system.get(system)) for system in comparison.systems)


def _compared(cell: Cell | None) -> tuple[str, str, str]:
    if cell is None or cell.difference is None:
        return EMPTY, EMPTY, EMPTY
    difference = cell.difference
    return interval(difference.estimate, sign="+"), p_value(difference.p_holm), difference.word


def _figure(one: Reported | None) -> str:
    return EMPTY if one is None else figure(one)


def figure(one: Reported) -> str:
    """A published figure with two decimals, or with those it has: 31.20, 9.573; a question mark where it is to be checked."""
    value = f"{one.value:.2f}"
    return (value if float(value) == one.value else f"{one.value:g}") + ("" if one.checked else "?")


def interval(estimate: Estimate, sign: str = "") -> str:
    """`6.34 [4.41, 8.51]` in percent, or the value alone where there is no interval."""
    low, high = estimate.low, estimate.high
    value = f"{100 * estimate.value:{sign}.2f}"
    return value if low is None or high is None else f"{value} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def notes(comparison: Comparison) -> Iterator[str]:
    """What a reader has to know: how sure, compared how, and where each figure comes from."""
    yield f"Intervals: {resampled(comparison)}."
    if comparison.num_tests:
        yield (
            f"Differences are paired, utterance by utterance, with their own 95% intervals; p is of no difference, "
            f"corrected for {count(comparison.num_tests, 'comparison')} (Holm); better or worse: p < 0.05."
        )
    for model in comparison.models:
        for experiment in model.experiments:
            yield f"{model.label} on {experiment.origin['recipe']}: {measured(experiment.origin)}"
    for systems, source in sources(comparison):
        yield f"{systems}: reported by {source}"


def resampled(comparison: Comparison) -> str:
    """What the bootstrap resampled, set by set and part by part."""
    over = {row.over: row for row in comparison.rows}
    if len(over) == 1:
        return f"bootstrap over {next(iter(over))}" + ("" if "speakers" in over else ", as fewer than 5 speakers are known")
    return "bootstrap over speakers; over utterances in rows of fewer than 5 known speakers"


def count(number: int, noun: str) -> str:
    return f"{number:,d} {noun}" + ("" if number == 1 else "s")


def measured(origin) -> str:
    """`measured 2026-01-31, commit 1f42ee2, seed 0: ds2 score …`."""
    date = str(origin.get("date") or "")[:10] or "date unknown"
    commit = origin.get("commit") or f"version {origin.get('version')}"
    seed = origin.get("seed")
    return (
        f"measured {date}, {'commit ' if origin.get('commit') else ''}{commit}, "
        f"seed {'not recorded' if seed is None else seed}: {origin.get('command')}"
    )


def sources(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Systems, and who reports of them, with what has to be known of the figures."""
    figures = [(row.name, one) for row in comparison.rows for one in row.reported]
    for source in dict.fromkeys(one.source for _, one in figures):
        systems = dict.fromkeys(one.system for _, one in figures if one.source == source)
        notes = dict.fromkeys(f"{name}: {one.note}" for name, one in figures if one.source == source and one.note)
        yield ", ".join(systems), "; ".join([source, *notes])
