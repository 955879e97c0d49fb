"""Connectionist temporal classification: the loss and the greedy path. Token 0 is the blank."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

BLANK = 0


def min_frames(targets: Sequence[int]) -> int:
    """The fewest output frames that can emit `targets`: one each, and a blank between equal neighbours."""
    return len(targets) + sum(left == right for left, right in pairwise(targets))


def ctc_loss(log_probs_BSV: Tensor, num_out_B: Tensor, targets_BU: Tensor, num_targets_B: Tensor) -> Tensor:
    """Negative log-likelihood of each utterance's targets, summed over its frames: (B,), type of log_probs.

    Infinite, with a zero gradient, where the utterance has fewer than min_frames(targets) frames: the caller
    counts and drops those. targets_BU: any values in padding. Raises ValueError when a length or a target
    is out of range (0, the blank, is not a target).
    """
    _check(log_probs_BSV, num_out_B, targets_BU, num_targets_B)
    device = log_probs_BSV.device
    # zero_infinity: without it the gradient of an infinite loss is NaN even where the caller drops that loss.
    loss_B = F.ctc_loss(log_probs_BSV.transpose(0, 1), targets_BU.to(device), num_out_B, num_targets_B,
                        blank=BLANK, reduction="none", zero_infinity=True)
    too_short_B = num_out_B < _min_frames(targets_BU, num_targets_B)
    return loss_B.masked_fill(too_short_B.to(device, non_blocking=True), float("inf"))


def greedy(log_probs_BSV: Tensor, num_out_B: Tensor) -> list[list[int]]:
    """The tokens of the best path: the best token of each frame, repeats merged, blanks dropped."""
    return [[token for token, _ in path] for path in greedy_with_times(log_probs_BSV, num_out_B)]


def greedy_with_times(log_probs_BSV: Tensor, num_out_B: Tensor) -> list[list[tuple[int, int]]]:
    """The tokens of the best path, each with the output frame that first emits it."""
    best_BS = log_probs_BSV.argmax(-1).tolist()
    return [_collapse(best[:num_out]) for best, num_out in zip(best_BS, num_out_B.tolist())]


def _collapse(path: list[int]) -> list[tuple[int, int]]:
    before = [BLANK, *path]
    return [(token, frame) for frame, token in enumerate(path) if token not in (BLANK, before[frame])]


def _min_frames(targets_BU: Tensor, num_targets_B: Tensor) -> Tensor:
    repeats_BU = (targets_BU[:, 1:] == targets_BU[:, :-1]) & _within(targets_BU, num_targets_B)[:, 1:]
    return num_targets_B + repeats_BU.sum(1)


def _within(targets_BU: Tensor, num_targets_B: Tensor) -> Tensor:
    return torch.arange(targets_BU.shape[1], device=targets_BU.device) < num_targets_B[:, None]


def _check(log_probs_BSV: Tensor, num_out_B: Tensor, targets_BU: Tensor, num_targets_B: Tensor) -> None:
    _, max_out, num_tokens = log_probs_BSV.shape
    if bool(((num_out_B < 1) | (num_out_B > max_out)).any()):
        raise ValueError(f"numbers of output frames must lie in 1..{max_out}: {num_out_B.tolist()}")
    if bool(((num_targets_B < 0) | (num_targets_B > targets_BU.shape[1])).any()):
        raise ValueError(f"numbers of targets must lie in 0..{targets_BU.shape[1]}: {num_targets_B.tolist()}")
    real = targets_BU[_within(targets_BU, num_targets_B)]
    if bool(((real <= BLANK) | (real >= num_tokens)).any()):
        raise ValueError(f"targets must lie in 1..{num_tokens - 1}: {sorted(set(real.tolist()))}")
