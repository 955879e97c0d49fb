"""The graph of CTC alone, H without lexicon and language model: its words are the tokens."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ds2toolkit.decode.arcs import for_k2
from ds2toolkit.decode.fsts import MAX_STANDARD, ctc_topology
from ds2toolkit.decode.graph import EPSILON, Graph
from ds2toolkit.text.pieces import WORD_START

TOKEN_COST = 1e-3  # in the linear topology a run of equal tokens may count as several: the fewest are to win


@dataclass(frozen=True)
class TokenGraph(Graph):
    """Its files last as long as it does."""

    temporary: tempfile.TemporaryDirectory = field(repr=False)

    def spell(self, word_ids: Sequence[int]) -> tuple[str, ...]:
        """The words of tokens: what stands between spaces, or all of it where the tokens have none."""
        return tuple("".join(super().spell(word_ids)).replace(WORD_START, " ").split())


def token_graph(graph: Graph) -> TokenGraph:
    """H for the tokens of another graph: an arc for each pair of them, or for large vocabularies four a token."""
    topology = ctc_topology(len(graph.tokens))
    if len(graph.tokens) > MAX_STANDARD:
        topology = replace(topology, cost=np.where(topology.olabel > 0, TOKEN_COST, 0.0).astype(np.float32))
    temporary = tempfile.TemporaryDirectory(prefix="ds2-ctc-")
    made = TokenGraph(Path(temporary.name), graph.tokens, (EPSILON, *graph.tokens), {}, temporary)
    for path, rows in zip(made.k2_files, for_k2(topology), strict=True):
        np.save(path, rows)
    return made
