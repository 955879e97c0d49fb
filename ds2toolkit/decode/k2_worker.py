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

from ds2toolkit.config import SearchConfig
from ds2toolkit.decode import k2_decoder
from ds2toolkit.decode.graph import Graph
from ds2toolkit.decode.k2_decoder import Beams, BestPath, K2Decoder
from ds2toolkit.errors import UserError

log = logging.getLogger(__name__)

NUM_TRIES = 5
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


def open_k2(graph: Graph) -> "K2Search":
    """A k2 decoder of the graph, to be closed or used in a with statement. Raises UserError without k2."""
    if importlib.util.find_spec("k2"):
        try:
            return K2Search(graph, K2Decoder(graph.k2_arcs, graph.k2_words))
        except (ImportError, OSError) as error:
            log.warning("k2 is installed but does not import (%s); using a worker", error)
    if python := worker_python():
        return K2Search(graph, K2Worker(graph, python))
    raise UserError(
        f"k2 is not installed: not in this Python, and no environment at {k2_env()}.\n{HOW_TO_GET_K2}"
    )


class K2Search:
    """Decodes batches with k2, wherever it runs; one that needs too much memory again, with tighter beams."""

    def __init__(self, graph: Graph, engine: "K2Decoder | K2Worker"):
        self.graph, self.engine = graph, engine

    def __enter__(self) -> "K2Search":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, where there is one."""
        if isinstance(self.engine, K2Worker):
            self.engine.close()

    def decode(self, log_probs: Sequence[np.ndarray], search: SearchConfig) -> list[BestPath]:
        """log_probs: an array (S, V) an utterance. One BestPath each, in their order.

        Raises ValueError for arrays of another V or with NaN, UserError when the worker died or memory never
        sufficed.
        """
        log_probs = self.graph.checked(log_probs)
        beams = Beams(search.search_beam, search.output_beam, search.min_active, search.max_active)
        for _ in range(NUM_TRIES):
            try:
                return self.engine.decode(log_probs, beams)
            except MemoryError as error:
                beams = beams.tighter()
                log.warning(
                    "k2 ran out of memory on a batch of %d utterances (%s); decoding it again with "
                    "tighter beams: search_beam %g, output_beam %g, max_active %d",
                    len(log_probs), error, beams.search_beam, beams.output_beam, beams.max_active,
                )  # fmt: skip
        raise UserError(
            "k2 ran out of memory however tight the beams: give it smaller batches or more memory"
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
        """As K2Decoder.decode. Raises UserError when the worker died, MemoryError where for lack of memory.

        After a MemoryError the worker has been started again where it had to be.
        """
        try:
            k2_decoder.send(self.connection, {"beams": beams}, log_probs)
            header, _ = k2_decoder.receive(self.connection)
        except (EOFError, ConnectionError):
            self._report_death()
        if "out_of_memory" in header:
            raise MemoryError(header["out_of_memory"])
        return [BestPath(tuple(word_ids), score, final) for word_ids, score, final in header["paths"]]

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
        command = [self.python, "-I", k2_decoder.__file__, address, self.graph.k2_arcs, self.graph.k2_words]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.stderr}
        self.process = subprocess.Popen(command, text=True, **pipes)
        try:
            self.process.stdin.write(key.hex() + "\n")
            self.process.stdin.flush()
            if self.process.stdout.readline() != "ready\n":
                raise EOFError
            self.connection = Client(address, family="AF_UNIX", authkey=key)
            k2_decoder.receive(self.connection)
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
        return message, code == -signal.SIGKILL or k2_decoder.is_about_memory(said)


def _last_words(said: str) -> str:
    """The last lines, without those of a traceback or a C++ stack."""
    lines = [
        line
        for line in said.splitlines()
        if line.strip() and not line.startswith((" ", "frame #", "Traceback"))
    ]
    return " ".join(lines[-3:])[-MAX_LAST_WORDS:]
