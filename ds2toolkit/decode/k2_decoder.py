"""Graph decoding with k2: in this process, or as a worker under another Python, which runs this very file.

Only k2, torch, numpy and the standard library are imported here: the worker's Python has no ds2toolkit.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import AuthenticationError, Connection, Listener
from pathlib import Path
from typing import NamedTuple

import numpy as np

PR_SET_PDEATHSIG = 1


class BestPath(NamedTuple):
    """The best path of one utterance: numbers of its words, log-probability with the graph's, how it ended.

    Where no final state was reached (a beam too narrow, or too few frames) the words are those of the best
    path that read every frame; score is -inf where there is none at all.
    """

    word_ids: tuple[int, ...]
    score: float
    reached_final: bool


class Beams(NamedTuple):
    """What a search keeps: log-probability below the best (per frame, in the lattice), number of states."""

    search_beam: float
    output_beam: float
    min_active: int
    max_active: int

    def tighter(self) -> "Beams":
        """About half the memory."""
        max_active = max(self.max_active // 2, 1)
        return Beams(self.search_beam / 2, self.output_beam / 2, min(self.min_active, max_active), max_active)


class K2Decoder:
    """One graph in k2's memory; `decode` takes a batch at a time."""

    def __init__(self, arcs: Path, words: Path):
        """arcs, words: k2_arcs.npy and k2_words.npy of a graph. Raises ImportError without a working k2."""
        import k2
        import torch

        self.k2, self.torch = k2, torch
        self.arcs = np.load(arcs, allow_pickle=False)
        self.words = np.load(words, allow_pickle=False)
        self.graph = self._fsa(self.arcs, self.words)
        self.open_ended = None

    def decode(self, log_probs: Sequence[np.ndarray], beams: Beams) -> list[BestPath]:
        """log_probs: an array (S, V) of float32 an utterance. One BestPath each, in their order.

        Raises MemoryError when the batch needs more than there is.
        """
        paths = self._search(self.graph, log_probs, beams)
        if open_ended := [number for number, path in enumerate(paths) if not path.reached_final]:
            if self.open_ended is None:
                self.open_ended = self._fsa(*_with_every_state_final(self.arcs, self.words))
            again = self._search(self.open_ended, [log_probs[number] for number in open_ended], beams)
            for number, path in zip(open_ended, again, strict=True):
                paths[number] = path._replace(reached_final=False)
        return paths

    def _fsa(self, arcs: np.ndarray, words: np.ndarray):
        fsa = self.k2.Fsa(self.torch.from_numpy(arcs))
        fsa.aux_labels = self.torch.from_numpy(words)
        return self.k2.create_fsa_vec([fsa])

    def _search(self, graph, log_probs: Sequence[np.ndarray], beams: Beams) -> list[BestPath]:
        """The best path of each utterance; those without frames are not for k2."""
        paths = [BestPath((), -np.inf, False)] * len(log_probs)
        if heard := [number for number, log_probs_SV in enumerate(log_probs) if len(log_probs_SV)]:
            try:
                found = self._shortest_paths(graph, [log_probs[number] for number in heard], beams)
            except RuntimeError as error:
                if is_about_memory(str(error)):
                    raise MemoryError(str(error).strip().splitlines()[-1]) from error
                raise
            for number, path in zip(heard, found, strict=True):
                paths[number] = path
        return paths

    def _shortest_paths(self, graph, log_probs: list[np.ndarray], beams: Beams) -> list[BestPath]:
        """The utterances stand behind one another in one array, so that none is padded."""
        k2, torch = self.k2, self.torch
        num_frames = np.array([len(log_probs_SV) for log_probs_SV in log_probs])
        first_frame = num_frames.cumsum() - num_frames
        segments = torch.from_numpy(
            np.stack([0 * num_frames, first_frame, num_frames], axis=1).astype(np.int32)
        )
        dense = k2.DenseFsaVec(torch.from_numpy(np.concatenate(log_probs))[None], segments)
        lattice = k2.intersect_dense_pruned(graph, dense, *beams)
        best = k2.shortest_path(lattice, use_double_scores=True)
        scores = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
        words = (
            k2.RaggedTensor(best.arcs.shape().remove_axis(1), best.aux_labels).remove_values_leq(0).tolist()
        )
        return [BestPath(tuple(w), score, score > -np.inf) for w, score in zip(words, scores, strict=True)]


def _with_every_state_final(arcs: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def is_about_memory(message: str) -> bool:
    """Whether an error of torch or k2 says that memory ran out."""
    signs = ("out of memory", "not enough memory", "can't allocate", "bad_alloc", "Cannot allocate")
    return any(sign.lower() in message.lower() for sign in signs)


def send(connection: Connection, header: dict, log_probs: Sequence[np.ndarray] = ()) -> None:
    """A message: JSON, then the raw float32 of the arrays, whose shapes the JSON has. Nothing is pickled."""
    header = header | {"shapes": [array.shape for array in log_probs], "dtype": "<f4"}
    connection.send_bytes(json.dumps(header).encode())
    connection.send_bytes(b"".join(array.astype("<f4").tobytes() for array in log_probs))


def receive(connection: Connection) -> tuple[dict, list[np.ndarray]]:
    """What `send` sent. Raises EOFError when the other side is gone."""
    header = json.loads(connection.recv_bytes())
    flat = np.frombuffer(bytearray(connection.recv_bytes()), dtype=header["dtype"])
    sizes = [rows * columns for rows, columns in header["shapes"]]
    parts = np.split(flat, np.cumsum(sizes)[:-1]) if sizes else []
    return header, [part.reshape(shape) for part, shape in zip(parts, header["shapes"], strict=True)]


def answer(decoder: K2Decoder, connection: Connection) -> None:
    """Decode one batch for the other side. A lack of memory is an answer, too."""
    header, log_probs = receive(connection)
    try:
        paths = decoder.decode(log_probs, Beams(*header["beams"]))
        send(connection, {"paths": paths})
    except MemoryError as error:
        send(connection, {"out_of_memory": str(error)})


def serve(address: str, arcs: Path, words: Path) -> None:
    """Load the graph, say "ready", then answer whoever knows the key (stdin's first line) until it goes."""
    die_with_parent()
    key = bytes.fromhex(sys.stdin.readline())
    decoder = K2Decoder(arcs, words)
    decoder.torch.set_num_threads(1)  # k2 has threads of its own, and the parent computes meanwhile
    with Listener(address, family="AF_UNIX", authkey=key) as listener:
        print("ready", flush=True)
        connection = None
        while connection is None:
            try:
                connection = listener.accept()
            except (AuthenticationError, EOFError, ConnectionError):
                print("refused a connection without the key", file=sys.stderr, flush=True)
    with connection:
        try:
            send(connection, {"socket": "removed"})
            while True:
                answer(decoder, connection)
        except (EOFError, ConnectionError):
            pass


def die_with_parent() -> None:
    """Ctrl-C is the parent's to handle; when it is killed, so is this process, even in mid-batch (Linux)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent == 1 or os.getppid() != parent:
            sys.exit("the process that started this worker is gone")


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
