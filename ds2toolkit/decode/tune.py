"""Weights of a search chosen on a dev set: a coarse grid, a fine one around its best, the nearest of what is as good."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

COARSE = 2  # steps of an axis between the points of the coarse grid
MAX_EXTENSIONS = 4
Point = tuple[int, ...]  # a step on each axis


@dataclass(frozen=True)
class Axis:
    """A setting and its values by step; the coarse grid goes from first to last, and on where the best is at its edge."""

    name: str
    first: int
    last: int
    lowest: int
    highest: int
    value: Callable[[int], float]

    def nearest(self, value: float) -> int:
        """The step whose value is the nearest."""
        return min(range(self.lowest, self.highest + 1), key=lambda step: abs(self.value(step) - value))


AXES = {
    "lm_scale": Axis("lm_scale", first=-12, last=4, lowest=-24, highest=12, value=lambda k: round(2 ** (k / 4), 3)),
    "alpha": Axis("alpha", first=0, last=12, lowest=0, highest=40, value=lambda k: k / 4),
    "beta": Axis("beta", first=-4, last=8, lowest=-24, highest=40, value=lambda k: k / 2),
}

Errors = Callable[[Sequence[dict[str, float]]], np.ndarray]


@dataclass(frozen=True)
class Surface:
    """Errors of every utterance at every point that was tried: errors[point] is (num_utterances,)."""

    axes: tuple[Axis, ...]
    errors: dict[Point, np.ndarray]

    def values(self, point: Point) -> dict[str, float]:
        return {axis.name: axis.value(step) for axis, step in zip(self.axes, point, strict=True)}

    def total(self, point: Point) -> int:
        return int(self.errors[point].sum())

    @property
    def bests(self) -> list[Point]:
        """The points of the fewest errors."""
        fewest = min(map(self.total, self.errors))
        return sorted(point for point in self.errors if self.total(point) == fewest)

    def plateau(self) -> dict[Point, float]:
        """The points that are no worse than the best by more than one standard error of that difference, and by how many.

        The one-standard-error rule (Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984,
        section 3.4.3), with the standard error of paired utterances: what all points find hard does not count.
        """
        best = self.errors[self.bests[0]]
        away = {point: _standard_errors(errors - best) for point, errors in sorted(self.errors.items())}
        return {point: by for point, by in away.items() if by <= 1 + 1e-9}

    def within(self, points: Sequence[Point]) -> "Surface":
        """Only some points, of those that were tried."""
        return Surface(self.axes, {point: self.errors[point] for point in points if point in self.errors})

    def nearest(self, start: dict[str, float]) -> Point:
        """The point of the plateau that is the fewest steps from some settings; of several the one of the fewest errors.

        So the dev set moves what it can tell from these, and nothing else: a few hundred words can't tell a plateau's
        points apart.
        """
        steps = np.array([axis.nearest(start[axis.name]) for axis in self.axes])
        return min(self.plateau(), key=lambda point: (np.square(point - steps).sum(), self.total(point)))


@dataclass(frozen=True)
class Choice:
    """What was chosen, out of which points of the fine grid, on which surface."""

    surface: Surface
    fine: Surface
    chosen: Point


def tune(names: Sequence[str], errors: Errors, start: dict[str, float]) -> Choice:
    """start: the settings before anything was tuned, a value a name.

    errors: from settings, each a value a name, the errors of every utterance, (num_settings, num_utterances).
    """
    axes = tuple(AXES[name] for name in names)
    surface = Surface(axes, {})
    bounds = [(axis.first, axis.last) for axis in axes]
    fewest = math.inf
    for _ in range(MAX_EXTENSIONS + 1):
        _try(surface, errors, _grid(bounds, COARSE))
        if surface.total(surface.bests[0]) >= fewest:
            break  # nothing is better out there
        fewest = surface.total(surface.bests[0])
        wider = [_widened(*b, set(steps), axis) for b, steps, axis in zip(bounds, zip(*surface.bests), axes, strict=True)]
        if wider == bounds:
            break
        bounds = wider
    steps = np.array(list(surface.plateau()))
    box = [
        (max(low - COARSE, first), min(high + COARSE, last))
        for low, high, (first, last) in zip(steps.min(axis=0).tolist(), steps.max(axis=0).tolist(), bounds, strict=True)
    ]
    _try(surface, errors, _grid(box, 1))
    fine = surface.within(_grid(box, 1))
    return Choice(surface, fine, fine.nearest(start))


def _standard_errors(by: np.ndarray) -> float:
    """How many of its standard errors the sum of some differences is, one an utterance."""
    if not by.sum():
        return 0.0
    error = np.sqrt(len(by) * by.var(ddof=1)) if len(by) > 1 else 0.0
    return float(by.sum() / error) if error else np.inf


def _grid(bounds: Sequence[tuple[int, int]], step: int) -> list[Point]:
    return list(itertools.product(*(range(first, last + 1, step) for first, last in bounds)))


def _widened(first: int, last: int, best: set[int], axis: Axis) -> tuple[int, int]:
    """The bounds of an axis, further out where one of the best is at one of them."""
    first = max(first - COARSE, axis.lowest) if first in best else first
    return first, min(last + COARSE, axis.highest) if last in best else last


def _try(surface: Surface, errors: Errors, points: Sequence[Point]) -> None:
    new = [point for point in points if point not in surface.errors]
    if new:
        surface.errors.update(zip(new, errors([surface.values(point) for point in new]), strict=True))
