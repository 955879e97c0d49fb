"""Loops of small steps on a GPU: a few steps over fixed buffers, captured once as a CUDA graph, replayed along time.

A step of a recurrence is a handful of kernels that take microseconds each, less than Python needs to launch one.
On a CPU the same steps over the same buffers run without a capture, which is how they are tested anywhere.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

NUM_STEPS = 16  # a replay: enough to hide what it costs to launch, few enough for the buffers to stay small
MAX_LOOPS = 32  # kept at a time, of each several tens of MB for large networks
NUM_WARM_UPS = 3

Steps = Callable[..., None]
Tensors = dict[str, Tensor]


def run(steps: Steps, weight: Tensor, given: Tensors, made: Tensors, clip: float, back: bool = False) -> None:
    """Take `steps` along the first axis of the tensors, all (T, 2, B, ...); from last to first if `back`.

    given: what the steps read; made: what they write. Under a name in both they overwrite what they read.
    steps(weight=, clip=, **buffers) changes buffers of NUM_STEPS + 1 steps under these names, in place, without a
    look at any value. Each begins (ends if `back`) with the step taken before, zero before the first one.

    All of it goes to the current stream; loops must not run on two streams at the same time.
    """
    whole = made | given
    num_utterances = next(iter(whole.values())).shape[2]
    shapes = tuple((name, _padded(x.shape[1:])) for name, x in whole.items())
    loop = _loop(steps, shapes, tuple(weight.shape), clip, back, weight.dtype, weight.device)
    loop.begin(weight)
    for times, slots in windows(len(next(iter(whole.values()))), back):
        for name, x in given.items():
            loop.buffers[name][slots, :, :num_utterances].copy_(x[times])
        loop.replay()
        for name, x in made.items():
            x[times].copy_(loop.buffers[name][slots, :, :num_utterances])


def windows(num_steps: int, back: bool) -> Iterator[tuple[slice, slice]]:
    """Which steps to take next, and their places in the buffers; what a short window leaves over runs after it."""
    for done in range(0, num_steps, NUM_STEPS):
        num = min(NUM_STEPS, num_steps - done)
        if back:
            yield slice(num_steps - done - num, num_steps - done), slice(NUM_STEPS - num, NUM_STEPS)
        else:
            yield slice(done, done + num), slice(1, 1 + num)


def rounded(num_utterances: int) -> int:
    """The batch size of the buffers, 8, 16, 24, 32, 48 ...: empty rows cost less than a capture for every size."""
    unit = max(8, 2 ** (num_utterances.bit_length() - 2))
    return -(-num_utterances // unit) * unit


def _padded(shape_2BH: torch.Size) -> tuple[int, ...]:
    num_ways, num_utterances, *rest = shape_2BH
    return num_ways, rounded(num_utterances), *rest


class Loop:
    """NUM_STEPS steps over buffers of their own."""

    def __init__(self, steps: Steps, buffers: Tensors, weight: Tensor, clip: float, back: bool):
        self.steps, self.buffers, self.weight, self.clip = steps, buffers, weight, clip
        self.before, self.last = (NUM_STEPS, 0) if back else (0, NUM_STEPS)
        # In a graph that is being captured as a whole these steps are part of it.
        captures = weight.is_cuda and not torch.cuda.is_current_stream_capturing()
        self.replay = _capture(self.take, weight.device).replay if captures else self.take

    def begin(self, weight: Tensor) -> None:
        """At the start of an utterance."""
        self.weight.copy_(weight)
        for buffer in self.buffers.values():
            buffer[self.before].zero_()

    def take(self) -> None:
        """The steps in the buffers, which leaves the last one where the next ones look for the one before."""
        self.steps(weight=self.weight, clip=self.clip, **self.buffers)
        for buffer in self.buffers.values():
            buffer[self.before].copy_(buffer[self.last])


@lru_cache(maxsize=MAX_LOOPS)
def _loop(steps: Steps, shapes: tuple[tuple[str, tuple[int, ...]], ...], weight_shape: tuple[int, ...], clip: float,
          back: bool, dtype: torch.dtype, device: torch.device) -> Loop:  # fmt: skip
    with torch.inference_mode(False):  # else they could never be used outside of it
        buffers = {name: torch.zeros(NUM_STEPS + 1, *shape, dtype=dtype, device=device) for name, shape in shapes}
        return Loop(steps, buffers, torch.zeros(weight_shape, dtype=dtype, device=device), clip, back)


def _capture(work: Callable[[], None], device: torch.device) -> "torch.cuda.CUDAGraph":
    """Warm up beside the current stream, as captures need it, and capture on the same stream.

    cuBLAS makes its handle and workspace at the first product of a thread and a stream, which a capture forbids.
    """
    graph, here, aside = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device), _stream(device)
    aside.wait_stream(here)
    with torch.cuda.device(device), torch.cuda.stream(aside):
        for _ in range(NUM_WARM_UPS):
            work()
        # Threads that pin batches or watch over NCCL call into CUDA meanwhile: let them.
        with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            work()
    here.wait_stream(aside)
    return graph


@lru_cache(maxsize=None)
def _stream(device: torch.device) -> "torch.cuda.Stream":
    return torch.cuda.Stream(device)
