"""N-best lists: which methods have them, their files, and the error rate of the best choice from each."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.decode.k2_worker import k2_available
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.errors import UserError
from ds2toolkit.files import write_text
from ds2toolkit.score.align import ErrorCounts, count_errors
from ds2toolkit.units import Unit

LISTING = tuple(name for name, method in METHODS.items() if method.lists)
Heard = tuple[str, float | None]
"""A text and its score, None where a method has none."""


@dataclass(frozen=True)
class NBest:
    """What was said, and what may have been, the best first."""

    id: str
    ref: str
    heard: list[Heard]

    def oracle(self, unit: Unit) -> ErrorCounts:
        """The fewest errors of a text of the list."""
        return min((count_errors(self.ref, text, unit) for text, _ in self.heard), key=lambda counts: counts.errors)


def check(num: int, methods: Sequence[str] | None) -> None:
    """Raises UserError when so many are no list, none of the methods (None: the usual ones) has lists, or k2 is not there."""
    if num < 1:
        raise UserError(f"--nbest {num}: expected at least 1")
    listing = LISTING if methods is None else [method for method in methods if method in LISTING]
    if not listing:
        raise UserError(f"--nbest: no lists from {', '.join(methods)}; they come from --methods {' '.join(LISTING)}")
    if any(method.startswith("k2") for method in listing) and not k2_available():
        raise UserError(f"--nbest: k2 is not installed.\nRun: make k2   (or take the beam search's lists: --methods beam)")


def distinct(heard: Iterable[Heard]) -> list[Heard]:
    """Of each text the best: two words of a language model may be one in transcripts."""
    found: dict[str, float | None] = {}
    for text, score in heard:
        found.setdefault(text, score)
    return list(found.items())


def write(path: Path, lists: Iterable[NBest]) -> None:
    """One JSON line an utterance, whole or not at all; a score that is not finite becomes null."""
    write_text(path, "".join(_line(one) + "\n" for one in lists))


def _line(one: NBest) -> str:
    finite = ((text, None if score is None or not math.isfinite(score) else score) for text, score in one.heard)
    nbest = [{"text": text, "score": score} for text, score in finite]
    return json.dumps({"id": one.id, "ref": one.ref, "nbest": nbest}, ensure_ascii=False, allow_nan=False)


def oracle(lists: Sequence[NBest], unit: Unit, num: int) -> str:
    """The error rate of the best choices and that of the first ones, to be read."""
    name = "WER" if unit == "word" else "CER"
    best = sum((one.oracle(unit) for one in lists), ErrorCounts())
    first = sum((count_errors(one.ref, one.heard[0][0], unit) for one in lists), ErrorCounts())
    return f"oracle {name} of {num}-best {best.rate:.2%}, {name} {first.rate:.2%}"
