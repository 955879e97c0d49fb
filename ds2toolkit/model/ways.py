"""Both directions of a recurrence side by side, so that one product a step serves both.

Step k takes the forward direction to frame k, the backward one to frame T - 1 - k. Axes beside the usual ones: K, the
states before and after each step (K = T + 1, the first is zero); 2, the directions (1 where there is one); G, the
gates of a cell, H values each.
"""

from torch import Tensor


def both_ways(x_TBH: Tensor, num_ways: int, first: int = 0) -> Tensor:
    """Stack x and x backwards in time, a copy: (first + T, 2, B, H), of which the first `first` steps are zero."""
    num_frames, *rest = x_TBH.shape
    x_K2BH = x_TBH.new_empty(first + num_frames, num_ways, *rest)
    x_K2BH[:first] = 0.0
    x_K2BH[first:, 0] = x_TBH
    if num_ways == 2:
        x_K2BH[first:, 1] = x_TBH.flip(0)
    return x_K2BH


def sum_ways(x_T2BH: Tensor) -> Tensor:
    """The sum over directions, each in its own order of time: x_TBH."""
    forward_TBH, *backward = x_T2BH.unbind(1)
    return forward_TBH + backward[0].flip(0) if backward else forward_TBH


def states(num_steps: int, like_2BH: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Room for states_K2BH, the first of them zero, and each step's part of it."""
    states_K2BH = like_2BH.new_empty(num_steps + 1, *like_2BH.shape)
    states_K2BH[0] = 0.0
    return states_K2BH, states_K2BH.unbind()


def weight_gradient(da_T2BG: Tensor, before_T2BH: Tensor) -> Tensor:
    """dU of a = U h, from the gradient at a and the states h before each step: du_2GH.

    One product over all frames: a product a frame would read and write dU T times.
    """
    da_2NG, before_2NH = (x.transpose(0, 1).flatten(1, 2) for x in (da_T2BG, before_T2BH))
    return da_2NG.mT @ before_2NH


class Padding:
    """Zeroes what belongs to padded frames, step by step; most steps have none."""

    def __init__(self, mask_TB1: Tensor, num_ways: int):
        mask_T2B1 = both_ways(mask_TB1, num_ways)
        self.masks, self.whole = mask_T2B1.unbind(), mask_T2B1.flatten(1).all(1).tolist()

    def zero(self, step: int, value_2BH: Tensor) -> None:
        if not self.whole[step]:
            value_2BH.mul_(self.masks[step])
