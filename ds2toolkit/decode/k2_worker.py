"""k2 wherever it can be had: in this Python, or in a worker under the Python of an environment of its own."""

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np

from ds2toolkit.decode import k2_process
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_decoder import K2Decoder, is_about_memory
from ds2toolkit.decode.k2_process import receive, send
from ds2toolkit.decode.k2_search import K2Search, Way
from ds2toolkit.decode.paths import Beams, BestPath, Scales, ScoredPath
from ds2toolkit.decode.tokens import token_graph
from ds2toolkit.errors import UserError

log = logging.getLogger(__name__)

RESCORING = ("nbest", "lattice")
TOO_LARGE = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT}  # how k2 ends beyond memory or its 32-bit indices
MAX_LAST_WORDS = 400
MAX_ADDRESS = 100  # bytes that the path of a Unix socket may have, a few less than the system's 108
HOW_TO_GET_K2 = "Run: make k2   (or decode with kaldi-decoder, which is always there)"


def k2_env() -> Path:
    """The environment that `make k2` makes: $DS2_K2_ENV, else a folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DS2_K2_ENV") or Path(cache) / "ds2toolkit" / "k2-env")


def worker_python() -> Path | None:
    """The Python of that environment where it is there and has k2."""
    python = k2_env() / "bin" / "python"
    return python if python.exists() and any(k2_env().glob("lib/python3*/site-packages/k2")) else None


def k2_available() -> str | None:
    """Where k2 would run, for people to read; None where it cannot. Imports nothing."""
    if importlib.util.find_spec("k2"):
        return "in-process"
    return f"worker at {k2_env()}" if worker_python() else None


def open_k2(graph: Graph, way: Way = "1best") -> K2Search:
    """A k2 decoder of the graph, to be closed or used in a with statement. Raises UserError without k2.

    way: what its `decode` does. "1best" takes the best path; "nbest" the best of NUM_PATHS word sequences, and
    "lattice" that of the whole lattice, by the larger language model; "ctc" has neither lexicon nor language model.
    """
    if way in RESCORING:
        graph.check_larger_lm()
    graph = token_graph(graph) if way == "ctc" else graph
    if importlib.util.find_spec("k2"):
        try:
            return K2Search(graph, K2Decoder(*graph.k2_files), way)
        except (ImportError, OSError) as error:
            log.warning("k2 is installed but does not import (%s); using a worker", error)
    if python := worker_python():
        return K2Search(graph, K2Worker(graph, python), way)
    raise UserError(
        f"k2 is not installed: not in this Python, and no environment at {k2_env()}.\n{HOW_TO_GET_K2}"
    )


class K2Worker:
    """k2 in another process, spoken to over a Unix socket with a key.

    The worker dies with the thread that made it, which should be the main one.
    """

    def __init__(self, graph: Graph, python: Path):
        """Raises UserError, with the worker's last words, when it does not start."""
        self.graph, self.python = graph, python
        self._start()

    def decode(self, log_probs: Sequence[np.ndarray], beams: Beams) -> list[BestPath]:
        """This and the following as K2Decoder's. All raise UserError when the worker died, MemoryError where for lack
        of memory; then the worker has been started again where it had to be."""
        return [BestPath(tuple(word_ids), *rest) for word_ids, *rest in self._ask("decode", log_probs, beams)]

    def nbest(self, log_probs: Sequence[np.ndarray], beams: Beams, num_paths: int) -> list[list[ScoredPath]]:
        return scored_paths(self._ask("nbest", log_probs, beams, num_paths))

    def rescore(
        self, log_probs: Sequence[np.ndarray], beams: Beams, scales: Sequence[Scales]
    ) -> list[list[ScoredPath]]:
        return scored_paths(self._ask("rescore", log_probs, beams, scales))

    def align(self, log_probs: Sequence[np.ndarray], targets: Sequence[Sequence[int]]) -> list[tuple[list[int], float]]:
        return self._ask("align", log_probs, targets)

    def _ask(self, method: str, log_probs: Sequence[np.ndarray], *arguments: Any) -> list:
        try:
            send(self.connection, {"method": method, "arguments": arguments}, log_probs)
            header, _ = receive(self.connection)
        except (EOFError, ConnectionError):
            self._report_death()
        if "out_of_memory" in header:
            raise MemoryError(header["out_of_memory"])
        return header["found"]

    def close(self) -> None:
        """End the worker."""
        if self.connection:
            self.connection.close()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ds2-k2-"))
        if len(os.fsencode(self.folder)) > MAX_ADDRESS - len("/socket"):
            self.folder.rmdir()
            self.folder = Path(tempfile.mkdtemp(prefix="ds2-k2-", dir="/tmp"))
        address, key = str(self.folder / "socket"), secrets.token_bytes(32)
        self.stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.connection = None
        command = [self.python, "-I", k2_process.__file__, address, *self.graph.k2_files]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.stderr}
        self.process = subprocess.Popen(command, text=True, **pipes)
        try:
            self.process.stdin.write(key.hex() + "\n")
            self.process.stdin.flush()
            if self.process.stdout.readline() != "ready\n":
                raise EOFError
            self.connection = Client(address, family="AF_UNIX", authkey=key)
            receive(self.connection)
            self.folder.rmdir()  # the worker has removed its socket; nothing stays behind, even after SIGKILL
        except (EOFError, ConnectionError):
            raise UserError(f"{self._death()[0]}\n{HOW_TO_GET_K2}") from None
        except BaseException:
            self.close()
            raise

    def _report_death(self) -> None:
        """Raise what the end of the worker means; one for lack of memory is followed by a new worker."""
        death, for_lack_of_memory = self._death()
        if for_lack_of_memory:
            self._start()
            raise MemoryError(death)
        raise UserError(death)

    def _death(self) -> tuple[str, bool]:
        """How the worker ended and what it said last; whether for lack of memory. Nothing of it is left."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        self.stderr.seek(0)
        said = self.stderr.read()
        self.close()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        message = f"the k2 worker ({self.python}) died: {how}; its last words: {_last_words(said) or 'none'}"
        return message, code in TOO_LARGE or is_about_memory(said)


def scored_paths(found: list[list]) -> list[list[ScoredPath]]:
    return [[ScoredPath(tuple(word_ids), *rest) for word_ids, *rest in paths] for paths in found]


def _last_words(said: str) -> str:
    """The last lines, without those of a traceback or a C++ stack."""
    lines = [
        line
        for line in said.splitlines()
        if line.strip() and not line.startswith((" ", "frame #", "Traceback"))
    ]
    return " ".join(lines[-3:])[-MAX_LAST_WORDS:]
