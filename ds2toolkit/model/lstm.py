"""Long short-term memory without peepholes: DS2 tried LSTM and gives no equations for it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.compiled import compiled
from ds2toolkit.model.product import add_product, factor
from ds2toolkit.model.ways import Way, each, total, total_, ways, weight_gradient

FORGET = 2


class LSTM(torch.autograd.Function):
    """i, f, o = s(wx + U h), g = tanh(wx_g + U_g h); the new c is f c + i g, the new h is o tanh(c).

    s: the sigmoid; wx: B(W x). Takes wx_TBG, u_2GH (G: o, i, f, g), mask_TB1 and the clip, which it has no
    use for; returns hidden_TBH, zero in padding.
    """

    num_gates = 4

    @staticmethod
    def forward(ctx, wx_TBG, u_2GH, mask_TB1, clip):
        ctx.ways = ways(mask_TB1, len(u_2GH))
        with torch.autocast(wx_TBG.device.type, enabled=False):
            results = each(lambda way, u_GH: _run(way, u_GH, wx_TBG), ctx.ways, u_2GH)
            ctx.save_for_backward(u_2GH, *(tensor for result in results for tensor in result))
            return total([way.after(states_KBH) for way, (*_, states_KBH) in zip(ctx.ways, results)])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        u_2GH, *saved = ctx.saved_tensors
        with torch.autocast(dh_TBH.device.type, enabled=False):
            saved, du_2GH = [saved[:4], saved[4:]][: len(u_2GH)], torch.empty_like(u_2GH)
            da = each(lambda *of_way: _run_back(*of_way, dh_TBH), ctx.ways, u_2GH, du_2GH, saved)
            return total_(da), du_2GH, None, None


def _run(way: Way, u_GH: Tensor, wx_TBG: Tensor) -> tuple[Tensor, ...]:
    """Returns gates_TBG, tanh(c), cells_KBH and states_KBH, all of them zero in padding."""
    gates_TBG, num_hidden = torch.empty_like(wx_TBG), u_GH.shape[1]
    tanh_TBH = wx_TBG.new_empty(*wx_TBG.shape[:2], num_hidden)
    cells_KBH, states_KBH = way.room(wx_TBG[..., :num_hidden]), way.room(wx_TBG[..., :num_hidden])
    around = (side(x) for x in (cells_KBH, states_KBH) for side in (way.before, way.after))
    steps = way.steps(wx_TBG, gates_TBG, gates_TBG[..., : 3 * num_hidden], *gates_TBG.chunk(4, -1), tanh_TBH, *around)
    _steps(factor(u_GH, wx_TBG.shape[1]), *steps)
    return gates_TBG, tanh_TBH, cells_KBH, states_KBH


@compiled
def _steps(
    u: Tensor, masks: list[Tensor | None], wx: list[Tensor], gates: list[Tensor], sigmoids: list[Tensor],
    o: list[Tensor], i: list[Tensor], f: list[Tensor], g: list[Tensor], tanh: list[Tensor],
    c_before: list[Tensor], c: list[Tensor], h_before: list[Tensor], h: list[Tensor],
) -> None:
    for t, mask in enumerate(masks):
        add_product(wx[t], h_before[t], u, gates[t])
        sigmoids[t].sigmoid_()
        g[t].tanh_()
        if mask is not None:
            gates[t].mul_(mask)
        torch.mul(f[t], c_before[t], out=c[t]).addcmul_(i[t], g[t])
        torch.mul(o[t], torch.tanh(c[t], out=tanh[t]), out=h[t])


def _run_back(way: Way, u_GH: Tensor, du_GH: Tensor, saved: Sequence[Tensor], dh_TBH: Tensor) -> Tensor:
    """Returns dL/da (a = wx + U h), writes dL/dU to du; last step first."""
    gates_TBG, tanh_TBH, cells_KBH, states_KBH = saved
    da_TBG, slope_c_TBH = _slopes(gates_TBG, way.before(cells_KBH), tanh_TBH)
    of_output, of_cell = da_TBG.unflatten(-1, (4, -1)).split((1, 3), -2)
    forget_TBH = gates_TBG.chunk(4, -1)[FORGET]
    _, *steps = way.steps(dh_TBH, slope_c_TBH, forget_TBH, da_TBG, of_output, of_cell, last_first=True)
    _steps_back(factor(u_GH.mT, dh_TBH.shape[1]), *steps)
    weight_gradient(da_TBG, way.before(states_KBH), out=du_GH)
    return da_TBG


@compiled
def _steps_back(
    u_t: Tensor, dh_above: list[Tensor], slope_c: list[Tensor], forget: list[Tensor], da: list[Tensor],
    da_output: list[Tensor], da_cell: list[Tensor],
) -> None:
    dh_BH, dc_BH = torch.empty_like(forget[0]), torch.zeros_like(forget[0])
    da_after = torch.zeros_like(da[0])
    for t, da_t in enumerate(da):
        add_product(dh_above[t], da_after, u_t, dh_BH)
        dc_BH.addcmul_(dh_BH, slope_c[t])
        da_output[t].mul_(dh_BH.unsqueeze(-2))
        da_cell[t].mul_(dc_BH.unsqueeze(-2))
        dc_BH.mul_(forget[t])
        da_after = da_t


def _slopes(gates_TBG: Tensor, before_TBH: Tensor, tanh_TBH: Tensor) -> tuple[Tensor, Tensor]:
    """How h changes with the product for o and c with those for i, f, g (slope_TBG); how h changes with c."""
    o, i, f, g = gates_TBG.chunk(4, -1)
    slope_TBG = torch.empty_like(gates_TBG)
    slope_o, slope_i, slope_f, slope_g = slope_TBG.chunk(4, -1)
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    tanh_backward = torch.ops.aten.tanh_backward.grad_input
    sigmoid_backward(tanh_TBH, o, grad_input=slope_o)
    sigmoid_backward(g, i, grad_input=slope_i)
    sigmoid_backward(before_TBH, f, grad_input=slope_f)
    tanh_backward(i, g, grad_input=slope_g)
    return slope_TBG, torch.ops.aten.tanh_backward(o, tanh_TBH)
