"""The simple recurrence h_t = f(B(W x_t) + U h_{t-1}), f the clipped ReLU (DS2, sections 3.1 and 3.2)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.compiled import compiled
from ds2toolkit.model.product import add_product, factor
from ds2toolkit.model.ways import Way, each, total, total_, ways, weight_gradient


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
            du_2HH = torch.empty_like(u_2HH)
            dz = each(lambda *of_way: _run_back(*of_way, dh_TBH, ctx.clip), ctx.ways, u_2HH, du_2HH, states)
            return total_(dz), du_2HH, None, None


def _run(way: Way, u_HH: Tensor, wx_TBH: Tensor, clip: float) -> Tensor:
    """Returns states_KBH, zero in padding."""
    states_KBH = way.room(wx_TBH)
    steps = way.steps(wx_TBH, way.before(states_KBH), way.after(states_KBH))
    _steps(factor(u_HH, wx_TBH.shape[1]), clip, *steps)
    return states_KBH


@compiled
def _steps(
    u: Tensor, clip: float, masks: list[Tensor | None], wx: list[Tensor], before: list[Tensor], after: list[Tensor]
) -> None:
    for t, mask in enumerate(masks):
        add_product(wx[t], before[t], u, after[t]).clamp_(0.0, clip)
        if mask is not None:
            after[t].mul_(mask)


def _run_back(way: Way, u_HH: Tensor, du_HH: Tensor, states_KBH: Tensor, dh_TBH: Tensor, clip: float) -> Tensor:
    """Returns dL/dz (z: what the clipped ReLU is given), writes dL/dU to du; last step first.

    The gate is shut where the state is 0, which it is in padded frames: no mask is needed.
    """
    dz_TBH = torch.empty_like(dh_TBH)
    _, *steps = way.steps(dh_TBH, way.after(states_KBH), dz_TBH, last_first=True)
    _steps_back(factor(u_HH.mT, dh_TBH.shape[1]), clip, *steps)
    weight_gradient(dz_TBH, way.before(states_KBH), out=du_HH)
    return dz_TBH


@compiled
def _steps_back(u_t: Tensor, clip: float, dh: list[Tensor], states: list[Tensor], dz: list[Tensor]) -> None:
    dz_after = torch.zeros_like(dz[0])
    for t, state in enumerate(states):
        ds = add_product(dh[t], dz_after, u_t, dz[t])
        dz_after = torch.ops.aten.hardtanh_backward(ds, state, 0.0, clip, grad_input=dz[t])
