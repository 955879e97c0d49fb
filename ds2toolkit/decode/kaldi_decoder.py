"""Graph decoding with kaldi-decoder, on the CPU: what runs where k2 is absent, and what k2 is held to."""

from collections.abc import Sequence

import kaldi_decoder
import kaldifst
import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_decoder import BestPath


class KaldiDecoder:
    """One graph in OpenFst's memory; the same interface as k2's."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.fst = kaldifst.StdVectorFst.read(str(graph.fst))

    def __enter__(self) -> "KaldiDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to end."""

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[BestPath]:
        """log_probs: an array (S, V) an utterance. One BestPath each, in order; output_beam has no use here.

        Raises ValueError for arrays of another V or with NaN.
        """
        max_active = max(search.max_active, 2)  # the library takes no less, and a smaller min_active
        options = kaldi_decoder.FasterDecoderOptions(
            beam=search.search_beam, max_active=max_active, min_active=min(search.min_active, max_active - 1)
        )
        decoder = kaldi_decoder.FasterDecoder(self.fst, options)
        return [self._best_path(decoder, log_probs_SV) for log_probs_SV in self.graph.checked(log_probs)]

    def _best_path(self, decoder: kaldi_decoder.FasterDecoder, log_probs_SV: np.ndarray) -> BestPath:
        nothing = BestPath((), -np.inf, False)
        if not len(log_probs_SV):
            return nothing
        decoder.decode(kaldi_decoder.DecodableCtc(log_probs_SV))
        found, lattice = decoder.get_best_path()
        if not found:
            return nothing
        _, _, word_ids, weight = kaldifst.get_linear_symbol_sequence(lattice)
        return BestPath(tuple(word_ids), -(weight.value1 + weight.value2), decoder.reached_final())
