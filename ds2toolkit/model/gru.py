"""The gated recurrent unit, its candidate through the clipped ReLU (DS2, section 3.4)."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ds2toolkit.model.product import adder
from ds2toolkit.model.ways import Padding, both_ways, states, sum_ways, weight_gradient


class GRU(torch.autograd.Function):
    """z = s(wx_z + U_z h), r = s(wx_r + U_r h), c = f(wx_c + r * (U_c h)); the new h is (1 - z) h + z c.

    s: the sigmoid, f: the clipped ReLU; wx: B(W x). Takes wx_TBG, u_2GH (G: z, r, c), mask_TB1 and the clip;
    returns hidden_TBH, zero in padding.
    """

    num_gates = 3

    @staticmethod
    def forward(ctx, wx_TBG, u_2GH, mask_TB1, clip):
        num_ways, _, num_hidden = u_2GH.shape
        gates_T2BG = both_ways(wx_TBG, num_ways)
        candidate_T2BH = gates_T2BG[..., 2 * num_hidden :].clone()
        gates_T2BG[..., 2 * num_hidden :] = 0.0  # where U_c h alone is wanted
        with torch.autocast(wx_TBG.device.type, enabled=False):
            padding = Padding(mask_TB1, num_ways)
            states_K2BH = _run(gates_T2BG, candidate_T2BH, u_2GH, padding, clip)
        ctx.save_for_backward(gates_T2BG, candidate_T2BH, states_K2BH, u_2GH, mask_TB1)
        ctx.clip = clip
        return sum_ways(states_K2BH[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx, dh_TBH):
        gates_T2BG, candidate_T2BH, states_K2BH, u_2GH, mask_TB1 = ctx.saved_tensors
        before_T2BH = states_K2BH[:-1]
        dh_T2BH = both_ways(dh_TBH * mask_TB1, len(u_2GH))
        with torch.autocast(dh_TBH.device.type, enabled=False):
            slope_T2BG, open_T2BH = _slopes(gates_T2BG, candidate_T2BH, before_T2BH, ctx.clip)
            keep_T2BH = 1 - gates_T2BG[..., : dh_TBH.shape[-1]]
            _run_back(dh_T2BH, slope_T2BG, keep_T2BH, u_2GH)
            du_2GH = weight_gradient(slope_T2BG, before_T2BH)
            torch.mul(dh_T2BH, open_T2BH, out=slope_T2BG.chunk(3, -1)[2])
        return sum_ways(slope_T2BG), du_2GH, None, None


def _run(gates_T2BG: Tensor, candidate_T2BH: Tensor, u_2GH: Tensor, padding: Padding, clip: float) -> Tensor:
    """Turn W x into z, r and U_c h (zero in padding), and into candidates, in place. Returns states_K2BH."""
    num_hidden = candidate_T2BH.shape[-1]
    gates, sigmoids = gates_T2BG.unbind(), gates_T2BG[..., : 2 * num_hidden].unbind()
    zs, rs, products = (part.unbind() for part in gates_T2BG.chunk(3, -1))
    states_K2BH, steps = states(len(gates), candidate_T2BH[0])
    add = adder(u_2GH, candidate_T2BH.shape[2])
    for k, candidate in enumerate(candidate_T2BH.unbind()):
        add(gates[k], steps[k])
        sigmoids[k].sigmoid_()
        padding.zero(k, gates[k])
        candidate.addcmul_(rs[k], products[k]).clamp_(0.0, clip)
        torch.lerp(steps[k], candidate, zs[k], out=steps[k + 1])
        padding.zero(k, steps[k + 1])
    return states_K2BH


def _slopes(gates_T2BG: Tensor, candidate_T2BH: Tensor, before_T2BH: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """How the new h changes with each product U h (z, r, c: slope_T2BG), and with wx_c (open_T2BH)."""
    z, r, product = gates_T2BG.chunk(3, -1)
    open_T2BH = torch.ops.aten.hardtanh_backward(z, candidate_T2BH, 0.0, clip)
    sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
    slope_T2BG = torch.empty_like(gates_T2BG)
    slope_z, slope_r, slope_c = slope_T2BG.chunk(3, -1)
    sigmoid_backward(candidate_T2BH - before_T2BH, z, grad_input=slope_z)
    sigmoid_backward(open_T2BH * product, r, grad_input=slope_r)
    torch.mul(open_T2BH, r, out=slope_c)
    return slope_T2BG, open_T2BH


def _run_back(dh_T2BH: Tensor, da_T2BG: Tensor, keep_T2BH: Tensor, u_2GH: Tensor) -> None:
    """Turn dL/dh of the output into that of the states, slopes into dL/da (a = U h), in place, last step first."""
    steps, keeps, gates = dh_T2BH.unbind(), keep_T2BH.unbind(), da_T2BG.unbind()
    by_gate = da_T2BG.unflatten(-1, (3, -1)).unbind()
    add = adder(u_2GH.mT, dh_T2BH.shape[2])
    for k in reversed(range(len(steps))):
        by_gate[k].mul_(steps[k].unsqueeze(-2))
        if k:
            add(steps[k - 1], gates[k]).addcmul_(steps[k], keeps[k])
