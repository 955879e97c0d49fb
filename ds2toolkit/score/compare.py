"""Which model is better, where, and is it real: models side by side on every test set and condition."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ds2toolkit.errors import UserError
from ds2toolkit.score.align import ErrorCounts
from ds2toolkit.score.experiment import Key, Model
from ds2toolkit.score.ratios import CLEAN, snr_db, without_snr
from ds2toolkit.score.reported import ALL, Reported, beside
from ds2toolkit.score.scored import NAMES, Scored, total
from ds2toolkit.score.significance import LEVEL, Estimate, differences, group, holm, rates, resample
from ds2toolkit.units import Unit

BETTER, WORSE, SAME = "better", "worse", "not distinguishable"
BY = ("condition", "speaker", "gender", "set")


@dataclass(frozen=True)
class Difference:
    """A model less the first one; p_holm: corrected for all differences of the table, which decides the word."""

    estimate: Estimate
    p_holm: float = 1.0

    @property
    def word(self) -> str:
        if self.p_holm >= 1 - LEVEL:
            return SAME
        return BETTER if self.estimate.value < 0 else WORSE


@dataclass(frozen=True)
class Cell:
    """One model on one row; difference: None for the first model, and where that one was not tested."""

    counts: ErrorCounts
    rate: Estimate
    difference: Difference | None = None


@dataclass(frozen=True)
class Row:
    """A test set, or a part of it, `all` being the whole; cells: one a model, None where it was not tested."""

    recipe: str
    set: str
    part: str
    num_utterances: int
    num_speakers: int
    over: str
    cells: tuple[Cell | None, ...]
    reported: tuple[Reported, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.recipe} {self.set}"

    @property
    def snr_db(self) -> float | None:
        return snr_db(self.part) if self.part != ALL else snr_db(self.set)


@dataclass(frozen=True)
class Comparison:
    """by: what the rows part test sets by; sets: what each model (by its place) made of each test set."""

    unit: Unit
    by: str
    models: tuple[Model, ...]
    rows: tuple[Row, ...]
    sets: Mapping[Key, Mapping[int, Scored]]

    @property
    def metric(self) -> str:
        return NAMES[self.unit].upper()

    @property
    def num_tests(self) -> int:
        return sum(cell is not None and cell.difference is not None for row in self.rows for cell in row.cells)

    @property
    def systems(self) -> list[str]:
        """Who reports figures on any of the rows."""
        return list(dict.fromkeys(one.system for row in self.rows for one in row.reported))


def compare(models: Sequence[Model], by: str = "condition") -> Comparison:
    """Rows for all test sets, in the order in which the models have them.

    Raises UserError where two models were not given the same utterances, or none tells what to part them by.
    """
    keys = dict.fromkeys(key for model in models for one in model.experiments for key in one.keys())
    sets = {key: {place: found for place, model in enumerate(models) if (found := model.read(key))} for key in keys}
    sets = {key: columns for key, columns in sets.items() if columns}
    unit = models[0].experiments[0].unit
    rows = []
    for key, columns in sets.items():
        _check_same(key, columns, models)
        rows += _rows(key, columns, models, unit, by)
    if by in ("speaker", "gender") and not any(row.part != ALL for row in rows):
        raise UserError(f"no {by}s to tell apart in these test sets; hypotheses of an older version lack them: decode again.")
    return Comparison(unit, by, tuple(models), tuple(_corrected(rows)), sets)


def against_noise(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of two signal-to-noise ratios or more of a test set, from much noise to little, the clean one last.

    The ratio is the part's (`10 dB`), or the set's (`test-10dB`, the clean one being `test` or `test-clean`).
    """
    noisy: dict[str, list[Row]] = {}
    for row in rows:
        if row.snr_db is not None:
            name = row.name if row.part != ALL else f"{row.recipe} {without_snr(row.set)}".strip()
            noisy.setdefault(name, []).append(row)
    found = {}
    for name, members in noisy.items():
        if len(members) > 1:
            clean = [row for row in rows if row.snr_db is None and _is_clean(row, name)][-1:]
            found[name] = sorted(members, key=lambda row: row.snr_db) + clean
    return found


def _is_clean(row: Row, name: str) -> bool:
    """Whether a row without a ratio is what the noisy ones of a test set are made of."""
    if row.part == ALL:
        return row.name in (name, f"{name}-clean", f"{name} clean")
    return row.name == name and row.part in CLEAN


def _check_same(key: Key, columns: Mapping[int, Scored], models: Sequence[Model]) -> None:
    """Raise UserError for the first utterance that two models don't share, or know otherwise."""
    (first, base), *others = columns.items()
    expected = [(one.id, one.ref, one.condition) for one in base.hyps]
    for place, these in others:
        if [(one.id, one.ref, one.condition) for one in these.hyps] != expected:
            raise UserError(_first_difference(key, (models[first], base), (models[place], these)))


