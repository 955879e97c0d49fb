"""Transducers as plain arrays: read from OpenFst, changed in all their arcs at once, and given back to it or to k2."""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import kaldifst
import numpy as np

from ds2toolkit.errors import UserError

MAGIC = 2125659606
VECTOR_HEADER = struct.Struct("<ii6si8siiQqqq")
CONST_HEADER = struct.Struct("<ii5si8siiQqqq")
VECTOR_VERSION, EXPANDED_AND_MUTABLE = 2, 3
STATE = np.dtype([("final", "<f4"), ("position", "<u4"), ("num_arcs", "<u4"), ("epsilons", "<u4", 2)])
ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("cost", "<f4"), ("target", "<i4")])
COLUMNS = ("source", "target", "ilabel", "olabel", "cost")


@dataclass(frozen=True)
class Arcs:
    """A transducer as arrays: a row an arc; final_cost is inf where a state is not final."""

    start: int
    source: np.ndarray
    target: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    cost: np.ndarray
    final_cost: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, chosen: np.ndarray) -> "Arcs":
        """Only some arcs, by number or by truth value."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in COLUMNS})

    def more(self, other: "Arcs") -> "Arcs":
        """With the arcs of another transducer of the same states."""
        return replace(self, **{n: np.concatenate([getattr(self, n), getattr(other, n)]) for n in COLUMNS})


def read_arcs(fst, folder: Path) -> Arcs:
    """All arcs at once, exact, by source, by way of OpenFst's "const" file: a header, then states, then arcs."""
    path = folder / "const.fst"
    if not kaldifst.StdConstFst(fst).write(str(path)):
        raise UserError(f"{path} could not be written: is the disk full?")
    data = path.read_bytes()
    path.unlink()
    _, _, kind, _, arc_kind, _, flags, _, start, num_states, num_arcs = CONST_HEADER.unpack_from(data)
    size = CONST_HEADER.size + num_states * STATE.itemsize + num_arcs * ARC.itemsize
    if (kind, arc_kind, flags, size) != (b"const", b"standard", 0, len(data)):
        raise RuntimeError(f"this OpenFst writes its const files in another way: {kind}, {arc_kind}, {flags}")
    states = np.frombuffer(data, STATE, num_states, CONST_HEADER.size)
    arcs = np.frombuffer(data, ARC, num_arcs, CONST_HEADER.size + states.nbytes)
    source = np.repeat(np.arange(num_states, dtype=np.int32), states["num_arcs"])
    return Arcs(start, source, arcs["target"], arcs["ilabel"], arcs["olabel"], arcs["cost"], states["final"])


def to_fst(arcs: Arcs, folder: Path) -> kaldifst.StdVectorFst:
    """The transducer of arrays, without the states that lie on no path, by way of OpenFst's "vector" file.

    There each state is a final cost and a count, then its arcs: 12 bytes, then 16 an arc.
    """
    num_states = len(arcs.final_cost)
    arcs = arcs.rows(np.argsort(arcs.source, kind="stable"))
    counts = np.bincount(arcs.source, minlength=num_states)
    words = np.empty(3 * num_states + 4 * len(arcs), np.int32)
    at = 3 * np.arange(num_states) + 4 * (np.cumsum(counts) - counts)
    words[at] = arcs.final_cost.astype(np.float32).view(np.int32)
    words[at + 1], words[at + 2] = counts, 0
    at = 3 * (arcs.source + 1) + 4 * np.arange(len(arcs))
    columns = (arcs.ilabel, arcs.olabel, arcs.cost.astype(np.float32).view(np.int32), arcs.target)
    for place, column in enumerate(columns):
        words[at + place] = column
    kinds = (MAGIC, 6, b"vector", 8, b"standard", VECTOR_VERSION, 0, EXPANDED_AND_MUTABLE)
    path = folder / "vector.fst"
    path.write_bytes(VECTOR_HEADER.pack(*kinds, arcs.start, num_states, 0) + words.tobytes())
    fst = kaldifst.StdVectorFst.read(str(path))
    path.unlink()
    kaldifst.connect(fst)
    return fst


