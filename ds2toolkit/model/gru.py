"""The gated recurrent unit, its candidate through the clipped ReLU (DS2, section 3.4)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.compiled import compiled
from ds2toolkit.model.product import add_product, factor
from ds2toolkit.model.ways import Way, each, total, total_, ways, weight_gradient


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
            du_2GH = torch.empty_like(u_2GH)
            dwx = each(lambda *of_way: _run_back(*of_way, dh_TBH, ctx.clip), ctx.ways, u_2GH, du_2GH, *saved)
            return total_(dwx), du_2GH, None, None


def _run(way: Way, u_GH: Tensor, wx_TBG: Tensor, wx_c_TBH: Tensor, clip: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gates_TBG (z, r, U_c h, zero in padding), the candidates, and states_KBH, zero in padding."""
    gates_TBG, candidate_TBH = torch.empty_like(wx_TBG), torch.empty_like(wx_c_TBH)
    states_KBH, sigmoids_TBG = way.room(wx_c_TBH), gates_TBG[..., : 2 * u_GH.shape[1]]
    around = way.before(states_KBH), way.after(states_KBH)
    steps = way.steps(wx_TBG, wx_c_TBH, gates_TBG, sigmoids_TBG, *gates_TBG.chunk(3, -1), candidate_TBH, *around)
    _steps(factor(u_GH, wx_TBG.shape[1]), clip, *steps)
    return gates_TBG, candidate_TBH, states_KBH


@compiled
def _steps(
    u: Tensor, clip: float, masks: list[Tensor | None], wx: list[Tensor], wx_c: list[Tensor], gates: list[Tensor],
    sigmoids: list[Tensor], z: list[Tensor], r: list[Tensor], product: list[Tensor], candidate: list[Tensor],
    before: list[Tensor], after: list[Tensor],
) -> None:
    for t, mask in enumerate(masks):
        add_product(wx[t], before[t], u, gates[t])
        sigmoids[t].sigmoid_()
        if mask is not None:
            gates[t].mul_(mask)
        torch.addcmul(wx_c[t], r[t], product[t], out=candidate[t]).clamp_(0.0, clip)
        torch.lerp(before[t], candidate[t], z[t], out=after[t])
        if mask is not None:
            after[t].mul_(mask)


def _run_back(
    way: Way, u_GH: Tensor, du_GH: Tensor, gates_TBG: Tensor, candidate_TBH: Tensor, states_KBH: Tensor,
    dh_TBH: Tensor, clip: float,
) -> Tensor:
    """Returns dL/dwx, writes dL/dU to du; last step first."""
    before_TBH, dh_TBH = way.before(states_KBH), dh_TBH.clone(memory_format=torch.contiguous_format)
    da_TBG, open_TBH = _slopes(gates_TBG, candidate_TBH, before_TBH, clip)
    keep_TBH = 1 - gates_TBG[..., : u_GH.shape[1]]
    steps = way.steps(dh_TBH, keep_TBH, da_TBG, da_TBG.unflatten(-1, (3, -1)), last_first=True)
    _steps_back(factor(u_GH.mT, dh_TBH.shape[1]), *steps)
    weight_gradient(da_TBG, before_TBH, out=du_GH)
    torch.mul(dh_TBH, open_TBH, out=da_TBG.chunk(3, -1)[2])
    return da_TBG


@compiled
def _steps_back(
    u_t: Tensor, masks: list[Tensor | None], dh: list[Tensor], keep: list[Tensor], da: list[Tensor],
    da_by_gate: list[Tensor],
) -> None:
    carried = torch.zeros_like(dh[0])
    for t, mask in enumerate(masks):
        dh[t].add_(carried)
        if mask is not None:
            dh[t].mul_(mask)
        da_by_gate[t].mul_(dh[t].unsqueeze(-2))
        add_product(torch.mul(dh[t], keep[t], out=carried), da[t], u_t, carried)


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
