"""One job over many items and all cores, under a progress bar; Ctrl-C and the parent's death end the workers too."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

PARENT_DEATH_SIGNAL = 1  # Linux's PR_SET_PDEATHSIG


def run(
    job: Callable[[Item], Result],
    items: Sequence[Item],
    num_jobs: int,
    title: str,
    chunk: int = 8,
    threads: bool = False,
    **bar: Any,
) -> Iterator[Result]:
    """job(item) of every item, in order. job: a function of a module; num_jobs 1 stays in this process.

    threads: for a job that spends its time outside Python, as in decoding audio; they need no memory of their own.
    bar: more of tqdm's arguments, such as unit. Where the output is no terminal there is no bar.
    """
    over = _over_threads if threads else _over_processes
    with tqdm(total=len(items), desc=title, dynamic_ncols=True, leave=False, disable=None, **bar) as progress:
        for result in over(job, items, num_jobs, chunk) if num_jobs > 1 else map(job, items):
            yield result
            progress.update()


def _over_processes(
    job: Callable[[Item], Result], items: Sequence[Item], num_jobs: int, chunk: int
) -> Iterator[Result]:
    """In processes started afresh: one that has threads, such as torch's, is no place to fork from."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_jobs, mp_context=context, initializer=_follow_parent) as pool:
        try:
            yield from pool.map(job, items, chunksize=chunk)
        finally:
            pool.shutdown(cancel_futures=True)


def _over_threads(job: Callable[[Item], Result], items: Sequence[Item], num_jobs: int, chunk: int) -> Iterator[Result]:
    chunks = (items[start : start + chunk] for start in range(0, len(items), chunk))
    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            for results in pool.map(lambda some: [job(item) for item in some], chunks):
                yield from results
        finally:
            pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and die with it: an orphan would write beside the run that comes after."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
