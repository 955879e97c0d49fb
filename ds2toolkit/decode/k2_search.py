"""What k2 finds for a batch, within bounded memory: best paths, n-best lists, rescored lattices, alignments."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.align import Alignment, check_targets
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.paths import FIRST_PASS, INSTEAD, NOTHING, Beams, BestPath, Scales, ScoredPath
from ds2toolkit.errors import UserError

log = logging.getLogger(__name__)

Way = Literal["1best", "nbest", "lattice", "ctc"]
NUM_PATHS = 100
NUM_TRIES = 5


class K2Search:
    """Searches batches with k2, wherever it runs.

    A batch that needs too much memory is searched in halves; an utterance that does so alone, with tighter beams. All
    raise ValueError for arrays of another V or with NaN, UserError when the worker died or memory never sufficed.
    """

    def __init__(self, graph: Graph, engine: Any, way: Way = "1best"):
        """engine: a K2Decoder, or a K2Worker, which has the same methods."""
        self.graph, self.engine, self.way = graph, engine, way

    def __enter__(self) -> "K2Search":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, where there is one."""
        self.engine.close()

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[BestPath]:
        """log_probs: an array (S, V) an utterance. One BestPath each, in their order, found as `way` says."""
        if self.way == "nbest":
            return [best_rescored(paths) for paths in self.nbest(log_probs, search, NUM_PATHS)]
        if self.way == "lattice":
            return [best_rescored(paths) for paths in self.rescore(log_probs, search, [INSTEAD])]
        return self._search(self.engine.decode, log_probs, search)

    def best_paths(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num: int) -> list[list[BestPath]]:
        """At most num distinct word sequences an utterance, the best first, which is what `decode` finds.

        For the ways "1best", within output_beam, and "nbest", of the NUM_PATHS that it has.
        """
        if self.way == "nbest":
            return [rescored(paths)[:num] for paths in self.nbest(log_probs, search, NUM_PATHS)]
        return [[scored(path, FIRST_PASS) for path in paths] for paths in self.nbest(log_probs, search, num)]

    def nbest(self, log_probs: Sequence[np.ndarray], search: SearchConfig, num_paths: int) -> list[list[ScoredPath]]:
        """The best distinct word sequences of each utterance within output_beam, at most num_paths, the best first.

        With a larger language model in the graph's folder each has its score, too.
        """
        return self._search(self.engine.nbest, log_probs, search, num_paths)

    def rescore(
        self, log_probs: Sequence[np.ndarray], search: SearchConfig, scales: Sequence[Scales] = (INSTEAD,)
    ) -> list[list[ScoredPath]]:
        """The best path of each utterance's whole lattice, for each pair of scales: of the graph's language model and
        of the larger one. All come from one search. An utterance without any path has none."""
        self.graph.check_larger_lm()
        return self._search(self.engine.rescore, log_probs, search, list(scales))

    def align(self, log_probs: Sequence[np.ndarray], targets: Sequence[Sequence[int]]) -> list[Alignment]:
        """As align.align for each utterance, by k2. Raises DataError where the frames do not suffice."""
        log_probs = self.graph.checked(log_probs)
        pairs = list(zip(log_probs, targets, strict=True))
        for log_probs_SV, wanted in pairs:
            check_targets(log_probs_SV, wanted)
        if not pairs:
            return []
        found = in_halves(lambda batch: self.engine.align(*map(list, zip(*batch, strict=True))), pairs)
        return [Alignment(np.array(position_S), score) for position_S, score in found]

    def _search(self, find: Callable, log_probs: Sequence[np.ndarray], search: SearchConfig, *arguments: Any) -> list:
        beams = Beams(search.search_beam, search.output_beam, search.min_active, search.max_active)
        return in_halves(lambda batch: tighter_if_alone(find, batch, beams, *arguments), self.graph.checked(log_probs))


def best_rescored(paths: Sequence[ScoredPath]) -> BestPath:
    """The first of `rescored`."""
    return next(iter(rescored(paths)), NOTHING)


def rescored(paths: Sequence[ScoredPath]) -> list[BestPath]:
    """Those that the larger language model can say, the best by it first; where it can say none, all by the graph's."""
    sayable = [path for path in paths if path.score(*INSTEAD) > -np.inf]
    found = [scored(path, INSTEAD if sayable else FIRST_PASS) for path in sayable or paths]
    return sorted(found, key=lambda path: -path.score)


def scored(path: ScoredPath, scales: Scales) -> BestPath:
    return BestPath(path.word_ids, path.score(*scales), path.reached_final)


def in_halves(find: Callable[[list], list], batch: list) -> list:
    """What is found for each of a batch, which is halved as often as memory asks for it."""
    try:
        return find(batch)
    except MemoryError as error:
        if len(batch) < 2:
            raise UserError(f"k2 ran out of memory on a single utterance ({error}): give it more memory") from None
        log.warning("k2 ran out of memory on a batch of %d utterances (%s); taking it in halves", len(batch), error)
    middle = len(batch) // 2
    return in_halves(find, batch[:middle]) + in_halves(find, batch[middle:])


def tighter_if_alone(find: Callable, log_probs: list[np.ndarray], beams: Beams, *arguments: Any) -> list:
    """What is found with the beams, or with tighter ones for a single utterance too large. Raises MemoryError."""
    for _ in range(NUM_TRIES - 1):
        try:
            return find(log_probs, beams, *arguments)
        except MemoryError as error:
            if len(log_probs) > 1:
                raise
            beams = beams.tighter()
            log.warning(
                "k2 ran out of memory on an utterance of %d frames (%s); searching it again with tighter beams: "
                "search_beam %g, output_beam %g, max_active %d",
                len(log_probs[0]), error, beams.search_beam, beams.output_beam, beams.max_active,
            )  # fmt: skip
    return find(log_probs, beams, *arguments)
