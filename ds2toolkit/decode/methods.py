"""The methods of decoding by name: how each is opened, what of it is tuned, whether it runs in many processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.beam import LexiconSearch
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.kaldi_decoder import KaldiDecoder
from ds2toolkit.decode.paths import BestPath
from ds2toolkit.decode.prefix import PrefixSearch
from ds2toolkit.decode.search import Found, Material, Search


class GraphSearch:
    """Any decoder of the graph, the graph's log-probabilities weighed by lm_scale."""

    def __init__(self, opener: Callable[[Graph], Any], material: Material):
        graph = Graph.load(material.graph)
        graph.check_tokens(material.vocabulary.tokens)
        self.decoder = opener(graph)

    def __enter__(self) -> "GraphSearch":
        return self

    def __exit__(self, *_: object) -> None:
        self.decoder.close()

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[Found]:
        """log_probs: an array (S, V) an utterance. Scores are log p_ctc + lm_scale * the graph's."""
        return [self._found(path, search) for path in self.decoder.decode(*divided(log_probs, search))]

    def nbest(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num: int) -> list[list[Found]]:
        """At most num distinct word sequences an utterance, the best first, with the same scores; of k2 alone."""
        lists = self.decoder.best_paths(*divided(log_probs, search), num)
        return [[self._found(path, search) for path in paths] for paths in lists]

    def _found(self, path: BestPath, search: SearchConfig) -> Found:
        words = self.decoder.graph.spell(path.word_ids)  # without a language model the graph's words are the tokens
        return Found(words, path.score * search.lm_scale, path.reached_final)


def divided(log_probs: Sequence[np.ndarray], search: SearchConfig) -> tuple[Sequence[np.ndarray], SearchConfig]:
    """What to give a decoder of a graph, so that its scores times lm_scale are log p_ctc + lm_scale * the graph's.

    Such decoders weigh the two alike. So the network's, and the beams, are divided by lm_scale.
    """
    scale = search.lm_scale
    if scale == 1:
        return log_probs, search
    beams = {"search_beam": search.search_beam / scale, "output_beam": search.output_beam / scale}
    return [log_probs_SV / np.float32(scale) for log_probs_SV in log_probs], replace(search, **beams)


@dataclass(frozen=True)
class Method:
    """tuned_as: methods of the same name share what `ds2 tune` chose; tuned: which weights that is; beam: and which beam.

    files: what these are chosen for, to know it again. min_batches: as many take about as long as to start a process.
    lists: whether it is a ListingSearch.
    """

    open: Callable[[Material], Search]
    files: Callable[[Material], tuple[Path, ...]]
    tuned_as: str
    tuned: tuple[str, ...]
    beam: str = "search_beam"
    min_batches: int = 6
    lists: bool = False


def graph_files(material: Material) -> tuple[Path, ...]:
    return tuple(material.graph / name for name in ("meta.json", "tokens.txt", "words.txt"))


def of_graph(opener: Callable[[Graph], Any], tuned_as: str = "graph") -> Method:
    return Method(lambda material: GraphSearch(opener, material), graph_files, tuned_as, ("lm_scale",))


def of_k2(way: str, tuned_as: str = "graph") -> Method:
    def opener(graph: Graph) -> Any:
        from ds2toolkit.decode.k2_worker import open_k2  # it brings torch, which processes of other methods can spare

        return open_k2(graph, way)

    return replace(of_graph(opener, tuned_as), min_batches=60, lists=way in ("1best", "nbest"))


def open_beam(material: Material) -> Search:
    """With the lexicon; where words have no space between them flashlight's trie would lose the repeats of their ends."""
    return LexiconSearch(material) if " " in material.vocabulary.tokens else PrefixSearch(material, lexicon=True)


def open_free(material: Material) -> Search:
    return PrefixSearch(material, lexicon=False)


METHODS: dict[str, Method] = {
    "beam": Method(open_beam, graph_files, "beam", ("alpha", "beta"), "beam_size", lists=True),
    "beam-free": Method(open_free, graph_files, "beam-free", ("alpha", "beta"), "beam_size", lists=True),
    "k2": of_k2("1best"),
    "kaldi": of_graph(KaldiDecoder),
    "k2-nbest": of_k2("nbest", tuned_as="rescored"),
    "k2-lattice": of_k2("lattice", tuned_as="rescored"),
    "k2-ctc": replace(of_k2("ctc"), tuned_as="", tuned=()),
}
