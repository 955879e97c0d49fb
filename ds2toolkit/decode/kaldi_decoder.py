"""Graph decoding with kaldi-decoder, on the CPU: what runs where k2 is absent, what k2 is held to, and streams."""

from collections.abc import Sequence

import kaldi_decoder
import kaldifst
import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.paths import NOTHING, BestPath


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
        decoder = kaldi_decoder.FasterDecoder(self.fst, options(search))
        return [self._best_path(decoder, log_probs_SV) for log_probs_SV in self.graph.checked(log_probs)]

    def _best_path(self, decoder: kaldi_decoder.FasterDecoder, log_probs_SV: np.ndarray) -> BestPath:
        if not len(log_probs_SV):
            return NOTHING
        decoder.decode(kaldi_decoder.DecodableCtc(log_probs_SV))
        return best_path(decoder, to_end=True)


class StreamingDecoder:
    """One utterance over the graph as its frames come in; another may follow once it is finished."""

    def __init__(self, graph: Graph, search: SearchConfig):
        self.graph = graph
        self.fst = kaldifst.StdVectorFst.read(str(graph.fst))
        self.decoder = kaldi_decoder.FasterDecoder(self.fst, options(search))
        self.decoder.init_decoding()

    def accept(self, log_probs_SV: np.ndarray) -> tuple[str, ...]:
        """Decode the next frames, as many as there are. Returns the words of the best path so far, of which the last
        ones may still change. Raises ValueError for an array of another V or with NaN."""
        (log_probs_SV,) = self.graph.checked([log_probs_SV])
        decoded = self.decoder.num_frames_decoded()
        if len(log_probs_SV):
            self.decoder.advance_decoding(kaldi_decoder.DecodableCtc(log_probs_SV, decoded))
        elif not decoded:
            return ()
        return self.graph.spell(best_path(self.decoder, to_end=False).word_ids)

    def finish(self) -> BestPath:
        """The end of the utterance: what `KaldiDecoder` finds for all its frames at once, however they were cut up."""
        found = best_path(self.decoder, to_end=True) if self.decoder.num_frames_decoded() else NOTHING
        self.decoder.init_decoding()
        return found


def options(search: SearchConfig) -> kaldi_decoder.FasterDecoderOptions:
    max_active = max(search.max_active, 2)  # the library takes no less, and a smaller min_active
    return kaldi_decoder.FasterDecoderOptions(
        beam=search.search_beam, max_active=max_active, min_active=min(search.min_active, max_active - 1)
    )


def best_path(decoder: kaldi_decoder.FasterDecoder, to_end: bool) -> BestPath:
    """The best path that has read every frame; where to_end, one that ends in a final state if there is any."""
    found, lattice = decoder.get_best_path(use_final_probs=to_end)
    if not found:
        return NOTHING
    _, _, word_ids, weight = kaldifst.get_linear_symbol_sequence(lattice)
    return BestPath(tuple(word_ids), -(weight.value1 + weight.value2), decoder.reached_final())
