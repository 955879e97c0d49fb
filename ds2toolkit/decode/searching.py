"""One method over stored emissions with one or many settings, in this process or in many."""

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from ds2toolkit import parallel
from ds2toolkit.config import SearchConfig
from ds2toolkit.decode.methods import METHODS
from ds2toolkit.decode.search import NOTHING, Found, Material, Search
from ds2toolkit.decode.stored import StoredEmissions

BATCH = 8


class Job(NamedTuple):
    """Some utterances of stored emissions, by number, with one setting (by its number among many); how many to find."""

    emissions: Path
    setting: int
    search: SearchConfig
    numbers: range
    num_best: int | None


class Done(NamedTuple):
    """What a job found, and its share of the run's seconds: less where other processes work beside it.

    lists: the best first, which is the one found; that alone where no more were wanted.
    """

    setting: int
    numbers: range
    lists: list[list[Found]]
    took_s: float

    @property
    def found(self) -> list[Found]:
        return [best for best, *_ in self.lists]


def num_processes(method: str, num_utterances: int, num_jobs: int) -> int:
    """How many processes so many searches are worth, at most num_jobs."""
    return max(1, min(num_jobs, num_utterances // BATCH // METHODS[method].min_batches))


def search_all(
    method: str,
    material: Material,
    emissions: StoredEmissions,
    settings: Sequence[SearchConfig],
    num_jobs: int,
    title: str,
    num_best: int | None = None,
) -> Iterator[Done]:
    """Every utterance with every setting, in batches. num_best: for a method with lists, how long they may be."""
    batches = [range(start, min(start + BATCH, len(emissions))) for start in range(0, len(emissions), BATCH)]
    jobs = [Job(emissions.folder, n, search, batch, num_best) for n, search in enumerate(settings) for batch in batches]
    num_jobs = num_processes(method, len(settings) * len(emissions), num_jobs)
    if num_jobs > 1:
        for done in parallel.run(partial(_elsewhere, method, material), jobs, num_jobs, title, chunk=1):
            yield done._replace(took_s=done.took_s / num_jobs)
        return
    with METHODS[method].open(material) as opened:
        yield from parallel.run(partial(_search, opened, emissions), jobs, 1, title)


def _elsewhere(method: str, material: Material, job: Job) -> Done:
    return _search(_opened(method, material), _stored(job.emissions), job)


@lru_cache(maxsize=1)
def _opened(method: str, material: Material) -> Search:
    """For the jobs of one process, which ends with them."""
    return METHODS[method].open(material)


@lru_cache(maxsize=1)
def _stored(folder: Path) -> StoredEmissions:
    return StoredEmissions(folder)


def _search(opened: Search, emissions: StoredEmissions, job: Job) -> Done:
    started = time.perf_counter()
    log_probs = [emissions[number] for number in job.numbers]
    if job.num_best:
        lists = [found or [NOTHING] for found in opened.nbest(log_probs, job.search, job.num_best)]
    else:
        lists = [[found] for found in opened.decode(log_probs, job.search)]
    return Done(job.setting, job.numbers, lists, time.perf_counter() - started)
