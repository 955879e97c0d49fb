"""H, L and G as OpenFst transducers, and their composition."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import kaldifst
import numpy as np

from ds2toolkit.decode.arcs import Arcs, for_k2, merge_marks, read_arcs, to_fst, without_epsilons
from ds2toolkit.errors import DataError, UserError
from ds2toolkit.text.arpa import arpa_lines

MAX_STANDARD = 500  # tokens; the arcs of the standard CTC topology are their square
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
    with plain.open("w", encoding="utf-8") as copy:
        copy.writelines(f"{line}\n" for line in arpa_lines(arpa))
    command = [sys.executable, "-c", ARPA_TO_FST, str(plain), str(target), str(words_txt)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode or not target.exists():
        raise DataError(f"{arpa} could not be read as an ARPA language model: {done.stderr.strip()[-300:]}")
    fst = kaldifst.StdVectorFst.read(str(target))
    plain.unlink()
    target.unlink()
    return fst


def ctc_topology(num_tokens: int) -> Arcs:
    """H, from output symbols by frame (token number + 1) to token number + 1; 0 where a frame adds no token.

    Up to MAX_STANDARD tokens it is the standard one: state u has just read token u (0, the blank), and a token
    repeated without a blank counts once. It has an arc for each pair of tokens, 18 million for 4,300 characters.
    """
    return _standard_topology(num_tokens) if num_tokens <= MAX_STANDARD else _linear_topology(num_tokens)


def _standard_topology(num_tokens: int) -> Arcs:
    source, token = (each.ravel() for each in np.indices((num_tokens, num_tokens)))
    olabel = np.where((token == source) | (token == 0), 0, token + 1)
    return _unweighted(source, token, token + 1, olabel, np.zeros(num_tokens))


def _linear_topology(num_tokens: int) -> Arcs:
    """For large vocabularies, four arcs a token: k2's "modified" topology.

    A run of equal tokens may count as one token or as several, each at least a frame long: two equal tokens need
    no blank between them, and it is for the language model to say how many there are. The network was trained to
    put a blank there, so little is lost; a double token that it did not hear apart may be found all the same.
    State 0 begins a token or passes blanks; state u goes on with token u.
    """
    token = np.arange(1, num_tokens)
    zero = 0 * token
    rows = [
        np.stack([zero, zero, token + 1, token + 1]),  # one frame
        np.stack([zero, token, token + 1, token + 1]),  # the first of several
        np.stack([token, token, token + 1, zero]),
        np.stack([token, zero, token + 1, zero]),  # the last of several
        np.array([[0], [0], [1], [0]]),  # a blank
    ]
    return _unweighted(*np.concatenate(rows, axis=1), np.where(np.arange(num_tokens) == 0, 0, np.inf))


def _unweighted(source, target, ilabel, olabel, final_cost) -> Arcs:
    return Arcs(0, source, target, ilabel, olabel, np.zeros(len(source), np.float32), final_cost)


def compose(spellings: Spelled, num_tokens: int, space: int | None, grammar, folder: Path) -> dict[str, int | str]:
    """Compose H∘L∘G and write HLG.fst, k2_arcs.npy and k2_words.npy. Returns their sizes and the topology of H.

    The back-off arcs of G have no input. OpenFst's decoders follow them; k2 would read their label 0 as the
    blank, so for k2 they are removed before H is put on top.
    """
    lexicon = lexicon_fst(spellings, num_tokens, space, back_off_word=max(word for word, _ in spellings) + 1)
    kaldifst.arcsort(lexicon, "olabel")
    graph = kaldifst.compose(lexicon, grammar)
    kaldifst.determinize_star(graph)
    kaldifst.minimize_encoded(graph, delta=MERGE_WITHIN)
    arcs = merge_marks(read_arcs(graph, folder), num_tokens)
    topology = to_fst(ctc_topology(num_tokens), folder)
    full = _on_top(topology, to_fst(arcs, folder))
    if not full.write(str(folder / "HLG.fst")):
        raise UserError(f"{folder / 'HLG.fst'} could not be written: is the disk full?")
    k2_arcs, k2_words = for_k2(read_arcs(_on_top(topology, to_fst(without_epsilons(arcs), folder)), folder))
    np.save(folder / "k2_arcs.npy", k2_arcs)
    np.save(folder / "k2_words.npy", k2_words)
    num_arcs = sum(full.num_arcs(state) for state in range(full.num_states))
    sizes = {"num_states": full.num_states, "num_arcs": num_arcs, "num_k2_arcs": len(k2_arcs)}
    return sizes | {"topology": "standard" if num_tokens <= MAX_STANDARD else "linear"}


def _on_top(topology, graph):
    kaldifst.arcsort(topology, "olabel")
    kaldifst.arcsort(graph, "ilabel")
    composed = kaldifst.compose(topology, graph)
    kaldifst.arcsort(composed, "ilabel")
    return composed
