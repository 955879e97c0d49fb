"""What was scored, one JSON line an utterance: the hypothesis and its errors, so that comparing needs no alignment."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ds2toolkit.errors import DataError
from ds2toolkit.files import write_text
from ds2toolkit.score.align import ErrorCounts, count_errors
from ds2toolkit.score.hypotheses import Hypothesis
from ds2toolkit.units import Unit

NAMES: dict[Unit, str] = {"word": "wer", "character": "cer"}
FIELDS = tuple(field.name for field in dataclasses.fields(Hypothesis))


@dataclass(frozen=True, eq=False)
class Scored:
    """One method's hypotheses of one test set by id. counts: by unit, int64 (num_utterances, 4): ref, sub, ins, dele."""

    hyps: tuple[Hypothesis, ...]
    counts: Mapping[Unit, np.ndarray]

    def refs(self, unit: Unit) -> np.ndarray:
        return self.counts[unit][:, 0]

    def errors(self, unit: Unit) -> np.ndarray:
        return self.counts[unit][:, 1:].sum(axis=1)


def score(hyps: Sequence[Hypothesis], units: Sequence[Unit]) -> Scored:
    """Align each hypothesis in each unit."""
    hyps = tuple(sorted(hyps, key=lambda one: one.id))
    counts = {unit: [count_errors(one.ref, one.hyp, unit) for one in hyps] for unit in units}
    rows = {unit: [(one.ref, one.sub, one.ins, one.dele) for one in found] for unit, found in counts.items()}
    return Scored(hyps, {unit: np.array(found, dtype=np.int64).reshape(-1, 4) for unit, found in rows.items()})


def total(counts: np.ndarray) -> ErrorCounts:
    """counts: (num_utterances, 4)."""
    ref, sub, ins, dele = counts.sum(axis=0).tolist()
    return ErrorCounts(ref=ref, cor=ref - sub - dele, sub=sub, ins=ins, dele=dele)


def file_of(folder: Path, set: str, method: str) -> Path:
    return folder / f"utterances-{set}-{method}.jsonl"


def write(path: Path, scored: Scored) -> None:
    columns = {NAMES[unit]: counts.tolist() for unit, counts in scored.counts.items()}
    lines = (
        json.dumps(vars(one) | {name: rows[i] for name, rows in columns.items()}, ensure_ascii=False)
        for i, one in enumerate(scored.hyps)
    )
    write_text(path, "".join(line + "\n" for line in lines))


def read(path: Path) -> Scored:
    """Raises DataError for a file that is missing or damaged."""
    try:
        rows = json.loads(b"[" + b",".join(path.read_bytes().splitlines()) + b"]")
        hyps = tuple(Hypothesis(**{name: row[name] for name in FIELDS if name in row}) for row in rows)
        units = [unit for unit, name in NAMES.items() if any(name in row for row in rows)]
        counts = {unit: np.array([row[NAMES[unit]] for row in rows], dtype=np.int64) for unit in units}
        if not counts or any(one.shape != (len(hyps), 4) for one in counts.values()):
            raise ValueError("no error counts in it")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; `ds2 score` writes it") from None
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); score this experiment again") from None
    return Scored(hyps, counts)