def _first_difference(key: Key, *sides: tuple[Model, Scored]) -> str:
    known = [{one.id: one for one in scored.hyps} for _, scored in sides]
    for name in sorted(known[0].keys() | known[1].keys()):
        ours, theirs = (one.get(name) for one in known)
        for field in ("ref", "condition"):
            if (found := [getattr(one, field, None) for one in (ours, theirs)])[0] != found[1]:
                what = {"ref": "reference", "condition": "condition"}[field] if ours and theirs else "utterance"
                shown = ", ".join(
                    f"{model.label} has {'none' if value is None else repr(value)}"
                    for (model, _), value in zip(sides, found, strict=True)
                )
                return f"{' '.join(key)}: not the same {what} at {name}: {shown}.\nDecode and score both on one copy of the data."
    raise AssertionError("called for sides that differ")


def _rows(key: Key, columns: Mapping[int, Scored], models: Sequence[Model], unit: Unit, by: str) -> Iterator[Row]:
    """The whole set first, then its parts, where it has more than one."""
    labels = _labels(columns, by)
    base = next(iter(columns.values()))
    parts = sorted(set(labels), key=_order)
    for part in (ALL, *(parts if len(parts) > 1 else ())):
        places = np.array([i for i, label in enumerate(labels) if part in (ALL, label)])
        speakers = [base.hyps[i].speaker for i in places]
        groups = group(speakers)
        cells = _cells({place: _sums(one, unit, places, groups) for place, one in columns.items()}, len(models))
        reported = _reported(key, part, base, models[min(columns)].origin(key).get("variant"), unit)
        yield Row(*key, part, len(places), len(set(speakers)), groups.over, cells, reported)


def _reported(key: Key, part: str, scored: Scored, variant: str | None, unit: Unit) -> tuple[Reported, ...]:
    """What others report of this part; where noise was added to a test set, its clean part is what they had."""
    if any(snr_db(condition) is not None for condition in {one.condition for one in scored.hyps}):
        if part not in CLEAN:
            return ()
        part = ALL
    return beside(key[0], variant, key[1], part, NAMES[unit])


def _labels(columns: Mapping[int, Scored], by: str) -> list[str]:
    """What each utterance is parted by; where one model's hypotheses lack it, another's tell."""
    if by == "set":
        return [ALL] * len(next(iter(columns.values())).hyps)
    sides = zip(*(one.hyps for one in columns.values()), strict=True)
    return [next((value for one in same if (value := getattr(one, by))), "unknown") for same in sides]


def _order(part: str) -> tuple:
    """Clean, then from little noise to much; other parts by name, numbers in them by value."""
    ratio = snr_db(part)
    natural = [(int(piece) if piece.isdigit() else 0, piece) for piece in re.split(r"(\d+)", part.lower())]
    return part not in CLEAN, ratio is None, -(ratio or 0), natural


def _sums(scored: Scored, unit: Unit, places: np.ndarray, groups) -> tuple[ErrorCounts, np.ndarray, np.ndarray]:
    """The counts of these utterances, and errors and reference units of each group of them."""
    errors_G, refs_G = (groups.sums(column[places]) for column in (scored.errors(unit), scored.refs(unit)))
    return total(scored.counts[unit][places]), errors_G, refs_G


def _cells(found: Mapping[int, tuple[ErrorCounts, np.ndarray, np.ndarray]], num_models: int) -> tuple[Cell | None, ...]:
    errors_GM = np.stack([errors_G for _, errors_G, _ in found.values()], axis=1)
    refs_GM = np.stack([refs_G for _, _, refs_G in found.values()], axis=1)
    weights_RG = resample(len(errors_GM))
    cells: list[Cell | None] = [None] * num_models
    for (place, (counts, *_)), rate in zip(found.items(), rates(errors_GM, refs_GM, weights_RG), strict=True):
        cells[place] = Cell(counts, replace(rate, value=counts.rate))
    if 0 in found and len(found) > 1:
        extra_GM = errors_GM[:, 1:] - errors_GM[:, :1]
        estimates = differences(extra_GM, refs_GM[:, 1:], weights_RG)
        for place, estimate in zip([place for place in found if place], estimates, strict=True):
            if cells[place].counts.ref:
                cells[place] = replace(cells[place], difference=Difference(estimate))
    return tuple(cells)


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The same rows, their p-values corrected for all that the table tests."""
    found = [cell.difference.estimate.p for row in rows for cell in row.cells if cell and cell.difference]
    corrected = iter(holm(found))
    return [replace(row, cells=tuple(_correct(cell, corrected) for cell in row.cells)) for row in rows]


def _correct(cell: Cell | None, corrected: Iterator[float]) -> Cell | None:
    if cell is None or cell.difference is None:
        return cell
    return replace(cell, difference=replace(cell.difference, p_holm=next(corrected)))
