"""The simple recurrence h_t = f(B(W x_t) + U h_{t-1}), f the clipped ReLU (DS2, sections 3.1 and 3.2)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.product import adder
from ds2toolkit.model.ways import Padding, both_ways, sum_ways, weight_gradient


class RNN(torch.autograd.Function):
    """Takes wx_TBH, u_2HH, mask_TB1 and the clip; returns hidden_TBH, zero in padding."""

    num_gates = 1

    @staticmethod
    def forward(ctx, wx_TBH, u_2HH, mask_TB1, clip):
        states_K2BH = both_ways(wx_TBH, len(u_2HH), first=1)
        with torch.autocast(wx_TBH.device.type, enabled=False):
            _run(states_K2BH, u_2HH, Padding(mask_TB1, len(u_2HH)), clip)
        ctx.save_for_backward(states_K2BH, u_2HH)
        ctx.clip = clip
        return sum_ways(states_K2BH[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        states_K2BH, u_2HH = ctx.saved_tensors
        dz_T2BH = both_ways(dh_TBH, len(u_2HH))
        with torch.autocast(dh_TBH.device.type, enabled=False):
            _run_back(dz_T2BH, states_K2BH, u_2HH, ctx.clip)
            du_2HH = weight_gradient(dz_T2BH, states_K2BH[:-1])
        return sum_ways(dz_T2BH), du_2HH, None, None


def _run(states_K2BH: Tensor, u_2HH: Tensor, padding: Padding, clip: float) -> None:
    """Turn wx into states, in place."""
    add, states = adder(u_2HH, states_K2BH.shape[2]), states_K2BH.unbind()
    for k, (before, after) in enumerate(zip(states, states[1:])):
        add(after, before).clamp_(0.0, clip)
        padding.zero(k, after)


def _run_back(dz_T2BH: Tensor, states_K2BH: Tensor, u_2HH: Tensor, clip: float) -> None:
    """Turn dL/dh into dL/dz (z: what the clipped ReLU is given), in place, last step first.

    The gate is shut where the state is 0, which it is in padded frames: no mask is needed.
    """
    hardtanh_backward = torch.ops.aten.hardtanh_backward.grad_input
    steps, states, add = dz_T2BH.unbind(), states_K2BH.unbind(), adder(u_2HH.mT, dz_T2BH.shape[2])
    for k in reversed(range(len(steps))):
        if k + 1 < len(steps):
            add(steps[k], steps[k + 1])
        hardtanh_backward(steps[k], states[k + 1], 0.0, clip, grad_input=steps[k])
