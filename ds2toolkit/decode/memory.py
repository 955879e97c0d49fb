"""The memory that a part of a run takes, with the processes it starts, watched while it goes on."""

import threading
from typing import Self

import psutil

EVERY_S = 0.05


class PeakMemory:
    """In a with statement: peak_mb is the most that this process and those below it held."""

    def __enter__(self) -> Self:
        self.peak_mb = used_mb()
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._end.wait(EVERY_S):
            self.peak_mb = max(self.peak_mb, used_mb())


def used_mb() -> float:
    """Memory of this process and of those below it in MB, without what is shared, such as libraries and mapped files."""
    here = psutil.Process()
    return sum(map(_own_bytes, [here, *here.children(recursive=True)])) / 1e6


def _own_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return memory.rss - getattr(memory, "shared", 0)
