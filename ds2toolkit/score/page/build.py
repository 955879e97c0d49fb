"""The page itself: what the template shows, gathered from a comparison and its evidence."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ds2toolkit
from ds2toolkit.files import write_text
from ds2toolkit.score import tables
from ds2toolkit.score.compare import BETTER, SAME, WORSE, Cell, Comparison, Row
from ds2toolkit.score.icefall_files import percent
from ds2toolkit.score.page import audio, svg
from ds2toolkit.score.page.evidence import Confusion, Evidence, Heard
from ds2toolkit.score.page.pictures import figures
from ds2toolkit.score.reported import ALL, Reported
from ds2toolkit.score.significance import RESAMPLES, Estimate

HERE = Path(__file__).parent
NUM_COLOURS = 6
NUM_CONFUSIONS = 12
NUM_WORST = 20
MOST_AUDIO = 12_000_000  # characters of the page
MOST_NAMED = 8


@dataclass(frozen=True)
class Kind:
    """Substitutions, deletions or insertions; most: the highest count."""

    name: str
    found: Sequence[Confusion]

    @property
    def most(self) -> int:
        return max((n for one in self.found for n in one.counts), default=1)


def write(comparison: Comparison, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment().get_template("page.html")
    values = {"style": Markup(style), "script": Markup(script), "script_hash": Markup(f"sha256-{digest}")}
    return template.render(values | context(comparison))


def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.globals |= {"percent": percent, "signed": signed, "p_value": tables.p_value, "figure": tables.figure, "c": colour, "reported": reported}
    return found


def signed(rate: float) -> str:
    return f"{100 * rate:+.2f}".replace("-", "\N{MINUS SIGN}")


def colour(place: int) -> str:
    return f"m{place % NUM_COLOURS}"


def reported(row: Row, system: str) -> Reported | None:
    return next((one for one in row.reported if one.system == system), None)


def context(comparison: Comparison) -> dict[str, Any]:
    evidence = Evidence(comparison)
    pictures = list(figures(comparison, evidence))
    confused = list(confusions(comparison, evidence))
    worst, audio_note = heard(evidence)
    measured = [cell.rate for row in comparison.rows for cell in row.cells if cell]
    ticks = svg.nice_ticks([*measured, *(Estimate(one.value / 100) for row in comparison.rows for one in row.reported)])
    sections = {"table": "Table", "bars": "Bars", "effects": "Noise, length, speed", "confusions": "Confusions", "worst": "Worst utterances"}
    there = {"table": True, "bars": True, "effects": pictures, "confusions": confused, "worst": worst}
    return {
        "title": " and ".join(model.label for model in comparison.models),
        "metric": comparison.metric,
        "metric_name": "Character error rate" if comparison.unit == "character" else "Word error rate",
        "unit": comparison.unit,
        "by": comparison.by,
        "models": comparison.models,
        "rows": comparison.rows,
        "groups": [(name, list(rows)) for name, rows in groupby(comparison.rows, key=lambda row: row.name)],
        "systems": comparison.systems,
        "num_tests": comparison.num_tests,
        "summary": list(summary(comparison))[:MOST_NAMED],
        "tally": list(tally(comparison)),
        "sections": [(name, words) for name, words in sections.items() if there[name]] + [("origin", "Where the figures come from")],
        "how": tables.resampled(comparison) + ".",
        "num_resamples": f"{RESAMPLES:,d}",
        "ticks": ticks,
        "width": lambda rate: round(min(10000 * rate / ticks[-1], 100), 2),
        "markers": [Markup(svg.marker(7, 7, number)) for number in range(len(comparison.models))],
        "spoken": lambda row: spoken(row, comparison),
        "figures": pictures,
        "confusions": confused,
        "worst": worst,
        "audio_note": audio_note,
        "gap": " " if comparison.unit == "word" else "",
        "origins": list(origins(comparison)),
        "sources": list(tables.sources(comparison)),
        "version": ds2toolkit.__version__,
        "today": date.today().isoformat(),
    }


def summary(comparison: Comparison) -> Iterator[tuple[Cell, str]]:
    """A sentence for each whole test set and each model but the first; of one model alone, its error rate."""
    first = comparison.models[0]
    for row in comparison.rows:
        for model, cell in zip(comparison.models, row.cells, strict=True):
            if row.part != ALL or cell is None:
                continue
            if cell.difference:
                yield cell, sentence(row, first.label, model.label, cell, comparison.unit)
            elif len(comparison.models) == 1:
                yield cell, f"{model.label} makes {percent(cell.rate.value)} errors in 100 {comparison.unit}s of {row.name}."


def sentence(row: Row, first: str, label: str, cell: Cell, unit: str) -> str:
    found = cell.difference.estimate
    size = f"{more(found.value)} errors in 100 {unit}s than" if found.value else "as many errors as"
    reach = "" if found.low is None else f" (95% interval: {more(found.low)} to {more(found.high)})"
    end = "That can be chance" if cell.difference.word == SAME else "That is more than chance"
    p = tables.p_value(cell.difference.p_holm)
    return f"On {row.name}, {label} makes {size} {first}{reach}. {end}: p {p if p[0] == '<' else '= ' + p}."


def more(rate: float) -> str:
    return f"{abs(100 * rate):.2f} {'fewer' if rate < 0 else 'more'}"


def tally(comparison: Comparison) -> Iterator[str]:
    """How often each model is better, worse and neither in the parts of test sets, and where it is worse."""
    for place, model in enumerate(comparison.models):
        cells = [(row, row.cells[place]) for row in comparison.rows if row.part != ALL and row.cells[place]]
        words = [(cell.difference.word, f"{row.name} {row.part}") for row, cell in cells if cell.difference]
        if len(words) > 1:
            where = {word: [name for found, name in words if found == word] for word in (BETTER, WORSE, SAME)}
            counts = ", ".join(f"{word} in {len(names)}" for word, names in where.items() if names)
            worse = f" Worse in: {', '.join(where[WORSE][:MOST_NAMED])}." if where[WORSE] else ""
            yield f"In the {len(words)} {comparison.by}s apart, {model.label} is {counts}.{worse}"


def spoken(row: Row, comparison: Comparison) -> str:
    """A row of bars in words."""
    cells = zip(comparison.models, row.cells, strict=True)
    rates = [f"{model.label} {tables.interval(cell.rate) if cell else 'not tested'}" for model, cell in cells]
    return f"{row.name}, {row.part}: {'; '.join(rates + [f'{one.system}, reported, {tables.figure(one)}' for one in row.reported])}"


def confusions(comparison: Comparison, evidence: Evidence) -> Iterator[tuple[str, list[Kind]]]:
    """Of words and of characters, or of characters alone."""
    for unit in dict.fromkeys((comparison.unit, "character")) if evidence.sets else ():
        kinds = evidence.confusions(unit, NUM_CONFUSIONS)
        found = [Kind(name.capitalize(), pairs) for name, pairs in kinds.items() if pairs]
        if found:
            yield f"{unit.capitalize()}s", found


def heard(evidence: Evidence) -> tuple[list[tuple[Heard, str | None]], str]:
    """The worst utterances with their audio, and what to say of those without."""
    shown: list[tuple[Heard, str | None]] = []
    left = MOST_AUDIO
    for one in evidence.worst(NUM_WORST):
        url = audio.data_url(one.hypothesis)
        fits = url is not None and len(url) <= left
        left -= len(url) if fits else 0
        shown.append((one, url if fits else None))
    silent = sum(url is None for _, url in shown)
    if not silent:
        return shown, ""
    reason = "the hypotheses do not say where the audio is" if not any(one.hypothesis.audio for one, _ in shown) else "its files are gone, or too large"
    whose = "None of them can be heard" if silent == len(shown) else f"{silent} of them can't be heard"
    return shown, f"{whose}: {reason}."


def origins(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """A line for each experiment of each model."""
    for number, model in enumerate(comparison.models):
        for one in model.experiments:
            known = one.origin
            parameters = known.get("num_parameters")
            yield {
                "number": number,
                "label": model.label,
                "sets": f"{known['recipe']} {', '.join(one.sets)}",
                "method": model.method,
                "parameters": f"{parameters:,d}" if parameters else "not recorded",
                "seed": "not recorded" if known.get("seed") is None else known["seed"],
                "commit": known.get("commit") or known.get("version") or "not recorded",
                "date": (known.get("date") or "not recorded")[:10],
                "command": known.get("command") or "not recorded",
            }
