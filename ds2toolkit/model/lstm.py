"""Long short-term memory without peepholes: DS2 tried LSTM and gives no equations for it."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.product import adder
from ds2toolkit.model.ways import Padding, both_ways, states, sum_ways, weight_gradient

FORGET = 2


class LSTM(torch.autograd.Function):
    """i, f, o = s(wx + U h), g = tanh(wx_g + U_g h); the new c is f c + i g, the new h is o tanh(c).

    s: the sigmoid; wx: B(W x). Takes wx_TBG, u_2GH (G: o, i, f, g), mask_TB1 and the clip, which it has no
    use for; returns hidden_TBH, zero in padding.
    """

    num_gates = 4

    @staticmethod
    def forward(ctx, wx_TBG, u_2GH, mask_TB1, clip):
        num_ways = len(u_2GH)
        gates_T2BG = both_ways(wx_TBG, num_ways)
        with torch.autocast(wx_TBG.device.type, enabled=False):
            padding = Padding(mask_TB1, num_ways)
            cells_K2BH, states_K2BH = _run(gates_T2BG, u_2GH, padding)
        ctx.save_for_backward(gates_T2BG, cells_K2BH, states_K2BH, u_2GH)
        return sum_ways(states_K2BH[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        gates_T2BG, cells_K2BH, states_K2BH, u_2GH = ctx.saved_tensors
        dh_T2BH = both_ways(dh_TBH, len(u_2GH))
        with torch.autocast(dh_TBH.device.type, enabled=False):
            slope_T2BG, slope_c_T2BH = _slopes(gates_T2BG, cells_K2BH)
            forget_T2BH = gates_T2BG.chunk(4, -1)[FORGET]
            _run_back(dh_T2BH, slope_T2BG, slope_c_T2BH, forget_T2BH, u_2GH)
            du_2GH = weight_gradient(slope_T2BG, states_K2BH[:-1])
        return sum_ways(slope_T2BG), du_2GH, None, None


def _run(gates_T2BG: Tensor, u_2GH: Tensor, padding: Padding) -> tuple[Tensor, Tensor]:
    """Turn W x into gates, in place, zero in padding. Returns cells_K2BH and states_K2BH, zero there too."""
    gates, sigmoids = gates_T2BG.unbind(), gates_T2BG[..., : 3 * u_2GH.shape[2]].unbind()
    outputs, inputs, forgets, candidates = (part.unbind() for part in gates_T2BG.chunk(4, -1))
    cells_K2BH, cells = states(len(gates), inputs[0])
    states_K2BH, steps = states(len(gates), inputs[0])
    add = adder(u_2GH, gates_T2BG.shape[2])
    for k, gate in enumerate(gates):
        add(gate, steps[k])
        sigmoids[k].sigmoid_()
        candidates[k].tanh_()
        padding.zero(k, gate)
        torch.mul(forgets[k], cells[k], out=cells[k + 1]).addcmul_(inputs[k], candidates[k])
        torch.tanh(cells[k + 1], out=steps[k + 1]).mul_(outputs[k])
    return cells_K2BH, states_K2BH


def _slopes(gates_T2BG: Tensor, cells_K2BH: Tensor) -> tuple[Tensor, Tensor]:
    """How h changes with the product for o and c with those for i, f, g (slope_T2BG); how h changes with c."""
    o, i, f, g = gates_T2BG.chunk(4, -1)
    tanh_T2BH = cells_K2BH[1:].tanh()
    slope_T2BG = torch.empty_like(gates_T2BG)
    slope_o, slope_i, slope_f, slope_g = slope_T2BG.chunk(4, -1)
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    tanh_backward = torch.ops.aten.tanh_backward.grad_input
    sigmoid_backward(tanh_T2BH, o, grad_input=slope_o)
    sigmoid_backward(g, i, grad_input=slope_i)
    sigmoid_backward(cells_K2BH[:-1], f, grad_input=slope_f)
    tanh_backward(i, g, grad_input=slope_g)
    return slope_T2BG, tanh_backward(o, tanh_T2BH, grad_input=tanh_T2BH)


def _run_back(
    dh_T2BH: Tensor, da_T2BG: Tensor, slope_c_T2BH: Tensor, forget_T2BH: Tensor, u_2GH: Tensor
) -> None:
    """Turn dL/dh of the output into that of the states, slopes into dL/da (a = U h), in place, last step first."""
    steps, gates, slopes_c, forgets = (x.unbind() for x in (dh_T2BH, da_T2BG, slope_c_T2BH, forget_T2BH))
    of_output, of_cell = (part.unbind() for part in da_T2BG.unflatten(-1, (4, -1)).split((1, 3), -2))
    dc_2BH, add = torch.zeros_like(steps[0]), adder(u_2GH.mT, dh_T2BH.shape[2])
    for k in reversed(range(len(steps))):
        dc_2BH.addcmul_(steps[k], slopes_c[k])
        of_output[k].mul_(steps[k].unsqueeze(-2))
        of_cell[k].mul_(dc_2BH.unsqueeze(-2))
        dc_2BH.mul_(forgets[k])
        if k:
            add(steps[k - 1], gates[k])
