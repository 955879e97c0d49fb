"""Whether the largest batch fits into memory: tried before epoch 1, and the budget lowered where it does not."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ds2toolkit.config import TrainConfig
from ds2toolkit.data.batch import Batch, Utterances
from ds2toolkit.data.order import epoch_batches, shard
from ds2toolkit.errors import UserError
from ds2toolkit.train.objective import losses, put_back, statistics
from ds2toolkit.train.optimiser import COPIES
from ds2toolkit.train.room import free_bytes, peak_bytes

LOWER = 0.75
SMALL = ((0.1, 10.0), (0.3, 30.0))  # parts of a batch that are tried first: a share, but at most so many seconds
SURE, ROOM = 0.5, 0.9  # shares of the free memory: below the first nothing is tried, above the second it is refused
SIGNS = ("out of memory", "allocate memory", "bad_alloc", "alloc_failed")


@dataclass(frozen=True)
class Trial:
    """Steps that leave a network as it was: a forward and a backward pass over training utterances.

    num_workers: those that share a batch; num_here: those that share this machine's memory.
    """

    model: nn.Module
    train: Utterances
    config: TrainConfig
    num_workers: int = 1
    num_here: int = 1

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def optimiser_bytes(self) -> int:
        """What the optimiser takes with its first step."""
        return COPIES[self.config.optimiser.kind] * sum(weight.nbytes for weight in self.model.parameters())

    def fits(self, indices: list[int]) -> bool:
        """Whether a step on these utterances fits into memory.

        A GPU says so when it does not. Linux ends the process instead: there two small parts say what to expect (memory
        grows in line with the padded frames), and only what may just fit is tried as a whole.
        """
        if self.device.type != "cpu":
            return self.tried(lambda: self.step(indices))
        expected = self.expected_bytes(indices)
        free = free_bytes() / self.num_here
        return expected < SURE * free or (expected < ROOM * free and self.tried(lambda: self.step(indices)))

    def expected_bytes(self, indices: list[int]) -> float:
        """What a step on all of them takes, by the line through two small parts; infinite when those don't fit."""
        padded_s = len(indices) * float(self.train.durations_s[indices].max())
        points: list[tuple[float, int]] = []

        def measure() -> None:
            shares = [min(share, most_s / padded_s) for share, most_s in SMALL]
            self.step(indices, shares[0])  # the first step ever takes more than it needs
            points.extend((share, peak_bytes(lambda: self.step(indices, share))) for share in shares)

        if not self.tried(measure):
            return math.inf
        (share, least), (larger, most) = points
        return most + max(most - least, 0) * (1 - larger) / (larger - share) + self.optimiser_bytes

    def tried(self, action: Callable[[], None]) -> bool:
        """Whether the action finds the memory that it asks for."""
        try:
            action()
            return True
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in SIGNS):
                raise
            return False
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def step(self, indices: list[int], share: float = 1.0) -> None:
        """A forward and a backward pass over a share of a batch: fewer utterances, and those cut to make it exact."""
        self.model.train()
        num_kept = math.ceil(share * len(indices))
        batch = Batch.of([self.train[index] for index in indices[-num_kept:]])
        batch = _shortened(batch, share * len(indices) / num_kept)
        kept = statistics(self.model)
        on_gpu = self.device.type != "cpu"  # elsewhere memory that is not written to does not count
        reserved = torch.empty(self.optimiser_bytes if on_gpu else 0, dtype=torch.uint8, device=self.device)
        try:
            losses(self.model, batch, self.config.precision)[0].sum().backward()
        finally:
            del reserved
            self.model.zero_grad(set_to_none=True)
            put_back(self.model, kept)


def _shortened(batch: Batch, share: float) -> Batch:
    """The beginning of each utterance, with as large a share of its targets."""
    num_frames = math.ceil(share * batch.feats_BTF.shape[1])
    return replace(
        batch,
        feats_BTF=batch.feats_BTF[:, :num_frames],
        num_frames_B=batch.num_frames_B.clamp(max=num_frames),
        num_targets_B=(batch.num_targets_B * share).long(),
    )


def largest_batch(durations_s: np.ndarray, budget_s: float, num_workers: int = 1) -> list[int]:
    """The batch with the most padded seconds, of the longest utterances where several have as many; short to long.

    Of several workers, the largest share that one gets.
    """
    batches = epoch_batches(durations_s, budget_s, epoch=1, seed=0, at_least=num_workers)
    shares = [list(shard(batch, rank, num_workers)) for batch in batches for rank in range(num_workers)]
    return max(reversed(shares), key=lambda share: len(share) * durations_s[share].max())


def fitting_budget(trial: Trial, budget_s: float, say: Callable[[str], None]) -> float:
    """The budget, or the largest of three quarters of it, of those and so on, whose batches fit into memory.

    Raises UserError when an utterance alone does not fit.
    """
    durations_s, wanted_s = trial.train.durations_s, budget_s
    while not trial.fits(batch := largest_batch(durations_s, budget_s, trial.num_workers)):
        if len(batch) == 1:
            raise UserError(
                f"the training utterance {trial.train.cuts[batch[0]].id}, {durations_s[batch[0]]:.0f} s long, does not "
                "fit into memory, not even alone.\nTake a smaller network, as with --set model.rnn_size=..., "
                "or leave such utterances out of the training set."
            )
        budget_s *= LOWER
    if budget_s < wanted_s:
        lowered = f"going on with batches.budget_s={budget_s:.4g}"
        say(f"batches of {wanted_s:g} s of padded audio don't fit into memory: {lowered}")
    return budget_s
