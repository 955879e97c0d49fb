"""Search, n-best lists, rescoring and alignment with k2: in this process, or in a worker under another Python.

Beside k2, torch, numpy and the standard library only modules are imported here that need no others: the worker's
Python has no more.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ds2toolkit.decode.backoff import BackOffModel
from ds2toolkit.decode.lattice import Lattice, nbest, rescore
from ds2toolkit.decode.paths import NOTHING, Beams, BestPath, Scales, ScoredPath

K2_FAILED = "Some bad things happened"  # all that k2 raises where one of its checks fails, as of a 32-bit index
ALIGN_BEAM = 10.0  # of which an alignment needs only the best


class K2Decoder:
    """One graph in k2's memory; every method takes a batch of utterances, an array (S, V) of float32 each.

    All raise MemoryError when the batch needs more than there is, or more than k2's 32-bit indices reach.
    """

    def __init__(self, arcs: Path, words: Path, model: Path | None = None):
        """arcs, words, model: k2_arcs.npy, k2_words.npy and, to rescore, larger_lm.npz of a graph.

        Raises ImportError without a working k2.
        """
        import k2
        import torch

        self.k2, self.torch, self.model_file = k2, torch, model
        self.arcs, self.words = (np.load(path, allow_pickle=False) for path in (arcs, words))
        self.graphs: dict[tuple[bool, bool], Any] = {}
        self._graph(open_ended=False, scored=False)

    def close(self) -> None:
        """There is nothing to end."""

    def decode(self, log_probs: Sequence[np.ndarray], beams: Beams) -> list[BestPath]:
        """The best path of each utterance."""
        found = self._search(self._shortest_paths, log_probs, beams, scored=False)
        return [paths[0] if paths else NOTHING for paths in found]

    def nbest(self, log_probs: Sequence[np.ndarray], beams: Beams, num_paths: int) -> list[list[ScoredPath]]:
        """At most num_paths distinct word sequences an utterance, within the output beam, the best first; each with the
        larger language model's score where there is one."""
        _, beam, _, _ = beams

        def read(lattice) -> list[list[ScoredPath]]:
            return nbest(as_arrays(lattice), num_paths, beam, self.model)

        return self._search(read, log_probs, beams, scored=True)

    def rescore(
        self, log_probs: Sequence[np.ndarray], beams: Beams, scales: Sequence[Scales]
    ) -> list[list[ScoredPath]]:
        """For each utterance the best path of its lattice under each pair of an LM scale and a rescoring scale."""
        _, beam, _, _ = beams

        def read(lattice) -> list[list[ScoredPath]]:
            return rescore(as_arrays(lattice), self.model, scales, beam)

        return self._search(read, log_probs, beams, scored=True)

    def align(self, log_probs: Sequence[np.ndarray], targets: Sequence[Sequence[int]]) -> list[tuple[list[int], float]]:
        """For each frame the position of the target that it says, or -1 for a blank; and the path's log-probability.

        Each utterance must have the frames for its targets, and one at the least.
        """
        order = sorted(range(len(log_probs)), key=lambda number: -len(log_probs[number]))  # as k2 wants them
        found = {}
        with k2_memory():
            graph = self.k2.arc_sort(self.k2.ctc_graph([list(targets[number]) for number in order]))
            lattice = self.k2.intersect_dense(graph, self._dense([log_probs[number] for number in order]), ALIGN_BEAM)
            best = self.k2.shortest_path(lattice, use_double_scores=True)
            scores = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
            labels, starts = (self._of_each(best, of) for of in (best.labels, best.aux_labels))
        for number, said, new, score in zip(order, labels, starts, scores, strict=True):
            position = np.cumsum(np.array(new) > 0) - 1
            found[number] = (np.where(np.array(said) > 0, position, -1)[:-1].tolist(), score)
        return [found[number] for number in range(len(log_probs))]

    def _search(self, read: Callable, log_probs: Sequence[np.ndarray], beams: Beams, scored: bool) -> list[list]:
        """What `read` finds in each lattice; where it finds nothing, in one that may end in any state.

        Nothing is found for an utterance without frames, which are not for k2.
        """
        found: list[list] = [[] for _ in log_probs]
        for open_ended in (False, True):
            left = [n for n, log_probs_SV in enumerate(log_probs) if len(log_probs_SV) and not found[n]]
            if not left:
                break
            with k2_memory():
                dense = self._dense([log_probs[number] for number in left])
                graph, frame = self._graph(open_ended, scored), "frame" if scored else None
                read_paths = read(self.k2.intersect_dense_pruned(graph, dense, *beams, frame_idx_name=frame))
            for number, paths in zip(left, read_paths, strict=True):
                found[number] = [path._replace(reached_final=not open_ended) for path in paths]
        return found

    def _graph(self, open_ended: bool, scored: bool):
        """The graph, or one that may end in any state; where scored, each arc knows the language model's share."""
        if (open_ended, scored) not in self.graphs:
            arcs, words = with_every_state_final(self.arcs, self.words) if open_ended else (self.arcs, self.words)
            fsa = self._fsa(arcs)
            fsa.aux_labels = self.torch.from_numpy(words)
            if scored:
                fsa.lm = fsa.scores.clone()
            self.graphs[open_ended, scored] = fsa
        return self.graphs[open_ended, scored]

    @cached_property
    def model(self) -> BackOffModel | None:
        """The larger language model, read when it is first asked for."""
        return BackOffModel(self.model_file) if self.model_file else None

    def _fsa(self, arcs: np.ndarray):
        return self.k2.create_fsa_vec([self.k2.Fsa(self.torch.from_numpy(arcs))])

    def _dense(self, log_probs: list[np.ndarray]):
        """The utterances stand behind one another in one array, so that none is padded."""
        num_frames = np.array([len(log_probs_SV) for log_probs_SV in log_probs])
        segments = np.stack([0 * num_frames, num_frames.cumsum() - num_frames, num_frames], axis=1).astype(np.int32)
        joined = self.torch.from_numpy(np.concatenate(log_probs))[None]
        return self.k2.DenseFsaVec(joined, self.torch.from_numpy(segments))

    def _of_each(self, fsas, of_arcs) -> list[list]:
        """An attribute of arcs, as a list for each of the fsas."""
        ends = fsas.arcs.shape().remove_axis(1).row_splits(1).tolist()
        values = of_arcs.tolist()
        return [values[first:last] for first, last in pairwise(ends)]

    def _shortest_paths(self, lattice) -> list[list[BestPath]]:
        best = self.k2.shortest_path(lattice, use_double_scores=True)
        scores = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
        return [
            [BestPath(tuple(word for word in words if word > 0), score, True)] if score > -np.inf else []
            for words, score in zip(self._of_each(best, best.aux_labels), scores, strict=True)
        ]


