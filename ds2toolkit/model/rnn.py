"""The simple recurrence h_t = f(B(W x_t) + U h_{t-1}), f the clipped ReLU (DS2, sections 3.1 and 3.2)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.product import adder
from ds2toolkit.model.ways import Way, each, total, ways, weight_gradient


class RNN(torch.autograd.Function):
    """Takes wx_TBH, u_2HH, mask_TB1 and the clip; returns hidden_TBH, zero in padding."""

    num_gates = 1

    @staticmethod
    def forward(ctx, wx_TBH, u_2HH, mask_TB1, clip):
        ctx.clip, ctx.ways = clip, ways(mask_TB1, len(u_2HH))
        with torch.autocast(wx_TBH.device.type, enabled=False):
            states = each(lambda way, u_HH: _run(way, u_HH, wx_TBH, clip), ctx.ways, u_2HH)
            ctx.save_for_backward(u_2HH, *states)
            return total([way.after(states_KBH) for way, states_KBH in zip(ctx.ways, states)])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        u_2HH, *states = ctx.saved_tensors
        dh_TBH = dh_TBH.contiguous()
        with torch.autocast(dh_TBH.device.type, enabled=False):
            results = each(lambda *of_way: _run_back(*of_way, dh_TBH, ctx.clip), ctx.ways, u_2HH, states)
            dz, du = zip(*results)
            return total(dz), torch.stack(du), None, None


def _run(way: Way, u_HH: Tensor, wx_TBH: Tensor, clip: float) -> Tensor:
    """Returns states_KBH, zero in padding."""
    states_KBH, add = way.room(wx_TBH), adder(u_HH, wx_TBH.shape[1])
    for mask, wx, before, after in way.steps(wx_TBH, way.before(states_KBH), way.after(states_KBH)):
        add(wx, before, after).clamp_(0.0, clip)
        if mask is not None:
            after.mul_(mask)
    return states_KBH


def _run_back(way: Way, u_HH: Tensor, states_KBH: Tensor, dh_TBH: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Returns dL/dz (z: what the clipped ReLU is given) and dL/dU; last step first.

    The gate is shut where the state is 0, which it is in padded frames: no mask is needed.
    """
    hardtanh_backward = torch.ops.aten.hardtanh_backward.grad_input
    dz_TBH, add = torch.empty_like(dh_TBH), adder(u_HH.mT, dh_TBH.shape[1])
    dz_after = torch.zeros_like(dh_TBH[0])
    for _, dh, state, dz in reversed(way.steps(dh_TBH, way.after(states_KBH), dz_TBH)):
        hardtanh_backward(add(dh, dz_after, dz), state, 0.0, clip, grad_input=dz)
        dz_after = dz
    return dz_TBH, weight_gradient(dz_TBH, way.before(states_KBH))
