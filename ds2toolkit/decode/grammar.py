"""The larger language model that rescores, from an ARPA file to the arrays of a back-off model."""

from pathlib import Path

import numpy as np

from ds2toolkit.decode.arcs import read_arcs
from ds2toolkit.decode.fsts import grammar_fst


def write(arpa: Path, folder: Path, num_words: int, target: Path) -> int:
    """Write what BackOffModel reads, and return the number of its n-grams. Raises DataError for a damaged ARPA file.

    folder: of a graph, with words.txt, whose words have the numbers from 1 to num_words; #0 comes next.
    """
    arcs = read_arcs(grammar_fst(arpa, folder / "words.txt", folder), folder)
    ends = np.flatnonzero(np.isfinite(arcs.final_cost))
    backs, says = arcs.rows(arcs.ilabel == num_words + 1), arcs.rows(arcs.ilabel <= num_words)
    shorter, back_off = np.full(len(arcs.final_cost), -1), np.full(len(arcs.final_cost), -np.inf)
    shorter[backs.source], back_off[backs.source] = backs.target, -backs.cost
    key = np.concatenate([says.source.astype(np.int64) * (num_words + 1) + says.ilabel, ends * (num_words + 1)])
    order = np.argsort(key)
    with target.open("wb") as file:
        np.savez(
            file, start=arcs.start, num_words=num_words, key=key[order],
            target=np.concatenate([says.target, ends])[order],
            log_prob=-np.concatenate([says.cost, arcs.final_cost[ends]])[order],
            shorter=shorter, back_off=back_off,
        )  # fmt: skip
    return len(key)
