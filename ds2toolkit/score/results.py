"""Results kept beside a recipe: the score of each experiment without its transcripts, and RESULTS.md, which shows them."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ds2toolkit.errors import DataError
from ds2toolkit.files import write_json
from ds2toolkit.score import paper_tables, reported
from ds2toolkit.score.align import ErrorCounts
from ds2toolkit.score.report import ErrorRate, Score, ScoreTable, format_table
from ds2toolkit.score.scored import NAMES

KEPT_OF_ORIGIN = ("model", "command", "commit", "version", "date", "seed", "cpu", "cores", "python", "torch")
INTRODUCTION = (
    "Written by `ds2 results` from the score files in `results/`; the next run writes it anew. Commands are for this folder."
)
TOY = (
    "Speech spoken by espeak-ng in the layout of the real corpus: good for trying the recipe and for comparing these\n"
    "experiments with each other, with nothing else."
)


@dataclass(frozen=True)
class Trained:
    """What was trained. settings: `key=value` over those of the configuration; seconds: None where nothing tells."""

    network: str
    num_parameters: int
    configuration: str
    settings: tuple[str, ...]
    num_epochs: int
    seconds: float | None


@dataclass(frozen=True)
class Result:
    """One experiment.

    score: what score.json says; trained: None where another recipe's model was tested; rows: the configurations of the
    paper's tables that it is the measurement of.
    """

    experiment: str
    variant: str | None
    score: dict[str, Any]
    trained: Trained | None
    rows: tuple[str, ...] = ()

    @property
    def is_toy(self) -> bool:
        return (self.variant or "").split("-")[-1] == "toy"


def save(folder: Path, result: Result) -> Path:
    """Keep a result as folder/EXP.json, of a variant as folder/VARIANT/EXP.json; gives the path."""
    path = Path(folder, result.variant or "", f"{result.experiment}.json")
    trained = result.trained and asdict(result.trained)
    origin = result.score.get("origin") or {}
    known = {key: origin[key] for key in KEPT_OF_ORIGIN if origin.get(key) is not None}
    write_json(path, {"rows": result.rows, "trained": trained, "score": {**result.score, "origin": known}})
    return path


def load(folder: Path) -> list[Result]:
    """Every result that is kept, those of the recipe itself first. Raises DataError for a file that is damaged."""
    paths = [*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json"))]
    return [_read(path, path.parent.name if path.parent != folder else None) for path in paths]


def _read(path: Path, variant: str | None) -> Result:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        trained = raw["trained"] and Trained(**{**raw["trained"], "settings": tuple(raw["trained"]["settings"])})
        table(raw["score"])
        return Result(path.stem, variant, raw["score"], trained, tuple(raw["rows"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and run `ds2 results` again") from None


def table(score: dict[str, Any]) -> ScoreTable:
    """What score.json holds, as it was before it was written."""
    scores = []
    for one in score["scores"]:
        rates = {unit: _rate(one, name) for unit, name in NAMES.items() if f"{name}_counts" in one}
        scores.append(Score(one["set"], one["condition"], one["method"], one["num_utterances"], rates))
    return ScoreTable(score["unit"], tuple(scores))


def _rate(one: dict[str, Any], name: str) -> ErrorRate:
    low, high = one[f"{name}_interval_percent"] or (None, None)
    return ErrorRate(ErrorCounts(**one[f"{name}_counts"]), _share(low), _share(high))


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def render(name: str, title: str, results: Iterable[Result]) -> str:
    """RESULTS.md of a recipe, as Markdown: nothing of it comes from the machine that it is made on."""
    results = list(results)
    parts = [f"# Results: {title}", INTRODUCTION, *_published(name)]
    parts += _sections([one for one in results if not one.is_toy], "##")
    if toys := [one for one in results if one.is_toy]:
        parts += ["## Toy speech", TOY, *_sections(toys, "###")]
    return "\n\n".join(parts) + "\n"


def _published(name: str) -> Iterator[str]:
    """What others report on the recipe's test sets."""
    if figures := [one for one in reported.load() if one.recipe == name]:
        yield "## Reported by others"
        rows = [
            f"| {one.row} | {one.metric.upper()} | {one.system} | {one.value:.2f} | {one.source}{one.note and '; ' + one.note} |"
            for one in figures
        ]
        yield "\n".join(["| test set | | system | percent | source |", "|---|---|---|---|---|", *rows])


def _sections(results: list[Result], level: str) -> Iterator[str]:
    for one in results:
        if not one.rows:
            yield from _section(one, level)
    for variant in dict.fromkeys(one.variant for one in results if one.rows):
        yield from _tables([one for one in results if one.rows and one.variant == variant], level)


def _tables(results: list[Result], level: str) -> Iterator[str]:
    """The tables of the paper of which a row was measured."""
    measured = {conf: paper_tables.cells(one.score, "greedy") for one in results for conf in one.rows}
    yield f"{level} {results[0].variant + '/' if results[0].variant else ''}The paper's tables"
    yield f"Greedy, on the test sets of this recipe. {paper_tables.IN_SMALL if results[0].is_toy else ''}".rstrip()
    for table in paper_tables.CONFIGURATIONS:
        if any(row.conf in measured for row in paper_tables.rows(table)):
            command = f"ds2 table {table}{' --toy' if results[0].is_toy else ''} --run"
            yield f"```\n{command}\n\n{paper_tables.format_configurations(table, measured)}\n```"


def _section(one: Result, level: str) -> Iterator[str]:
    yield f"{level} {one.variant + '/' if one.variant else ''}{one.experiment}"
    if facts := [*_about(one), *_origin(one)]:
        yield "\n".join(facts)
    yield "```\n" + "\n".join(_commands(one)) + "\n```"
    yield f"```\n{format_table(table(one.score))}\n```"


def _about(one: Result) -> Iterator[str]:
    if trained := one.trained:
        took = f" in {_duration(trained.seconds)}" if trained.seconds is not None else ""
        yield f"* network: {trained.network}; {trained.num_parameters:,d} parameters"
        settings = f" with {', '.join(f'`{setting}`' for setting in trained.settings)}" if trained.settings else ""
        yield f"* configuration: `{trained.configuration}`{settings}; {trained.num_epochs} epochs{took}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _origin(one: Result) -> Iterator[str]:
    """Where the score comes from, as far as score.json says."""
    origin = one.score.get("origin", {})
    for title, keys in (("scored", ("date", "commit", "version", "seed")), ("on", ("cpu", "cores", "python", "torch"))):
        known = [origin[key] if key in ("date", "cpu") else f"{key} {origin[key]}" for key in keys if key in origin]
        if known:
            yield f"* {title}: {', '.join(known)}"
    if one.trained is None and "model" in origin:
        yield f"* model: {origin['model']}"


def _commands(one: Result) -> Iterator[str]:
    options = f"{f' --variant {one.variant}' if one.variant else ''} --exp {one.experiment}"
    if one.trained:
        settings = "".join(f" --set '{setting}'" for setting in one.trained.settings)
        yield f"ds2 train{options} --conf {one.trained.configuration}{settings}"
        yield f"ds2 tune{options}"
        yield f"ds2 decode{options}"
    yield one.score.get("origin", {}).get("command") or f"ds2 score{options}"
