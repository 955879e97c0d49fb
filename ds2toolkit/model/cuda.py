"""The recurrences of rnn.py, gru.py and lstm.py for a GPU, in steps that can be captured: no look at any value.

Padding needs no mask at any step: where W x is infinite there, with the sign that shuts a gate, the state is zero and
so is every derivative.
"""

from math import inf

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.captured import run
from ds2toolkit.model.ways import both_ways, sum_ways, weight_gradient

hardtanh_backward = torch.ops.aten.hardtanh_backward
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


def recur(cell: str, wx_TBG: Tensor, u_2GH: Tensor, mask_TB1: Tensor, clip: float) -> Tensor:
    """As recurrence.recur, u_2GH of the type of wx, mask_TB1 not zero in unpadded frames."""
    return Recurrence.apply(wx_TBG, u_2GH, mask_TB1, cell, clip)


class Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, wx_TBG, u_2GH, mask_TB1, cell, clip):
        ctx.back, ctx.clip = BACKWARD[cell], clip
        with torch.autocast(wx_TBG.device.type, enabled=False):
            wx_T2BG = both_ways(wx_TBG, len(u_2GH))
            padded_T2B1 = both_ways(mask_TB1 == 0, len(u_2GH))
            states_K2BH, *saved = FORWARD[cell](wx_T2BG, padded_T2B1, u_2GH, clip)
            ctx.save_for_backward(u_2GH, states_K2BH, *saved)
            return sum_ways(states_K2BH[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        u_2GH, *saved = ctx.saved_tensors
        with torch.autocast(dh_TBH.device.type, enabled=False):
            dwx_T2BG, du_2GH = ctx.back(both_ways(dh_TBH, len(u_2GH)), u_2GH, *saved, ctx.clip)
            return sum_ways(dwx_T2BG), du_2GH, None, None, None


def _states(like_T2BH: Tensor) -> Tensor:
    """Room for states_K2BH, the first of them zero."""
    num_steps, *rest = like_T2BH.shape
    states_K2BH = like_T2BH.new_empty(num_steps + 1, *rest)
    states_K2BH[0].zero_()
    return states_K2BH


def rnn(wx_T2BH: Tensor, padded_T2B1: Tensor, u_2HH: Tensor, clip: float) -> tuple[Tensor, ...]:
    states_K2BH = _states(wx_T2BH)
    run(rnn_steps, u_2HH, {"h": wx_T2BH.masked_fill_(padded_T2B1, -inf)}, {"h": states_K2BH[1:]}, clip)
    return (states_K2BH,)


def rnn_steps(weight: Tensor, clip: float, h: Tensor) -> None:
    states, u_t_2HH = h.unbind(), weight.mT
    for before, state in zip(states, states[1:]):
        state.baddbmm_(before, u_t_2HH).clamp_(0.0, clip)


def rnn_back(dh_T2BH: Tensor, u_2HH: Tensor, states_K2BH: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    run(rnn_steps_back, u_2HH, {"dz": dh_T2BH, "h": states_K2BH[1:]}, {"dz": dh_T2BH}, clip, back=True)
    return dh_T2BH, weight_gradient(dh_T2BH, states_K2BH[:-1])


def rnn_steps_back(weight: Tensor, clip: float, dz: Tensor, h: Tensor) -> None:
    steps = dz.unbind()
    for step, after, state in reversed(list(zip(steps, steps[1:], h.unbind()))):
        step.baddbmm_(after, weight)
        hardtanh_backward.grad_input(step, state, 0.0, clip, grad_input=step)


def gru(wx_T2BG: Tensor, padded_T2B1: Tensor, u_2GH: Tensor, clip: float) -> tuple[Tensor, ...]:
    z, r, product = wx_T2BG.chunk(3, -1)
    candidate_T2BH = product.masked_fill(padded_T2B1, -inf)
    z.masked_fill_(padded_T2B1, inf)  # the candidate takes the state's place, and it is zero
    r.masked_fill_(padded_T2B1, -inf)
    product.zero_()
    states_K2BH = _states(candidate_T2BH)
    worked_on = {"gates": wx_T2BG, "candidate": candidate_T2BH}
    run(gru_steps, u_2GH, worked_on, worked_on | {"h": states_K2BH[1:]}, clip)
    return states_K2BH, wx_T2BG, candidate_T2BH


def gru_steps(weight: Tensor, clip: float, gates: Tensor, candidate: Tensor, h: Tensor) -> None:
    """Gates: W x for z and r, zero for the candidate; they become z, r and U_c h."""
    u_t_2HG, num_hidden = weight.mT, weight.shape[-1]
    for k in range(1, len(h)):
        z, r, product = gates[k].baddbmm_(h[k - 1], u_t_2HG).chunk(3, -1)
        gates[k, ..., : 2 * num_hidden].sigmoid_()
        candidate[k].addcmul_(r, product).clamp_(0.0, clip)
        torch.lerp(h[k - 1], candidate[k], z, out=h[k])


def gru_back(
    dh_T2BH: Tensor, u_2GH: Tensor, states_K2BH: Tensor, gates_T2BG: Tensor, candidate_T2BH: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    z, r, product = gates_T2BG.chunk(3, -1)
    open_T2BH = hardtanh_backward(z, candidate_T2BH, 0.0, clip)
    da_T2BG = torch.empty_like(gates_T2BG)
    slope_z, slope_r, slope_c = da_T2BG.chunk(3, -1)
    sigmoid_backward(candidate_T2BH - states_K2BH[:-1], z, grad_input=slope_z)
    sigmoid_backward(open_T2BH * product, r, grad_input=slope_r)
    torch.mul(open_T2BH, r, out=slope_c)
    worked_on = {"da": da_T2BG, "dh": dh_T2BH}
    run(gru_steps_back, u_2GH, worked_on | {"keep": 1 - z}, worked_on, clip, back=True)
    du_2GH = weight_gradient(da_T2BG, states_K2BH[:-1])
    torch.mul(dh_T2BH, open_T2BH, out=slope_c)
    return da_T2BG, du_2GH


def gru_steps_back(weight: Tensor, clip: float, da: Tensor, dh: Tensor, keep: Tensor) -> None:
    """da: how the state changes with each product a = U h; it becomes dL/da."""
    by_gate = da.unflatten(-1, (3, -1))
    for k in reversed(range(len(dh) - 1)):
        dh[k].baddbmm_(da[k + 1], weight).addcmul_(dh[k + 1], keep[k + 1])
        by_gate[k].mul_(dh[k].unsqueeze(-2))


def lstm(wx_T2BG: Tensor, padded_T2B1: Tensor, u_2GH: Tensor, clip: float) -> tuple[Tensor, ...]:
    wx_T2BG.masked_fill_(padded_T2B1, -inf)
    cells_K2BH, states_K2BH = (_states(wx_T2BG.chunk(4, -1)[0]) for _ in range(2))
    made = {"gates": wx_T2BG, "c": cells_K2BH[1:], "h": states_K2BH[1:]}
    run(lstm_steps, u_2GH, {"gates": wx_T2BG}, made, clip)
    return states_K2BH, wx_T2BG, cells_K2BH


def lstm_steps(weight: Tensor, clip: float, gates: Tensor, c: Tensor, h: Tensor) -> None:
    u_t_2HG, num_hidden = weight.mT, weight.shape[-1]
    for k in range(1, len(h)):
        o, i, f, g = gates[k].baddbmm_(h[k - 1], u_t_2HG).chunk(4, -1)
        gates[k, ..., : 3 * num_hidden].sigmoid_()
        g.tanh_()
        torch.mul(f, c[k - 1], out=c[k]).addcmul_(i, g)
        torch.tanh(c[k], out=h[k]).mul_(o)


def lstm_back(
    dh_T2BH: Tensor, u_2GH: Tensor, states_K2BH: Tensor, gates_T2BG: Tensor, cells_K2BH: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    o, i, f, g = gates_T2BG.chunk(4, -1)
    tanh_T2BH, da_T2BG = cells_K2BH[1:].tanh(), torch.empty_like(gates_T2BG)
    slope_o, slope_i, slope_f, slope_g = da_T2BG.chunk(4, -1)
    sigmoid_backward(tanh_T2BH, o, grad_input=slope_o)
    sigmoid_backward(g, i, grad_input=slope_i)
    sigmoid_backward(cells_K2BH[:-1], f, grad_input=slope_f)
    tanh_backward(i, g, grad_input=slope_g)
    slope_c_T2BH = tanh_backward(o, tanh_T2BH, grad_input=tanh_T2BH)
    given = {"da": da_T2BG, "dh": dh_T2BH, "dc": slope_c_T2BH, "forget": f}
    run(lstm_steps_back, u_2GH, given, {"da": da_T2BG}, clip, back=True)
    return da_T2BG, weight_gradient(da_T2BG, states_K2BH[:-1])


def lstm_steps_back(weight: Tensor, clip: float, da: Tensor, dh: Tensor, dc: Tensor, forget: Tensor) -> None:
    """da: how h (for o) or c (for i, f, g) changes with each product; dc: how h changes with c. They become dL/d."""
    of_output, of_cell = da.unflatten(-1, (4, -1)).split((1, 3), -2)
    for k in reversed(range(len(dh) - 1)):
        dh[k].baddbmm_(da[k + 1], weight)
        dc[k].mul_(dh[k]).addcmul_(dc[k + 1], forget[k + 1])
        of_output[k].mul_(dh[k].unsqueeze(-2))
        of_cell[k].mul_(dc[k].unsqueeze(-2))


FORWARD = {"rnn": rnn, "gru": gru, "lstm": lstm}
BACKWARD = {"rnn": rnn_back, "gru": gru_back, "lstm": lstm_back}
