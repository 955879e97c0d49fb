"""Hypotheses on disk, one JSON line an utterance: the seam between decoding and everything after it."""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ds2toolkit.errors import DataError
from ds2toolkit.files import write_text


@dataclass(frozen=True)
class Hypothesis:
    """What was said and what was heard. score: log-probability of the decoder, None where it has none.

    audio: the file it is in, None where it is in none (a mixture, say), from audio_start_s on, in channel audio_channel.
    """

    id: str
    set: str
    condition: str
    speaker: str
    ref: str
    hyp: str
    duration_s: float
    score: float | None = None
    gender: str | None = None
    audio: str | None = None
    audio_start_s: float = 0.0
    audio_channel: int = 0


def write(path: Path, hypotheses: Iterable[Hypothesis]) -> None:
    """Write `hyps.jsonl`, whole or not at all; a score that is not finite becomes null, as JSON has no infinity."""
    write_text(path, "".join(_line(one) + "\n" for one in hypotheses))


def _line(one: Hypothesis) -> str:
    if one.score is not None and not math.isfinite(one.score):
        one = dataclasses.replace(one, score=None)
    return json.dumps(dataclasses.asdict(one), ensure_ascii=False, allow_nan=False)


def read(path: Path) -> list[Hypothesis]:
    """Raises DataError, with the line, for a missing or damaged file and for an id that occurs twice in a set."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; `ds2 decode` writes it") from None
    seen: dict[tuple[str, str], int] = {}
    hypotheses = []
    for number, line in enumerate(lines, start=1):
        one = _parse(line, f"{path}:{number}")
        if first := seen.get((one.set, one.id)):
            raise DataError(f"{path}:{number}: utterance {one.id!r} stands on line {first} already")
        seen[one.set, one.id] = number
        hypotheses.append(one)
    return hypotheses


def _parse(line: bytes, where: str) -> Hypothesis:
    try:
        one = Hypothesis(**json.loads(line))
    except (ValueError, TypeError) as error:
        reason = str(error).replace("Hypothesis.__init__() ", "")
        raise DataError(f"{where}: not a hypothesis ({reason}); decode this set again") from None
    for field in dataclasses.fields(Hypothesis):
        if not _is(value := getattr(one, field.name), field.type):
            raise DataError(f"{where}: {field.name} is {value!r}; decode this set again")
    return one


def _is(value: object, kind: type) -> bool:
    """isinstance, where a whole number passes for a float (JSON may say 5 for 5.0), a truth value never."""
    whole_float = isinstance(value, int) and isinstance(1.0, kind)
    return (isinstance(value, kind) or whole_float) and not isinstance(value, bool)