def followed_by(arcs: Arcs, others: Arcs) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of an arc and one of the others that leaves the state it enters, as row numbers of either."""
    by_source = np.argsort(others.source, kind="stable")
    first, last = (np.searchsorted(others.source[by_source], arcs.target, side) for side in ("left", "right"))
    count = last - first
    row = np.repeat(np.arange(len(arcs)), count)
    return row, by_source[np.repeat(last - np.cumsum(count), count) + np.arange(len(row))]


def merge_marks(arcs: Arcs, num_tokens: int) -> Arcs:
    """Remove the input labels that only kept L∘G deterministic.

    #0 and #begin have no output and become epsilons. A mark often carries the word; it goes into each arc
    that enters its source state (the last token of the spelling), because an output without an input could
    not be removed for k2.
    """
    marked = arcs.ilabel > num_tokens + 2
    marks, others = arcs.rows(marked), arcs.rows(~marked)
    entering, mark = followed_by(others, marks)
    twice = others.olabel[entering] * marks.olabel[mark] != 0
    if others.olabel[others.ilabel > num_tokens].any() or twice.any():
        raise RuntimeError("a word ended up where L∘G should have none")
    merged = others.more(joined(others.rows(entering), marks.rows(mark)))
    return replace(merged, ilabel=np.where(merged.ilabel > num_tokens, 0, merged.ilabel))


def joined(arcs: Arcs, nexts: Arcs) -> Arcs:
    """Each arc and the one behind it as one arc, of which only the first may have an input and only one an output."""
    return replace(arcs, target=nexts.target, olabel=arcs.olabel + nexts.olabel, cost=arcs.cost + nexts.cost)


def without_epsilons(arcs: Arcs) -> Arcs:
    """The same paths without arcs that have no input: whatever arc leads to one leads past it, too.

    Such are the back-off arcs. A history backs off no more often than it is long, so the arcs become a few times as
    many. Copying what follows an epsilon instead, as OpenFst does, would give each history every word there is.
    """
    epsilons, heard = arcs.rows(arcs.ilabel == 0), arcs.rows(arcs.ilabel != 0)
    if epsilons.olabel.any():
        raise RuntimeError("an output without an input, which cannot be removed")
    heard = past(heard, epsilons)
    to_start = replace(arcs, **{name: np.array([0]) for name in COLUMNS} | {"target": np.array([arcs.start])})
    entering = past(to_start, epsilons).rows(slice(1, None))
    entry, row = followed_by(entering, heard)
    first = joined(entering.rows(entry), heard.rows(row))
    first = replace(first, source=np.full(len(row), arcs.start), ilabel=heard.ilabel[row])
    final_cost = arcs.final_cost.copy()
    ends = entering.cost + final_cost[entering.target]
    final_cost[arcs.start] = np.min(ends, initial=final_cost[arcs.start])
    return replace(heard.more(first), final_cost=final_cost)


def past(arcs: Arcs, epsilons: Arcs) -> Arcs:
    """The arcs, and a copy of each to wherever epsilons lead from its target."""
    found = newest = arcs
    while len(newest):
        row, epsilon = followed_by(newest, epsilons)
        newest = joined(newest.rows(row), epsilons.rows(epsilon))
        found = found.more(newest)
    return found


def for_k2(arcs: Arcs) -> tuple[np.ndarray, np.ndarray]:
    """k2's form: int32 rows of source, target, token number, bits of the score; and each arc's word number.

    State 0 is the start; the last state is the only final one, entered by arcs of label -1. Rows are sorted
    as k2 wants them: by source, then label, -1 last.
    """
    if (arcs.ilabel == 0).any():
        raise RuntimeError("an arc without input is left, which k2 would take for a blank")
    finals = np.flatnonzero(np.isfinite(arcs.final_cost))
    end = len(arcs.final_cost)
    state = np.arange(end + 1)
    state[[0, arcs.start]] = state[[arcs.start, 0]]
    score = -np.concatenate([arcs.cost, arcs.final_cost[finals]]).astype(np.float32)
    rows = np.stack(
        [
            state[np.concatenate([arcs.source, finals])],
            state[np.concatenate([arcs.target, np.full(len(finals), end)])],
            np.concatenate([arcs.ilabel - 1, np.full(len(finals), -1)]),
            score.view(np.int32),
        ],
        axis=1,
    ).astype(np.int32)
    words = np.concatenate([arcs.olabel, np.full(len(finals), -1)]).astype(np.int32)
    order = np.lexsort((rows[:, 1], rows[:, 2].view(np.uint32), rows[:, 0]))
    return rows[order], words[order]
