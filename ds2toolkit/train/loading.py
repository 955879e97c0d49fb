"""The batches that are left of an epoch, loaded by processes of their own where the configuration asks for them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader

from ds2toolkit import workers
from ds2toolkit.data.batch import Batch, Utterances, derived_seed
from ds2toolkit.data.order import shard


@dataclass
class Left:
    """What to load: of each batch (places of utterances) a worker's share, with a seed for each utterance."""

    seed: int
    epoch: int = 1
    batches: Sequence[Sequence[int]] = ()

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield [(i, derived_seed(self.seed, self.epoch, i)) for i in shard(batch, workers.rank(), workers.count())]


def loader(train: Utterances, left: Left, num_workers: int) -> DataLoader:
    """The batches of whichever epoch `left` tells of when it is iterated over; its processes outlive the epoch."""
    apart = {"prefetch_factor": 4, "persistent_workers": True, "worker_init_fn": _give_way} if num_workers else {}
    return DataLoader(train, batch_sampler=left, collate_fn=Batch.of, num_workers=num_workers, **apart)


def _give_way(_: int) -> None:
    """A process takes what the steps leave of the processors: two threads of a step wait where one is interrupted."""
    os.nice(10)