def as_arrays(lattice) -> Lattice:
    """A batch of k2's lattices whose arcs know their frame and the language model's share."""
    shape, arcs = lattice.arcs.shape(), lattice.arcs.values().numpy()
    first_state, source = shape.row_splits(1).numpy().astype(np.int64), shape.row_ids(2).numpy().astype(np.int64)
    target = arcs[:, 1] + first_state[shape.row_ids(1).numpy()[source]]
    lm, score = (each.numpy().astype(np.float64) for each in (lattice.lm, lattice.scores))
    first = np.where(np.diff(first_state) > 0, first_state[:-1], -1)
    return Lattice(source, target, lattice.frame.numpy(), lattice.aux_labels.numpy(), score - lm, lm, first)


def with_every_state_final(arcs: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The graph in which an utterance may end anywhere, at no cost."""
    end = arcs[:, 1].max()
    inner = arcs[:, 2] >= 0
    states = np.arange(end, dtype=np.int32)
    endings = np.stack(
        [states, np.full_like(states, end), np.full_like(states, -1), np.zeros_like(states)], axis=1
    )
    rows = np.concatenate([arcs[inner], endings])
    order = np.argsort(rows[:, 0], kind="stable")
    return rows[order], np.concatenate([words[inner], np.full_like(states, -1)])[order]


@contextmanager
def k2_memory() -> Iterator[None]:
    """A lack of memory, as torch or k2 tell it, is a MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if K2_FAILED in str(error):
            raise MemoryError("one of k2's checks failed, as where 32 bits do not suffice") from error
        if is_about_memory(str(error)):
            raise MemoryError(str(error).strip().splitlines()[-1]) from error
        raise


def is_about_memory(message: str) -> bool:
    """Whether an error of torch or k2 says that memory ran out."""
    signs = ("out of memory", "not enough memory", "can't allocate", "bad_alloc", "Cannot allocate")
    return any(sign.lower() in message.lower() for sign in signs)
