"""The worker process of k2: answers over a local socket what K2Decoder finds; run by a Python that may have k2 alone.

Of ds2toolkit only modules that need no more than k2, torch, numpy and the standard library are loaded here.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import AuthenticationError, Connection, Listener
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ds2toolkit.decode.k2_decoder import K2Decoder

PR_SET_PDEATHSIG = 1


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


def answer(decoder: "K2Decoder", connection: Connection) -> None:
    """What a method of K2Decoder finds in one batch, for the other side. A lack of memory is an answer, too."""
    header, log_probs = receive(connection)
    method = {"decode": decoder.decode, "nbest": decoder.nbest, "rescore": decoder.rescore, "align": decoder.align}
    try:
        send(connection, {"found": method[header["method"]](log_probs, *header["arguments"])})
    except MemoryError as error:
        send(connection, {"out_of_memory": str(error)})


def serve(address: str, files: Sequence[Path]) -> None:
    """Load the graph, say "ready", then answer whoever knows the key (stdin's first line) until it goes."""
    from ds2toolkit.decode.k2_decoder import K2Decoder

    key = bytes.fromhex(sys.stdin.readline())
    decoder = K2Decoder(*files)
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


def find_ds2toolkit() -> None:
    """Make this file's own package importable, without the packages that lie beside it on the parent's path."""
    package = ModuleType("ds2toolkit")
    package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["ds2toolkit"] = package


if __name__ == "__main__":
    die_with_parent()
    find_ds2toolkit()
    serve(sys.argv[1], [Path(path) for path in sys.argv[2:]])
