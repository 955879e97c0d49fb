"""Processes that train as one, as torchrun starts them; a process that it did not start is the only worker."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ds2toolkit.errors import UserError

PARENT_DEATH_SIGNAL = 1  # Linux's PR_SET_PDEATHSIG
QUIET_S = 20.0
LOSS = (
    "another worker has ended without a word, as one does that is killed or runs out of memory.\n"
    "The same command goes on from the last checkpoint."
)

_apart = False


@contextmanager
def together() -> Iterator[None]:
    """Start before, stop after. Of several workers that fail, one gives its reason and the others end without a word.

    Raises UserError where another worker has died, or where this machine has fewer GPUs than workers.
    """
    start()
    try:
        yield
    except BaseException as error:
        if count() > 1:
            _let_one_speak(error)
            if _is_loss(error):
                raise UserError(LOSS) from None
        raise
    stop()


def start() -> None:
    """Join the others, where torchrun started this process; the first worker alone writes to standard output."""
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return
    _die_with_torchrun()
    if torch.cuda.is_available():
        torch.cuda.set_device(_own_gpu())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if rank() > 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


def stop() -> None:
    if count() > 1:
        barrier()
        dist.destroy_process_group()


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() and not _apart else 1


def count_here() -> int:
    """The workers on this machine, which share its memory."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if count() > 1 else 1


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank() if count() > 1 else 0


@contextmanager
def apart() -> Iterator[None]:
    """Inside, this worker is the only one: for work that another may do less often."""
    global _apart
    _apart = True
    try:
        yield
    finally:
        _apart = False


@contextmanager
def first_then_others() -> Iterator[None]:
    """The block is run by the first worker, then by the others: what it mends on the disk, they find whole."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def barrier() -> None:
    """Wait until all workers are here."""
    pooled(torch.zeros(1))


def pooled(values: Tensor) -> Tensor:
    """The sum of all workers' values, of one shape and type; the values themselves where there is one worker.

    Every worker has to ask, and gets the same bits.
    """
    return _over_all(values, dist.ReduceOp.SUM)


def lowest(number: float) -> float:
    """The least of all workers' numbers."""
    return float(_over_all(torch.tensor(number, dtype=torch.float64), dist.ReduceOp.MIN))


def gathered(thing: Any) -> list[Any]:
    """Every worker's thing, such as a text, by rank."""
    things = [thing] * count()
    if count() > 1:
        dist.all_gather_object(things, thing)
    return things


def _over_all(values: Tensor, operation: dist.ReduceOp) -> Tensor:
    if count() == 1:
        return values
    result = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(result, operation)
    return result


@torch.no_grad()
def pool_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Each gradient becomes the sum of all workers'.

    Not by DistributedDataParallel: that rearranges its sums after the first step, so that more than two workers would
    not go on from a checkpoint to the same bits.
    """
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(total)
    for gradient, part in zip(gradients, total.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _own_gpu() -> int:
    local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= num_gpus:
        raise UserError(f"more workers than GPUs on this machine: give torchrun --nproc-per-node {num_gpus}")
    return local_rank


def _die_with_torchrun() -> None:
    """Killed with -9, torchrun leaves workers behind, which would write beside those of the next run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _let_one_speak(error: BaseException) -> None:
    """Return in the worker that fails first. The others end with it: torchrun sees to that, but not after Ctrl-C."""
    host, port, attempt = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"))
    with suppress(dist.DistError, KeyboardInterrupt):  # without its store torchrun has ended
        store = dist.TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=QUIET_S))
        if store.add(f"ds2toolkit/failed/{attempt}", 1) == 1:
            return
        if not isinstance(error, KeyboardInterrupt):
            time.sleep(QUIET_S)
    sys.exit(1)


def _is_loss(error: BaseException) -> bool:
    """Whether an error is torch's own for a worker that no longer answers; in a backward pass only the text tells."""
    told = any(library in str(error).lower() for library in ("gloo", "nccl"))
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and told)
