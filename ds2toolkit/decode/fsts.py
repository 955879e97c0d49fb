"""H, L and G as OpenFst transducers, their composition, and its arcs as plain arrays."""

import gzip
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np

from ds2toolkit.errors import DataError, UserError

MERGE_WITHIN = 1e-5  # OpenFst's own 1/1024 would move a path's score by as much at every arc
ARPA_TO_FST = (
    "import sys, kaldilm; kaldilm.arpa2fst(sys.argv[1], sys.argv[2], disambig_symbol='#0', "
    "read_symbol_table=sys.argv[3], ilabel_sort=True, max_arpa_warnings=0)"
)

Spelled = Sequence[tuple[int, tuple[int, ...]]]
"""Pairs of a word's number (from 1) and one of its spellings in token numbers."""


def marks(spellings: Spelled) -> list[int]:
    """The number of the mark (#1, #2, …) behind each spelling; 0 where it is unique and begins no other."""
    times = Counter(spelling for _, spelling in spellings)
    beginnings = {spelling[:length] for spelling in times for length in range(1, len(spelling))}
    used: Counter = Counter()
    found = []
    for _, spelling in spellings:
        used[spelling] += 1
        found.append(used[spelling] if times[spelling] > 1 or spelling in beginnings else 0)
    return found


def lexicon_fst(
    spellings: Spelled, num_tokens: int, space: int | None, back_off_word: int
) -> kaldifst.StdVectorFst:
    """L: token number + 1 to word number, for any sequence of words.

    Input labels above the tokens' are #0 (back-off), #begin, then the marks. With a space token an utterance
    begins before the state of word starts, and only a space leads from a word's end to there; #begin keeps
    the two apart, so that no sentence has two paths. Without one, words follow one another directly.
    """
    fst = kaldifst.StdVectorFst()
    back_off, begin, before_marks = num_tokens + 1, num_tokens + 2, num_tokens + 2
    word_start = word_end = fst.start = fst.add_state()
    if space is not None:
        word_start, word_end = fst.add_state(), fst.add_state()
        fst.add_arc(fst.start, kaldifst.StdArc(begin, 0, 0.0, word_start))
        for state in (word_start, word_end):
            fst.add_arc(state, kaldifst.StdArc(space + 1, 0, 0.0, word_start))
    for state in {word_start, word_end}:
        fst.set_final(state, 0.0)
    for state in {fst.start, word_end}:
        fst.add_arc(state, kaldifst.StdArc(back_off, back_off_word, 0.0, state))
    for (word, spelling), mark in zip(spellings, marks(spellings), strict=True):
        labels = [token + 1 for token in spelling] + [before_marks + mark] * bool(mark)
        _add_word(fst, word_start, labels, word, word_end)
    return fst


def _add_word(fst: kaldifst.StdVectorFst, source: int, labels: list[int], word: int, end: int) -> None:
    for position, label in enumerate(labels):
        target = end if position == len(labels) - 1 else fst.add_state()
        fst.add_arc(source, kaldifst.StdArc(label, word if position == 0 else 0, 0.0, target))
        source = target


