"""Error rates that others published: the paper's tables and other systems' figures, each with its source."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ds2toolkit.config.yaml import read_yaml

FILE = Path(__file__).with_name("reported.yaml")
ALL = "all"  # the condition of a whole set, as in score.json


@dataclass(frozen=True)
class Reported:
    """One published error rate.

    table: the table of reported.yaml, such as `benchmarks` or `depth`; row: its line there, as the source has it;
    system: who was tested (`DS2`, `human`), or the configuration (`paper/depth-5x1-rnn`);
    recipe, set, condition: which of our test sets it is, recipe None where we can't have that data; metric: wer or cer;
    value: percent; checked: False for a figure that was not read from the source itself; note: a caveat.
    """

    table: str
    row: str
    system: str
    recipe: str | None
    set: str
    condition: str
    metric: str
    value: float
    source: str
    checked: bool = True
    note: str = ""


@cache
def load() -> tuple[Reported, ...]:
    """Every published figure, in the order of reported.yaml; a cell that a table leaves empty is not there."""
    raw = read_yaml(FILE)
    return tuple(one for name, table in raw["tables"].items() for one in _figures(name, table, raw["sources"]))


def table(name: str) -> tuple[Reported, ...]:
    """The figures of one table, such as `benchmarks`."""
    return tuple(one for one in load() if one.table == name)


def beside(recipe: str | None, variant: str | None, set: str, condition: str, metric: str) -> tuple[Reported, ...]:
    """What others report on the same test set as one of ours. Nothing for the test set of a toy, which is made up."""
    if recipe is None or (variant or "").split("-")[-1] == "toy":
        return ()
    key = (recipe, set, condition, metric)
    return tuple(one for one in load() if (one.recipe, one.set, one.condition, one.metric) == key)


def _figures(name: str, table: dict[str, Any], sources: dict[str, str]) -> Iterator[Reported]:
    source = ", ".join(part for part in (sources[table["source"]], table.get("part")) if part)
    columns = table.get("systems") or table["sets"]
    for row in table["rows"]:
        for column, value in zip(columns, row["values"], strict=True):
            if value is not None:
                yield Reported(
                    table=name,
                    row=row["name"],
                    system=row.get("conf", column),
                    recipe=row.get("recipe"),
                    set=row.get("set", column),
                    condition=row.get("condition", ALL),
                    metric=table["metric"],
                    value=float(value),
                    source=source,
                    checked=table.get("checked", True),
                    note=row.get("note", ""),
                )
