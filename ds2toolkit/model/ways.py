"""The directions that a recurrence takes over an utterance: order of frames, states around them, a thread for each.

Axes beside the usual ones: K, the states around T frames (K = T + 1: a zero, from which a direction starts, and one a
frame); G, the gates of a cell, H values each; 2, the directions (1 where there is one).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """One direction. masks: of each frame in the order of time, (B, 1), zero in padding; None where none is padded."""

    backwards: bool
    masks: tuple[Tensor | None, ...]

    def steps(self, *x_TBH: Tensor, last_first: bool = False) -> list[list[Tensor | None]]:
        """The masks of frames, then the frames of each x: lists in this direction's order, or the other way round."""
        order = -1 if self.backwards != last_first else 1
        return [list(frames)[::order] for frames in (self.masks, *(x.unbind() for x in x_TBH))]

    def room(self, like_TBH: Tensor) -> Tensor:
        """states_KBH, where only the zero is filled in."""
        states_KBH = like_TBH.new_empty(len(like_TBH) + 1, *like_TBH.shape[1:])
        states_KBH[-1 if self.backwards else 0] = 0.0
        return states_KBH

    def before(self, states_KBH: Tensor) -> Tensor:
        """The state that each frame finds: states_TBH."""
        return states_KBH[1:] if self.backwards else states_KBH[:-1]

    def after(self, states_KBH: Tensor) -> Tensor:
        """The state that each frame leaves: states_TBH."""
        return states_KBH[:-1] if self.backwards else states_KBH[1:]


def ways(mask_TB1: Tensor, num_ways: int) -> list[Way]:
    """The directions; of most frames no utterance is padded."""
    whole_T = mask_TB1.flatten(1).all(1).tolist()
    masks = tuple(None if whole else mask for whole, mask in zip(whole_T, mask_TB1.unbind()))
    return [Way(backwards, masks) for backwards in (False, True)[:num_ways]]


def each(job: Callable[..., Result], directions: Sequence[Way], u_2GH: Tensor, *more: Sequence) -> list[Result]:
    """job(way, u_GH, …) of each direction, at once where a processor has threads for it, half of them for either.

    Thousands of small products in turn leave most threads waiting for each other; two chains of them do not meet.
    Which thread computes what is fixed, so that the result is the same at every run.
    """
    num_threads, calls = torch.get_num_threads(), list(zip(directions, u_2GH.unbind(), *more, strict=True))
    if len(calls) == 1 or num_threads == 1 or not u_2GH.is_cpu:
        return [job(*call) for call in calls]

    def run(call: tuple) -> Result:
        torch.set_num_threads(num_threads // 2)  # torch's setting, and no_grad, are a thread's own
        with torch.no_grad():
            return job(*call)

    second = _other_thread().submit(run, calls[1])
    try:
        first = run(calls[0])
    finally:
        wait([second])
        torch.set_num_threads(num_threads)
    return [first, second.result()]


@cache
def _other_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "second direction")


os.register_at_fork(after_in_child=_other_thread.cache_clear)  # a forked process has no threads but its own


def total(x: Sequence[Tensor]) -> Tensor:
    """The sum over directions."""
    return x[0] + x[1] if len(x) == 2 else x[0]


def total_(x: Sequence[Tensor]) -> Tensor:
    """The same, in the memory of the first."""
    return x[0].add_(x[1]) if len(x) == 2 else x[0]


def both_ways(x_TBH: Tensor, num_ways: int) -> Tensor:
    """Stack x and x backwards in time, a copy, for steps that take both directions at once: x_T2BH."""
    return torch.stack([x_TBH, x_TBH.flip(0)][:num_ways], 1)


def sum_ways(x_T2BH: Tensor) -> Tensor:
    """The sum over directions that were stacked so, each in its own order of time: x_TBH."""
    return total([x_TBH.flip(0) if backwards else x_TBH for backwards, x_TBH in enumerate(x_T2BH.unbind(1))])


def weight_gradient(da_TBG: Tensor, before_TBH: Tensor, out: Tensor | None = None) -> Tensor:
    """dU of a = U h, from the gradient at a and the states h before each frame: du_GH; from T2BG and T2BH, du_2GH.

    One product over all frames: a product a frame would read and write dU T times.
    """
    da_NG, before_NH = (x.movedim(0, -3).flatten(-3, -2) for x in (da_TBG, before_TBH))
    return torch.matmul(da_NG.mT, before_NH, out=out)
