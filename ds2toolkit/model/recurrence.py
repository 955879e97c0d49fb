"""Bidirectional simple recurrence: summed directions, shared input weights (DS2, sections 3.1 and 3.2)."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ds2toolkit.model.norm import SequenceWiseNorm, frame_mask


class BidirectionalRNN(nn.Module):
    """One recurrent layer: h_t = f(B(W x_t) + U h_{t-1}) in both directions, summed; f is the clipped ReLU.

    W is shared by both directions and has no bias (the norm B has one). Each U starts orthogonal: a ReLU
    passes about half of the energy of its input, so with a unit gain the energy of what the ReLU is given
    settles at about twice that of the normalised W x, however long the utterance.
    """

    def __init__(self, num_in: int, num_hidden: int, clip: float, momentum: float):
        super().__init__()
        self.clip = clip
        self.input = nn.Linear(num_in, num_hidden, bias=False)
        self.norm = SequenceWiseNorm(num_hidden, momentum)
        self.u_2HH = nn.Parameter(torch.empty(2, num_hidden, num_hidden))
        for u_HH in self.u_2HH.unbind():
            nn.init.orthogonal_(u_HH)

    def forward(self, x_SBD: Tensor, num_out_B: Tensor) -> Tensor:
        """x_SBD: finite in padded frames. Returns hidden_SBH, zero in padded frames."""
        mask_SB1 = frame_mask(num_out_B, len(x_SBD)).T[:, :, None]
        return recur(self.norm(self.input(x_SBD), mask_SB1), self.u_2HH, num_out_B, self.clip)


def recur(wx_TBH: Tensor, u_2HH: Tensor, num_frames_B: Tensor, clip: float) -> Tensor:
    """Both directions of h_t = min(max(wx_t + U h_{t-1}, 0), clip), summed: hidden_TBH, zero in padding.

    u_2HH: the forward U, then the backward one (which starts at each utterance's own last frame).
    States and products have the type of wx. Raises ValueError when a length is out of range.
    """
    mask_TB1 = frame_mask(num_frames_B, len(wx_TBH)).T[:, :, None].to(wx_TBH.dtype)
    return _Recurrence.apply(wx_TBH, u_2HH.to(wx_TBH.dtype), mask_TB1, int(num_frames_B.min()), clip)


class _Recurrence(torch.autograd.Function):
    """Step k takes the forward direction to frame k, the backward one to frame T - 1 - k, in one product."""

    @staticmethod
    def forward(ctx, wx_TBH, u_2HH, mask_TB1, num_whole, clip):
        states_K2BH = _both_ways(wx_TBH, first=1)
        with torch.autocast(wx_TBH.device.type, enabled=False):
            _run(states_K2BH, u_2HH.mT.contiguous(), _both_ways(mask_TB1), num_whole, clip)
        ctx.save_for_backward(states_K2BH, u_2HH)
        ctx.clip = clip
        return _sum_ways(states_K2BH[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        states_K2BH, u_2HH = ctx.saved_tensors
        dz_T2BH = _both_ways(dh_TBH)
        with torch.autocast(dh_TBH.device.type, enabled=False):
            _run_back(dz_T2BH, states_K2BH, u_2HH, ctx.clip)
            # One product over all frames: a product a frame would read and write dU T times.
            dz_2HN = dz_T2BH.permute(1, 3, 0, 2).flatten(2)
            du_2HH = dz_2HN @ states_K2BH[:-1].transpose(0, 1).flatten(1, 2)
        return _sum_ways(dz_T2BH), du_2HH, None, None, None


def _run(states_K2BH: Tensor, u_t_2HH: Tensor, mask_T2B1: Tensor, num_whole: int, clip: float) -> None:
    """Turn wx into states, in place (K = T + 1: the first is zero). Frames below num_whole are all real."""
    num_steps = len(mask_T2B1)
    steps = states_K2BH.unbind()
    for k in range(num_steps):
        steps[k + 1].baddbmm_(steps[k], u_t_2HH).clamp_(0.0, clip)
        if k >= num_whole or k < num_steps - num_whole:
            steps[k + 1].mul_(mask_T2B1[k])


def _run_back(dz_T2BH: Tensor, states_K2BH: Tensor, u_2HH: Tensor, clip: float) -> None:
    """Turn dL/dh into dL/dz (z: what the clipped ReLU is given), in place, last step first.

    The gate is shut where the state is 0, which it is in padded frames: no mask is needed.
    """
    hardtanh_backward = torch.ops.aten.hardtanh_backward.grad_input
    steps, states = dz_T2BH.unbind(), states_K2BH.unbind()
    for k in reversed(range(len(steps))):
        if k + 1 < len(steps):
            steps[k].baddbmm_(steps[k + 1], u_2HH)
        hardtanh_backward(steps[k], states[k + 1], 0.0, clip, grad_input=steps[k])


def _both_ways(x_TBH: Tensor, first: int = 0) -> Tensor:
    """Stack x and x backwards in time, (first + T, 2, B, H); the first `first` steps are zero."""
    num_frames, *rest = x_TBH.shape
    both_K2BH = x_TBH.new_empty(first + num_frames, 2, *rest)
    both_K2BH[:first] = 0.0
    both_K2BH[first:, 0] = x_TBH
    both_K2BH[first:, 1] = x_TBH.flip(0)
    return both_K2BH


def _sum_ways(x_T2BH: Tensor) -> Tensor:
    return x_T2BH[:, 0] + x_T2BH[:, 1].flip(0)
