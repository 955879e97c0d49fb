"""The score files of an experiment, read to be compared with others'."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ds2toolkit.errors import DataError, UserError
from ds2toolkit.score import scored
from ds2toolkit.score.scored import Scored
from ds2toolkit.units import Unit

METHODS = ("greedy", "k2", "kaldi")  # which of those that all have is compared where none is asked for
Key = tuple[str, str]


@dataclass(frozen=True)
class Experiment:
    """folder: that of the score files; sets: test set to the methods that were scored on it; origin: as in score.json."""

    folder: Path
    unit: Unit
    origin: Mapping[str, Any]
    sets: Mapping[str, tuple[str, ...]]

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(method for methods in self.sets.values() for method in methods))

    def keys(self) -> list[Key]:
        """Test sets are known by recipe and name, as every recipe has a `test`."""
        return [(self.origin["recipe"], name) for name in self.sets]


@dataclass(frozen=True)
class Model:
    """A column of a comparison: one method of one model, on the test sets of one experiment or more."""

    label: str
    method: str
    experiments: tuple[Experiment, ...]

    def read(self, key: Key) -> Scored | None:
        """What this model's method made of a test set; None where it was not tested on it."""
        for one in self.experiments:
            if one.origin["recipe"] == key[0] and self.method in one.sets.get(key[1], ()):
                return scored.read(scored.file_of(one.folder, key[1], self.method))
        return None

    def origin(self, key: Key) -> Mapping[str, Any]:
        return next(one.origin for one in self.experiments if key in one.keys())


def load(folder: Path) -> Experiment:
    """Read score.json of a folder of score files. Raises DataError when it is missing, damaged or an older version's."""
    path = folder / "score.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        unit, rows = raw["unit"], [(one["set"], one["method"]) for one in raw["scores"]]
        origin = raw.get("origin") or {}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; `ds2 score` writes it") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); score this experiment again") from None
    if not {"recipe", "model"} <= origin.keys():
        raise DataError(f"{path} was written by an older version, without what a comparison needs; score this experiment again")
    sets = {name: tuple(dict.fromkeys(method for other, method in rows if other == name)) for name, _ in rows}
    return Experiment(folder, unit, origin, sets)


def models(experiments: Sequence[Experiment], methods: Sequence[str] | None = None) -> list[Model]:
    """The columns: experiments of one model on different test sets are one. methods: by default one that all have.

    Raises UserError where errors are counted in different units, and for a method that an experiment lacks.
    """
    _check_units(experiments)
    methods = methods or [_common(experiments)]
    for one in experiments:
        if lacking := [method for method in methods if method not in one.methods]:
            have = ", ".join(one.methods)
            raise UserError(f"{_place(one.folder)} has no scores of the method {lacking[0]!r}; it has: {have}")
    several = len(methods) > 1
    return [
        Model(f"{label} {method}" if several else label, method, tuple(members))
        for label, members in _grouped(experiments).items()
        for method in methods
    ]


def _check_units(experiments: Sequence[Experiment]) -> None:
    first = experiments[0]
    for other in experiments[1:]:
        if other.unit != first.unit:
            raise UserError(
                f"errors of different units can't be compared: "
                f"{_place(first.folder)} counts {first.unit}s, {_place(other.folder)} {other.unit}s."
            )


def _common(experiments: Sequence[Experiment]) -> str:
    """The method to compare by: the same for all, chosen without a look at the error rates."""
    shared = [name for name in experiments[0].methods if all(name in one.methods for one in experiments)]
    if not shared:
        found = "; ".join(f"{one.folder} by {', '.join(one.methods)}" for one in experiments)
        raise UserError(f"no method was scored in all of these: {found}. Decode them by the same one.")
    return next((name for name in METHODS if name in shared), shared[0])


def _grouped(experiments: Sequence[Experiment]) -> dict[str, list[Experiment]]:
    """By model, in the order given; those that share a model and a test set stay apart, by their folders."""
    same: dict[str, list[Experiment]] = {}
    for one in experiments:
        same.setdefault(one.origin["model"], []).append(one)
    grouped: dict[str, list[Experiment]] = {}
    for one in experiments:
        label = one.origin["model"]
        keys = [key for other in same[label] for key in other.keys()]
        if len(keys) > len(set(keys)):
            label = _place(one.folder)
        grouped.setdefault(label, []).append(one)
    return grouped


def _place(folder: Path) -> str:
    return str(folder.parent if folder.name == "score" else folder)