def grammar_fst(arpa: Path, words_txt: Path, folder: Path) -> kaldifst.StdVectorFst:
    """G over the words of words.txt, in a process of its own: kaldilm ends the whole process on an error."""
    plain, target = folder / "lm.arpa", folder / "G.fst"
    with gzip.open(arpa) if arpa.suffix == ".gz" else arpa.open("rb") as source, plain.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    command = [sys.executable, "-c", ARPA_TO_FST, str(plain), str(target), str(words_txt)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode or not target.exists():
        raise DataError(f"{arpa} could not be read as an ARPA language model: {done.stderr.strip()[-300:]}")
    fst = kaldifst.StdVectorFst.read(str(target))
    plain.unlink()
    target.unlink()
    return fst


def ctc_topology(num_tokens: int) -> kaldifst.StdVectorFst:
    """H: state u has just read token u (0, the blank); a token repeated without a blank counts once."""
    fst = kaldifst.StdVectorFst()
    for state in range(num_tokens):
        fst.add_state()
        fst.set_final(state, 0.0)
        for token in range(num_tokens):
            label = 0 if token in (state, 0) else token + 1
            fst.add_arc(state, kaldifst.StdArc(token + 1, label, 0.0, token))
    fst.start = 0
    return fst


def compose(spellings: Spelled, num_tokens: int, space: int | None, grammar, folder: Path) -> dict[str, int]:
    """Compose H∘L∘G and write HLG.fst, k2_arcs.npy and k2_words.npy. Returns their sizes.

    The back-off arcs of G have no input. OpenFst's decoders follow them; k2 would read their label 0 as the
    blank, so for k2 they are removed before H is put on top.
    """
    lexicon = lexicon_fst(spellings, num_tokens, space, back_off_word=max(word for word, _ in spellings) + 1)
    kaldifst.arcsort(lexicon, "olabel")
    graph = kaldifst.compose(lexicon, grammar)
    kaldifst.determinize_star(graph)
    kaldifst.minimize_encoded(graph, delta=MERGE_WITHIN)
    graph = to_fst(merge_marks(read_arcs(graph, folder), num_tokens))
    topology = ctc_topology(num_tokens)
    full = _on_top(topology, graph)
    if not full.write(str(folder / "HLG.fst")):
        raise UserError(f"{folder / 'HLG.fst'} could not be written: is the disk full?")
    kaldifst.rmepsilon(graph)
    k2_arcs, k2_words = for_k2(read_arcs(_on_top(topology, graph), folder))
    np.save(folder / "k2_arcs.npy", k2_arcs)
    np.save(folder / "k2_words.npy", k2_words)
    num_arcs = sum(full.num_arcs(state) for state in range(full.num_states))
    return {"num_states": full.num_states, "num_arcs": num_arcs, "num_k2_arcs": len(k2_arcs)}


def _on_top(topology, graph):
    kaldifst.arcsort(topology, "olabel")
    kaldifst.arcsort(graph, "ilabel")
    composed = kaldifst.compose(topology, graph)
    kaldifst.arcsort(composed, "ilabel")
    return composed


@dataclass(frozen=True)
class Arcs:
    """A transducer as arrays: a row an arc, by source; final_cost is inf where a state is not final."""

    start: int
    source: np.ndarray
    target: np.ndarray
    ilabel: np.ndarray
    olabel: np.ndarray
    cost: np.ndarray
    final_cost: np.ndarray


def read_arcs(fst, folder: Path) -> Arcs:
    """All arcs at once, exact, by way of OpenFst's "const" file: a header, then states, then arcs."""
    path = folder / "const.fst"
    if not kaldifst.StdConstFst(fst).write(str(path)):
        raise UserError(f"{path} could not be written: is the disk full?")
    data = path.read_bytes()
    path.unlink()
    header = struct.Struct("<ii5si8siiQqqq")
    _, _, kind, _, arc_kind, _, flags, _, start, num_states, num_arcs = header.unpack_from(data)
    state_type = np.dtype(
        [("final", "<f4"), ("position", "<u4"), ("num_arcs", "<u4"), ("epsilons", "<u4", 2)]
    )
    arc_type = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("cost", "<f4"), ("target", "<i4")])
    size = header.size + num_states * state_type.itemsize + num_arcs * arc_type.itemsize
    if (kind, arc_kind, flags, size) != (b"const", b"standard", 0, len(data)):
        raise RuntimeError(f"this OpenFst writes its const files in another way: {kind}, {arc_kind}, {flags}")
    states = np.frombuffer(data, state_type, num_states, header.size)
    arcs = np.frombuffer(data, arc_type, num_arcs, header.size + states.nbytes)
    source = np.repeat(np.arange(num_states, dtype=np.int32), states["num_arcs"])
    return Arcs(start, source, arcs["target"], arcs["ilabel"], arcs["olabel"], arcs["cost"], states["final"])


def merge_marks(arcs: Arcs, num_tokens: int) -> Arcs:
    """Remove the input labels that only kept L∘G deterministic.

    #0 and #begin have no output and become epsilons. A mark often carries the word; it goes into each arc
    that enters its source state (the last token of the spelling), because an output without an input could
    not be removed for k2.
    """
    marked = arcs.ilabel > num_tokens + 2
    into = np.argsort(arcs.target, kind="stable")
    first, last = (
        np.searchsorted(arcs.target[into], arcs.source[marked], side) for side in ("left", "right")
    )
    mark = np.repeat(np.flatnonzero(marked), last - first)
    entering = into[np.repeat(last - np.cumsum(last - first), last - first) + np.arange(len(mark))]
    ilabel = np.where(arcs.ilabel > num_tokens, 0, arcs.ilabel)
    if (arcs.olabel[(ilabel == 0) & ~marked] != 0).any() or (
        arcs.olabel[entering] * arcs.olabel[mark] != 0
    ).any():
        raise RuntimeError("a word ended up where L∘G should have none")
    kept = np.flatnonzero(~marked)
    rows = np.concatenate([kept, entering])
    target = np.concatenate([arcs.target[kept], arcs.target[mark]])
    olabel = np.concatenate([arcs.olabel[kept], arcs.olabel[entering] + arcs.olabel[mark]])
    cost = np.concatenate([arcs.cost[kept], arcs.cost[entering] + arcs.cost[mark]])
    return Arcs(arcs.start, arcs.source[rows], target, ilabel[rows], olabel, cost, arcs.final_cost)


def to_fst(arcs: Arcs) -> kaldifst.StdVectorFst:
    """The transducer of arrays, without the states that lie on no path."""
    order = np.argsort(arcs.source != arcs.start, kind="stable")
    columns = (arcs.source, arcs.target, arcs.ilabel, arcs.olabel, arcs.cost)
    lines = [
        "{} {} {} {} {!r}".format(*row) for row in zip(*(c[order].tolist() for c in columns), strict=True)
    ]
    finals = np.flatnonzero(np.isfinite(arcs.final_cost))
    lines += [f"{state} {arcs.final_cost[state].item()!r}" for state in finals.tolist()]
    fst = kaldifst.compile("\n".join(lines) + "\n")
    kaldifst.connect(fst)
    return fst


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
