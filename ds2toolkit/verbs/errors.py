"""`ds2 errors`: what an experiment gets wrong most, from its hypotheses: no audio, no network."""

import json
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.recipe import shown
from ds2toolkit.score import frequent, hypotheses
from ds2toolkit.score.align import NOTHING, ErrorCounts
from ds2toolkit.score.frequent import Heard
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.score.icefall_files import percent
from ds2toolkit.score.paper_tables import preference
from ds2toolkit.units import Unit

PLURAL = {"word": "words", "character": "characters"}


def run(exp: Path, method: str | None, sets: list[str] | None, top: int) -> None:
    if top < 1:
        raise UserError(f"--top {top}: expected at least 1")
    unit = unit_of(exp)
    method, files = hypothesis_files(exp, method, sets)
    utterances = list(frequent.heard((one for path in files for one in hypotheses.read(path)), unit))
    if not utterances:
        raise DataError(f"{files[0]} has no hypotheses.\nRun: {command('decode', exp)}")
    names = ", ".join(path.stem.removeprefix("hyps-") for path in files)
    print(f"{shown(exp)}, {method}, {names}: {summary(utterances, unit)}")
    for title, table in tables(utterances, top, unit):
        print(f"\n{title}\n{table}")


def unit_of(exp: Path) -> Unit:
    """The unit that the experiment is scored by. Raises UserError where it was not."""
    path = exp / "score" / "score.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["unit"]
    except FileNotFoundError:
        raise UserError(f"{shown(path)} does not exist, which `ds2 score` writes.\nRun: {command('score', exp)}") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{shown(path)} is damaged.\nRun: {command('score', exp)}") from None


def command(verb: str, exp: Path) -> str:
    """The command that runs a verb for the experiment in RECIPE/exp/NAME or RECIPE/VARIANT/exp/NAME."""
    work = exp.absolute().parent.parent
    if (work / "recipe.yaml").exists():
        return f"ds2 {verb} --recipe {shown(work)} --exp {exp.name}"
    return f"ds2 {verb} --recipe {shown(work.parent)} --variant {work.name} --exp {exp.name}"


def hypothesis_files(exp: Path, method: str | None, sets: list[str] | None) -> tuple[str, list[Path]]:
    """The method and its files of hypotheses. Raises UserError naming what there is instead."""
    methods = sorted({path.parent.name for path in exp.glob("decode/*/hyps-*.jsonl")})
    if not methods or (method and method not in methods):
        there = f"{shown(exp)} has hypotheses of: {', '.join(methods) or 'no method'}"
        raise UserError(f"{there}.\nRun: {command('decode', exp)}" + (f" --methods {method}" if method else ""))
    method = method or min(methods, key=preference)
    files = {path.stem.removeprefix("hyps-"): path for path in sorted((exp / "decode" / method).glob("hyps-*.jsonl"))}
    if unknown := sorted(set(sets or ()) - set(files)):
        raise UserError(f"--set {unknown[0]}: {shown(exp)} has hypotheses of {method} for: {', '.join(files)}")
    return method, [path for name, path in files.items() if not sets or name in sets]


def summary(utterances: list[Heard], unit: Unit) -> str:
    counts = sum((one.counts for one in utterances), ErrorCounts())
    return (
        f"{counts.errors:,d} errors in {counts.ref:,d} {PLURAL[unit]} ({percent(counts.rate)}%) of {len(utterances):,d} "
        f"utterances: {counts.sub:,d} substitutions, {counts.dele:,d} deletions, {counts.ins:,d} insertions"
    )


def tables(utterances: list[Heard], top: int, unit: Unit) -> Iterator[tuple[str, str]]:
    """Title and text of each; what there is nothing of is left out."""
    for kind, found in frequent.errors(utterances).items():
        if found:
            headers = ("count", *(("reference", "heard") if kind == "substitutions" else (unit,)))
            rows = [(count, *(side for side in pair if side != NOTHING)) for pair, count in found[:top]]
            yield f"{kind}, {min(top, len(found))} of {len(found)}", aligned(rows, headers)
    for title, key in (("speakers", speaker), ("conditions", condition)):
        groups = frequent.groups(utterances, key)
        if len(groups) > 1:
            headers = (title[:-1], "utterances", PLURAL[unit], "errors", "%")
            rows = [(one.name, one.num_utterances, *rate(one.counts)) for one in groups[:top]]
            yield f"worst {title}, {min(top, len(groups))} of {len(groups)}", aligned(rows, headers)
    if wrong := frequent.worst(utterances):
        yield f"worst utterances, {min(top, len(wrong))} of {len(wrong)} with errors", "\n".join(map(utterance, wrong[:top]))


def rate(counts: ErrorCounts) -> tuple[int, int, str]:
    return counts.ref, counts.errors, percent(counts.rate)


def aligned(rows: list[tuple], headers: tuple[str, ...]) -> str:
    numbers = {"count", "utterances", "words", "characters", "errors", "%"}
    sides = ["right" if name in numbers else "left" for name in headers]
    return tabulate(rows, headers=headers, disable_numparse=True, colalign=sides)


def speaker(one: Hypothesis) -> str:
    return one.speaker


def condition(one: Hypothesis) -> str:
    return f"{one.set}, {one.condition}"


def utterance(one: Heard) -> str:
    hyp, counts = one.hypothesis, one.counts
    ref_line, hyp_line = frequent.in_columns(one.pairs)
    about = f"{hyp.id} ({hyp.set}, {hyp.condition}, speaker {hyp.speaker}): {counts.errors} errors in {counts.ref}"
    return f"{about}\n  said   {ref_line}\n  heard  {hyp_line}"
