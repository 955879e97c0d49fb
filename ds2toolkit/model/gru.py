"""The gated recurrent unit, its candidate through the clipped ReLU (DS2, section 3.4)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.product import adder
from ds2toolkit.model.ways import Way, each, total, ways, weight_gradient


class GRU(torch.autograd.Function):
    """z = s(wx_z + U_z h), r = s(wx_r + U_r h), c = f(wx_c + r * (U_c h)); the new h is (1 - z) h + z c.

    s: the sigmoid, f: the clipped ReLU; wx: B(W x). Takes wx_TBG, u_2GH (G: z, r, c), mask_TB1 and the clip;
    returns hidden_TBH, zero in padding.
    """

    num_gates = 3

    @staticmethod
    def forward(ctx, wx_TBG, u_2GH, mask_TB1, clip):
        ctx.clip, ctx.ways, num_hidden = clip, ways(mask_TB1, len(u_2GH)), u_2GH.shape[2]
        wx_c_TBH, wx_TBG = wx_TBG[..., 2 * num_hidden :], wx_TBG.clone()
        wx_TBG[..., 2 * num_hidden :] = 0.0  # where U_c h alone is wanted
        with torch.autocast(wx_TBG.device.type, enabled=False):
            results = each(lambda way, u_GH: _run(way, u_GH, wx_TBG, wx_c_TBH, clip), ctx.ways, u_2GH)
            ctx.save_for_backward(u_2GH, *(tensor for result in results for tensor in result))
            return total([way.after(states_KBH) for way, (_, _, states_KBH) in zip(ctx.ways, results)])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        u_2GH, *saved = ctx.saved_tensors
        with torch.autocast(dh_TBH.device.type, enabled=False):
            saved = saved[0::3], saved[1::3], saved[2::3]
            results = each(lambda *of_way: _run_back(*of_way, dh_TBH, ctx.clip), ctx.ways, u_2GH, *saved)
            dwx, du = zip(*results)
            return total(dwx), torch.stack(du), None, None


def _run(way: Way, u_GH: Tensor, wx_TBG: Tensor, wx_c_TBH: Tensor, clip: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gates_TBG (z, r, U_c h, zero in padding), the candidates, and states_KBH, zero in padding."""
    gates_TBG, candidate_TBH = torch.empty_like(wx_TBG), torch.empty_like(wx_c_TBH)
    states_KBH, add = way.room(wx_c_TBH), adder(u_GH, wx_TBG.shape[1])
    sigmoids_TBG = gates_TBG[..., : 2 * u_GH.shape[1]]
    around = way.before(states_KBH), way.after(states_KBH)
    parts = way.steps(wx_TBG, wx_c_TBH, gates_TBG, sigmoids_TBG, *gates_TBG.chunk(3, -1), candidate_TBH, *around)
    for mask, wx, wx_c, gates, sigmoids, z, r, product, candidate, before, after in parts:
        add(wx, before, gates)
        sigmoids.sigmoid_()
        if mask is not None:
            gates.mul_(mask)
        torch.addcmul(wx_c, r, product, out=candidate).clamp_(0.0, clip)
        torch.lerp(before, candidate, z, out=after)
        if mask is not None:
            after.mul_(mask)
    return gates_TBG, candidate_TBH, states_KBH


def _run_back(
    way: Way, u_GH: Tensor, gates_TBG: Tensor, candidate_TBH: Tensor, states_KBH: Tensor, dh_TBH: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """Returns dL/dwx and dL/dU; last step first."""
    before_TBH, dh_TBH = way.before(states_KBH), dh_TBH.clone(memory_format=torch.contiguous_format)
    da_TBG, open_TBH = _slopes(gates_TBG, candidate_TBH, before_TBH, clip)
    keep_TBH, add = 1 - gates_TBG[..., : u_GH.shape[1]], adder(u_GH.mT, dh_TBH.shape[1])
    steps = reversed(way.steps(dh_TBH, keep_TBH, da_TBG, da_TBG.unflatten(-1, (3, -1))))
    carried = torch.zeros_like(dh_TBH[0])
    for mask, dh, keep, da, da_by_gate in steps:
        dh.add_(carried)
        if mask is not None:
            dh.mul_(mask)
        da_by_gate.mul_(dh.unsqueeze(-2))
        add(torch.mul(dh, keep, out=carried), da, carried)
    du_GH = weight_gradient(da_TBG, before_TBH)
    torch.mul(dh_TBH, open_TBH, out=da_TBG.chunk(3, -1)[2])
    return da_TBG, du_GH


def _slopes(gates_TBG: Tensor, candidate_TBH: Tensor, before_TBH: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """How the new h changes with each product U h (z, r, c: slope_TBG), and with wx_c (open_TBH)."""
    z, r, product = gates_TBG.chunk(3, -1)
    open_TBH = torch.ops.aten.hardtanh_backward(z, candidate_TBH, 0.0, clip)
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    slope_TBG = torch.empty_like(gates_TBG)
    slope_z, slope_r, slope_c = slope_TBG.chunk(3, -1)
    sigmoid_backward(candidate_TBH - before_TBH, z, grad_input=slope_z)
    sigmoid_backward(open_TBH * product, r, grad_input=slope_r)
    torch.mul(open_TBH, r, out=slope_c)
    return slope_TBG, open_TBH
